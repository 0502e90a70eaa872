"""Writes what Kubernetes says of the kinds in `deploy/kubernetes`, for tests: `make schemas` runs it.

The schemas, which are strict, come from the package `kubernetes-validate` (Apache-2.0), of whose 108 MB our kinds need
a hundredth: what they refer to is kept, without descriptions.
"""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "deploy" / "kubernetes"
WRITTEN = ROOT / "tests" / "infra" / "kubernetes-1.34.json"
SCHEMAS = "kubernetes_validate/kubernetes-json-schema/v1.34.0-local-strict"
PACKAGE = "kubernetes-validate==1.37.0 --hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        wheel = zipfile.ZipFile(_downloaded(Path(directory)))
        names = {name.lower(): name for name in wheel.namelist()}
        kinds = {kind: json.loads(wheel.read(names[f"{SCHEMAS}/{kind}.json"])) for kind in sorted(set(_kinds()))}
        all_definitions = json.loads(wheel.read(f"{SCHEMAS}/_definitions.json"))["$defs"]
    definitions: dict[str, Any] = {}
    pending = list(_referred(kinds))
    while pending:
        name = pending.pop()
        if name not in definitions:
            definitions[name] = all_definitions[name]
            pending += _referred(definitions[name])
    found = {"kinds": _bare(kinds), "$defs": _bare(dict(sorted(definitions.items())))}
    text = json.dumps({"from": f"{PACKAGE.split()[0]}, {SCHEMAS}"} | found, separators=(",", ":"))
    WRITTEN.write_text(text.replace("/api/_definitions.json#", "#") + "\n")
    print(f"{WRITTEN.name}: {len(kinds)} kinds, {len(definitions)} definitions, {WRITTEN.stat().st_size:,} bytes")


def _downloaded(folder: Path) -> Path:
    (folder / "needed.txt").write_text(PACKAGE + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "-r", str(folder / "needed.txt"), "-d", str(folder)], check=True)
    return next(folder.glob("*.whl"))


def _kinds() -> Iterator[str]:
    """As the schemas' files are called: deployment-apps-v1."""
    for path in sorted(MANIFESTS.glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            group, _, version = manifest["apiVersion"].rpartition("/")
            if not re.search(r"^ray\.io$|^kustomize\.", group):
                of_group = f"{group.partition('.')[0]}-" if group else ""
                yield f"{manifest['kind'].lower()}-{of_group}{version}"


def _referred(found: Any) -> Iterator[str]:
    yield from re.findall(r'#/\$defs/([^"]+)"', json.dumps(found))


def _bare(found: Any) -> Any:
    """Without descriptions; a property of that name, whose value is a schema, stays."""
    if isinstance(found, dict):
        return {key: _bare(value) for key, value in found.items() if key != "description" or isinstance(value, dict)}
    return [_bare(value) for value in found] if isinstance(found, list) else found


if __name__ == "__main__":
    main()
