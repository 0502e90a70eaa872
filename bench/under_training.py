"""How long annotators wait while PPO trains on the same cores, beside how long they wait while nothing does.

    python -m bench.under_training [--seconds 15] [--segments 4] [--annotators 16] [--tasks 10000]

One site of its own; in each segment its annotators work twice through the API, which takes a task (next) and answers it
(submit) by a request each, and think for two seconds between: once with PPO as a worker runs it (niced, on all cores, a
model of 1.6 million weights) and once without, in turns which comes first. Ratios are of all that was seen with and
without. Prints a line for each half of a segment and, last, one JSON object.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from app.jobs.launch import Child, Launch, LocalProcess
from bench.load_client import Seen, Target, run_clients
from bench.load_site import SLUG, loaded_site
from bench.ppo_world import FASTEST, SIZES, our_settings, write_world
from bench.web_load import THINKING_SECONDS, percentile

Beside = Literal["idle", "training"]

GOAL = 1.5
UPDATES = 2_000
"""More than there is time for."""
START_SECONDS = 180.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Half:
    """What annotators saw in one half of a segment; `updates` of PPO were done meanwhile."""

    segment: int
    beside: Beside
    updates: int
    next_ms: tuple[float, ...]
    submit_ms: tuple[float, ...]

    def line(self) -> str:
        told = [percentile(list(took), share) for took in (self.next_ms, self.submit_ms) for share in (0.5, 0.99)]
        return f"{self.segment:<9}{self.beside:<10}{self.updates:>8}{len(self.submit_ms):>8}" + "".join(
            f"{value!s:>12}" for value in told
        )


HEADINGS = f"{'segment':<9}{'beside':<10}{'updates':>8}{'pairs':>8}" + "".join(
    f"{title:>12}" for title in ("next p50", "p99 ms", "submit p50", "p99 ms")
)


class Training:
    """PPO that a worker would run: the same program, fence and environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        world = write_world(folder, SIZES["1.6M"], seed=0, updates=UPDATES)
        self._config = folder / "run.json"
        self._config.write_text(json.dumps(our_settings(world, FASTEST, seed=0, updates=UPDATES)), encoding="utf-8")
        self._attempt = 0
        self._child: Child | None = None

    @property
    def _out(self) -> Path:
        return self._folder / f"run-{self._attempt}"

    async def start(self) -> None:
        """Returns once it learns. Raises SystemExit with its last words where it doesn't come to that."""
        self._attempt += 1
        log = self._folder / "log"
        self._child = await LocalProcess().start(Launch("ppo", self._config, self._out, self._attempt, log))
        deadline = time.monotonic() + START_SECONDS
        while self.updates() < 2:
            if time.monotonic() > deadline:
                raise SystemExit(log.read_text(errors="replace")[-2000:] or "PPO did not start")
            await asyncio.sleep(0.1)

    def updates(self) -> int:
        """How many it has done."""
        lines = self._out / "metrics.jsonl"
        return lines.read_bytes().count(b"\n") if lines.exists() else 0

    async def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                await asyncio.wait_for(self._child.wait(), STOP_SECONDS)
            except TimeoutError:
                self._child.kill()
                await self._child.wait()
            self._child = None


async def measure(target: Target, training: Training, *, segments: int, annotators: int, seconds: float) -> list[Half]:
    """Both halves of each segment, which begin in turns."""
    halves = []
    orders: tuple[tuple[Beside, Beside], ...] = (("idle", "training"), ("training", "idle"))
    for segment in range(segments):
        for beside in orders[segment % 2]:
            if beside == "training":
                await training.start()
            try:
                before = training.updates()
                seen = await asyncio.to_thread(_work, target, annotators, seconds)
                done = training.updates() - before if beside == "training" else 0
            finally:
                await training.stop()
            halves.append(Half(segment + 1, beside, done, tuple(seen.next_ms), tuple(seen.submit_ms)))
            print(halves[-1].line(), flush=True)
    return halves


def _work(target: Target, annotators: int, seconds: float) -> Seen:
    return run_clients(
        target, annotators=annotators, seconds=seconds, think=THINKING_SECONDS, begins=lambda *moments: None
    )


def figures(halves: Sequence[Half]) -> dict[str, float]:
    """Milliseconds with and without, and how many times as long it takes beside training."""
    found: dict[str, float] = {}
    for what in ("next", "submit"):
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            both = {beside: _percentile(halves, beside, f"{what}_ms", share) for beside in ("idle", "training")}
            found |= {f"{what}_{name}_ms_{beside}": took for beside, took in both.items()}
            found[f"{what}_{name}_ratio"] = round(both["training"] / both["idle"], 2)
    return found


def _percentile(halves: Sequence[Half], beside: str, field: str, share: float) -> float:
    took = percentile([ms for half in halves if half.beside == beside for ms in getattr(half, field)], share)
    if took is None:
        raise SystemExit(f"nobody answered in the halves beside {beside}: give it more --seconds")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each half of a segment")
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-under-training-") as temporary:
        folder = Path(temporary)
        (folder / "training").mkdir()
        training = Training(folder / "training")
        busy_before = os.getloadavg()[0]
        with loaded_site(folder / "site", arguments.tasks) as loaded:
            secrets = tuple(person.api_token for person in loaded.people["api"])
            target = Target("api", loaded.port, SLUG, secrets)
            print(HEADINGS, flush=True)
            halves = asyncio.run(
                measure(
                    target,
                    training,
                    segments=arguments.segments,
                    annotators=arguments.annotators,
                    seconds=arguments.seconds,
                )
            )
    found = figures(halves)
    ratio = found["next_p99_ratio"]
    for name, value in found.items():
        print(f"{name:<26}{value:>9}")
    verdict = "met" if ratio <= GOAL else "NOT MET"
    if busy_before > (os.cpu_count() or 1):
        verdict = f"says nothing: {busy_before:.1f} processes were at work here before"
    print(f"next p99 beside training: {ratio} × idle, goal {GOAL}: {verdict}")
    outcome = {
        "bench": "under_training",
        "ratio": ratio,
        "goal": GOAL,
        "verdict": verdict,
        "figures": found,
        "cores": os.cpu_count(),
        "load_before": round(busy_before, 2),
        "halves": [asdict(half) | {"next_ms": len(half.next_ms), "submit_ms": len(half.submit_ms)} for half in halves],
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    sys.exit(main())
