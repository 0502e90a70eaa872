"""Backup and restore by size: `python -m bench.backups [--judgements 100000]`, with a model of half a gigabyte.

On the database of `bench.many_judgements`: one backup into a file, one into an empty folder, a second into the same
one, and the restore of each kind. The goal is that a restore takes no longer than ten times as long as the backup.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from app.db import migrate
from app.db.embedded import running
from app.services.backups import making, restoring
from app.services.backups.places import place_at
from app.services.loop.models.artifacts import MANIFEST
from app.services.places.place import Content
from app.settings import Settings
from bench.many_judgements import fill

MODEL_BYTES = 500_000_000
GOAL = 10


def measure(folder: Path, judgements: int) -> dict[str, Any]:
    """Seconds of each step, and sizes in bytes."""
    home = folder / "home"
    with running(home) as url:
        migrate.upgrade(url)
        _bring_model(url, fill(url, "backups", judgements))
        _write_model(home)
        settings = Settings(home=home)
        file, many = str(folder / "backup.tar"), f"{folder}/backups/"
        seconds = {
            "backup into a file": timed(lambda: making.make(url, settings, place_at(file), _quiet)),
            "backup into a folder": timed(lambda: making.make(url, settings, place_at(many), _quiet)),
        }
        time.sleep(1)  # names are by the second
        seconds["backup into the same folder"] = timed(lambda: making.make(url, settings, place_at(many), _quiet))
    for kind, address in (("file", file), ("folder", many)):
        there = folder / kind
        with running(there) as url:
            seconds[f"restore from a {kind}"] = timed(lambda url=url, at=address, to=there: _restore(url, at, to))  # type: ignore[misc]
    size_bytes = (folder / "backup.tar").stat().st_size
    for step, taken in seconds.items():
        print(f"{taken:8.2f} s  {step}")
    return {
        "bench": "backups",
        "ratio": round(GOAL * seconds["backup into a file"] / seconds["restore from a file"], 2),
        "goal": 1,
        "judgements": judgements,
        "model_bytes": MODEL_BYTES,
        "file_bytes": size_bytes,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": {step: round(taken, 2) for step, taken in seconds.items()},
    }


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _bring_model(url: str, project: int) -> None:
    brought = (
        "INSERT INTO model_versions (project_id, kind, number, folder, manifest_sha256)"
        " VALUES (%s, 'policy', 1, 'models/bench/policy', repeat('0', 64))"
    )
    with psycopg.connect(url) as connection:
        connection.execute(brought, [project])


def _write_model(home: Path) -> None:
    model = home / "models" / "bench" / "policy"
    model.mkdir(parents=True)
    with (model / "model.safetensors").open("wb") as file:
        for _ in range(MODEL_BYTES // 1_000_000):
            file.write(os.urandom(1_000_000))
    digest = Content(model / "model.safetensors", MODEL_BYTES).sha256()
    (model / MANIFEST).write_text(json.dumps({"format": 1, "kind": "policy", "files": {"model.safetensors": digest}}))


def _restore(url: str, address: str, home: Path) -> None:
    place = place_at(address)
    with place.reading():
        restoring.restore(url, Settings(home=home), place, restoring.open_backup(place), _quiet)


def _quiet(_line: str) -> None:
    return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judgements", type=int, default=100_000)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), parser.parse_args().judgements)))
