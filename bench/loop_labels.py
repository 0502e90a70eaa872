"""What labels that teach most are worth to the policy: one round by a selection rule beside one by random pairs.

    python -m bench.loop_labels --folder DIR [--labels 60 100 200] [--seeds 0 1 2] [--drawn 3]
        [--rules uniform thompson_d_optimal] [--noise 0.1] [--settings JSON]

Of each seed one SFT policy of the starter writes eight responses to every training prompt; simulated people are asked
about pairs of them as the product asks (batches of 20, a random fifth), or about random pairs; the stages `reward` and
`ppo` follow with the starter's settings. Judged by gold on held-out prompts against the SFT policy's samples, all
prompts and those that call for a refusal. Differences are paired by seed; their intervals are the bootstrap's over
seeds. Prints a line a round and, last, one JSON object.

A study of hours is run in parts: what is finished in a folder is not run again, a stage that was cut short goes on from
its checkpoint, seeds that were drawn stay drawn, and the tables are of everything that the folder holds. So the same
command goes on where it was stopped, other seeds, labels or rules add to it, and `--seeds` without any prints what is
there. A folder is of one noise and one choice of settings.
"""

import argparse
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.services.starter import DEMONSTRATIONS_PER_PROMPT
from app.simulation.comparison import duels, win_rate
from app.simulation.judge import texts_by_prompt
from app.starter import gold
from app.starter.prompts import normalised, subjects_by_prompt
from bench.active import Asked, Session
from bench.active_pool import SAMPLES, answered
from bench.loop_study import Study
from training.records import PreferenceRecord, Split

BATCH = 20
AHEAD = 2
RANDOM_SHARE = 0.2
RESAMPLES = 10_000
KEPT = "reached-"


@dataclass(frozen=True)
class Reached:
    """What a round with so many labels came to."""

    seed: int
    rule: str
    labels: int
    reward_accuracy: float
    win_rate: float
    refusals: float
    kl: float
    length_ratio: float

    def __str__(self) -> str:
        return (
            f"seed {self.seed:<7}{self.rule:<20}{self.labels:4d} labels  reward accuracy {self.reward_accuracy:.3f}  "
            f"gold {self.win_rate:.3f}, of refusals {self.refusals:.3f}  KL {self.kl:.2f}  length x "
            f"{self.length_ratio:.2f}"
        )


@dataclass(frozen=True)
class Gain:
    """Beyond random pairs, with 95 % of the bootstrap over `seeds` seeds."""

    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], {self.seeds} seeds"


def reached_in(study: Study, rule: str, labels: int) -> Reached:
    """What a round came to: from the study's folder, else it is turned now and kept there."""
    kept = study.folder / f"{KEPT}{rule}-{labels}.json"
    if not kept.exists():
        _write(kept, asdict(one_round(study, rule, labels)))
    return Reached(**json.loads(kept.read_text()))


def all_reached(folder: Path) -> list[Reached]:
    """Of every part of a study that was run in the folder, by labels, seed and rule."""
    found = [Reached(**json.loads(kept.read_text())) for kept in folder.glob(f"seed-*/{KEPT}*.json")]
    return sorted(found, key=lambda one: (one.labels, one.seed, one.rule))


def drawn_seeds(folder: Path, count: int) -> list[int]:
    """So many seeds that nobody chose, the same ones whenever this folder is gone on with."""
    file = folder / "drawn.json"
    drawn: list[int] = json.loads(file.read_text()) if file.exists() else []
    while len(drawn) < count:
        drawn.append(secrets.randbelow(10**6))
    _write(file, drawn)
    return drawn[:count]


def require_same(folder: Path, asked: Mapping[str, object]) -> None:
    """Raises SystemExit where the folder's other parts were asked for otherwise: their means would say nothing."""
    file = folder / "asked.json"
    if not file.exists():
        _write(file, asked)
    before = json.loads(file.read_text())
    if before != asked:
        raise SystemExit(f"{folder} is of a study with {before}, not {dict(asked)}: take another folder.")


def _write(file: Path, told: object) -> None:
    """Whole or not at all, should it be stopped meanwhile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".half")
    half.write_text(json.dumps(told))
    half.replace(file)


def one_round(study: Study, rule: str, labels: int) -> Reached:
    """Ask, learn, and measure."""
    sft = study.sft(DEMONSTRATIONS_PER_PROMPT)
    name = f"{rule}-{labels}"
    reward = study.reward(f"reward-{name}", sft, _labels(study, rule, labels), study.seed)
    policy = study.ppo(f"ppo-{name}", sft, reward, study.seed)
    outcome = study.outcome(name, 1, policy, sft, reward)
    evaluated = study.folder / f"{name}-1-evaluate"
    refusals = _refusal_rate(
        study,
        texts_by_prompt(evaluated / "completions.jsonl"),
        texts_by_prompt(evaluated / "reference_completions.jsonl"),
    )
    return Reached(
        study.seed,
        rule,
        labels,
        outcome.reward_accuracy,
        outcome.gold_win_rate,
        refusals,
        outcome.kl,
        outcome.length_ratio,
    )


def _labels(study: Study, rule: str, labels: int) -> list[PreferenceRecord]:
    pool, _ = answered(study.folder.parent, seed=study.seed)
    asked = Asked(study.folder, rule, study.noise, False, RANDOM_SHARE, len(pool.rows), SAMPLES, labels, BATCH, AHEAD)
    session = Session(pool, asked, study.seed)
    for _ in range(0, labels, BATCH):
        session.turn()
    rows = []
    for prompt, a, b, preference in session.said:
        key = study.train[prompt]
        split: Split = "validation" if key in study.validation else "train"
        texts = pool.texts[a], pool.texts[b]
        rows.append(PreferenceRecord(key, study.conversation(key), *texts, preference, split=split, source=rule))
    return rows


def _refusal_rate(study: Study, ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> float:
    prompts = {
        key: study.prompts[key].text
        for key in study.held_out
        if subjects_by_prompt()[normalised(study.prompts[key].text)].refusal_due
    }
    return win_rate(duels(prompts, ours, theirs, gold.score, tie_within=gold.TIE_BELOW), seed=0).rate


def gained(reached: Sequence[Reached], rule: str, labels: int, measure: str) -> Gain | None:
    """By how much a rule's rounds are better than random ones of the same seeds, with the interval over seeds; None
    where no seed has both."""
    by = {(one.rule, one.seed): float(getattr(one, measure)) for one in reached if one.labels == labels}
    both = [seed for of, seed in by if of == rule and ("uniform", seed) in by]
    if not both:
        return None
    gains = np.array([by[rule, seed] - by["uniform", seed] for seed in both])
    drawn = np.random.default_rng(0).integers(len(gains), size=(RESAMPLES, len(gains)))
    low, high = np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975])
    return Gain(float(gains.mean()), float(low), float(high), len(gains))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[60, 100, 200])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--rules", nargs="+", default=["uniform", "thompson_d_optimal"])
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--settings", type=json.loads, default={}, help='e.g. \'{"ppo": {"iterations": 20}}\'')
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    require_same(folder, {"noise": arguments.noise, "settings": arguments.settings})
    for seed in [*arguments.seeds, *drawn_seeds(folder, arguments.drawn)]:
        study = Study(folder, seed, 400, arguments.noise, arguments.settings)
        for labels in arguments.labels:
            for rule in arguments.rules:
                print(reached_in(study, rule, labels), flush=True)
    reached = all_reached(folder)
    report(reached)
    print(json.dumps({"bench": "loop_labels", "reached": [asdict(one) for one in reached]}))


def report(reached: Sequence[Reached]) -> None:
    """Gains over random pairs by labels and rule, of the seeds that have both."""
    for labels in sorted({one.labels for one in reached}):
        for rule in sorted({one.rule for one in reached if one.labels == labels} - {"uniform"}):
            for measure in ("win_rate", "refusals", "reward_accuracy"):
                if gain := gained(reached, rule, labels, measure):
                    print(f"{rule}, {labels} labels, {measure}: {gain}")


if __name__ == "__main__":
    main()
