"""What the report on the loop is computed from: judgements and samples that a model has read, as rows of features."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, DatasetJudgement, ModelVersion, Project, Prompt
from app.services.loop.asking import features as embedded
from app.services.loop.asking import said
from app.services.loop.asking.features import Features
from app.services.loop.models import models
from app.services.reports.leaderboard import drawn_votes
from app.services.selection.arrays import Floats, Whole
from app.services.selection.posterior import Judged
from app.settings import settings

MOST_SAMPLES = 2_000
"""Of one policy, the newest."""
MOST_POLICIES = 8
"""The newest, beside the first."""
MOST_BY_PROMPT = 16


@dataclass(frozen=True)
class Samples:
    """Rows of features of what one policy wrote, by prompt."""

    rows: dict[int, list[int]]

    @property
    def all(self) -> list[int]:
        return [row for of_prompt in self.rows.values() for row in of_prompt]


@dataclass(frozen=True)
class Evidence:
    """`judged` is newest first, `judgement_P` the judgement that each pair is of; `learnt_up_to` the last one that
    `reward_id`, the reward model in use, has learnt from. `samples` are by id of the policy, `first` and `in_use` among
    them. `topics` are those of prompts that have one."""

    features: Features
    judged: Judged
    judgement_P: Whole  # noqa: N815 - its shape
    reward_id: int | None
    learnt_up_to: int
    samples: dict[int, Samples]
    first: int | None
    in_use: int | None
    topics: dict[int, str]

    def of(self, rows: Sequence[int]) -> Floats:
        """(rows, F), read into memory."""
        read: Floats = np.asarray(self.features.feature_NF[list(rows)], dtype=np.float64)
        return read


async def gather(db: AsyncSession, project: Project, policy_ids: Sequence[int]) -> Evidence | None:
    """None before a model has read anything, and where what it left is gone. `policy_ids`: newest first."""
    folder = await embedded.folder_of_latest(db, project.id)
    if folder is None:
        return None
    features = await asyncio.to_thread(embedded.read_features, settings().home / folder)
    if features is None:
        return None
    judged, judgement_P = await said.pairs_by_judgement(db, project.id, features)  # noqa: N806 - its shape
    first = await models.reference_policy(db, project.id)
    in_use = await models.promoted(db, project.id)
    meant = [policy.id for policy in (first, in_use) if policy is not None]
    samples = {
        policy_id: await _samples(db, policy_id, features)
        for policy_id in dict.fromkeys([*meant, *policy_ids[:MOST_POLICIES]])
    }
    prompt_ids = samples[in_use.id].rows if in_use is not None else {}
    rows = await db.execute(select(Prompt.id, Prompt.topic).where(Prompt.id.in_(prompt_ids), Prompt.topic.is_not(None)))
    reward = await models.promoted(db, project.id, "reward")
    return Evidence(
        features,
        judged,
        judgement_P,
        reward.id if reward is not None else None,
        await _learnt_up_to(db, reward),
        samples,
        first.id if first is not None else None,
        in_use.id if in_use is not None else None,
        {prompt_id: topic for prompt_id, topic in rows if topic is not None},
    )


async def votes_over(db: AsyncSession, project_id: int, first: int) -> dict[int, list[float]]:
    """What people said of each policy against `first` in tasks that chance chose: 1 for it, 0 against it, ½ a tie."""
    said: defaultdict[int, list[float]] = defaultdict(list)
    for own, own_served, other, other_served, score, *_ in await db.execute(drawn_votes(project_id)):
        if own_served is not None or other_served is not None:
            continue
        if other == first:
            said[own].append(float(score))
        elif own == first:
            said[other].append(1 - float(score))
    return said


async def _samples(db: AsyncSession, policy_id: int, features: Features) -> Samples:
    found = await db.execute(
        select(Completion.id, Completion.prompt_id)
        .where(Completion.model_version_id == policy_id, Completion.erased_at.is_(None))
        .order_by(Completion.id.desc())
        .limit(MOST_SAMPLES)
    )
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for completion_id, prompt_id in found:
        row = features.row_of.get(completion_id)
        if row is not None and len(rows[prompt_id]) < MOST_BY_PROMPT:
            rows[prompt_id].append(row)
    return Samples(dict(rows))


async def _learnt_up_to(db: AsyncSession, reward: ModelVersion | None) -> int:
    if reward is None:
        return 0
    held = DatasetJudgement.dataset_version_id == reward.dataset_version_id
    return await db.scalar(select(func.max(DatasetJudgement.judgement_id)).where(held)) or 0
