"""Our stages and TRL's trainers in turns on the work of `bench.preference_world`: how fast, and what was learnt."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from statistics import fmean, median
from typing import cast

from bench.ppo_vs_trl import machine
from bench.preference_world import WIDTHS, Work, World, write_world
from bench.watched import ROOT, Watched, watch
from training.data.examples import Pair
from training.preferences.agreement import agreement
from training.preferences.intervals import Interval

PEER_PYTHON = ROOT / "build" / "peers" / "trl-1.16" / "bin" / "python"
TRANSCRIPTS = ROOT.parent / "shared" / "data" / "hh-rlhf-harmless-base-test.jsonl.gz"
COMMON_ARGUMENTS: Mapping[str, object] = {
    "per_device_train_batch_size": 16,
    "num_train_epochs": 1,
    "lr_scheduler_type": "cosine",
    "max_grad_norm": 1.0,
    "max_length": 512,
    "dataloader_pin_memory": False,
    "bf16": False,
    "gradient_checkpointing": False,
}
"""TRL's defaults of bfloat16 and recomputed activations are slower here than without, see docs/speed.md."""


@dataclass(frozen=True, slots=True)
class Race:
    """One stage beside one trainer; `their_arguments` by the name of the peer."""

    stage: str
    goals: Mapping[str, float]
    our_settings: Callable[[World, int], Mapping[str, object]]
    their_model: Callable[[World], Path]
    their_arguments: Mapping[str, Mapping[str, object]]
    phases: tuple[str, ...]
    """Of our stage's log, that count."""
    held_out: Callable[[World, Path], Interval]
    """What a trained model is worth."""
    tokens: Callable[[World], int] = attrgetter("sides_tokens")
    """Real ones that are learnt from."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One program on one seed. Every training pair is timed, the first step too; start, held-out pairs and saving
    are not."""

    system: str
    threads: int
    seed: int
    rows: int
    steps: int
    seconds: float
    cpu_seconds: float
    rows_per_second: float
    tokens_per_second: float
    """Real ones, each side with its prompt."""
    peak_mib: float
    other_cores: float
    held_out: float
    held_out_low: float
    held_out_high: float


def run(race: Race, work: Work, system: str, world: World, *, threads: int, seed: int, python: Path) -> Execution:
    with tempfile.TemporaryDirectory(prefix="plumbline-race-") as temporary:
        folder = Path(temporary)
        if system == "ours":
            seen, out = _ours(race, world, folder, threads, seed), folder / "out" / "artifact"
        else:
            seen, out = _theirs(race, system, world, folder, threads, seed, python), folder / "model"
        worth = race.held_out(world, out)
    if len(seen.updates) != len(seen.lines) - 1:
        raise SystemExit(f"{system}: some of the {len(seen.lines)} lines came too fast to be told apart")
    phases = race.phases if system == "ours" else ("reference", "train")
    seconds, cpu_seconds = timed(seen, phases, race.tokens(world))
    return Execution(
        system=system,
        threads=threads,
        seed=seed,
        rows=len(world.train),
        steps=sum(line["phase"] == phases[-1] for line in seen.lines),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        rows_per_second=len(world.train) / seconds,
        tokens_per_second=race.tokens(world) / seconds,
        peak_mib=seen.peak_mib,
        other_cores=seen.other_cores,
        held_out=worth.mean,
        held_out_low=worth.low,
        held_out_high=worth.high,
    )


def timed(seen: Watched, phases: Sequence[str], learnt_tokens: int) -> tuple[float, float]:
    """Wall and processor seconds of the phases. A step that began before a log's first line, or wrote samples before
    its own, is scaled from the tokens of the others to all that are learnt from."""
    wall, cpu = 0.0, 0.0
    for phase in phases:
        of_phase = [line for line in seen.lines if line["phase"] == phase]
        parts = [
            (update, line)
            for update, line in zip(seen.updates, seen.lines[1:], strict=True)
            if line["phase"] == phase and "samples" not in line
        ]
        scale = 1.0
        if len(parts) < len(of_phase):
            tokens = sum(cast(dict[str, list[float]], line["values"])["tokens"][0] for _, line in parts)
            scale = learnt_tokens / tokens
        wall += scale * sum(update.seconds for update, _ in parts)
        cpu += scale * sum(update.cpu_seconds for update, _ in parts)
    return wall, cpu


def held_out_accuracy(pairs: Sequence[Pair], differences: Sequence[float]) -> Interval:
    """Share of the pairs with a difference on the side of their label."""
    measured = agreement(pairs, differences)
    if measured.accuracy is None:
        raise SystemExit("no held-out pair was judged")
    return measured.accuracy


def _ours(race: Race, world: World, folder: Path, threads: int, seed: int) -> Watched:
    config, out = folder / "run.json", folder / "out"
    config.write_text(json.dumps(race.our_settings(world, seed)), encoding="utf-8")
    command = [sys.executable, "-m", "training", race.stage, "--config", str(config), "--out", str(out)]
    command += ["--threads", str(threads)]
    return watch(command, _environment(threads), out / "metrics.jsonl", folder / "log")


def _theirs(race: Race, system: str, world: World, folder: Path, threads: int, seed: int, python: Path) -> Watched:
    settings, lines = folder / "settings.json", folder / "lines.jsonl"
    content = {
        "stage": race.stage,
        "model": str(race.their_model(world)),
        "tokens": str(world.tokens),
        "out": str(folder / "model"),
        "arguments": {"seed": seed, **COMMON_ARGUMENTS, **race.their_arguments[system]},
    }
    settings.write_text(json.dumps(content), encoding="utf-8")
    command = [str(python), "-W", "ignore", "-m", "bench.trl_preferences", str(settings), str(lines), str(threads)]
    return watch(command, _environment(threads), lines, folder / "log")


def _environment(threads: int) -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


COLUMNS: Mapping[str, str] = {
    "threads": "d",
    "seed": "d",
    "rows": "d",
    "steps": "d",
    "seconds": ".1f",
    "cpu_seconds": ".1f",
    "rows_per_second": ".2f",
    "tokens_per_second": ".0f",
    "peak_mib": ".0f",
    "other_cores": ".2f",
    "held_out": ".3f",
    "held_out_low": ".3f",
    "held_out_high": ".3f",
}


def _row(execution: Execution) -> str:
    cells = (format(getattr(execution, name), form) for name, form in COLUMNS.items())
    return f"{execution.system:<14}" + "".join(f"{cell:>12}" for cell in cells)


def measure(race: Race, work: Work, arguments: argparse.Namespace) -> list[Execution]:
    """Every other seed begins with the last system, so that what else the machine does falls on all alike."""
    systems = ("ours", *arguments.peers)
    executions: list[Execution] = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory(prefix="plumbline-race-") as folder:
            world = write_world(Path(folder), work, seed=seed)
            for threads in arguments.threads:
                for system in systems if seed % 2 == 0 else reversed(systems):
                    one = run(race, work, system, world, threads=threads, seed=seed, python=arguments.peer_python)
                    executions.append(one)
                    print(_row(one), flush=True)
    return executions


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a peer with ours, seed by seed: how many times as long a pair took it, medians over seeds."""

    peer: str
    threads: int
    wall: float
    wall_range: tuple[float, float]
    cpu: float
    cpu_range: tuple[float, float]
    peak: float
    """Its peak of memory over ours."""
    held_out_ours: float
    held_out_peer: float


def compare(executions: Sequence[Execution], peer: str, threads: int) -> Comparison:
    ours, theirs = (
        sorted((one for one in executions if (one.system, one.threads) == (system, threads)), key=lambda one: one.seed)
        for system in ("ours", peer)
    )
    pairs = list(zip(ours, theirs, strict=True))
    wall = [other.seconds / one.seconds for one, other in pairs]
    cpu = [other.cpu_seconds / one.cpu_seconds for one, other in pairs]
    return Comparison(
        peer=peer,
        threads=threads,
        wall=median(wall),
        wall_range=(min(wall), max(wall)),
        cpu=median(cpu),
        cpu_range=(min(cpu), max(cpu)),
        peak=median(other.peak_mib / one.peak_mib for one, other in pairs),
        held_out_ours=fmean(one.held_out for one in ours),
        held_out_peer=fmean(one.held_out for one in theirs),
    )


def scaled(work: Work) -> dict[str, Work]:
    """One thing doubled at a time."""
    base = replace(work, length=(64, 128))
    return {
        "base": base,
        "rows": replace(base, rows=2 * base.rows),
        "length": replace(base, length=(128, 256)),
        "parameters": replace(base, size="3M"),
    }


def main(race: Race, description: str) -> None:
    arguments = _arguments(race, description)
    if not arguments.peer_python.exists():
        raise SystemExit(f"{arguments.peer_python} is missing: `make oracle` installs TRL 1.16.0")
    work = Work(arguments.transcripts, arguments.size, arguments.rows, arguments.held_out)
    print(machine())
    print(f"{'':<14}" + "".join(f"{name[:11]:>12}" for name in COLUMNS))
    if arguments.scale:
        curves = {}
        for name, one in scaled(work).items():
            print(name)
            curves[name] = measure(race, one, arguments)
        print(json.dumps({name: [asdict(one) for one in found] for name, found in curves.items()}))
        return
    executions = measure(race, work, arguments)
    for threads in arguments.threads:
        for peer in arguments.peers:
            _print_comparison(compare(executions, peer, threads), race.goals.get(peer))
    print(
        json.dumps(
            {"machine": machine(), "work": asdict(work), "executions": [asdict(one) for one in executions]}, default=str
        )
    )


def _print_comparison(one: Comparison, goal: float | None) -> None:
    verdict = "" if goal is None else f", goal {goal}: {'met' if one.wall >= goal else 'NOT MET'}"
    print(
        f"{one.peer}, {one.threads} threads took wall "
        f"{one.wall:.2f} [{one.wall_range[0]:.2f}, {one.wall_range[1]:.2f}], "
        f"processor {one.cpu:.2f} [{one.cpu_range[0]:.2f}, {one.cpu_range[1]:.2f}] times as long{verdict}; "
        f"peak {one.peak:.2f} of ours; held out ours {one.held_out_ours:.3f}, theirs {one.held_out_peer:.3f}"
    )


def _arguments(race: Race, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcripts", type=Path, default=TRANSCRIPTS, help="hh-rlhf, plain or gzip")
    parser.add_argument("--size", choices=WIDTHS, default="1.6M")
    parser.add_argument("--rows", type=int, default=256, help="prompts to learn from")
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--threads", type=lambda text: [int(one) for one in text.split(",")], default=[1])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--peers",
        type=lambda text: [name for name in text.split(",") if name],
        default=list(race.goals),
        help=f"of {', '.join(race.their_arguments)}, or nothing",
    )
    parser.add_argument("--scale", action="store_true", help="twice the rows, the length, the parameters")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    return parser.parse_args()
