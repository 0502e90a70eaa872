"""A small world in which a response is the better one if it says "kindly"."""

import json
import multiprocessing
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from training.config import ConfigError, read_config
from training.records import (
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    UnpairedRecord,
    conversation,
    write_records,
)
from training.runtime.checkpoint import CheckpointStore
from training.runtime.exit_codes import say_bad_input
from training.stages.execution import run_stage
from training.stages.registry import STAGES

GOOD_WORD = "kindly"
WORDS = ("bring", "some", "warm", "bread", "and", "a", "little", "soup", "for", "them", "now", GOOD_WORD)
THINGS = ("tea", "bread", "soup", "rice", "cake", "jam", "milk", "fish", "corn", "eggs", "figs", "nuts")
ARCHITECTURE = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "vocab_size": 340}
MAX_NEW_TOKENS = 16


def prompts() -> dict[str, Conversation]:
    return {
        f"{verb}-{thing}": conversation(("user", f"{verb} {thing}")) for verb in ("eat", "sell") for thing in THINGS
    }


def response(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 7)))


def preference_of(a: str, b: str) -> float:
    goodness = [text.split().count(GOOD_WORD) for text in (a, b)]
    return 0.5 if goodness[0] == goodness[1] else float(goodness[0] > goodness[1])


def write_world(folder: Path) -> None:
    """demonstrations, prompts, preferences, verdicts (and the first few of either) and held_out as JSONL files."""
    rng = random.Random(0)
    by_id = prompts()
    write_records(
        folder / "demonstrations.jsonl",
        [DemonstrationRecord(key, prompt, response(rng)) for key, prompt in by_id.items() for _ in range(25)],
    )
    write_records(
        folder / "held_out.jsonl", [DemonstrationRecord(key, prompt, response(rng)) for key, prompt in by_id.items()]
    )
    write_records(folder / "prompts.jsonl", [PromptRecord(key, prompt) for key, prompt in by_id.items()])
    preferences = _preferences(rng, by_id, 900)
    write_records(folder / "preferences.jsonl", preferences)
    write_records(folder / "few_preferences.jsonl", preferences[:240])
    verdicts = [verdict for pair in preferences[:450] for verdict in _verdicts(pair)]
    write_records(folder / "verdicts.jsonl", verdicts)
    write_records(folder / "few_verdicts.jsonl", verdicts[:240])


def _preferences(rng: random.Random, by_id: Mapping[str, Conversation], count: int) -> list[PreferenceRecord]:
    validation = set(list(by_id)[::4])
    records = []
    while len(records) < count:
        key = rng.choice(list(by_id))
        a, b = response(rng), response(rng)
        split = "validation" if key in validation else "train"
        records.append(PreferenceRecord(key, by_id[key], a, b, preference_of(a, b), 1.0, split, "toy"))  # type: ignore[arg-type]
    return records


def _verdicts(pair: PreferenceRecord) -> list[UnpairedRecord]:
    """Of a pair's responses, each by itself."""
    return [
        UnpairedRecord(pair.prompt_id, pair.prompt, text, GOOD_WORD in text.split(), split=pair.split, source="toy")
        for text in (pair.response_a, pair.response_b)
    ]


def write_config(path: Path, **settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seed": 0, **settings}, default=str))
    return path


def run(stage: str, out: Path, **settings: object) -> int:
    """A stage in this process; its exit code."""
    try:
        config = read_config(write_config(out.with_suffix(".json"), **settings), STAGES[stage])
    except ConfigError as error:
        return say_bad_input(error).code
    return run_stage(stage, config, out, threads=1)


def result(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / "result.json").read_text())
    return content


def metrics(out: Path) -> list[dict[str, object]]:
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def command(stage: str, config: Path, out: Path) -> subprocess.Popen[str]:
    """The real command."""
    where = ["--config", str(config), "--out", str(out), "--threads", "1", "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "training", stage, *where],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def child(stage: str, config: Path, out: Path, *, keep_checkpoints: bool = False) -> BaseProcess:
    """A stage in a process of its own, forked from one that has loaded torch already: the seconds that the command
    takes to load are nothing that a crash could spoil. `keep_checkpoints` leaves the last ones behind, to be looked at.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *(f"training.stages.{name}" for name in STAGES)])
    process = context.Process(target=_stage, args=(stage, config, out, keep_checkpoints))
    process.start()
    return process


def peak_file(out: Path) -> Path:
    """Where a `child` that came to its end says how many bytes it had in memory at most, its libraries too."""
    return out.with_suffix(".peak")


def exit_code(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def kill_after_progress(process: BaseProcess, out: Path, *, lines: int, delay_seconds: float) -> bool:
    """kill -9 once `metrics.jsonl` has so many lines and a little later; false if the child was faster."""
    while process.is_alive() and len(metrics_lines(out)) < lines:
        time.sleep(0.002)
    time.sleep(delay_seconds)
    process.kill()
    return exit_code(process) == -signal.SIGKILL


def metrics_lines(out: Path) -> list[bytes]:
    path = out / "metrics.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def _stage(stage: str, config: Path, out: Path, keep_checkpoints: bool) -> None:
    if keep_checkpoints:
        setattr(CheckpointStore, "clear", lambda self: None)  # noqa: B010  in this process alone
    code = run_stage(stage, read_config(config, STAGES[stage]), out, threads=1)
    peak_file(out).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    sys.exit(code)
