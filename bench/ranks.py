"""What several processes of one run gain: 1 and N on the same cores, and what N could gain at most.

    python -m bench.ranks [--processes 2] [--stages generate,reward,distil,ppo] [--repeats 3] [--scale 16] [--width 128]

Each run is the real command, with one thread a process. Timed is what follows its first step, to its end: loading is
left out, and runs should take half a minute, or their ends weigh too much. The limit is that of N runs at the same
time that have nothing in common: cores that share a memory, or are two threads of one, don't do N times the work. The
runs take turns, and ratios are of medians, so that a neighbour disturbs all alike; where there is one, they still say
little. Prints a table and a line of JSON.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.accelerator import World, machine
from models.architecture import Architecture

STAGES = ("generate", "reward", "distil", "ppo")
GOAL = 0.9
"""Of the limit."""
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Gained:
    """Of a stage: how many times as fast as one process with one thread."""

    stage: str
    seconds: float
    """Of one process, after its first step."""
    processes: float
    limit: float
    threads: float
    """One process with as many threads."""

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.processes / self.limit


def settings_of(world: World, stage: str) -> tuple[str, Mapping[str, object]]:
    """A stage of the command and its settings."""
    match stage:
        case "distil":
            return "reward", {**world.settings("reward"), "method": "distil", "reference_samples": 512 * world.scale}
        case "ppo":
            return "ppo", {**world.settings("ppo"), "iterations": 6}
        case "generate":
            return "generate", {**world.settings("generate"), "samples_per_prompt": 4}
        case _:
            return stage, world.settings(stage)


def timed(world: World, stage: str, *, at_once: int = 1, processes: int = 1, threads: int = 1) -> float:
    """Seconds after the first step, the mean of as many runs as are made at once."""
    name, settings = settings_of(world, stage)
    config = world.folder / f"{stage}.json"
    config.write_text(json.dumps({"seed": 0, **settings}, default=str))
    outs = [world.folder / f"timed-{number}" for number in range(at_once)]
    for out in outs:
        shutil.rmtree(out, ignore_errors=True)
    running = [_started(name, config, out, processes=processes, threads=threads) for out in outs]
    began = dict.fromkeys(range(at_once), 0.0)
    ended: dict[int, float] = {}
    while len(ended) < at_once:
        time.sleep(POLL_SECONDS)
        for number, (process, out) in enumerate(zip(running, outs, strict=True)):
            if not began[number] and (out / "metrics.jsonl").exists():
                began[number] = time.perf_counter()
            if number not in ended and process.poll() is not None:
                ended[number] = time.perf_counter()
                if process.returncode != 0:
                    raise SystemExit(f"{stage} ended with {process.returncode}: {world.folder}/log")
    return sum(ended[number] - began[number] for number in range(at_once)) / at_once


def measure(world: World, stage: str, *, processes: int, repeats: int) -> Gained:
    """All ways by turns."""
    found: dict[str, list[float]] = {"one": [], "several": [], "limit": [], "threads": []}
    for _ in range(repeats):
        found["one"].append(timed(world, stage))
        found["several"].append(timed(world, stage, processes=processes, threads=processes))
        found["limit"].append(timed(world, stage, at_once=processes))
        found["threads"].append(timed(world, stage, threads=processes))
    seconds = {way: median(times) for way, times in found.items()}
    return Gained(
        stage,
        seconds["one"],
        processes=seconds["one"] / seconds["several"],
        limit=processes * seconds["one"] / seconds["limit"],
        threads=seconds["one"] / seconds["threads"],
    )


def _started(stage: str, config: Path, out: Path, *, processes: int, threads: int) -> "subprocess.Popen[bytes]":
    where = ["--config", str(config), "--out", str(out), "--device", "cpu"]
    shared = ["--processes", str(processes), "--threads", str(threads)]
    with (config.parent / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "training", stage, *where, *shared], stdout=log, stderr=log)


def main() -> None:
    arguments = _arguments()
    print(machine("cpu"), flush=True)
    architecture = Architecture(
        hidden_size=arguments.width,
        layers=arguments.layers,
        heads=max(1, arguments.width // 64),
        intermediate_size=8 * arguments.width // 3 // 8 * 8,
    )
    count = arguments.processes
    gained = []
    with tempfile.TemporaryDirectory(prefix="plumbline-ranks-") as folder:
        world = World(Path(folder), None, architecture, arguments.scale)
        if "ppo" in arguments.stages:
            _make_reward(world)
        print(
            f"{'stage':<10}{'1 (s)':>8}{f'{count} processes':>13}{'limit':>8}{'of limit':>10}{f'{count} threads':>11}"
        )
        for stage in arguments.stages:
            one = measure(world, stage, processes=count, repeats=arguments.repeats)
            gained.append(one)
            ratios = f"{one.processes:>12.2f}x{one.limit:>7.2f}x{one.share:>9.0%}{one.threads:>10.2f}x"
            print(
                f"{stage:<10}{one.seconds:>8.1f}{ratios}{'' if one.share >= GOAL else '  below the goal'}", flush=True
            )
    print(json.dumps({"bench": "ranks", "machine": machine("cpu"), "processes": count, "stages": _rows(gained)}))


def _make_reward(world: World) -> None:
    """What PPO is paid by."""
    config, out = world.folder / "payer.json", world.folder / "reward"
    config.write_text(json.dumps({"seed": 0, **world.settings("reward")}, default=str))
    if _started("reward", config, out, processes=1, threads=1).wait() != 0:
        raise SystemExit(f"no reward model: {world.folder}/log")


def _rows(gained: Sequence[Gained]) -> list[dict[str, object]]:
    return [asdict(one) | {"share": one.share} for one in gained]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--stages", type=lambda text: text.split(","), default=list(STAGES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=int, default=16)
    parser.add_argument("--width", type=int, default=Architecture().hidden_size)
    parser.add_argument("--layers", type=int, default=Architecture().layers)
    return parser.parse_args()


if __name__ == "__main__":
    main()
