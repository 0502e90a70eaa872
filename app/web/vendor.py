"""Front-end files of others: fetched from npm, checked, kept in static/vendor. `python -m app.web.vendor` fetches
them anew.

`vendor.lock.json` names each package with its version, npm's integrity hash of the tarball and the sha256 of every
file taken from it. To take another version, change it there, empty its "integrity" and run this.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from app.web.render import STATIC

VENDOR = STATIC / "vendor"
LOCK = VENDOR / "vendor.lock.json"


@dataclass(frozen=True)
class Package:
    """`files` maps each path under static/vendor to its path in the tarball; `sha256` has the same keys."""

    name: str
    version: str
    licence: str
    integrity: str
    files: dict[str, str]
    sha256: dict[str, str]


class Tampered(Exception):
    """A vendored file, or the package it comes from, isn't the one in the lock."""


def locked() -> list[Package]:
    return [Package(**package) for package in json.loads(LOCK.read_text())["packages"]]


def check() -> None:
    """Raises Tampered unless static/vendor holds exactly the locked files, byte for byte."""
    expected = {path: digest for package in locked() for path, digest in package.sha256.items()}
    found = {
        file.relative_to(VENDOR).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.rglob("*")
        if file.is_file() and file != LOCK
    }
    different = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
    if different:
        raise Tampered(", ".join(different))


def fetch(package: Package) -> Package:
    """Download `package`, check its integrity if the lock has one, and write its files. Returns the new lock entry."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to fetch front-end packages")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", f"{package.name}@{package.version}"], cwd=folder, check=True)
        (tarball,) = Path(folder).glob("*.tgz")
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if package.integrity not in {"", integrity}:
            raise Tampered(f"{package.name}@{package.version} is {integrity}, the lock says {package.integrity}")
        with tarfile.open(tarball) as archive:
            sha256 = {target: _write(archive, source, VENDOR / target) for target, source in package.files.items()}
    return Package(package.name, package.version, package.licence, integrity, package.files, sha256)


def _write(archive: tarfile.TarFile, source: str, target: Path) -> str:
    member = archive.extractfile(f"package/{source}")
    assert member is not None, source
    content = member.read()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    packages = [fetch(package) for package in locked()]
    LOCK.write_text(json.dumps({"packages": [asdict(package) for package in packages]}, indent=2) + "\n")
    check()


if __name__ == "__main__":
    main()
