"""A file that grows while it is read."""

from pathlib import Path

from app.jobs.metrics_tail import MetricsTail

LINE = '{{"step": {step}, "total_steps": 9, "phase": "p", "values": {{"loss": [6.0, 3]}}}}\n'


def steps(tail: MetricsTail) -> list[int]:
    look = tail.look()
    tail.accept(look)
    return [step.step for step in look.steps]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_nothing_is_there_before_the_stage_has_measured(tmp_path: Path) -> None:
    assert steps(MetricsTail(tmp_path / "metrics.jsonl")) == []


def test_half_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    append(path, LINE.format(step=1) + LINE.format(step=2)[:20])
    assert steps(tail) == [1]
    assert steps(tail) == []
    append(path, LINE.format(step=2)[20:])
    assert steps(tail) == [2]


def test_what_could_not_be_stored_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    append(path, LINE.format(step=1))
    tail.look()
    assert steps(tail) == [1]


def test_figures_are_means_and_impossible_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    values = '{"loss": [6.0, 3], "nothing": [0, 0], "broken": [NaN, 1]}'
    append(path, f'{{"step": 1, "total_steps": 2, "phase": "p", "values": {values}}}\n')
    (step,) = MetricsTail(path).look().steps
    assert step.figures == {"loss": 2.0, "broken": None}


def test_a_line_that_is_not_a_metric_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, "nonsense\n[]\n{}\n" + LINE.format(step=4))
    assert steps(MetricsTail(path)) == [4]


def test_a_long_file_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, "".join(LINE.format(step=step) for step in range(10_000)))
    tail = MetricsTail(path)
    read: list[int] = []
    while part := steps(tail):
        assert len(part) < 10_000
        read += part
    assert read == list(range(10_000))


def test_a_line_longer_than_a_part_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    samples = '"samples": [{"text": "' + "x" * 1_000_000 + '"}], '
    append(path, LINE.format(step=1).replace("{", "{" + samples, 1))
    (step,) = MetricsTail(path).look().steps
    assert step.samples is not None
    assert len(step.samples[0]["text"]) == 1_000_000
