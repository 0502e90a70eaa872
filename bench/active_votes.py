"""Selection on real votes: UKPConvArg1, of which one raw vote a pair is learnt, judged on topics that nobody was asked
about (Habernal and Gurevych 2016)."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.services.selection.arrays import Floats, Whole
from app.services.selection.batch import choose
from app.services.selection.pool import pool_of
from app.services.selection.posterior import Judged, learn

COMPONENTS = 100
TRAIN_TOPICS = 24
FEWEST_TEXTS = 3
"""In which a feature of a text is to be; what is in fewer says little of other topics."""
MOST_TERMS = 20_000
CHOICES = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Votes:
    """Pairs of arguments with all votes on them, and who gave each; `gold_P` is 1, 0, or ½ where there is none. Two
    topics, one for each side, belong to one debate."""

    feature_NF: Floats
    texts: Sequence[str]
    topic_P: Whole
    a_P: Whole
    b_P: Whole
    votes: Sequence[Sequence[float]]
    voters: Sequence[Sequence[int]]
    gold_P: Floats
    debate_T: Whole


def read_votes(folder: Path) -> Votes:
    with gzip.open(folder / "ukp-convarg1-votes.jsonl.gz", "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    places = {
        text: n for n, text in enumerate(dict.fromkeys(text for pair in pairs for text in (pair["a"], pair["b"])))
    }
    topics = {topic: n for n, topic in enumerate(sorted({pair["topic"] for pair in pairs}))}
    given = [[vote for vote in pair["votes"] if vote["choice"] in CHOICES] for pair in pairs]
    people = {name: n for n, name in enumerate(dict.fromkeys(vote["annotator"] for of in given for vote in of))}
    return Votes(
        _features(list(places)),
        list(places),
        np.array([topics[pair["topic"]] for pair in pairs]),
        np.array([places[pair["a"]] for pair in pairs]),
        np.array([places[pair["b"]] for pair in pairs]),
        [[CHOICES[vote["choice"]] for vote in of] for of in given],
        [[people[vote["annotator"]] for vote in of] for of in given],
        np.array([CHOICES.get(pair["gold"], 0.5) for pair in pairs]),
        np.unique([topic.partition("_")[0] for topic in topics], return_inverse=True)[1],
    )


def votes_curve(votes: Votes, rule: str, *, labels: int, batch: int, random_share: float, seed: int) -> list[float]:
    """Accuracy on unseen topics after every batch. Each pair is a prompt of two responses; nobody judges one twice."""
    draw, rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    seen = draw.permutation(int(votes.topic_P.max()) + 1)[:TRAIN_TOPICS]
    vote_P = np.array([draw.choice(given) if given else 0.5 for given in votes.votes])
    left = list(np.flatnonzero(np.isin(votes.topic_P, seen)))
    test = np.flatnonzero(~np.isin(votes.topic_P, seen) & (votes.gold_P != 0.5))
    asked: list[tuple[int, bool]] = []
    measured = []
    while len(asked) < labels:
        coin = int((rng.random(batch) < (1.0 if rule == "uniform" else random_share)).sum())
        drawn = rng.choice(left, coin, replace=False) if coin else np.zeros(0, dtype=np.int64)
        left = sorted(set(left) - set(drawn))
        rows = [(votes.a_P[pair], votes.b_P[pair]) for pair in left]
        pool = pool_of(votes.feature_NF, rows, [int(votes.topic_P[pair]) for pair in left], votes.texts)
        none = np.zeros(0, dtype=np.int64)
        picks = [] if coin == batch else choose(
            rule, pool, _judged(votes, vote_P, asked), size=2, count=batch - coin, asked_T=none, rng=rng
        ).picks  # fmt: skip
        chosen = [left[pick.prompt] for pick in picks]
        left = sorted(set(left) - set(chosen))
        asked += [(int(pair), True) for pair in drawn] + [(int(pair), False) for pair in chosen]
        score_N = votes.feature_NF @ learn(_judged(votes, vote_P, asked)).mean_F
        right = (score_N[votes.a_P[test]] > score_N[votes.b_P[test]]) == (votes.gold_P[test] == 1)
        measured.append(float(right.mean()))
    return measured


def _judged(votes: Votes, vote_P: Floats, asked: Sequence[tuple[int, bool]]) -> Judged:
    pairs = np.array([pair for pair, _ in asked], dtype=np.int64)
    difference = votes.feature_NF[votes.a_P[pairs]] - votes.feature_NF[votes.b_P[pairs]]
    is_random = np.array([drawn for _, drawn in asked], dtype=bool)
    return Judged(difference.astype(np.float64), vote_P[pairs], np.ones(len(pairs)), votes.a_P[pairs], is_random)


def _features(texts: Sequence[str]) -> Floats:
    """Latent semantic analysis of words and of four letters in a row, each by its largest components, and what is seen
    without reading: length in words and letters, sentences, capitals."""
    counted = [Counter(_terms(text)) for text in texts]
    spread = Counter(term for counts in counted for term in counts)
    known = [term for term, count in spread.most_common(MOST_TERMS) if count >= FEWEST_TEXTS]
    place = {term: number for number, term in enumerate(known)}
    weight_NT = np.zeros((len(texts), len(known)), dtype=np.float32)
    for row, counts in enumerate(counted):
        for term, count in counts.items():
            if term in place:
                weight_NT[row, place[term]] = (1 + np.log(count)) * np.log(len(texts) / spread[term])
    weight_NT /= np.linalg.norm(weight_NT, axis=1, keepdims=True).clip(1e-9)
    value_N, vector_NN = np.linalg.eigh((weight_NT @ weight_NT.T).astype(np.float64))
    latent = vector_NN[:, -COMPONENTS:] * np.sqrt(value_N[-COMPONENTS:].clip(0))
    surface = np.array([_surface(text) for text in texts])
    latent /= latent.std() * np.sqrt(COMPONENTS / 10)
    surface = (surface - surface.mean(axis=0)) / surface.std(axis=0)
    return np.concatenate([latent, surface], axis=1)


def _terms(text: str) -> list[str]:
    lower = text.casefold()
    return [*re.findall(r"\w+", lower), *(f"#{lower[start : start + 4]}" for start in range(len(lower) - 3))]


def _surface(text: str) -> list[float]:
    words = re.findall(r"\w+", text)
    capitals = sum(letter.isupper() for letter in text)
    return [
        float(np.log1p(len(words))),
        float(np.log1p(len(text))),
        float(np.log1p(len(re.findall(r"[.!?]+", text)))),
        capitals / max(1, len(text)),
        len(set(map(str.casefold, words))) / max(1, len(words)),
    ]
