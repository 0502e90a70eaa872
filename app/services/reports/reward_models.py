"""What reward models are worth: on the pairs that they were measured on, and where they were examined.

What needs a model was written by its training run; here it is put together with who said what of which response.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Float, Select, SmallInteger, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import (
    Completion,
    Judgement,
    ModelVersion,
    Project,
    Prompt,
    TaskCompletion,
)
from app.phrases import phrase
from app.services.loop.comparisons import scored_pairs
from app.services.loop.comparisons.resampling import Interval
from app.services.loop.comparisons.scored_pairs import Scored
from app.services.people import groups as groups_of_people
from app.services.reports.report import Report

MOST_VERSIONS = 10
"""The newest."""
MOST_SUBSETS = 30
"""Of a kind, those with most pairs."""
DISPUTED = 20
FEWEST_PAIRS = 10
"""Of which a share is told."""


@dataclass(frozen=True)
class Subset:
    """How often a version agrees with people on some of its pairs: no share of fewer than ten, no interval where they
    are of one prompt."""

    version: int
    kind: str
    name: str
    pairs: int
    accuracy: float | None
    low: float | None
    high: float | None
    loss: float


@dataclass(frozen=True)
class Certainty:
    """How far off a version's chances are, by one measure, before and after its temperature was fitted on others."""

    version: int
    measure: str
    before: float | None
    after: float | None
    pairs: int


@dataclass(frozen=True)
class Change:
    """What a version gained over the one before it on the same pairs: accuracy, and nats per pair."""

    version: int
    name: str
    pairs: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    loss_low: float
    loss_high: float


@dataclass(frozen=True)
class Probe:
    """The share of a policy's responses that a version pays no less as they are than with an edit that helps nobody."""

    version: int
    edit: str
    share: float
    responses: int


@dataclass(frozen=True)
class BestOf:
    """What the best of `n` by a version gains over one, by itself and by a second model, `kl` nats from the policy."""

    version: int
    n: int
    kl: float
    distance: float
    score: float
    reading: float
    low: float
    high: float
    highest: float


@dataclass(frozen=True)
class Disputed:
    """A pair of a task of which people said what a version holds unlikely: `chance`. `preferred` and `other` are the
    responses' positions."""

    version: int
    task_id: int
    preferred: int
    other: int
    chance: float


@dataclass(frozen=True)
class RewardModels:
    """Rows of the newest versions, the newest first. Those of one version are that model's report."""

    accuracy: tuple[Subset, ...]
    certainty: tuple[Certainty, ...]
    changes: tuple[Change, ...]
    probes: tuple[Probe, ...]
    best_of: tuple[BestOf, ...]
    disputed: tuple[Disputed, ...]

    def whole(self, version: int) -> Subset | None:
        """How a version stands on all of its pairs."""
        return next((row for row in self.accuracy if (row.version, row.kind) == (version, "all")), None)


async def compute(db: AsyncSession, project: Project) -> RewardModels:
    """Resampling runs in a thread, so that the worker's other jobs go on."""
    versions = await db.execute(
        select(ModelVersion.id, ModelVersion.number, ModelVersion.figures)
        .where(ModelVersion.project_id == project.id, ModelVersion.kind == "reward")
        .order_by(ModelVersion.number.desc())
        .limit(MOST_VERSIONS)
    )
    groups = await _groups(db, project.id)
    policies = await _policies(db, project.id)
    parts = []
    for version in versions.all():
        rows = (await db.execute(_pairs(version.id))).all()
        parts.append(await asyncio.to_thread(_of_version, version.number, version.figures, rows, groups, policies))
    return RewardModels(
        *(tuple(row for part in parts for row in getattr(part, name)) for name in RewardModels.__dataclass_fields__)
    )


REWARD_MODELS = Report("reward-models", phrase("Reward models"), RewardModels, compute)


def _of_version(
    version: int, figures: Json, rows: Sequence[Any], groups: Mapping[int, list[str]], policies: Mapping[int, int]
) -> RewardModels:
    decided = [row for row in rows if row.said in (0, 1)]
    scored = Scored.of(decided)
    return RewardModels(
        tuple(_subsets(version, decided, scored, groups, policies)),
        tuple(_certainty(version, figures)),
        tuple(_changes(version, scored)),
        tuple(_probes(version, figures)),
        tuple(_best_of(version, figures)),
        tuple(_disputed(version, figures, decided, scored)),
    )


def _subsets(
    version: int, rows: Sequence[Any], scored: Scored, groups: Mapping[int, list[str]], policies: Mapping[int, int]
) -> Iterable[Subset]:
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    thirds = _thirds(rows)
    for place, row in enumerate(rows):
        for subset in _memberships(row, thirds[place], groups, policies):
            members[subset].append(place)
    by_kind: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
    for (kind, name), places in members.items():
        by_kind[kind].append((name, places))
    for kind, found in by_kind.items():
        for name, places in sorted(found, key=lambda one: (-len(one[1]), one[0]))[:MOST_SUBSETS]:
            part = scored.only(np.isin(np.arange(len(rows)), places))
            share = float(part.right.mean()) if len(places) >= FEWEST_PAIRS else None
            interval = part.accuracy if share is not None else None
            yield Subset(version, kind, name, len(places), share, *_ends(interval), float(part.losses.mean()))


def _memberships(
    row: Any, third: str | None, groups: Mapping[int, list[str]], policies: Mapping[int, int]
) -> Iterable[tuple[str, str]]:
    yield "all", ""
    if row.is_drawn:
        yield "slice", "drawn_by_chance"
    if row.topic:
        yield "topic", row.topic
    if third is not None:
        yield "preferred_length", third
    if row.side:
        yield "preferred_side", "shown_first" if (row.side > 0) == (row.said == 1) else "shown_second"
    for group in groups.get(row.annotator_id, ()):
        yield "group", group
    for policy in {policies[one] for one in (row.policy_a, row.policy_b) if one in policies}:
        yield "policy", str(policy)


def _thirds(rows: Sequence[Any]) -> list[str | None]:
    """Of each pair whether the preferred response is, against the other one, in the shortest third; None where lengths
    are too few to make three parts."""
    longer = np.array([row.longer if row.said == 1 else -row.longer for row in rows], dtype=np.float64)
    if len(rows) < 3 or (longer == longer[0]).all():
        return [None] * len(rows)
    edges = np.quantile(longer, (1 / 3, 2 / 3))
    names = ("shortest_third", "middle_third", "longest_third")
    found = [names[place] for place in np.searchsorted(edges, longer, side="left").tolist()]
    return [None] * len(rows) if len(set(found)) < len(names) else [*found]


def _certainty(version: int, figures: Json) -> Iterable[Certainty]:
    pairs = _number(figures, "calibration_pairs")
    if not pairs:
        return
    names = {"nll": "calibration_nll", "brier": "calibration_brier", "ece": "calibration_error"}
    for measure, name in names.items():
        before, after = _number(figures, name), _number(figures, f"{name}_scaled")
        if before is not None or after is not None:
            yield Certainty(version, measure, before, after, int(pairs))


def _changes(version: int, scored: Scored) -> Iterable[Change]:
    for name, part in (("all", scored), ("drawn_by_chance", scored.only(scored.is_drawn))):
        accuracy, loss = part.gained_accuracy, part.added_loss
        if accuracy is not None and loss is not None:
            known = int((~np.isnan(part.previous)).sum())
            yield Change(
                version, name, known, accuracy.mean, accuracy.low, accuracy.high, loss.mean, loss.low, loss.high
            )


def _probes(version: int, figures: Json) -> Iterable[Probe]:
    found = figures.get("probes")
    for edit, share in sorted(found.items() if isinstance(found, dict) else ()):
        yield Probe(version, edit, float(share), int(figures.get("probed_responses") or 0))


def _best_of(version: int, figures: Json) -> Iterable[BestOf]:
    highest = 0.0
    for row in figures.get("best_of") or ():
        highest = max(highest, row["reading"])
        yield BestOf(
            version, row["n"], row["kl"], row["kl"] ** 0.5, row["score"], row["reading"], row["reading_low"],
            row["reading_high"], highest,
        )  # fmt: skip


def _disputed(version: int, figures: Json, rows: Sequence[Any], scored: Scored) -> Iterable[Disputed]:
    """By the chance that the calibrated model gave to what people said; a task comes once."""
    temperature = _number(figures, "calibration_temperature") or 1.0
    chances = np.exp(-scored_pairs.losses(scored.difference / temperature, scored.said))
    seen: set[int] = set()
    for place in np.argsort(chances, kind="stable").tolist():
        row = rows[place]
        if chances[place] >= 0.5 or len(seen) == DISPUTED:
            return
        if row.task_id not in seen:
            seen.add(row.task_id)
            both = (row.position_a, row.position_b) if row.said == 1 else (row.position_b, row.position_a)
            yield Disputed(version, row.task_id, *both, float(chances[place]))


def _pairs(version_id: int) -> Select[*tuple[Any, ...]]:
    """The scored pairs with what they are subsets by: `longer` is a logarithm of how many times as long the first
    response is, `side` 1 where it was shown first, -1 where second, 0 where nobody knows."""
    scored = scored_pairs.of_version(version_id).subquery()
    one, other = aliased(Completion), aliased(Completion)
    at_one, at_other = aliased(TaskCompletion), aliased(TaskCompletion)
    panes = [
        func.array_position(Judgement.shown_order, cast(position, SmallInteger))
        for position in (scored.c.position_a, scored.c.position_b)
    ]
    return (
        select(
            scored,
            Judgement.annotator_id,
            Prompt.topic,
            one.model_version_id.label("policy_a"),
            other.model_version_id.label("policy_b"),
            func.ln(cast(func.length(one.text) + 1, Float) / (func.length(other.text) + 1)).label("longer"),
            case((panes[0] < panes[1], 1), (panes[0] > panes[1], -1), else_=0).label("side"),
        )
        .join(Judgement, Judgement.id == scored.c.judgement_id)
        .join(Prompt, Prompt.id == scored.c.prompt_id)
        .join(at_one, (at_one.task_id == scored.c.task_id) & (at_one.position == scored.c.position_a))
        .join(at_other, (at_other.task_id == scored.c.task_id) & (at_other.position == scored.c.position_b))
        .join(one, one.id == at_one.completion_id)
        .join(other, other.id == at_other.completion_id)
        .order_by(scored.c.judgement_id.desc(), scored.c.position_a, scored.c.position_b)
    )


async def _groups(db: AsyncSession, project_id: int) -> dict[int, list[str]]:
    """By person the names of their groups, of those that the project was given to."""
    found: dict[int, list[str]] = defaultdict(list)
    for name, user_id in await groups_of_people.given_to(db, project_id):
        found[user_id].append(name)
    return found


async def _policies(db: AsyncSession, project_id: int) -> dict[int, int]:
    rows = await db.execute(
        select(ModelVersion.id, ModelVersion.number).where(
            ModelVersion.project_id == project_id, ModelVersion.kind == "policy"
        )
    )
    return {row.id: row.number for row in rows}


def _ends(found: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if found is None else (found.low, found.high)


def _number(figures: Json, name: str) -> float | None:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) else None
