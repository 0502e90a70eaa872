"""What a run leaves on disk: records, metrics, checkpoints, artifacts."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.stages.test_crashes import flip_a_byte
from training.config import InputError
from training.records import (
    CompletionRecord,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    RecordError,
    UnpairedRecord,
    conversation,
    read_records,
    write_records,
)
from training.runtime.artifact import Lineage, publish, verify
from training.runtime.checkpoint import Checkpoint, CheckpointStore, load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import MetricsLog, mean_of, merge
from training.runtime.optimiser import Trainer, cosine_schedule, linear_schedule
from training.runtime.run import Run

PROMPT = conversation(("system", "Be kind."), ("user", "Grüße – 你好 🙂"))
RECORDS: list[Record] = [
    PromptRecord("p", PROMPT),
    DemonstrationRecord("p", PROMPT, "line\nbreak"),
    PreferenceRecord("p", PROMPT, "a", "b", 0.25, 2.0, "validation", "imported"),
    PreferenceRecord("p", PROMPT, "a", "b", 1.0, group="human:7", strength=0.5),
    PreferenceRecord("p", PROMPT, "a", "b", 1.0, criteria={"honest": 0.5, "kind": 1.0}),
    UnpairedRecord("p", PROMPT, "a", True, 0.5, "validation", "imported"),
    UnpairedRecord("p", PROMPT, "", False),
    CompletionRecord("p", 1, "text", 7, True, 3, 0.7),
]
LINEAGE = Lineage("sft", {"model": "abc"}, {"demonstrations": "def"}, {"seed": 0}, 0, "code")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was_written(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert write_records(path, [record, record]) == 2
    assert read_records(path, type(record)) == [record, record]
    assert [entry.name for entry in tmp_path.iterdir()] == ["records.jsonl"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"extra": 1}, "unknown extra"),
        ({"preference": "A"}, "preference must be a finite number"),
        ({"preference": None}, "preference must be a finite number"),
        ({"prompt": []}, "prompt must be a list"),
        ({"prompt": [{"role": "robot", "content": "x"}]}, "message role"),
        ({"split": "test"}, "split must be one of"),
        ({"response_a": 5}, "response_a must be text"),
        ({"group": 5}, "group must be text"),
        ({"strength": 1.5}, "strength must lie in"),
        ({"strength": "much"}, "strength must be a finite number"),
        ({"criteria": ["honest"]}, "criteria must be an object of numbers"),
        ({"criteria": {"honest": True}}, "honest must be a finite number"),
        ({"criteria": {"honest": 1.5}}, "honest must lie in"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused_by_field(change: dict[str, object], word: str) -> None:
    with pytest.raises(RecordError, match=word):
        PreferenceRecord.from_json(RECORDS[2].to_json() | change)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"extra": 1}, "unpaired record has unknown extra"),
        ({"desirable": 1}, "desirable must be true or false"),
        ({"desirable": None}, "desirable must be true or false"),
        ({"response": None}, "response must be text"),
        ({"weight": 0}, "weight must be positive"),
        ({"weight": "much"}, "weight must be a finite number"),
        ({"split": "test"}, "split must be one of"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "not the assistant's"),
        ({"source": 5}, "source must be text"),
    ],
)
def test_an_unpaired_record_that_breaks_the_contract_is_refused_by_field(change: dict[str, object], word: str) -> None:
    with pytest.raises(RecordError, match=word):
        UnpairedRecord.from_json(UnpairedRecord("p", PROMPT, "a", True).to_json() | change)


def test_an_unpaired_record_needs_a_verdict_and_no_more() -> None:
    row = {"prompt_id": "p", "prompt": [message.to_json() for message in PROMPT], "response": "a"}
    assert UnpairedRecord.from_json(row | {"desirable": False}) == UnpairedRecord("p", PROMPT, "a", False)
    with pytest.raises(RecordError, match="lacks desirable"):
        UnpairedRecord.from_json(row)


def test_a_plain_judgement_is_written_without_group_strength_and_criteria() -> None:
    assert RECORDS[2].to_json().keys().isdisjoint({"group", "strength", "criteria"})


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(json.dumps(RECORDS[0].to_json()).encode() + b'\n\n{"prompt_id": "\xff"}\n')
    with pytest.raises(RecordError, match="line 3"):
        read_records(path, PromptRecord)


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [RECORDS[0]])
    with pytest.raises(UnicodeEncodeError):
        write_records(path, [PromptRecord("p", conversation(("user", "\ud800")))])
    assert read_records(path, PromptRecord) == [RECORDS[0]]
    assert len(list(tmp_path.iterdir())) == 1


def test_metrics_are_not_written_twice_and_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (1, 2):
        log.write(step, 3, "sft", {"loss": (3.0, 2.0)})
    with path.open("a") as file:
        file.write('{"step": 3, "tot')
    again = MetricsLog(path)
    for step in (2, 3):
        again.write(step, 3, "sft", {"loss": (3.0, 2.0)})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[0] == {"step": 1, "total_steps": 3, "phase": "sft", "values": {"loss": [3.0, 2.0]}}


def test_measures_add_up() -> None:
    assert merge({"a": mean_of(2.0, 3)}, {"a": (4.0, 1.0), "b": (1.0, 1.0)}) == {"a": (10.0, 4.0), "b": (1.0, 1.0)}


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, "sft", {"model.weight": torch.full((8, 8), float(step))}, {"step": step})


def test_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "run")
    for step in (1, 2, 3):
        store.save(checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000003"]
    loaded = store.load()
    assert loaded is not None
    assert (loaded.step, loaded.values) == (3, {"step": 3})
    assert torch.equal(loaded.tensors["model.weight"], checkpoint(3).tensors["model.weight"])


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_anywhere_sends_the_loader_to_the_one_before(tmp_path: Path, name: str) -> None:
    store = CheckpointStore(tmp_path, "run")
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    flip_a_byte(tmp_path / "00000002" / name)
    loaded = store.load()
    assert loaded is not None
    assert loaded.step == 1


def test_half_a_checkpoint_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / ".00000005.part").mkdir(parents=True)
    store = CheckpointStore(tmp_path, "run")
    assert store.load() is None
    store.save(checkpoint(5))
    assert store.load() is not None


def test_a_checkpoint_of_another_run_is_not_loaded(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "one").save(checkpoint(1))
    assert CheckpointStore(tmp_path, "other").load() is None


def test_an_optimiser_goes_on_exactly_where_it_stopped() -> None:
    def build() -> tuple[nn.Linear, Trainer]:
        torch.manual_seed(0)
        model = nn.Linear(4, 4)
        return model, Trainer(model.parameters(), epsilon=1e-8, gradient_clip=1.0, weight_decay=0.1)

    def steps(model: nn.Linear, trainer: Trainer, start: int, end: int) -> None:
        for step in range(start, end):
            model(torch.full((2, 4), float(step))).square().sum().backward()
            trainer.step(0.1)

    unbroken, trainer = build()
    steps(unbroken, trainer, 0, 6)
    first, trainer = build()
    steps(first, trainer, 0, 3)
    saved = pack("model", first.state_dict()) | pack("optimizer", optimizer_tensors(trainer.optimizer))
    second, trainer = build()
    second.load_state_dict(unpack("model", saved))
    load_optimizer(trainer.optimizer, unpack("optimizer", saved))
    steps(second, trainer, 3, 6)
    assert torch.equal(second.weight, unbroken.weight)
    assert torch.equal(second.bias, unbroken.bias)


def test_gradients_that_are_not_finite_end_the_run() -> None:
    model = nn.Linear(2, 1)
    trainer = Trainer(model.parameters(), epsilon=1e-8, gradient_clip=1.0)
    (model(torch.ones(1, 2)).sum() * float("inf")).backward()
    with pytest.raises(InputError, match="diverged"):
        trainer.step(0.1)


def test_schedules_start_and_end_where_they_say() -> None:
    cosine = [cosine_schedule(step, 100, peak=1.0, warmup_fraction=0.1) for step in range(100)]
    assert cosine[0] == pytest.approx(0.1)
    assert max(cosine) == cosine[10] == 1.0
    assert 0 < cosine[-1] < 0.01
    assert [linear_schedule(step, 4, peak=1.0) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def write_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights of a model")
    (folder / "config.json").write_text("{}")


def test_an_artifact_is_published_whole_and_verified(tmp_path: Path) -> None:
    publish(tmp_path / "artifact", "policy", LINEAGE, write_model)
    verify(tmp_path / "artifact")
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["files"].keys() == {"model.safetensors", "config.json"}
    assert manifest["lineage"]["parents"] == {"model": "abc"}


def test_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    publish(tmp_path / "artifact", "policy", LINEAGE, write_model)
    flip_a_byte(tmp_path / "artifact" / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        verify(tmp_path / "artifact")
    (tmp_path / "artifact" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        verify(tmp_path / "artifact")


def test_a_figure_that_is_no_number_publishes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", LINEAGE)
    with pytest.raises(InputError, match="nll: not finite"):
        run.finish({"nll": float("nan")}, artifact=("policy", write_model))
    assert not (tmp_path / "out" / "artifact").exists()
    assert not run.finished


def test_writing_that_fails_publishes_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_model(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(tmp_path / "artifact", "policy", LINEAGE, fail)
    assert not (tmp_path / "artifact").exists()
    publish(tmp_path / "artifact", "policy", LINEAGE, write_model)
    verify(tmp_path / "artifact")
