"""Files that hold copies of what was erased: dataset versions and exports go, records of runs lose their lines.

What is done twice is done once: whoever breaks off half-way begins again.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.services.erasure.redacting import Erased, redacted

# Records, measured samples and reports. The rest holds no texts: weights, settings and figures.
RECORDS = (".jsonl", ".json")
NO_RECORDS = frozenset({"config.json", "result.json"})
MODELS = frozenset({"artifact", "checkpoints"})
DRAFT = ".part"


def remove(home: Path, paths: Sequence[str]) -> int:
    """Remove files, named relative to the home folder; how many there were."""
    removed = 0
    for path in paths:
        if (home / path).is_file():
            (home / path).unlink()
            removed += 1
    return removed


def redact(folder: Path, erased: Erased) -> int:
    """Take what was erased out of the records of a run that is over; how many files were changed."""
    return sum(_redact(path, erased) for path in _records(folder))


def _records(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        is_record = path.suffix in RECORDS and path.name not in NO_RECORDS
        if is_record and MODELS.isdisjoint(path.relative_to(folder).parts) and path.is_file():
            yield path


def _redact(path: Path, erased: Erased) -> bool:
    """Rewrite the file, a line at a time, if anything of it was erased. A line that is no JSON stays."""
    draft = path.with_name(f".{path.name}{DRAFT}")
    is_changed = False
    try:
        with path.open("rb") as lines, draft.open("wb") as kept:
            for line in lines if path.suffix == ".jsonl" else [lines.read()]:
                left = _line(line, erased)
                is_changed |= left != line
                kept.write(left)
            kept.flush()
            os.fsync(kept.fileno())
        if is_changed:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return is_changed


def _line(line: bytes, erased: Erased) -> bytes:
    try:
        value = json.loads(line)
    except ValueError:
        return line
    if erased.is_all_of(value):
        return b""
    left = redacted(value, erased)
    return line if left == value else json.dumps(left, ensure_ascii=False).encode() + b"\n"
