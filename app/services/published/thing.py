"""What is published: a model's folder or a dataset version's file, known by one digest, and what it is made of."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.errors import Invalid

MANIFEST = "manifest.json"
FORMAT = 1
ADAPTER_CONFIG = "adapter_config.json"


class Broken(Invalid):
    """The files of what was published are not what they were."""


@dataclass(frozen=True)
class Published:
    """`path` is relative to the home folder. `sha256` is that of a folder's manifest, or of the file."""

    path: str
    sha256: str
    is_folder: bool

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    def is_in(self, home: Path) -> bool:
        """Whether it lies there as far as a look tells: of a folder the manifest is compared, of a file nothing."""
        place = home / self.path
        if not self.is_folder:
            return place.is_file()
        try:
            return digest_of((place / MANIFEST).read_bytes()) == self.sha256
        except OSError:
            return False


def of_model(folder: str, manifest_sha256: str) -> Published:
    return Published(folder, manifest_sha256, is_folder=True)


def of_dataset(path: str, sha256: str) -> Published:
    return Published(path, sha256, is_folder=False)


def manifest_in(thing: Published, place: Path) -> bytes:
    """What the storage is told of a thing that lies at `place`: a folder's own manifest, or one that is made of a
    file's digest. Raises Broken where the folder has none, or another."""
    if not thing.is_folder:
        return manifest_of_file(thing)
    try:
        manifest = (place / MANIFEST).read_bytes()
    except OSError as error:
        raise _changed(thing) from error
    if digest_of(manifest) != thing.sha256:
        raise _changed(thing)
    return manifest


def manifest_of_file(thing: Published) -> bytes:
    said = {"format": FORMAT, "kind": "dataset", "files": {thing.name: thing.sha256}}
    return json.dumps(said, indent=1).encode() + b"\n"


def files_in(thing: Published, manifest: bytes) -> Mapping[str, str]:
    """The digests of the files that a manifest names. Raises Broken unless it is the thing's and names nothing
    outside."""
    expected = thing.sha256 if thing.is_folder else digest_of(manifest_of_file(thing))
    if digest_of(manifest) != expected:
        raise _changed(thing)
    try:
        told = json.loads(manifest)
        files: dict[str, str] = dict(told["files"])
        is_known = told["format"] == FORMAT
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _changed(thing) from error
    names = [PurePosixPath(name) for name in files]
    if not is_known or any(name.is_absolute() or not name.parts or ".." in name.parts for name in names):
        raise _changed(thing)
    return files


def base_of(home: Path, folder: str) -> str | None:
    """The folder beside which a folder of adapters stands, where that one is of this home, too."""
    try:
        told = json.loads((home / folder / ADAPTER_CONFIG).read_bytes())
        base = told["base_model_name_or_path"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not isinstance(base, str) or not base.startswith(".."):
        return None
    found = os.path.normpath(PurePosixPath(folder) / base)
    return None if found.startswith("..") else found


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _changed(thing: Published) -> Broken:
    return Broken("%(model)s is not the model that was registered: its manifest was changed.", model=thing.name)
