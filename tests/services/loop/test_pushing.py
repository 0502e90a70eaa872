"""Models sent to a folder, a storage that speaks S3 and a hub: the same files, none that is broken."""

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.errors import Conflict, Invalid
from app.services.loop.models import pushing
from app.services.loop.models.archive import PIECE_BYTES, Archive, open_archive
from app.services.loop.models.artifacts import ArtifactBroken
from app.services.loop.models.pushing import Course, Destination, Interrupted
from app.settings import Settings
from tests.object_storage import Stored
from tests.services.loop.fake_hub import TOKEN, FakeHub, fake_hub

FILES = {"config.json": b"{}", "model.safetensors": random.Random(0).randbytes(2 * PIECE_BYTES + 99)}
CARD = "---\nlicense: mit\n---\n# A model\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "policy-1"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "kind": "policy", "files": digests}))
    (tmp_path / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def archive(model: Path) -> Archive:
    digest = hashlib.sha256((model / "manifest.json").read_bytes()).hexdigest()
    return open_archive(model, digest, name="p-policy-1", made_at=datetime.now(UTC), card=CARD)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with fake_hub() as made:
        yield made


def expected(model: Path) -> dict[str, bytes]:
    return {**FILES, "README.md": CARD.encode(), "manifest.json": (model / "manifest.json").read_bytes()}


def push(archive: Archive, model: Path, address: str, endpoint: str = "http://hub.example", **course: int) -> str:
    settings = Settings(home=model.parent / "home", hub_endpoint=endpoint)
    course_ = Course(sum(entry.size_bytes for entry in archive.entries), **course)
    where = pushing.push(settings, Destination(address), archive, model.parent / "README.md", course_)
    assert course_.done_bytes == course_.total_bytes
    return where


def test_a_folder_gets_every_file(archive: Archive, model: Path, tmp_path: Path) -> None:
    assert push(archive, model, str(tmp_path / "out")) == "out/p-policy-1"
    folder = tmp_path / "out" / "p-policy-1"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected(model)
    assert push(archive, model, str(tmp_path / "out")) == "out/p-policy-1", "and once more"


def test_of_a_model_that_was_changed_nothing_looks_whole(archive: Archive, model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\0" * len(FILES["model.safetensors"]))
    with pytest.raises(ArtifactBroken, match=r"policy-1/model\.safetensors doesn't match its manifest"):
        push(archive, model, str(tmp_path / "out"))
    left = {path.name for path in (tmp_path / "out" / "p-policy-1").iterdir()}
    assert left == {"README.md", "config.json"}


def test_what_was_sent_by_an_attempt_that_broke_off_is_not_sent_again(
    archive: Archive, model: Path, tmp_path: Path
) -> None:
    unwanted = Course(1)
    unwanted.is_unwanted.set()
    with pytest.raises(Interrupted):
        pushing.push(Settings(home=tmp_path), Destination(str(tmp_path / "out")), archive, tmp_path / "x", unwanted)
    push(archive, model, str(tmp_path / "out"))
    sent = (tmp_path / "out" / "p-policy-1" / "model.safetensors").stat()
    (tmp_path / "out" / "p-policy-1" / "README.md").write_text("of before")
    push(archive, model, str(tmp_path / "out"))
    assert (tmp_path / "out" / "p-policy-1" / "model.safetensors").stat().st_mtime_ns == sent.st_mtime_ns
    assert (tmp_path / "out" / "p-policy-1" / "README.md").read_text() == CARD


def test_a_folder_that_can_not_be_written_is_one_line(archive: Archive, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Conflict, match=r"^out/ can't be written: Not a directory$"):
        push(archive, model, str(tmp_path / "file" / "out"))


def test_a_storage_gets_every_file(archive: Archive, model: Path, stored: Stored) -> None:
    assert push(archive, model, f"{stored.url}/models") == f"{stored.url}/models/p-policy-1"
    for name, content in expected(model).items():
        assert stored.read(f"models/p-policy-1/{name}") == content, name
    (model / "model.safetensors").write_bytes(b"\0" * len(FILES["model.safetensors"]))
    with pytest.raises(ArtifactBroken):
        push(archive, model, f"{stored.url}/others")
    assert not {"others/p-policy-1/manifest.json", "others/p-policy-1/model.safetensors"} & set(stored.names())


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub against its own client
def test_a_hub_gets_a_repository_that_is_closed_to_others(archive: Archive, model: Path, hub: FakeHub) -> None:
    where = push(archive, model, "hf://lab", hub.address)
    assert where == f"{hub.address}/lab/p-policy-1/commit/{'0' * 40}"
    assert hub.repositories == {"lab/p-policy-1": expected(model)}
    assert hub.private == {"lab/p-policy-1": True}
    assert hub.tokens == {f"Bearer {TOKEN}"}


def test_a_hub_that_refuses_is_told_in_its_words_and_without_the_token(
    archive: Archive, model: Path, hub: FakeHub
) -> None:
    hub.refuses = True
    with pytest.raises(Conflict) as refused:
        push(archive, model, "hf://lab", hub.address)
    assert refused.value.message.startswith("The hub refuses lab/p-policy-1: ")
    assert TOKEN not in refused.value.message


def test_nothing_that_was_changed_is_committed_to_a_hub(archive: Archive, model: Path, hub: FakeHub) -> None:
    (model / "model.safetensors").write_bytes(b"\0" * len(FILES["model.safetensors"]))
    with pytest.raises(ArtifactBroken):
        push(archive, model, "hf://lab", hub.address)
    assert hub.repositories == {"lab/p-policy-1": {}}


def test_only_places_that_an_admin_has_named_are_offered(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, push_to="/srv/models, s3://bucket/models,hf://lab")
    called = [place.called for place in pushing.destinations(settings)]
    assert called == ["models/", "s3://bucket/models", "hf://lab"], "no folder of the machine is told"
    assert pushing.chosen(settings, "models/") == Destination("/srv/models")
    for other in ("/srv/models", "/etc", "s3://other", ""):
        with pytest.raises(Invalid, match="models/, s3://bucket/models, hf://lab"):
            pushing.chosen(settings, other)
    with pytest.raises(ValueError, match="neither an address nor a folder"):
        Settings(home=tmp_path, push_to="models")
