"""Published folders: whole or not there, and every kind of damage is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.training.runtime.killing import kills, not_flushed
from training.config import GenerateConfig, InputError
from training.records import PromptRecord, conversation, write_records
from training.runtime.artifact import (
    Lineage,
    code_version,
    file_sha256,
    kind_of,
    lineage_of,
    model_identity,
    publish,
    verify,
    write_json,
    write_tensors,
)

LINEAGE = Lineage("sft", {"model": "abc"}, {"demonstrations": "def"}, {"seed": 0}, 0, "code")


def write_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text('{"ünicode": true}')
    (folder / "more" / "deep").mkdir(parents=True)
    (folder / "more" / "deep" / "vocabulary.txt").write_text("words")


def write_other_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"other weights")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    publish(tmp_path / "artifact", "policy", LINEAGE, write_model)
    return tmp_path / "artifact"


def manifest_of(artifact: Path) -> dict[str, object]:
    manifest: dict[str, object] = json.loads((artifact / "manifest.json").read_text())
    return manifest


def test_the_manifest_names_every_file_with_its_digest_and_where_it_comes_from(artifact: Path) -> None:
    names = ["config.json", "model.safetensors", "more/deep/vocabulary.txt"]
    assert manifest_of(artifact) == {
        "format": 1,
        "kind": "policy",
        "files": {name: file_sha256(artifact / name) for name in names},
        "lineage": {
            "stage": "sft",
            "parents": {"model": "abc"},
            "data": {"demonstrations": "def"},
            "config": {"seed": 0},
            "seed": 0,
            "code_version": "code",
            "chosen_by_model": {},
        },
    }
    verify(artifact)


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "changed": lambda path: path.write_bytes(path.read_bytes()[::-1]),
    "a folder": replaced_by_a_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "more/deep/vocabulary.txt"])
def test_a_damaged_file_is_named(damage: str, name: str, artifact: Path) -> None:
    DAMAGES[damage](artifact / name)
    with pytest.raises(InputError, match=f"{name} does not match its manifest"):
        verify(artifact)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "{}", '{"files": {}}', '{"format": 1}'])
def test_what_is_no_manifest_is_refused(content: str, artifact: Path) -> None:
    (artifact / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json is not a manifest"):
        verify(artifact)


@pytest.mark.parametrize(
    "change", [{"files": ["model.safetensors"]}, {"files": None}, {"kind": None}, {"kind": "preference"}]
)
def test_a_manifest_without_files_or_kind_is_refused(change: dict[str, object], artifact: Path) -> None:
    (artifact / "manifest.json").write_text(json.dumps(manifest_of(artifact) | change))
    with pytest.raises(InputError, match=r"manifest\.json is not a manifest"):
        verify(artifact)


@pytest.mark.parametrize("written", [0, 2, "1", None])
def test_another_format_is_refused_by_its_number(written: object, artifact: Path) -> None:
    (artifact / "manifest.json").write_text(json.dumps(manifest_of(artifact) | {"format": written}))
    with pytest.raises(InputError, match=f"has format {written!r}; this version reads 1"):
        verify(artifact)


def test_a_plain_model_and_a_name_of_the_hub_pass_unchecked(tmp_path: Path) -> None:
    write_model(tmp_path)
    for location in (tmp_path, "somebody/model", tmp_path / "nowhere"):
        verify(location)
        assert kind_of(location) is None
        assert model_identity(location) == f"name:{location}"


def test_an_artifact_is_known_by_its_manifest_wherever_it_lies(artifact: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(artifact, tmp_path / "elsewhere")
    assert model_identity(copied) == model_identity(artifact) == file_sha256(artifact / "manifest.json")
    assert kind_of(copied) == "policy"
    publish(tmp_path / "cost", "cost", LINEAGE, write_model)
    assert kind_of(tmp_path / "cost") == "cost"
    assert model_identity(tmp_path / "cost") != model_identity(artifact)


def test_publishing_again_replaces_the_whole_folder(artifact: Path) -> None:
    publish(artifact, "policy", LINEAGE, write_other_model)
    assert sorted(path.name for path in artifact.iterdir()) == ["manifest.json", "model.safetensors"]
    verify(artifact)


def test_a_kill_while_publishing_leaves_nothing_or_all(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    seen = set()
    for _ in kills(lambda: publish(artifact, "policy", LINEAGE, write_model)):
        seen.add(artifact.exists())
        if artifact.exists():
            verify(artifact)
            assert manifest_of(artifact)["kind"] == "policy"
            shutil.rmtree(artifact)
    assert seen == {False, True}
    verify(artifact)
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize(
    "work",
    [
        lambda folder: publish(folder / "artifact", "policy", LINEAGE, write_model),
        lambda folder: write_json(folder / "value.json", 1),
        lambda folder: write_tensors(folder / "one.safetensors", {"one": torch.ones(1)}),
        lambda folder: write_records(folder / "records.jsonl", [PromptRecord("p", conversation(("user", "hi")))]),
    ],
    ids=["publish", "write_json", "write_tensors", "write_records"],
)
def test_every_file_is_on_disk_when_it_has_its_name(work: Callable[[Path], object], tmp_path: Path) -> None:
    assert not_flushed(lambda: work(tmp_path), tmp_path) == []


def test_a_kill_while_publishing_again_never_leaves_a_mixture(artifact: Path, tmp_path: Path) -> None:
    for _ in kills(lambda: publish(artifact, "policy", LINEAGE, write_other_model)):
        if artifact.exists():
            verify(artifact)
    assert (artifact / "model.safetensors").read_bytes() == b"other weights"


def test_a_kill_while_writing_json_leaves_the_old_value_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"old": 1})
    seen = [json.loads(path.read_text()) for _ in kills(lambda: write_json(path, {"new": 2}))]
    assert seen == [{"old": 1}, {"new": 2}]
    assert [one.name for one in tmp_path.iterdir()] == ["value.json"]


def test_json_that_cannot_be_written_leaves_the_old_value(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"grüße": "你好"})
    for value in (float("nan"), {"a": float("inf")}, object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, value)
    assert path.read_text() == '{\n "grüße": "你好"\n}\n'


def test_tensors_are_written_with_what_is_said_of_them(tmp_path: Path) -> None:
    path = tmp_path / "tensors.safetensors"
    write_tensors(path, {"one": torch.arange(3)}, metadata={"sha256": "abc"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"sha256": "abc"}
        assert file.get_tensor("one").tolist() == [0, 1, 2]
    seen = []
    for _ in kills(lambda: write_tensors(path, {"one": torch.arange(2)})):
        with safe_open(path, framework="pt") as file:
            seen.append(file.get_tensor("one").tolist())
    assert seen == [[0, 1, 2], [0, 1]]


def config(**change: object) -> GenerateConfig:
    return GenerateConfig(**{"seed": 3, "policy": "p", "prompts": Path("q.jsonl")} | change)  # type: ignore[arg-type]


def test_a_lineage_names_parents_and_data_by_what_they_hold(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("rows")
    parents = {"policy": str(artifact), "base": "somebody/model", "reward": None}
    found = lineage_of("generate", config(), parents, {"prompts": tmp_path / "data.jsonl", "held_out": None})
    assert found.parents == {"policy": model_identity(artifact), "base": "name:somebody/model"}
    assert found.data == {"prompts": file_sha256(tmp_path / "data.jsonl")}
    assert (found.stage, found.seed, found.config["seed"]) == ("generate", 3, 3)
    assert found.code_version == code_version()


@pytest.mark.parametrize("name", ["none.jsonl", "folder"])
def test_data_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"cannot read .*{name}: "):
        lineage_of("generate", config(), {}, {"prompts": tmp_path / name})


def test_the_version_of_the_code_is_a_short_digest_that_stays() -> None:
    assert code_version() == code_version()
    assert len(code_version()) == 16
    assert int(code_version(), 16) >= 0
