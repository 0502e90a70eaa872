"""Artifacts: model folders that a training run leaves behind, verified, then moved to where they stay.

A folder is trusted by its manifest alone: the sha256 of every file, nothing missing and nothing beside them.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import Invalid
from training.records import sync

MANIFEST = "manifest.json"


class ArtifactBroken(Invalid):
    """The model's files don't match their manifest."""


@dataclass(frozen=True)
class Manifest:
    """What a verified folder says of itself. `sha256` is the manifest's own."""

    kind: str
    sha256: str
    lineage: dict[str, Any]


def verify(folder: Path) -> Manifest:
    """Read every file of `folder` and compare. Raises ArtifactBroken naming what doesn't match."""
    manifest, digest = _read(folder)
    named = set(manifest["files"]) | {MANIFEST}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if unexpected := sorted(present ^ named):
        raise ArtifactBroken(f"{folder}: {unexpected[0]} is missing or not in the manifest.")
    for name, expected in manifest["files"].items():
        path = folder / name
        if path.is_symlink() or _sha256(path) != expected:
            raise ArtifactBroken(f"{path} doesn't match its manifest.")
    return Manifest(kind=manifest["kind"], sha256=digest, lineage=manifest.get("lineage", {}))


def require_intact(folder: Path, manifest_sha256: str) -> None:
    """Read every file. Raises ArtifactBroken unless the folder is byte for byte the model that was registered."""
    require_registered(folder, manifest_sha256)
    verify(folder)


def require_registered(folder: Path, manifest_sha256: str) -> None:
    """Raises ArtifactBroken unless the folder's manifest is the one that was registered.

    Cheap; whoever loads the model goes on to compare its files.
    """
    _, digest = _read(folder)
    if digest != manifest_sha256:
        raise ArtifactBroken(f"{folder} is not the model that was registered: its manifest was changed.")


def move(source: Path, target: Path) -> None:
    """Move a verified folder to where it stays. `target` may be there already, left by a try that got no further."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    for parent in (source.parent, target.parent):
        sync(parent)


def _read(folder: Path) -> tuple[dict[str, Any], str]:
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
        if manifest["format"] != 1 or not isinstance(manifest["files"], dict) or not isinstance(manifest["kind"], str):
            raise ArtifactBroken(f"{folder / MANIFEST} is of a format that this version doesn't know.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactBroken(f"{folder} has no readable manifest.") from error
    return manifest, hashlib.sha256(content).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
