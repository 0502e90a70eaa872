"""A model as one file: the same bytes whenever they are asked for, and none of a file that isn't what it was."""

import hashlib
import io
import json
import random
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.services.loop.models.archive import PIECE_BYTES, Archive, open_archive
from app.services.loop.models.artifacts import ArtifactBroken

MADE_AT = datetime(2026, 11, 30, tzinfo=UTC)
FILES = {
    "config.json": b"{}",
    "empty.txt": b"",
    "model.safetensors": random.Random(0).randbytes(PIECE_BYTES + 1_234),
    "whole.bin": bytes(512),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "policy-1"
    model.mkdir()
    for name, content in FILES.items():
        (model / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    (model / "manifest.json").write_text(json.dumps({"format": 1, "kind": "policy", "files": digests}))
    return model


def archive_of(folder: Path, card: str = "# A model\n") -> Archive:
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return open_archive(folder, digest, name="p-policy-1", made_at=MADE_AT, card=card)


def whole(archive: Archive) -> bytes:
    return b"".join(archive.pieces())


def test_it_holds_every_file_and_the_card_in_one_folder(folder: Path) -> None:
    archive = archive_of(folder)
    content = whole(archive)
    assert len(content) == archive.size_bytes
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        held = {member.name: tar.extractfile(member) for member in tar}
    read = {name: file.read() for name, file in held.items() if file is not None}
    manifest = (folder / "manifest.json").read_bytes()
    expected = {**FILES, "manifest.json": manifest, "README.md": b"# A model\n"}
    assert read == {f"p-policy-1/{name}": content for name, content in expected.items()}


def test_any_part_of_it_is_that_part_of_the_whole(folder: Path) -> None:
    archive = archive_of(folder)
    content = whole(archive)
    drawn = random.Random(1)
    places = [0, 1, 511, 512, 513, 1_024, PIECE_BYTES, archive.size_bytes - 1, archive.size_bytes]
    places += [drawn.randrange(archive.size_bytes) for _ in range(30)]
    for first in places:
        for end in drawn.sample(places, 8):
            assert b"".join(archive.pieces(first, end)) == content[first:end], (first, end)


def test_its_tag_is_that_of_its_bytes(folder: Path) -> None:
    assert archive_of(folder).etag == archive_of(folder).etag
    assert archive_of(folder, card="# Another\n").etag != archive_of(folder).etag


def test_nobody_gets_the_whole_of_a_file_that_was_changed(folder: Path) -> None:
    archive = archive_of(folder)
    changed = bytearray(FILES["model.safetensors"])
    changed[0] ^= 1
    (folder / "model.safetensors").write_bytes(changed)
    place = whole_before = 0
    for entry in archive.entries:
        if entry.name == "model.safetensors":
            whole_before = place + 512
        place += 512 + -(-entry.size_bytes // 512) * 512
    got = bytearray()

    def read() -> None:
        for piece in archive.pieces():
            got.extend(piece)

    with pytest.raises(ArtifactBroken, match=r"policy-1/model\.safetensors doesn't match its manifest"):
        read()
    assert len(got) == whole_before + PIECE_BYTES
    with pytest.raises(ArtifactBroken):
        b"".join(archive.pieces(whole_before + PIECE_BYTES + 1))


def test_a_file_that_became_shorter_or_a_link_is_refused(folder: Path) -> None:
    archive = archive_of(folder)
    (folder / "whole.bin").write_bytes(bytes(100))
    with pytest.raises(ArtifactBroken):
        whole(archive)
    (folder / "whole.bin").unlink()
    with pytest.raises(ArtifactBroken):
        archive_of(folder)
    (folder / "whole.bin").symlink_to(folder / "config.json")
    with pytest.raises(ArtifactBroken):
        archive_of(folder)


def test_a_manifest_names_files_of_its_folder_alone(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"s")
    for name in ("../secret", "/etc/hostname"):
        manifest = {"format": 1, "kind": "policy", "files": {name: hashlib.sha256(b"s").hexdigest()}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ArtifactBroken):
            archive_of(folder)
