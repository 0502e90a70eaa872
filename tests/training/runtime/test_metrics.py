"""`metrics.jsonl` after a crash at any byte, and sums with counts."""

import json
import math
import sys
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.runtime.metrics import Measures, MetricsLog, mean_of, merge

STEPS = 4
SAMPLES = [{"prompt": "Grüße – 你好", "policy": "line\nbreak 🙂"}]

numbers = st.floats(-1e6, 1e6)
counts = st.floats(0.5, 1e6)
measures = st.dictionaries(st.sampled_from(["loss", "kl", "score"]), st.tuples(numbers, counts))


def write_steps(path: Path) -> None:
    log = MetricsLog(path)
    for step in range(1, STEPS + 1):
        samples = SAMPLES if step == 2 else ()
        log.write(step, STEPS, "sft", {"loss": (0.1 * step, 3.0), "größe": (1.0, 1.0)}, samples=samples)
    log.close()


def test_a_file_that_was_cut_at_any_byte_is_made_whole_again(tmp_path: Path) -> None:
    whole_path, path = tmp_path / "whole.jsonl", tmp_path / "metrics.jsonl"
    write_steps(whole_path)
    whole = whole_path.read_bytes()
    for length in range(0, len(whole) + 1, 5):
        path.write_bytes(whole[:length])
        write_steps(path)
        assert path.read_bytes() == whole


def test_opening_cuts_off_half_a_line_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:-1])
    MetricsLog(path)
    assert path.read_bytes() == b"".join(lines[:3])


def test_only_later_steps_are_added(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path)
    before = path.read_bytes()
    log = MetricsLog(path)
    for step in (1, STEPS, STEPS - 1):
        log.write(step, STEPS, "sft", {"loss": (9.0, 1.0)})
    assert path.read_bytes() == before
    log.write(STEPS + 1, STEPS, "sft", {"loss": (9.0, 1.0)})
    assert json.loads(path.read_bytes().splitlines()[-1])["step"] == STEPS + 1


def test_a_row_has_samples_only_where_there_are_some(tmp_path: Path) -> None:
    write_steps(tmp_path / "metrics.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("samples") for row in rows] == [None, SAMPLES, None, None]
    assert rows[0] == {
        "step": 1,
        "total_steps": STEPS,
        "phase": "sft",
        "values": {"loss": [0.1, 3.0], "größe": [1.0, 1.0]},
    }


def test_nothing_is_written_before_the_first_step(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "metrics.jsonl").close()
    assert list(tmp_path.iterdir()) == []


@given(parts=st.lists(measures, max_size=5))
@settings(deadline=None)
def test_merged_sums_are_those_of_all_parts_in_any_order(parts: list[Measures]) -> None:
    merged = merge(*parts)
    assert merged.keys() == {name for part in parts for name in part}
    for name, (total, count) in merged.items():
        expected = [part[name] for part in parts if name in part]
        assert math.isclose(total, math.fsum(one for one, _ in expected), abs_tol=1e-6)
        assert math.isclose(count, math.fsum(one for _, one in expected))
    assert merge(*parts[:2], merge(*parts[2:])).keys() == merged.keys()


@given(mean=numbers, count=counts)
@settings(deadline=None)
@example(mean=5e-324, count=1.5)
def test_a_mean_over_many_weighs_as_many(mean: float, count: float) -> None:
    total, weight = merge({"a": mean_of(mean, count)}, {"a": mean_of(0.0, count)})["a"]
    # Below the least normal number a float has fewer digits than that.
    assert math.isclose(total / weight, mean / 2, rel_tol=1e-9, abs_tol=sys.float_info.min)
    assert mean_of(mean) == (mean, 1.0)
