"""A model is what its manifest says, or it is not loaded."""

import errno
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from app.services.loop.models import artifacts
from app.services.published.thing import Broken


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "tokenizer").mkdir(parents=True)
    files = {"model.safetensors": b"weights", "tokenizer/vocab.json": b"{}"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    digests = {name: sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format": 1, "kind": "policy", "files": digests, "lineage": {"seed": 7}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_whole_artifact_is_known_by_its_manifest(artifact: Path) -> None:
    manifest = artifacts.verify(artifact)
    assert (manifest.kind, manifest.lineage) == ("policy", {"seed": 7})
    assert manifest.sha256 == sha256((artifact / "manifest.json").read_bytes()).hexdigest()


def test_a_file_that_the_disk_cannot_read_is_told_by_name(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(artifacts, "sha256_of", broken)
    with pytest.raises(Broken, match=r"model\.safetensors can't be read \(Input/output error\)"):
        artifacts.verify(artifact)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer/vocab.json"])
def test_a_changed_or_missing_file_is_refused_by_name(artifact: Path, name: str) -> None:
    (artifact / name).write_bytes(b"other")
    with pytest.raises(Broken, match=name):
        artifacts.verify(artifact)
    (artifact / name).unlink()
    with pytest.raises(Broken, match=name):
        artifacts.verify(artifact)


def test_a_file_beside_the_manifest_is_refused(artifact: Path) -> None:
    (artifact / "pickle.bin").write_bytes(b"surprise")
    with pytest.raises(Broken, match=r"pickle\.bin"):
        artifacts.verify(artifact)


def test_a_link_to_the_right_content_is_refused(artifact: Path, tmp_path: Path) -> None:
    (artifact / "model.safetensors").rename(tmp_path / "elsewhere")
    (artifact / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Broken, match=r"model\.safetensors"):
        artifacts.verify(artifact)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2, "files": {}, "kind": "policy"}'])
def test_a_manifest_that_cannot_be_read_is_refused(artifact: Path, content: str) -> None:
    (artifact / "manifest.json").write_text(content)
    with pytest.raises(Broken):
        artifacts.verify(artifact)


def test_moving_an_artifact_twice_is_moving_it_once(artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "policy-1"
    artifacts.move(artifact, target)
    artifacts.move(artifact, target)
    assert artifacts.verify(target).kind == "policy"
    assert not artifact.exists()
