"""How long annotators wait while something else works on the same cores, beside how long they wait while nothing does.

    python -m bench.under_training [--seconds 15] [--segments 4] [--annotators 16] [--tasks 10000] [--model DIRECTORY]

One site of its own; in each segment its annotators work several times through the API, which takes a task (next) and
answers it (submit) by a request each, and think for two seconds between: once with nothing beside them, and once beside
each of `bench.neighbours`, in turns which comes first. PPO is run as a worker runs it (niced, on all cores, a model of
1.6 million weights; with `--model` adapters of that one, too); files come in and versions are cut by REST.
Ratios are of all that was seen with and without. Prints a line for each part of a segment and, last, one JSON object.
"""

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load_client import Seen, Target, run_clients
from bench.load_site import SLUG, loaded_site
from bench.neighbours import Files, Neighbour, OwnModel, Training
from bench.web_load import THINKING_SECONDS, percentile

GOAL = 1.5
IDLE, TRAINING, FILES = "idle", "training", "files"


@dataclass(frozen=True)
class Part:
    """What annotators saw in one part of a segment, and how many steps or rows were `done` beside them meanwhile."""

    segment: int
    beside: str
    done: int
    next_ms: tuple[float, ...]
    submit_ms: tuple[float, ...]

    def line(self) -> str:
        told = [percentile(list(took), share) for took in (self.next_ms, self.submit_ms) for share in (0.5, 0.99)]
        return f"{self.segment:<9}{self.beside:<12}{self.done:>8}{len(self.submit_ms):>8}" + "".join(
            f"{value!s:>12}" for value in told
        )


HEADINGS = f"{'segment':<9}{'beside':<12}{'done':>8}{'pairs':>8}" + "".join(
    f"{title:>12}" for title in ("next p50", "p99 ms", "submit p50", "p99 ms")
)


async def measure(
    target: Target, neighbours: Mapping[str, Neighbour], *, segments: int, annotators: int, seconds: float
) -> list[Part]:
    """All parts of each segment, which begin in turns."""
    parts = []
    names = [IDLE, *neighbours]
    for segment in range(segments):
        first = segment % len(names)
        for name in names[first:] + names[:first]:
            parts.append(await _part(target, segment + 1, name, neighbours.get(name), annotators, seconds))
            print(parts[-1].line(), flush=True)
    return parts


async def _part(
    target: Target, segment: int, name: str, neighbour: Neighbour | None, annotators: int, seconds: float
) -> Part:
    if neighbour is None:
        seen = await asyncio.to_thread(_work, target, annotators, seconds)
        return Part(segment, name, 0, tuple(seen.next_ms), tuple(seen.submit_ms))
    try:
        await neighbour.start()
        before = neighbour.done()
        seen = await asyncio.to_thread(_work, target, annotators, seconds)
        done = neighbour.done() - before
    finally:
        await neighbour.stop()
    return Part(segment, name, done, tuple(seen.next_ms), tuple(seen.submit_ms))


def _work(target: Target, annotators: int, seconds: float) -> Seen:
    return run_clients(
        target, annotators=annotators, seconds=seconds, think=THINKING_SECONDS, begins=lambda *moments: None
    )


def figures(parts: Sequence[Part]) -> dict[str, dict[str, float]]:
    """Milliseconds by what was beside people, and how many times as long as with nothing beside them."""
    found: dict[str, dict[str, float]] = {}
    for beside in dict.fromkeys(part.beside for part in sorted(parts, key=lambda part: part.beside != IDLE)):
        found[beside] = {}
        for what in ("next", "submit"):
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                took = _percentile(parts, beside, f"{what}_ms", share)
                found[beside][f"{what}_{name}_ms"] = took
                found[beside][f"{what}_{name}_ratio"] = round(took / found[IDLE][f"{what}_{name}_ms"], 2)
    return found


def _percentile(parts: Sequence[Part], beside: str, field: str, share: float) -> float:
    took = percentile([ms for part in parts if part.beside == beside for ms in getattr(part, field)], share)
    if took is None:
        raise SystemExit(f"nobody answered beside {beside}: give it more --seconds")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each half of a segment")
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--beside", nargs="*", choices=(TRAINING, FILES), default=(TRAINING, FILES))
    parser.add_argument("--model", type=Path, help="the directory of a model whose adapters PPO trains, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-under-training-") as temporary:
        folder = Path(temporary)
        busy_before = os.getloadavg()[0]
        with loaded_site(folder / "site", arguments.tasks) as loaded:
            neighbours: dict[str, Neighbour] = {}
            if TRAINING in arguments.beside:
                neighbours[TRAINING] = Training(folder / "training")
            if FILES in arguments.beside:
                neighbours[FILES] = Files(loaded.site, arguments.segments)
            if arguments.model is not None:
                neighbours["own model"] = OwnModel(loaded.site, arguments.model.resolve())
            secrets = tuple(person.api_token for person in loaded.people["api"])
            target = Target("api", loaded.port, SLUG, secrets)
            print(HEADINGS, flush=True)
            measuring = measure(
                target,
                neighbours,
                segments=arguments.segments,
                annotators=arguments.annotators,
                seconds=arguments.seconds,
            )
            parts = asyncio.run(measuring)
    found = figures(parts)
    for beside, values in found.items():
        print(f"{beside:<12}" + "".join(f"{name} {value}  " for name, value in values.items()))
    worst = max(values["next_p99_ratio"] for values in found.values())
    verdict = "met" if worst <= GOAL else "NOT MET"
    if busy_before > (os.cpu_count() or 1):
        verdict = f"says nothing: {busy_before:.1f} processes were at work here before"
    print(f"next p99: {worst} × idle at most, goal {GOAL}: {verdict}")
    outcome = {
        "bench": "under_training",
        "ratio": worst,
        "goal": GOAL,
        "verdict": verdict,
        "figures": found,
        "cores": os.cpu_count(),
        "load_before": round(busy_before, 2),
        "parts": [asdict(part) | {"next_ms": len(part.next_ms), "submit_ms": len(part.submit_ms)} for part in parts],
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
