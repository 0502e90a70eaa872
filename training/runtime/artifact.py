"""Published models: immutable folders with a manifest of every file and of where they come from."""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from safetensors.torch import save_file
from torch import Tensor

from training.config import InputError, StageConfig, without_places
from training.records import sync

MANIFEST = "manifest.json"
CARD = "README.md"
FORMAT = 1
_TOLD_BYTES = 65_536
ArtifactKind = Literal["policy", "reward", "cost"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """What made an artifact: parents and data by what they hold, wherever they lie. Parents without a manifest (a hub
    id, a plain directory) are named by `name:` and their location."""

    stage: str
    parents: Mapping[str, str]
    data: Mapping[str, str]
    config: Mapping[str, object]
    seed: int
    code_version: str
    chosen_by_model: Mapping[str, float] = field(default_factory=dict)
    """Settings that the configuration left to the model."""


def lineage_of(
    stage: str, config: StageConfig, parents: Mapping[str, str | None], data: Mapping[str, Path | None]
) -> Lineage:
    """The lineage of a run, from model locations and data files by role. Raises `InputError`."""
    return Lineage(
        stage=stage,
        parents={role: model_identity(location) for role, location in parents.items() if location is not None},
        data={role: _data_sha256(path) for role, path in data.items() if path is not None},
        config=without_places(config),
        seed=config.seed,
        code_version=code_version(),
    )


def publish(folder: Path, kind: ArtifactKind, lineage: Lineage, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, add the manifest, and rename it to `folder`: in full or not at all."""
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    for path in files:
        sync(path)
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "files": {path.relative_to(temporary).as_posix(): file_sha256(path) for path in files},
        "lineage": asdict(lineage),
    }
    write_json(temporary / MANIFEST, manifest)
    sync(temporary)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    sync(folder.parent)


def verify(location: str | Path) -> None:
    """Check every file of a published artifact; plain model directories and hub ids pass unchecked.

    Raises `InputError` naming the first file that does not match.
    """
    folder = Path(location)
    if not (folder / MANIFEST).is_file():
        return
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        written, kind, files = manifest["format"], manifest["kind"], manifest["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST} is not a manifest") from error
    if written != FORMAT:
        raise InputError(f"{folder} has format {written!r}; this version reads {FORMAT}")
    if kind not in get_args(ArtifactKind):
        raise InputError(f"{folder / MANIFEST} is not a manifest")
    for name, expected in files:
        path = folder / name
        if name == CARD:
            continue  # which nothing reads, and which is another one in a model that was taken out
        if not path.is_file() or file_sha256(path) != expected:
            raise InputError(f"{path} does not match its manifest")


def kind_of(location: str | Path) -> ArtifactKind | None:
    """What a published model was made to be; None of models without a manifest."""
    manifest = Path(location) / MANIFEST
    return cast(ArtifactKind, json.loads(manifest.read_bytes())["kind"]) if manifest.is_file() else None


def parents_of(location: str | Path) -> Collection[str] | None:
    """The identities of the models that a published one was made from; None of models without a manifest."""
    manifest = Path(location) / MANIFEST
    if not manifest.is_file():
        return None
    parents: Mapping[str, str] = json.loads(manifest.read_bytes())["lineage"]["parents"]
    return parents.values()


def model_identity(location: str | Path) -> str:
    """The sha256 of a model's manifest, or `name:LOCATION` for models that have none."""
    manifest = Path(location) / MANIFEST
    return file_sha256(manifest) if manifest.is_file() else f"name:{location}"


def placeless(identity: str) -> str:
    """A model's identity that is the same wherever its directory lies: one without a manifest is told by the names,
    lengths, first and last bytes of its files. Reads no more than some kilobytes of each."""
    folder = Path(identity.removeprefix("name:"))
    if not identity.startswith("name:") or not folder.is_dir():
        return identity
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("[!.]*") if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_TOLD_BYTES))
            file.seek(max(0, size - _TOLD_BYTES))
            digest.update(file.read(_TOLD_BYTES))
    return f"directory:{digest.hexdigest()}"


def write_json(path: Path, value: object) -> None:
    """Write JSON durably: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def file_sha256(path: Path) -> str:
    """The digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to disk in full or not at all; of two runs that write at once the last one stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@functools.cache
def code_version() -> str:
    """A digest of the sources that train: the same with and without a git checkout."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for path in sorted([*root.glob("models/**/*.py"), *root.glob("training/**/*.py")]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _data_sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
