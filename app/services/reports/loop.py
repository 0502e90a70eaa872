"""The loop as a whole: what labels taught, what policies gained, what the next round will look at, and what would start
it. Heads learn from what people said of responses that a model has read; a head is what reward models' teachers are.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.loop.models import models
from app.services.loop.settings.triggers import Signs
from app.services.reports import loop_evidence
from app.services.reports.loop_evidence import Evidence
from app.services.reports.report import Report
from app.services.reports.turns import Turn, turns
from app.services.selection import frontier, learning_curve, posterior, signs
from app.services.selection.frontier import Judges, Rate, Samples
from app.services.selection.learning_curve import Curve, Worth
from app.services.selection.posterior import Judged

BEST_OF = (2, 3, 4, 6, 8, 12)
FEWEST_PROMPTS_OF_A_TOPIC = 3
TOPICS_TOLD = 5
FEWEST_LABELS = 10
"""Of fewer no head is asked about anything."""
FEWEST_VOTES = 10
"""So many make a share."""
FIRST_LABELS = 200
"""After which something can usually be told, a fifth of them being random."""

Votes = Mapping[int, Sequence[float]]
"""What people said of each policy against the first one."""


@dataclass(frozen=True)
class Learned:
    """Share of held-out judgements that are got right with so many labels: by a head that learnt from pairs as they
    were asked, by one of random pairs alone as the law of its curve has it, and by reward models."""

    labels: int
    as_asked: float | None = None
    random: float | None = None
    random_low: float | None = None
    random_high: float | None = None
    reward_model: float | None = None


@dataclass(frozen=True)
class Gain:
    """What is won over the first policy at so many nats from it: by a policy, or by the best of n samples of the first
    one. `policy` and `best_of` are by a head, `by_reward` is by the policy's own reward model, `by_people` by `votes`.
    """

    name: str
    kl: float
    policy: float | None = None
    best_of: float | None = None
    low: float | None = None
    high: float | None = None
    by_reward: float | None = None
    by_people: float | None = None
    votes: int | None = None


@dataclass(frozen=True)
class Look:
    """A topic, and by how much a head's answers about it may be off."""

    topic: str
    prompts: int
    unsure: float


@dataclass(frozen=True)
class Loop:
    """`labels` are those that a head learnt from, `random_labels` those among them that chance chose. `is_read`: a
    model has read responses, without which nothing is told but what rounds have left. `worth`: None where what people
    said doesn't tell the head anything."""

    turns: tuple[Turn, ...]
    is_read: bool = False
    labels: int = 0
    random_labels: int = 0
    learned: tuple[Learned, ...] = ()
    worth: Worth | None = None
    gains: tuple[Gain, ...] = ()
    looks: tuple[Look, ...] = ()
    signs: Signs | None = None


async def compute(db: AsyncSession, project: Project) -> Loop:
    """What takes long runs in a thread, so that the worker's other jobs go on."""
    found = await turns(db, project.id)
    policy_ids = [turn.policy_id for turn in found if turn.policy_id is not None]
    first = await models.reference_policy(db, project.id)
    votes = await loop_evidence.votes_over(db, project.id, first.id) if first is not None else {}
    evidence = await loop_evidence.gather(db, project, policy_ids)
    return await asyncio.to_thread(told, found, evidence, votes, seed=project.id)


LOOP = Report("loop", phrase("Rounds"), Loop, compute)


def told(found: tuple[Turn, ...], evidence: Evidence | None, votes: Votes, *, seed: int) -> Loop:
    """All of it; of what no model has read, what rounds have left alone."""
    own = _by_reward_models(found)
    bare = Loop(found, evidence is not None, learned=_merged(own), gains=_policies(found, votes))
    if evidence is None:
        return bare
    judged = evidence.judged
    labels = len(np.unique(evidence.judgement_P))
    if labels < FEWEST_LABELS:
        return replace(bare, labels=labels, worth=Worth("too_few", FIRST_LABELS - labels))
    if not np.isfinite(judged.difference_PF).all():
        return replace(bare, labels=labels)
    drawn = len(np.unique(evidence.judgement_P[judged.is_random_P]))
    try:
        # Of the pairs that chance drew alone, and so the same for all of these.
        strength = posterior.suitable_strength(judged)
        curve = learning_curve.measured(judged, labels=labels, seed=seed, strength=strength)
        by_chance = _curve_of_chance(judged, drawn, labels, seed, strength)
        judges = Judges.of(judged, strength=strength)
        return Loop(
            found,
            True,
            labels,
            drawn,
            _merged([*own, *_as_asked(curve), *_by_chance(by_chance, curve, own)]),
            learning_curve.worth(judged, curve, labels=labels),
            _gains(found, evidence, judges, votes),
            _looks(evidence, strength),
            _signs(evidence, seed),
        )
    except np.linalg.LinAlgError:
        # Features that say nothing of what people prefer: rounds' own figures are all that can be told.
        return replace(bare, labels=labels, random_labels=drawn)


def _by_reward_models(found: tuple[Turn, ...]) -> list[Learned]:
    """Oldest first, so that of two that learnt from as many the newer one is told."""
    return [
        Learned(turn.judgements, reward_model=turn.accuracy)
        for turn in reversed(found)
        if turn.judgements is not None and turn.accuracy is not None
    ]


def _as_asked(curve: Curve | None) -> list[Learned]:
    if curve is None:
        return []
    measured = zip(curve.label_S.tolist(), curve.accuracy_S.tolist(), strict=True)
    return [Learned(round(labels), as_asked=accuracy) for labels, accuracy in measured]


def _curve_of_chance(judged: Judged, drawn: int, labels: int, seed: int, strength: float) -> Curve | None:
    """Where chance chose everything, the other curve is this one."""
    if drawn == labels:
        return None
    by_chance = judged.only(judged.is_random_P)
    return learning_curve.measured(by_chance, labels=drawn, seed=seed, strength=strength)


def _by_chance(by_chance: Curve | None, curve: Curve | None, own: list[Learned]) -> list[Learned]:
    """At the numbers of labels that the others are told for."""
    if by_chance is None or curve is None:
        return []
    numbers = sorted({round(labels) for labels in curve.label_S} | {one.labels for one in own} | {curve.labels})
    return [Learned(labels, None, *by_chance.at(labels)) for labels in numbers]


def _merged(points: list[Learned]) -> tuple[Learned, ...]:
    """One row for each number of labels."""
    rows: dict[int, Learned] = {}
    for point in points:
        known = {name: value for name, value in vars(point).items() if value is not None}
        rows[point.labels] = replace(rows.get(point.labels, point), **known)
    return tuple(rows[labels] for labels in sorted(rows))


def _gains(found: tuple[Turn, ...], evidence: Evidence, judges: Judges, votes: Votes) -> tuple[Gain, ...]:
    if evidence.first is None:
        return _policies(found, votes)
    first = _read(evidence, evidence.first)
    rates: dict[int | None, Rate | None] = {
        turn.policy_id: frontier.win_rate(judges, _read(evidence, turn.policy_id), first)
        for turn in found
        if turn.policy_id in evidence.samples and turn.reference_id == evidence.first
    }
    best = [
        Gain(str(number), frontier.kl_of_best(number), None, rate.mean, rate.low, rate.high)
        for number in BEST_OF
        if (rate := frontier.best_of(judges, first, number)) is not None
    ]
    return tuple(sorted([*_policies(found, votes, rates), *best], key=lambda gain: gain.kl))


def _policies(
    found: tuple[Turn, ...], votes: Votes, rates: Mapping[int | None, Rate | None] | None = None
) -> tuple[Gain, ...]:
    """Policies that were measured against the one they are held near."""
    gains = []
    for turn in found:
        if turn.kl is None or turn.policy is None:
            continue
        rate = (rates or {}).get(turn.policy_id)
        gain = Gain(f"#{turn.policy}", max(0.0, turn.kl), by_reward=turn.win_rate)
        said = votes.get(turn.policy_id or 0, ())
        if len(said) >= FEWEST_VOTES:
            gain = replace(gain, by_people=float(np.mean(said)), votes=len(said))
        gains.append(gain if rate is None else replace(gain, policy=rate.mean, low=rate.low, high=rate.high))
    return tuple(sorted(gains, key=lambda gain: gain.kl))


def _read(evidence: Evidence, policy_id: int | None) -> Samples:
    assert policy_id is not None
    return {prompt_id: evidence.of(rows) for prompt_id, rows in evidence.samples[policy_id].rows.items()}


def _looks(evidence: Evidence, strength: float) -> tuple[Look, ...]:
    """Topics by how unsure the head is of two responses to one prompt, most first."""
    if evidence.in_use is None:
        return ()
    asked = [
        (topic, rows[0], rows[1])
        for prompt_id, rows in evidence.samples[evidence.in_use].rows.items()
        if len(rows) > 1 and (topic := evidence.topics.get(prompt_id)) is not None
    ]
    if not asked:
        return ()
    head = posterior.fit(evidence.judged, strength=strength)
    topics, one, other = zip(*asked, strict=True)
    unsure_P = head.unsure(evidence.of(one) - evidence.of(other))  # noqa: N806 - its shape
    by_topic: defaultdict[str, list[float]] = defaultdict(list)
    for topic, unsure in zip(topics, unsure_P.tolist(), strict=True):
        by_topic[topic].append(unsure)
    looks = [
        Look(topic, len(found), float(np.mean(found)))
        for topic, found in by_topic.items()
        if len(found) >= FEWEST_PROMPTS_OF_A_TOPIC
    ]
    return tuple(sorted(looks, key=lambda look: -look.unsure)[:TOPICS_TOLD])


def _signs(evidence: Evidence, seed: int) -> Signs:
    is_known_P = evidence.judgement_P <= evidence.learnt_up_to  # noqa: N806 - its shape
    is_new_P = ~is_known_P & evidence.judged.is_random_P  # noqa: N806 - its shape
    known_P, new_P = evidence.judgement_P[is_known_P], evidence.judgement_P[is_new_P]  # noqa: N806 - their shape
    drift = signs.drift(evidence.judged.only(is_known_P), known_P, evidence.judged.only(is_new_P), new_P)
    return Signs(drift, len(np.unique(new_P)), evidence.reward_id, _outlying(evidence, seed), evidence.in_use)


def _outlying(evidence: Evidence, seed: int) -> float | None:
    if evidence.first is None or evidence.in_use is None or evidence.first == evidence.in_use:
        return None
    usual, fresh = (evidence.of(evidence.samples[policy].all) for policy in (evidence.first, evidence.in_use))
    return signs.outlying(usual, fresh, seed=seed)
