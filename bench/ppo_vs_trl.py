"""How many times as fast as TRL's our PPO is, at the same algorithm, weights, prompts and reward.

    python -m bench.ppo_vs_trl [--size 1.6M] [--threads 1,2] [--seeds 5] [--updates 20] [--peers trl] [--ours ours]

Both programs run as a user would start them (ours: `python -m training ppo`), in turns for each seed, and are watched
from outside in the same way: an update lasts from one line of its log to the next. So start, first update and the
saving of the model count for neither. TRL 1.12.0, the last one with PPO, runs in build/peers/trl-1.12 (`make oracle`):
`trl` as it is, in float32; `trl-bf16` in bfloat16, its best case on processors that have it; `trl-spinning` without
OMP_WAIT_POLICY=PASSIVE, which all others have. `ours-fastest` has the faster of float32 and bfloat16; `ours-best` half
of the epochs at twice the rate, too; `ours-rloo` has four responses to a prompt in place of a critic; `trl-best` has
the epochs and the rate of `ours-best`. They are compared by how long they take to the mean score of `trl`'s last
quarter. Prints a table and, last, one JSON object.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import cast

import torch

from bench.ppo_world import (
    BETTER_RATE,
    FASTEST,
    RLOO,
    SAME,
    SIZES,
    Size,
    World,
    our_settings,
    their_settings,
    write_world,
)
from bench.watched import ROOT, Watched, watch

PEER_PYTHON = ROOT / "build" / "peers" / "trl-1.12" / "bin" / "python"
PEERS = ("trl", "trl-bf16", "trl-spinning", "trl-best")
OURS = ("ours", "ours-fastest", "ours-best", "ours-rloo")
WAYS = {"ours-fastest": FASTEST, "ours-best": BETTER_RATE, "trl-best": BETTER_RATE, "ours-rloo": RLOO}
WINDOW = 4
"""Updates whose mean score is held against the one to be reached: one of 16 responses says little."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One program on one seed: medians and lists over its updates but the first, scores over all."""

    system: str
    threads: int
    seed: int
    seconds: float
    cpu_seconds: float
    tokens: float
    """Real ones of prompts and responses, an update."""
    tokens_per_second: float
    of_limit: float
    """The least time that this machine's matrix product allows for these tokens, over the time taken."""
    peak_mib: float
    other_cores: float
    wall: Sequence[float]
    cpu: Sequence[float]
    scores: Sequence[float]
    kl: Sequence[float]


@dataclass(frozen=True, slots=True)
class Work:
    size: Size
    updates: int
    peer_python: Path

    def run(self, system: str, world: World, *, threads: int, seed: int, limit: float) -> Execution:
        """`limit`: operations a second."""
        with tempfile.TemporaryDirectory(prefix="plumbline-ppo-") as temporary:
            if system in OURS:
                seen, lines = self._ours(system, world, Path(temporary), threads, seed)
            else:
                seen, lines = self._theirs(system, world, Path(temporary), threads, seed)
        way = WAYS.get(system, SAME)
        prompts = [[len(ids) for ids in world.of_update(update, way)] for update in range(self.updates)]
        ideal = [
            self.size.ideal_flops(lengths, line["tokens"] - sum(lengths), way) / limit
            for lengths, line in zip(prompts, lines, strict=True)
        ]
        wall = [update.seconds for update in seen.updates]
        cpu = [update.cpu_seconds for update in seen.updates]
        tokens = [line["tokens"] for line in lines]
        return Execution(
            system=system,
            threads=threads,
            seed=seed,
            seconds=median(wall),
            cpu_seconds=median(cpu),
            tokens=fmean(tokens[1:]),
            tokens_per_second=sum(tokens[1:]) / sum(wall),
            of_limit=sum(ideal[1:]) / sum(wall),
            peak_mib=seen.peak_mib,
            other_cores=seen.other_cores,
            wall=wall,
            cpu=cpu,
            scores=[line["score"] for line in lines],
            kl=[line["kl"] for line in lines],
        )

    def _ours(
        self, system: str, world: World, folder: Path, threads: int, seed: int
    ) -> tuple[Watched, list[dict[str, float]]]:
        config, out = folder / "run.json", folder / "out"
        way = WAYS.get(system, SAME)
        settings = our_settings(world, way, seed=seed, updates=self.updates)
        config.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "training", "ppo", "--config", str(config), "--out", str(out)]
        command += ["--threads", str(threads)]
        seen = watch(command, _environment(threads), out / "metrics.jsonl", folder / "log")
        lines = []
        for update, line in enumerate(seen.lines):
            values = cast(dict[str, tuple[float, float]], line["values"])
            row = {name: values[name][0] / values[name][1] for name in ("tokens", "score", "kl")}
            row["tokens"] += sum(map(len, world.of_update(update, way)))
            lines.append(row)
        return seen, lines

    def _theirs(
        self, system: str, world: World, folder: Path, threads: int, seed: int
    ) -> tuple[Watched, list[dict[str, float]]]:
        settings, updates = folder / "settings.json", folder / "updates.jsonl"
        theirs = their_settings(world, WAYS.get(system, SAME), seed=seed, updates=self.updates)
        settings.write_text(json.dumps(theirs), encoding="utf-8")
        environment = _environment(threads)
        if system == "trl-bf16":
            environment["ACCELERATE_MIXED_PRECISION"] = "bf16"
        if system == "trl-spinning":
            del environment["OMP_WAIT_POLICY"]
        command = [str(self.peer_python), "-W", "ignore", "-m", "bench.trl_ppo"]
        seen = watch([*command, str(settings), str(updates), str(threads)], environment, updates, folder / "log")
        return seen, cast(list[dict[str, float]], seen.lines)


def _environment(threads: int) -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def product_limit(size: Size, threads: int) -> float:
    """Operations a second of float32 products at the model's shapes: the best of many, what the machine can do."""
    torch.set_num_threads(threads)
    rows = size.batch_size * (24 + size.response_tokens)
    left, right = torch.randn(rows, size.hidden_size), torch.randn(size.hidden_size, 4 * size.hidden_size)
    best = float("inf")
    for _ in range(300):
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return 2 * rows * size.hidden_size * 4 * size.hidden_size / best


def measure(work: Work, systems: Sequence[str], threads: Sequence[int], seeds: int) -> list[Execution]:
    """Every other seed begins with the last system, so that what else the machine does falls on all alike."""
    executions: list[Execution] = []
    limits = {number: product_limit(work.size, number) for number in threads}
    print(_row(HEADINGS))
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="plumbline-ppo-") as folder:
            world = write_world(Path(folder), work.size, seed=seed, updates=work.updates)
            for number in threads:
                for system in systems if seed % 2 == 0 else reversed(systems):
                    execution = work.run(system, world, threads=number, seed=seed, limit=limits[number])
                    executions.append(execution)
                    print(_line(execution), flush=True)
    return executions


HEADINGS = (
    "system",
    "threads",
    "seed",
    "s/update",
    "cpu s",
    "tokens",
    "tokens/s",
    "of limit",
    "first score",
    "last score",
    "peak MiB",
    "others",
)


def _line(one: Execution) -> str:
    return _row(
        (
            one.system,
            one.threads,
            one.seed,
            f"{one.seconds:.3f}",
            f"{one.cpu_seconds:.3f}",
            f"{one.tokens:.0f}",
            f"{one.tokens_per_second:.0f}",
            f"{one.of_limit:.2f}",
            f"{one.scores[0]:.3f}",
            f"{last_quarter(one.scores):.3f}",
            f"{one.peak_mib:.0f}",
            f"{one.other_cores:.2f}",
        )
    )


def _row(cells: Sequence[object]) -> str:
    return f"{cells[0]!s:<13}" + "".join(f"{cell!s:>12}" for cell in cells[1:])


def last_quarter(values: Sequence[float]) -> float:
    return fmean(values[-max(1, len(values) // 4) :])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a peer with ours at the same threads, seed by seed: how many times as long it took, medians over seeds."""

    peer: str
    threads: int
    wall: float
    wall_range: tuple[float, float]
    cpu: float
    cpu_range: tuple[float, float]
    score_ours: float
    score_peer: float
    score_error: float | None
    """Standard error of the difference of last scores, seeds paired."""


def compare(executions: Sequence[Execution], peer: str, threads: int) -> Comparison:
    ours, theirs = (
        sorted((one for one in executions if (one.system, one.threads) == (system, threads)), key=lambda one: one.seed)
        for system in ("ours", peer)
    )
    pairs = list(zip(ours, theirs, strict=True))
    wall = [other.seconds / one.seconds for one, other in pairs]
    cpu = [other.cpu_seconds / one.cpu_seconds for one, other in pairs]
    last = [(last_quarter(one.scores), last_quarter(other.scores)) for one, other in pairs]
    differences = [one - other for one, other in last]
    return Comparison(
        peer=peer,
        threads=threads,
        wall=median(wall),
        wall_range=(min(wall), max(wall)),
        cpu=median(cpu),
        cpu_range=(min(cpu), max(cpu)),
        score_ours=fmean(one for one, _ in last),
        score_peer=fmean(other for _, other in last),
        score_error=stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None,
    )


def seconds_to(score: float, execution: Execution) -> float | None:
    """Until the mean score of `WINDOW` updates is there, at the median pace; None if it never is."""
    for update in range(WINDOW, len(execution.scores) + 1):
        if fmean(execution.scores[update - WINDOW : update]) >= score:
            return update * execution.seconds
    return None


def print_race(executions: Sequence[Execution], systems: Sequence[str], peer: str, threads: int) -> None:
    """How long every system takes to the score at which all updates of `peer` end, seed by seed."""
    print(
        f"\nseconds to the mean score of {peer}'s last quarter, {threads} threads; how many times as long its run took"
    )
    by_seed = {(one.system, one.seed): one for one in executions if one.threads == threads}
    seeds = sorted({one.seed for one in executions})
    for system in systems:
        taken, ratios = [], []
        for seed in seeds:
            theirs = by_seed[peer, seed]
            seconds = seconds_to(last_quarter(theirs.scores), by_seed[system, seed])
            taken.append("never" if seconds is None else f"{seconds:.1f}")
            if seconds is not None:
                ratios.append(len(theirs.scores) * theirs.seconds / seconds)
        print(_row((system, *taken, f"{median(ratios):.2f}" if ratios else "-", f"{len(ratios)} of {len(seeds)}")))


def print_curve(executions: Sequence[Execution], systems: Sequence[str], threads: int) -> None:
    """Scores beside time: means over seeds, seconds since the end of the first update."""
    print(f"\nmean score of an episode, and seconds so far, {threads} threads")
    print(_row(("update", *(f"{system}{unit}" for system in systems for unit in ("", " s")))))
    updates = len(executions[0].scores)
    for update in sorted({round(place * (updates - 1) / 5) for place in range(6)}):
        cells: list[object] = [update + 1]
        for system in systems:
            runs = [one for one in executions if (one.system, one.threads) == (system, threads)]
            cells.append(f"{fmean(one.scores[update] for one in runs):.3f}")
            cells.append(f"{fmean(sum(one.wall[:update]) for one in runs):.1f}")
        print(_row(cells))


def print_comparison(one: Comparison, goal: float) -> None:
    met = "met" if one.wall >= goal else "NOT MET"
    error = f" +- {one.score_error:.3f}" if one.score_error is not None else ""
    print(
        f"{one.peer}, {one.threads} threads: wall {one.wall:.2f} [{one.wall_range[0]:.2f}, {one.wall_range[1]:.2f}], "
        f"processor {one.cpu:.2f} [{one.cpu_range[0]:.2f}, {one.cpu_range[1]:.2f}], goal {goal}: {met}; "
        f"last score ours {one.score_ours:.3f}, theirs {one.score_peer:.3f}{error}"
    )


def machine() -> dict[str, object]:
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "torch": torch.__version__,
    }


def main() -> None:
    arguments = _arguments()
    if not arguments.peer_python.exists():
        raise SystemExit(f"{arguments.peer_python} is missing: `make oracle` installs TRL 1.12.0")
    size = SIZES[arguments.size]
    work = Work(size, arguments.updates + 1, arguments.peer_python.absolute())
    state = machine()
    print(f"{state}\n{size.name}, {arguments.updates} updates after a first one, {arguments.seeds} seeds\n")
    systems = (*arguments.ours, *arguments.peers)
    executions = measure(work, systems, arguments.threads, arguments.seeds)
    for threads in arguments.threads:
        print_curve(executions, systems, threads)
        print_race(executions, systems, arguments.peers[0], threads)
    print("\nhow many times as long as ours")
    same = [peer for peer in arguments.peers if peer not in WAYS]
    comparisons = [compare(executions, peer, number) for number in arguments.threads for peer in same]
    for comparison in comparisons:
        print_comparison(comparison, size.goal)
    outcome = {
        "bench": "ppo_vs_trl",
        "ratio": round(min(one.wall for one in comparisons if one.peer == arguments.peers[0]), 2),
        "goal": size.goal,
        "size": asdict(size),
        "comparisons": [asdict(one) for one in comparisons],
        "machine": state,
        "executions": [asdict(one) for one in executions],
    }
    print(json.dumps(outcome))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1.6M")
    parser.add_argument("--threads", type=lambda text: [int(one) for one in text.split(",")], default=[1, 2])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=20, help="beside the first, which doesn't count")
    parser.add_argument("--ours", type=_ours, default=["ours"], help=f"`ours`, and some of {', '.join(OURS[1:])}")
    parser.add_argument("--peers", type=_peers, default=["trl"], help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    return parser.parse_args()


def _peers(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(PEERS):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(PEERS)}")
    return names


def _ours(text: str) -> list[str]:
    names = text.split(",")
    if names[0] != "ours" or not set(names) <= set(OURS):
        raise argparse.ArgumentTypeError(f"begin with `ours`, and choose from {', '.join(OURS)}")
    return names


if __name__ == "__main__":
    main()
