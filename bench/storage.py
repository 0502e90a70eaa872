"""A model of half a gigabyte into a storage and out of it: `python -m bench.storage`, against moto's server here.

Beside it what the same bytes take without one: a copy on the disk, compared and synced. The server is Python and keeps
what it is given on the same machine, so seconds are mostly its own: what is measured of us is the processor time and
the memory of each step, a process of its own. The goal is that publishing and fetching take no more processor time
than three copies each.
"""

import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from app.services.places.files import write_durably
from app.services.places.place import Content
from app.services.published.shelf import shelf_of
from app.services.published.thing import MANIFEST, Published, of_model

MODEL_BYTES = 500_000_000
MODEL = "models/bench/policy"
GOAL = 3.0


def measure(folder: Path, server: str) -> dict[str, Any]:
    """Wall and processor seconds, and memory in bytes, of each step."""
    here, there = folder / "here", folder / "there"
    thing = _write_model(here)
    environment = os.environ | {
        "AWS_ENDPOINT": server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PLUMBLINE_STORAGE_URL": "s3://bucket/bench",
    }
    steps = {}
    for name, home in (("copy", here), ("publish", here), ("publish again", here), ("fetch", there), ("there", there)):
        command = [sys.executable, "-m", "bench.storage", name, str(home), thing.sha256]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        steps[name] = json.loads(done.stdout)
        told = steps[name]
        print(
            f"{told['wall']:8.2f} s, {told['processor']:6.2f} s of processor, {told['memory'] / 1e6:6.0f} MB  {name}",
            file=sys.stderr,
        )
    ours = steps["publish"]["processor"] + steps["fetch"]["processor"]
    return {
        "bench": "storage",
        "ratio": round(GOAL * 2 * steps["copy"]["processor"] / ours, 2),
        "goal": 1,
        "model_bytes": MODEL_BYTES,
        "steps": steps,
    }


def step(name: str, home: Path, sha256: str) -> dict[str, float]:
    """One of them, in this process."""
    thing = of_model(MODEL, sha256)
    act: dict[str, Callable[[], object]] = {
        "copy": lambda: _copy(home),
        "publish": lambda: shelf_of(home).keep(thing),
        "publish again": lambda: shelf_of(home).keep(thing),
        "fetch": lambda: shelf_of(home).bring(thing),
        "there": lambda: shelf_of(home).bring(thing),
    }
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    act[name]()
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 2), "processor": round(processor, 2), "memory": after.ru_maxrss * 1024}


def _copy(home: Path) -> None:
    """As a model is brought here, without a storage: read, compared, written and synced."""
    source = home / MODEL / "model.safetensors"
    content = Content(source, source.stat().st_size)
    write_durably(home / "copied", content.pieces())
    assert Content(home / "copied", content.size_bytes).sha256()


def _write_model(home: Path) -> Published:
    model = home / MODEL
    model.mkdir(parents=True)
    with (model / "model.safetensors").open("wb") as file:
        for _ in range(MODEL_BYTES // 1_000_000):
            file.write(os.urandom(1_000_000))
    digest = Content(model / "model.safetensors", MODEL_BYTES).sha256()
    manifest = json.dumps({"format": 1, "kind": "policy", "files": {"model.safetensors": digest}}).encode()
    (model / MANIFEST).write_bytes(manifest)
    return of_model(MODEL, hashlib.sha256(manifest).hexdigest())


def _served() -> "tuple[subprocess.Popen[bytes], str]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx.put(f"{server}/bucket", timeout=60).raise_for_status()
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return process, server


def main() -> dict[str, Any]:
    if len(sys.argv) > 1:
        return dict(step(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
    process, server = _served()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return measure(Path(folder), server)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    print(json.dumps(main()))
