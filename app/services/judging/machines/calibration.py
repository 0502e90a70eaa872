"""How far a judge can be trusted: by pairs that people judged, too, chosen without looking at how easy they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, and_, cast, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judge, JudgeAnswer, Judgement
from app.services import conditions
from app.services.judging.agreement import sides
from app.services.judging.agreement.intervals import Z, wilson
from app.services.judging.machines.settings import JudgeSettings

MOST_ANSWERS = 5_000
"""The newest of a judge, all that is computed here goes by."""


@dataclass(frozen=True)
class Share:
    """A share of `count`, with its interval of 95 %."""

    share: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """What is known of a judge.

    `shared` are pairs whose majority of people took a side and that it answered; those that the head was sure of are
    none of them. `agreement`: of those on which it took a side, where that was people's. `log_loss`, in nats, is of
    its answer on the shared pairs after a temperature that the others fit, beside ln 2 for a coin; `temperature` is
    that of all, None where it is no better than a coin. `flips`: of the pairs it answered, where it named the same
    side in both orders; `first_side`: of the replies that took one, those for what was shown first.
    `weight` is what its judgements count in training, beside 1 for a person's.
    """

    answered: int
    abstained: int
    ties: int
    shared: int
    agreement: Share | None
    flips: Share | None
    first_side: Share | None
    temperature: float | None
    log_loss: float | None
    weight: float
    is_calibrated: bool
    tokens: int


@dataclass(frozen=True)
class Told:
    """One answer, and what people said of the pair: above 0 more of them for position 0, null where nobody did."""

    outcome: str
    chosen_as: str
    saids: tuple[str | None, ...]
    people: int | None

    @property
    def is_shared(self) -> bool:
        return bool(self.people) and self.outcome != "abstained" and self.chosen_as != "sure"

    @property
    def score(self) -> int:
        """1 where it agrees with people, -1 where it says the opposite, 0 where it took no side."""
        side = {"first": 1, "second": -1}.get(self.outcome, 0)
        return side if (self.people or 0) > 0 else -side


async def measure(db: AsyncSession, judge: Judge, settings: JudgeSettings) -> Calibration:
    """What a judge's newest answers show."""
    tokens = await db.scalar(
        select(cast(func.coalesce(func.sum(JudgeAnswer.tokens), 0), BigInteger)).where(JudgeAnswer.judge_id == judge.id)
    )
    return calibrated(await _told(db, judge), settings, tokens or 0)


async def weights(db: AsyncSession, judges: Sequence[Judge], settings: JudgeSettings) -> dict[int, float]:
    """What the judgements of each count in training, by the id of its user; of those alone that count at all."""
    if not settings.counts:
        return {}
    measured = {judge.user_id: await measure(db, judge, settings) for judge in judges}
    return {user_id: found.weight for user_id, found in measured.items() if found.is_calibrated}


def calibrated(told: Sequence[Told], settings: JudgeSettings, tokens: int) -> Calibration:
    """The figures of these answers.

    A vote that is right with probability a has the log-likelihood log(a p + (1 - a)(1 - p)). Where nothing is known yet
    of the pair, at margin 0, its slope is (2a - 1) / 2, that of a vote which is always right 1/2: so the weight is
    2a - 1. Of a the lower bound is taken, so that few shared pairs can't make much of a judge.
    """
    answered = [answer for answer in told if answer.outcome != "abstained"]
    shared = [answer.score for answer in told if answer.is_shared]
    decided = [score for score in shared if score]
    agreement = share_of(sum(score > 0 for score in decided), len(decided))
    weight = max(0.0, 2 * agreement.low - 1) if agreement else 0.0
    return Calibration(
        answered=len(answered),
        abstained=len(told) - len(answered),
        ties=sum(answer.outcome == "tie" for answer in answered),
        shared=len(shared),
        agreement=agreement,
        flips=share_of(sum(answer.outcome == "flip" for answer in answered), len(answered)),
        first_side=_first_side(answered),
        temperature=_temperature(_likely(sum(score > 0 for score in decided), len(decided))),
        log_loss=_log_loss(shared),
        weight=weight,
        is_calibrated=len(shared) >= settings.shared_pairs and weight > 0,
        tokens=tokens,
    )


def share_of(successes: float, count: int) -> Share | None:
    """With Wilson's interval; None of nothing."""
    return Share(successes / count, *wilson(successes / count, count), count) if count else None


def _first_side(answered: Sequence[Told]) -> Share | None:
    """By pairs, since the two replies to one belong together: without a lean they name each side once."""
    by_pair = [
        saids.count("A") / len(saids)
        for answer in answered
        if (saids := [said for said in answer.saids if said in ("A", "B")])
    ]
    if not by_pair:
        return None
    mean = sum(by_pair) / len(by_pair)
    if len(by_pair) < 2:
        return Share(mean, 0.0, 1.0, len(by_pair))
    variance = sum((value - mean) ** 2 for value in by_pair) / (len(by_pair) - 1)
    half = Z * math.sqrt(variance / len(by_pair))
    return Share(mean, max(0.0, mean - half), min(1.0, mean + half), len(by_pair))


def _likely(right: int, decided: int) -> float:
    """How likely a side that it takes is people's, held off 0 and 1 as if it had been half right once more."""
    return (right + 0.5) / (decided + 1)


def _temperature(right: float) -> float | None:
    """T where sigma(1 / T) is how likely it is right."""
    return 1 / math.log(right / (1 - right)) if right > 0.5 else None


def _log_loss(shared: Sequence[int]) -> float | None:
    """Each pair by the temperature that the others fit."""
    if len(shared) < 2:
        return None
    right, wrong = shared.count(1), shared.count(-1)
    loss = shared.count(0) * math.log(2)
    if right:
        loss -= right * math.log(max(0.5, _likely(right - 1, right + wrong - 1)))
    if wrong:
        loss -= wrong * math.log(1 - max(0.5, _likely(right, right + wrong - 1)))
    return loss / len(shared)


async def _told(db: AsyncSession, judge: Judge) -> list[Told]:
    newest = (
        select(JudgeAnswer)
        .where(JudgeAnswer.judge_id == judge.id)
        .order_by(JudgeAnswer.id.desc())
        .limit(MOST_ANSWERS)
        .subquery()
    )
    side = sides.of_two()
    people = (
        select(Judgement.task_id, cast(func.sum(func.sign(side.c.level)), BigInteger).label("sum"))
        .join(side, true())
        .where(
            *conditions.labels_of(judge.project_id),
            Judgement.task_id.in_(select(newest.c.task_id)),
            side.c.first == 0,
            side.c.second == 1,
        )
        .group_by(Judgement.task_id)
        .subquery()
    )
    rows = await db.execute(
        select(newest.c.outcome, newest.c.chosen_as, newest.c.replies, people.c.sum).outerjoin(
            people, and_(people.c.task_id == newest.c.task_id)
        )
    )
    return [
        Told(outcome, chosen_as, tuple(reply["said"] for reply in replies), sum_)
        for outcome, chosen_as, replies, sum_ in rows
    ]
