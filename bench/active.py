"""Labels that a selection rule spares: a head on the starter's pool, or on real votes, against random pairs.

    python -m bench.active --folder DIR [--seeds 16] [--rules uniform balanced thompson_d_optimal] [--noise 0.1]
        [--rare refusals] [--random-share 0.2] [--prompts 300] [--samples 8] [--labels 400] [--batch 20] [--processes 2]
    python -m bench.active --ukp ../shared/data [--seeds 16]
    python -m bench.active --folder DIR --people mixed [--seeds 16] [--noise 0.1]
    python -m bench.active --scale

Every seed has a pool, noise and draws of its own, which all rules share. R(N) = N / labels that a rule needs for what
random pairs reach with N, from means over seeds made monotone, with 95 % intervals of the bootstrap over seeds (0 where
it never gets there). Everybody's prior is chosen as the product chooses it: on pairs drawn at random, of which a rule
with a random slice has fewer. Prints tables and, last, one JSON object.
"""

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from app.services.selection.arrays import Floats
from app.services.selection.batch import choose
from app.services.selection.pool import pool_of
from app.services.selection.posterior import Judged, learn
from app.services.selection.rules import Pick
from app.starter import gold
from bench import active_people
from bench.active_pool import Answered, answered
from bench.active_votes import Votes, read_votes, votes_curve

MEASURES = ("accuracy", "refusals", "harmless", "best of 8")
REPORTED = (100, 200, 400)
RESAMPLES = 1_000
RARE_SHARE = 0.03
VOTES = 1_000
VOTES_OF_A_BATCH = 50
PEOPLES_LABELS = (200, 400, 800)


@dataclass(frozen=True)
class Asked:
    """How a seed's labels are asked for."""

    folder: Path
    rule: str
    noise: float
    rare: bool
    random_share: float
    prompts: int
    samples: int
    labels: int
    batch: int
    ahead: int


def curve(asked: Asked, seed: int) -> list[tuple[float, float, float, float]]:
    """The measures after every batch of labels."""
    everything, held_out = _answered(asked.folder)
    pool = _drawn(everything, asked, seed)
    session = Session(pool, asked, seed)
    measured = []
    for _ in range(0, asked.labels, asked.batch):
        session.turn()
        measured.append(held_out.test.accuracies(learn(session.judged()).mean_F))
    return measured


class Session:
    """Labelling as the product has it: slots by a coin, the random ones drawn first; the rest in batches, each made
    while the `ahead` batches before it are yet to be judged."""

    def __init__(self, pool: Answered, asked: Asked, seed: int) -> None:
        self._pool, self._asked = pool, asked
        self._rng = np.random.default_rng([seed, 1])
        self._free = [list(rows) for rows in pool.rows]
        slots = asked.labels if asked.rule != "uniform" else 0
        coin = self._rng.random(slots) < asked.random_share
        self._is_random = coin if slots else np.ones(asked.labels, dtype=bool)
        drawn = self._uniform(int(self._is_random.sum()))
        self._slots: list[tuple[int, int, int] | None] = [None] * asked.labels
        for slot, pair in zip(np.flatnonzero(self._is_random), drawn, strict=True):
            self._slots[slot] = pair
        self._made = 0
        self._judged: list[tuple[int, int, int, float, bool]] = []
        self._topics = {topic: number for number, topic in enumerate(dict.fromkeys(pool.topics))}

    def turn(self) -> None:
        """A batch more is judged."""
        done = len(self._judged)
        wanted = min(done + self._asked.batch * self._asked.ahead, self._asked.labels)
        while self._made < wanted:
            self._make(self._made, min(self._made + self._asked.batch, self._asked.labels))
        for slot in range(done, done + self._asked.batch):
            self._judge(slot)

    @property
    def said(self) -> list[tuple[int, int, int, float]]:
        """Of each judgement so far its prompt, the rows of both responses, and the preference for the first."""
        return [judged[:4] for judged in self._judged]

    def judged(self) -> Judged:
        rows = self._judged
        prompt_P, a_P, b_P = (np.array([row[column] for row in rows], dtype=np.int64) for column in range(3))
        feature_NF = self._pool.feature_NF
        return Judged(
            (feature_NF[a_P] - feature_NF[b_P]).astype(np.float64),
            np.array([row[3] for row in rows], dtype=np.float64),
            np.ones(len(rows)),
            prompt_P,
            np.array([row[4] for row in rows], dtype=bool),
        )

    def _make(self, start: int, stop: int) -> None:
        slots = [slot for slot in range(start, stop) if self._slots[slot] is None]
        for slot, pair in zip(slots, self._chosen(len(slots)), strict=True):
            self._slots[slot] = pair
        self._made = stop

    def _chosen(self, count: int) -> list[tuple[int, int, int]]:
        if not count:
            return []
        pool = pool_of(self._pool.feature_NF, self._free, self._pool.topics, self._pool.texts)
        asked_T = np.zeros(len(self._topics), dtype=np.int64)
        for pair in self._slots[: self._made]:
            assert pair is not None
            asked_T[self._topics[self._pool.topics[pair[0]]]] += 1
        judged = self.judged()
        batch = choose(self._asked.rule, pool, judged, size=2, count=count, asked_T=asked_T, rng=self._rng)
        picks = list(batch.picks)
        if len(picks) < count:  # the texts that are left say the same
            picks += [Pick(prompt, (a, b)) for prompt, a, b in self._uniform(count - len(picks))]
        return [self._take(pick.prompt, pick.rows[0], pick.rows[1]) for pick in picks]

    def _uniform(self, count: int) -> list[tuple[int, int, int]]:
        """No prompt twice before every prompt once."""
        drawn: list[tuple[int, int, int]] = []
        while len(drawn) < count:
            able = [prompt for prompt, rows in enumerate(self._free) if len(rows) > 1]
            for prompt in self._rng.permutation(able)[: count - len(drawn)]:
                a, b = self._rng.choice(self._free[prompt], 2, replace=False)
                drawn.append(self._take(int(prompt), int(a), int(b)))
        return drawn

    def _take(self, prompt: int, a: int, b: int) -> tuple[int, int, int]:
        self._free[prompt] = [row for row in self._free[prompt] if row not in (a, b)]
        return prompt, a, b

    def _judge(self, slot: int) -> None:
        pair = self._slots[slot]
        assert pair is not None
        prompt, a, b = pair
        gap = self._pool.gold_N[a] - self._pool.gold_N[b]
        wrong = np.random.default_rng([a, b, slot]).random() < self._asked.noise
        preference = 0.5 if abs(gap) < gold.TIE_BELOW else float((gap > 0) != wrong)
        self._judged.append((prompt, a, b, preference, bool(self._is_random[slot])))


def _drawn(everything: Answered, asked: Asked, seed: int) -> Answered:
    """The seed's own pool; where refusals are rare, few of its prompts call for one."""
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(len(everything.rows))
    if asked.rare:
        due = order[everything.refusal_P[order]][: round(RARE_SHARE * asked.prompts)]
        others = order[~everything.refusal_P[order]][: asked.prompts - len(due)]
        order = rng.permutation(np.concatenate([due, others]))
    pool = everything.only(order[: asked.prompts])
    return replace(pool, rows=[list(rows)[: asked.samples] for rows in pool.rows])


@cache
def _answered(folder: Path) -> tuple[Answered, Answered]:
    return answered(folder, seed=0)


def needed(curve_B: Floats, batch: int, level: float) -> float:
    """Labels until the monotone curve reaches `level`, interpolated; infinite if it never does."""
    monotone = np.maximum.accumulate(curve_B)
    reached = np.flatnonzero(monotone >= level)
    if not len(reached):
        return float("inf")
    place = int(reached[0])
    if place == 0:
        return float(batch)
    below, above = monotone[place - 1], monotone[place]
    return batch * (place + float((level - below) / (above - below)))


def ratio(active_SB: Floats, random_SB: Floats, batch: int, labels: int) -> float:
    """R(N) of means over seeds."""
    at = labels // batch - 1
    level = float(np.maximum.accumulate(random_SB.mean(axis=0))[at])
    spent = needed(random_SB.mean(axis=0), batch, level)
    return spent / needed(active_SB.mean(axis=0), batch, level)


def with_interval(active_SB: Floats, random_SB: Floats, batch: int, labels: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(active_SB), size=(RESAMPLES, len(active_SB)))
    found = [ratio(active_SB[seeds], random_SB[seeds], batch, labels) for seeds in drawn]
    low, high = np.quantile(found, [0.025, 0.975])
    return ratio(active_SB, random_SB, batch, labels), float(low), float(high)


def mean_difference(active_SB: Floats, random_SB: Floats) -> tuple[float, float, float]:
    """Over the curve, in points, paired by seed."""
    gain_S = 100 * (active_SB - random_SB).mean(axis=1)
    rng = np.random.default_rng(0)
    means = gain_S[rng.integers(len(gain_S), size=(RESAMPLES, len(gain_S)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(gain_S.mean()), float(low), float(high)


def report(curves: Mapping[str, Floats], batch: int) -> dict[str, object]:
    """Tables of curves (seeds, batches, measures), rules beside `uniform`."""
    random_SBM = curves["uniform"]
    found: dict[str, object] = {}
    reported = [labels for labels in REPORTED if labels <= random_SBM.shape[1] * batch]
    for measure, name in enumerate(MEASURES):
        print(f"\n{name}")
        print(f"{'rule':<22}" + "".join(f"{f'at {labels}':>9}" for labels in reported), end="")
        print("".join(f"{f'R({labels})':>22}" for labels in reported) + f"{'points over the curve':>26}")
        for rule, curve_SBM in curves.items():
            here, random_SB = curve_SBM[:, :, measure], random_SBM[:, :, measure]
            at = [float(here[:, labels // batch - 1].mean()) for labels in reported]
            ratios = [with_interval(here, random_SB, batch, labels) for labels in reported]
            points = mean_difference(here, random_SB)
            print(f"{rule:<22}" + "".join(f"{value:9.3f}" for value in at), end="")
            print("".join(f"{_told(each):>22}" for each in ratios) + f"{_told(points):>26}")
            found[f"{rule}, {name}"] = {"at": at, "ratios": ratios, "points": points}
    return found


def _told(value: Sequence[float]) -> str:
    middle, low, high = value
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def scale(prompts: int, samples: int, features: int, count: int) -> None:
    """Time and memory of a batch from a large pool whose features lie in a file, each in a process of its own."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, rng.standard_normal((prompts * samples, features), dtype=np.float32))
        for rule in ("thompson_d_optimal", "vcp", "drts", "balanced"):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found = process.submit(_one_batch, path, rule, samples, count).result()
            print(f"{rule:<22}{prompts:7d} x {samples}, {features} features, {count} asked: {found}", flush=True)


def _one_batch(path: Path, rule: str, samples: int, count: int) -> str:
    feature_NF = np.load(path, mmap_mode="r")
    before = _peak_megabytes()
    a_P, b_P = np.arange(0, 8_000, 8), np.arange(1, 8_000, 8)
    difference_PF = (feature_NF[a_P] - feature_NF[b_P]).astype(np.float64)
    said_P = (difference_PF[:, 0] > 0).astype(np.float64)
    judged = Judged(difference_PF, said_P, np.ones(len(a_P)), np.arange(len(a_P)), np.arange(len(a_P)) % 5 == 0)
    wall, processor = time.perf_counter(), time.process_time()
    learn(judged)
    learnt = time.process_time() - processor
    wall, processor = time.perf_counter(), time.process_time()
    rows = [range(start, start + samples) for start in range(0, len(feature_NF), samples)]
    texts = [f"response {row}" for row in range(len(feature_NF))]
    pool = pool_of(np.array(feature_NF), rows, ["topic"] * len(rows), texts)
    none = np.zeros(1, dtype=np.int64)
    choose(rule, pool, judged, size=2, count=count, asked_T=none, rng=np.random.default_rng(0))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return (
        f"{wall:.2f} s, {processor:.2f} of the processor, of which the head of {len(judged)} judgements "
        f"{learnt:.2f}; {before:.0f} MB before, {_peak_megabytes():.0f} at most"
    )


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def on_votes(folder: Path, rules: Sequence[str], seeds: int, random_share: float, processes: int) -> None:
    """Accuracy on unseen topics of real votes, and rules beside random over the curve."""
    votes = read_votes(folder)
    found: dict[str, object] = {}
    curves: dict[str, Floats] = {}
    with ProcessPoolExecutor(processes) as pool:
        for rule in dict.fromkeys(["uniform", *rules]):
            work = partial(_on_votes, votes, rule, labels=VOTES, batch=VOTES_OF_A_BATCH, random_share=random_share)
            curves[rule] = np.array(list(pool.map(work, range(seeds))))
            points = mean_difference(curves[rule], curves["uniform"])
            at = {labels: float(curves[rule][:, labels // VOTES_OF_A_BATCH - 1].mean()) for labels in (200, 500, VOTES)}
            told = "  ".join(f"at {labels} {value:.3f}" for labels, value in at.items())
            print(f"{rule:<22}{told}  points over the curve {_told(points)}", flush=True)
            found[rule] = {"at": at, "points": points}
    print(json.dumps({"bench": "active, real votes", "seeds": seeds, "found": found}))


def _on_votes(votes: Votes, rule: str, seed: int, *, labels: int, batch: int, random_share: float) -> list[float]:
    return votes_curve(votes, rule, labels=labels, batch=batch, random_share=random_share, seed=seed)


def of_people(folder: Path, noise: float, seeds: int) -> None:
    """Random pairs, each judged once by one of thirteen people of five kinds."""
    pool, held_out = _answered(folder)
    found: dict[str, object] = {}
    for labels in PEOPLES_LABELS:
        print(f"\n{f'{labels} labels':<36}{'accuracy':>8}{'of the gap to clean':>24}")
        rows = [active_people.accuracies(pool, held_out, noise, labels, seed) for seed in range(seeds)]
        found[str(labels)] = active_people.report(np.array(rows))
    print(json.dumps({"bench": "active, mixed people", "seeds": seeds, "noise": noise, "goal": 0.6, "found": found}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ukp", type=Path)
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rules", nargs="+", default=["balanced", "thompson_d_optimal"])
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--rare", choices=["refusals"])
    parser.add_argument("--people", choices=["mixed"])
    parser.add_argument("--random-share", type=float, default=0.2)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--ahead", type=int, default=2, help="batches that are made before they are judged")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.scale:
        for prompts in (2_500, 5_000, 10_000):
            scale(prompts, 8, 256, 20)
        return
    if chosen.ukp is not None:
        on_votes(chosen.ukp, chosen.rules, chosen.seeds, chosen.random_share, chosen.processes)
        return
    if chosen.folder is None:
        parser.error("--folder says where the pool is made")
    _answered(chosen.folder)
    if chosen.people is not None:
        of_people(chosen.folder, chosen.noise, chosen.seeds)
        return
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    curves: dict[str, Floats] = {}
    with ProcessPoolExecutor(chosen.processes) as processes:
        for rule in dict.fromkeys(["uniform", *chosen.rules]):
            asked = Asked(
                chosen.folder, rule, chosen.noise, chosen.rare is not None, chosen.random_share, chosen.prompts,
                chosen.samples, chosen.labels, chosen.batch, chosen.ahead,
            )  # fmt: skip
            began = time.monotonic()
            curves[rule] = np.array(list(processes.map(partial(curve, asked), seeds)))
            print(f"{rule}: {time.monotonic() - began:.0f} s", flush=True)
    print(json.dumps({"bench": "active", "seeds": chosen.seeds, "found": report(curves, chosen.batch)}))


if __name__ == "__main__":
    main()
