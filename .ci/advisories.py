"""What a folder of advisories in OSV's form knows of packages: for places that reach no database of vulnerabilities.

A checkout of PyPA's advisory database is one, and OSV's archive for PyPI, unpacked; `make audit ADVISORIES=FOLDER`.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

# yaml's own reader takes ten times as long.
READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FORMS = (".json", ".yaml")


def look_up(pins: Sequence[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """What `pip-audit` would say of these names and versions, and when the newest advisory was `modified`."""
    found = [{"name": name, "version": version, "vulns": []} for name, version in pins]
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for package in found:
        by_name[canonicalize_name(package["name"])].append(package)
    newest = ""
    for advisory in _advisories(folder):
        newest = max(newest, str(advisory.get("modified", "")))
        for affected in () if advisory.get("withdrawn") else advisory["affected"]:
            for package in by_name.get(_name(affected), ()):
                version = Version(package["version"])
                if _is_hit(version, affected):
                    fixes = sorted(_fixes(affected, version), key=Version)
                    package["vulns"].append({"id": advisory["id"], "fix_versions": fixes})
    if not newest:
        raise SystemExit(f"{folder} holds no advisories in OSV's form.")
    return {"dependencies": found, "modified": newest}


def _name(affected: Mapping[str, Any]) -> str:
    """Empty for what isn't Python's."""
    package = affected.get("package", {})
    return canonicalize_name(package["name"]) if package.get("ecosystem") == "PyPI" else ""


def _advisories(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.rglob("*"):
        if path.suffix in FORMS and path.is_file():
            text = path.read_text(encoding="utf-8")
            read = json.loads(text) if path.suffix == ".json" else yaml.load(text, READER)  # noqa: S506
            if isinstance(read, dict) and "affected" in read:
                yield read


def _is_hit(version: Version, affected: Mapping[str, Any]) -> bool:
    """Whether it is listed, or in a range, which knows of versions that are newer than the advisory, too."""
    return str(version) in affected.get("versions", []) or any(
        begins <= version and (ends is None or version < ends or (includes_end and version == ends))
        for begins, ends, includes_end in _ranges(affected)
    )


def _ranges(affected: Mapping[str, Any]) -> Iterator[tuple[Version, Version | None, bool]]:
    """From, to, and whether that is affected itself; without an end nothing has mended it."""
    for events in (one["events"] for one in affected.get("ranges", []) if one["type"] == "ECOSYSTEM"):
        begins = None
        for kind, text in (pair for event in events for pair in event.items()):
            if kind == "introduced":
                begins = Version(text)
            elif begins is not None:
                yield begins, Version(text), kind == "last_affected"
                begins = None
        if begins is not None:
            yield begins, None, False


def _fixes(affected: Mapping[str, Any], version: Version) -> set[str]:
    return {str(end) for _, end, is_hit in _ranges(affected) if end is not None and not is_hit and end > version}
