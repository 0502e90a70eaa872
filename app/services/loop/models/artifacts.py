"""Artifacts: model folders that a training run leaves behind, verified, then moved to where they stay.

A folder is trusted by its manifest alone: the sha256 of every file, nothing missing and nothing beside them.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from app.services.places.files import sha256_of
from app.services.published import beside
from app.services.published.shelf import shelf_of
from app.services.published.thing import MANIFEST, Broken, Published, digest_of, of_model
from training.records import sync

BASE_PLACE = ".base_place"
"""Where the base of adapters lies on this machine: it leaves with nothing."""


@dataclass(frozen=True)
class Manifest:
    """What a verified folder says of itself. `sha256` is the manifest's own."""

    kind: str
    sha256: str
    lineage: dict[str, Any]


def verify(folder: Path) -> Manifest:
    """Read every file of `folder` and compare. Raises Broken naming what doesn't match."""
    manifest, digest = _read(folder)
    named = set(manifest["files"]) | {MANIFEST}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if unexpected := sorted((present ^ named) - ({BASE_PLACE} & named)):
        raise Broken(
            "%(file)s is missing or not in the manifest: the model can't be used.",
            file=f"{folder.name}/{unexpected[0]}",
        )
    for name, expected in manifest["files"].items():
        path = folder / name
        if name == BASE_PLACE and not path.exists():
            continue
        called = f"{folder.name}/{name}"
        try:
            # Whoever reads a pipe would wait for its other end.
            is_the_same = path.is_file() and not path.is_symlink() and sha256_of(path) == expected
        except OSError as error:
            raise Broken(
                "%(file)s can't be read (%(reason)s): the model can't be used.", file=called, reason=error.strerror
            ) from error
        if not is_the_same:
            raise Broken("%(file)s doesn't match its manifest: the model can't be used.", file=called)
    return Manifest(kind=manifest["kind"], sha256=digest, lineage=manifest.get("lineage", {}))


def require_intact(folder: Path, manifest_sha256: str) -> None:
    """Read every file. Raises Broken unless the folder is byte for byte the model that was registered."""
    require_registered(folder, manifest_sha256)
    verify(folder)


def files_of(folder: Path, manifest_sha256: str) -> dict[str, str]:
    """The sha256 of every file of a registered model by its name in the folder, its manifest among them.

    Raises Broken unless the manifest is the one that was registered and names files of the folder alone.
    """
    manifest, digest = _read(folder)
    names = [PurePosixPath(name) for name in manifest["files"]]
    if digest != manifest_sha256 or any(name.is_absolute() or ".." in name.parts for name in names):
        raise _changed(folder)
    return {**manifest["files"], MANIFEST: digest}


async def at_hand(home: Path, folder: str, manifest_sha256: str) -> Path:
    """The folder of a registered model, copied from the storage where it isn't in the home.

    Raises Broken for what the storage has in its place, Away, NoRoom, and in a request Coming; what is nowhere
    is left to the reader.
    """
    return await beside.done(_bring, home, of_model(folder, manifest_sha256))


def _bring(home: Path, thing: Published) -> Path:
    return shelf_of(home).bring(thing)


def in_use(home: Path, folder: str, manifest_sha256: str) -> AbstractContextManager[None]:
    """Within it nobody takes the model's copy out of the home to make room."""
    shelf = shelf_of(home)
    return nullcontext() if shelf.bucket is None else shelf.copies.in_use(of_model(folder, manifest_sha256))


async def require_in_place(home: Path, folder: str, manifest_sha256: str) -> None:
    """Like `require_intact`, beside everything else: of many gigabytes it takes seconds, and a request that would wait
    long is told to come again. A copy of what is in the storage that was changed is made anew. Raises as `at_hand`."""
    await beside.done(_require_in_place, home, of_model(folder, manifest_sha256))


def _require_in_place(home: Path, thing: Published) -> None:
    shelf = shelf_of(home)
    try:
        require_intact(shelf.bring(thing), thing.sha256)
    except Broken:
        if not shelf.heal(thing):
            raise


def require_registered(folder: Path, manifest_sha256: str) -> None:
    """Raises Broken unless the folder's manifest is the one that was registered.

    Cheap; whoever loads the model goes on to compare its files.
    """
    _, digest = _read(folder)
    if digest != manifest_sha256:
        raise _changed(folder)


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
            raise Broken("%(file)s is of a format that this version doesn't know.", file=f"{folder.name}/{MANIFEST}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Broken(
            "%(model)s has no readable manifest: its files are gone or were changed.", model=folder.name
        ) from error
    return manifest, digest_of(content)


def _changed(folder: Path) -> Broken:
    return Broken("%(model)s is not the model that was registered: its manifest was changed.", model=folder.name)
