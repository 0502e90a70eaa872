"""Front-end files of others: fetched from npm, checked, kept in static/vendor, or in a folder of the tests if only
those use them. `python -m app.web.serving.vendor FOLDER...` fetches them anew.

A folder's `vendor.lock.json` names each package with its version, npm's integrity hash of the tarball and the sha256
of every file taken from it. To take another version, change it there, empty its "integrity" and run this.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from app.web.rendering.render import STATIC

VENDOR = STATIC / "vendor"
LOCK = "vendor.lock.json"


@dataclass(frozen=True)
class Package:
    """`files` maps each path under the folder to its path in the tarball; `sha256` has the same keys."""

    name: str
    version: str
    licence: str
    integrity: str
    files: dict[str, str]
    sha256: dict[str, str]


class Tampered(Exception):
    """A vendored file, or the package it comes from, isn't the one in the lock."""


def locked(folder: Path = VENDOR) -> list[Package]:
    """The packages that the folder's lock names."""
    return [Package(**package) for package in json.loads((folder / LOCK).read_text())["packages"]]


def check(folder: Path = VENDOR) -> None:
    """Raises Tampered unless `folder` holds exactly the files of its lock, byte for byte."""
    expected = {path: digest for package in locked(folder) for path, digest in package.sha256.items()}
    found = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file != folder / LOCK
    }
    different = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
    if different:
        raise Tampered(", ".join(different))


def fetch(package: Package, folder: Path) -> Package:
    """Download `package`, check its integrity if the lock has one, and write its files. Returns the new lock entry."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to fetch front-end packages")
    with tempfile.TemporaryDirectory() as downloads:
        subprocess.run([npm, "pack", "--silent", f"{package.name}@{package.version}"], cwd=downloads, check=True)
        (tarball,) = Path(downloads).glob("*.tgz")
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if package.integrity not in {"", integrity}:
            raise Tampered(f"{package.name}@{package.version} is {integrity}, the lock says {package.integrity}")
        with tarfile.open(tarball) as archive:
            sha256 = {target: _write(archive, source, folder / target) for target, source in package.files.items()}
    return Package(package.name, package.version, package.licence, integrity, package.files, sha256)


def _write(archive: tarfile.TarFile, source: str, target: Path) -> str:
    member = archive.extractfile(f"package/{source}")
    assert member is not None, source
    content = member.read()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def main(folders: list[str]) -> None:
    """Fetch every package of these folders as their locks say, and write down what came."""
    for folder in map(Path, folders):
        packages = [fetch(package, folder) for package in locked(folder)]
        (folder / LOCK).write_text(json.dumps({"packages": [asdict(package) for package in packages]}, indent=2) + "\n")
        check(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
