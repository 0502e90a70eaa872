"""Rounds as they turned out: what each asked, what was learnt, what its policy gained, what its gates said."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Gate, ModelVersion, Round, Run
from app.services.loop.asking import asked
from app.services.loop.gates import label_need
from app.services.loop.models import models
from app.services.loop.settings.round_settings import settings_of_round

MOST_ROUNDS = 50
FEWEST_PAIRS = 10
"""So many pairs make a share; of fewer none is told."""


@dataclass(frozen=True)
class Turn:
    """One round. `accuracy` is its reward model's agreement with `pairs` held-out judgements after it learnt from
    `judgements`; `win_rate` how often its policy is preferred over `reference`, the policy that it is held near, by the
    reward model, at `kl` nats from it. None where it wasn't measured, or on too few. Gates: passed or refused.
    """

    round: int
    status: str
    trigger: str | None
    trigger_figure: float | None
    trigger_bound: float | None
    rule: str | None
    random_pairs: int
    chosen_pairs: int
    judgements: int | None
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    pairs: int | None
    reward_gate: str | None
    policy_id: int | None
    policy: int | None
    reference_id: int | None
    reference: int | None
    win_rate: float | None
    win_rate_low: float | None
    win_rate_high: float | None
    kl: float | None
    policy_gate: str | None
    vote_gate: str | None
    overridden_step: str | None
    overridden_because: str | None


async def turns(db: AsyncSession, project_id: int, *, most: int = MOST_ROUNDS) -> tuple[Turn, ...]:
    """The newest rounds, newest first, in a handful of queries however many they are."""
    of_project = select(Round).where(Round.project_id == project_id)
    found = list(await db.scalars(of_project.order_by(Round.number.desc()).limit(most)))
    made = await _versions(db, {one for round_ in found for one in (round_.reward_id, round_.policy_id)})
    references = await _versions(db, {version.reference_id for version in made.values()})
    counts = await _judgements(db, {round_.dataset_version_id for round_ in found})
    pairs = await asked.in_rounds(db, [round_.id for round_ in found])
    gates = await _gates(db, [round_.id for round_ in found])
    return tuple(
        _turn(
            round_,
            pairs.get(round_.id, ()),
            counts.get(round_.dataset_version_id),
            made.get(round_.reward_id),
            made.get(round_.policy_id),
            references,
            {step: gates.get((round_.id, step)) for step in ("reward_gate", "policy_gate", "vote_gate")},
        )
        for round_ in found
    )


def _turn(
    round_: Round,
    pairs: tuple[asked.Asked, ...],
    judgements: int | None,
    reward: ModelVersion | None,
    policy: ModelVersion | None,
    references: dict[int | None, ModelVersion],
    gates: dict[str, str | None],
) -> Turn:
    figures = reward.figures if reward is not None else {}
    few = settings_of_round(round_).reward_gate.min_pairs
    agreed = label_need.measured(figures, few) or label_need.held_out(figures)
    is_told = agreed is not None and agreed.pairs >= FEWEST_PAIRS
    reference = references.get(policy.reference_id) if policy is not None else None
    gained = policy.figures if policy is not None else {}
    return Turn(
        round=round_.number,
        status=round_.status,
        trigger=round_.trigger,
        trigger_figure=round_.trigger_figure,
        trigger_bound=round_.trigger_bound,
        rule=next((one.rule for one in pairs if not one.is_random), None),
        random_pairs=sum(one.pairs for one in pairs if one.is_random),
        chosen_pairs=sum(one.pairs for one in pairs if not one.is_random),
        judgements=judgements,
        accuracy=agreed.accuracy if agreed is not None and is_told else None,
        accuracy_low=agreed.low if agreed is not None and is_told else None,
        accuracy_high=agreed.high if agreed is not None and is_told else None,
        pairs=round(agreed.pairs) if agreed is not None else None,
        policy_id=policy.id if policy is not None else None,
        policy=policy.number if policy is not None else None,
        reference_id=reference.id if reference is not None else None,
        reference=reference.number if reference is not None else None,
        win_rate=label_need.number(gained, "proxy_win_rate"),
        win_rate_low=label_need.number(gained, "proxy_win_rate_low"),
        win_rate_high=label_need.number(gained, "proxy_win_rate_high"),
        kl=label_need.number(gained, "kl"),
        overridden_step=round_.overridden_step,
        overridden_because=round_.overridden_because,
        **gates,
    )


async def _versions(db: AsyncSession, ids: set[int | None]) -> dict[int | None, ModelVersion]:
    found = await db.scalars(select(ModelVersion).where(ModelVersion.id.in_(ids - {None})))
    return {version.id: version for version in found}


async def _judgements(db: AsyncSession, ids: set[int | None]) -> dict[int | None, int | None]:
    """Of a dataset version, how many judgements of people it holds."""
    rows = await db.execute(select(DatasetVersion.id, DatasetVersion.counts).where(DatasetVersion.id.in_(ids - {None})))
    return {key: models.judgements_in(counts) or None for key, counts in rows}


async def _gates(db: AsyncSession, round_ids: list[int]) -> dict[tuple[int | None, str | None], str]:
    """By round and step; of several decisions of one gate the last."""
    rows = await db.execute(
        select(Run.round_id, Run.round_step, Gate.passed)
        .join(Gate, Gate.run_id == Run.id)
        .where(Run.round_id.in_(round_ids))
        .order_by(Gate.id)
    )
    return {(round_id, step): "passed" if passed else "refused" for round_id, step, passed in rows}
