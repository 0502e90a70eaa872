"""Rounds with everything that they have made."""

import random
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ModelVersion, Project, Round, User
from app.services.loop.gates import gates
from app.services.loop.gates.gate_bounds import PolicyBounds, RewardBounds
from tests.browser.seed.curves import ppo_figures, reward_figures
from tests.browser.seed.runs import hours_ago, make_metrics, make_run
from tests.browser.seed.versions import make_dataset, make_gate, make_version, promote


async def finished_round(
    db: AsyncSession,
    project: Project,
    chance: random.Random,
    owner: User,
    number: int,
    hours: float,
    reference: ModelVersion,
    previous_reward: ModelVersion | None,
    in_use: ModelVersion,
) -> tuple[Round, ModelVersion, ModelVersion]:
    round_ = await make_round(db, project, number, owner, hours=hours, label_target=400, step="done", status="finished")
    await make_run(
        db, project, "select", hours=hours, minutes=0.1, round_=round_, step="select", result={"pairs_made": 480}
    )
    snapshot = await make_run(db, project, "snapshot", hours=hours - 2, minutes=0.1, round_=round_, step="snapshot")
    snapshot.result = {"number": number}
    dataset = await make_dataset(
        db,
        project,
        "preferences",
        number,
        402 * number,
        {"train": 352 * number, "validation": 50 * number, "ties": 31, "human": 402 * number},
        snapshot,
    )
    reward_run = await make_run(
        db, project, "reward", hours=hours - 2.1, minutes=3.2, round_=round_, step="reward", total_steps=120
    )
    await make_metrics(db, reward_run, 120, reward_figures(chance))
    figures = {
        "accuracy": 0.731,
        "accuracy_low": 0.684,
        "accuracy_high": 0.776,
        "nll": 0.548,
        "train_pairs": 352 * number,
        "validation_pairs": 50 * number,
        "ties": 31,
        "score_mean": 0.04,
        "score_std": 1.31,
    }
    reward = await make_version(
        db, reward_run, "reward", number, figures, parent_id=reference.id, dataset_version_id=dataset.id
    )
    await make_gate(
        db, project, round_, "reward_gate", reward, gates.reward_rules(figures, RewardBounds()), hours - 2.2
    )
    ppo_run = await make_run(
        db, project, "ppo", hours=hours - 2.3, minutes=5.5, round_=round_, step="ppo", total_steps=60
    )
    await make_metrics(db, ppo_run, 60, ppo_figures(chance), samples=True)
    figures = {
        "proxy_win_rate": 0.742,
        "proxy_win_rate_low": 0.698,
        "proxy_win_rate_high": 0.783,
        "kl": 4.31,
        "reward": 1.12,
        "reward_gain": 1.07,
        "eos_rate": 0.991,
        "length_ratio": 1.12,
        "distinct_2": 0.82,
        "reference_distinct_2": 0.87,
        "iterations": 60,
    }
    policy = await make_version(
        db,
        ppo_run,
        "policy",
        number + 1,
        figures,
        parent_id=reference.id,
        reference_id=reference.id,
        reward_id=reward.id,
        dataset_version_id=dataset.id,
    )
    await make_run(
        db, project, "evaluate", hours=hours - 2.5, minutes=1.5, round_=round_, step="evaluate", result=figures
    )
    await make_gate(
        db, project, round_, "policy_gate", policy, gates.policy_rules(figures, PolicyBounds()), hours - 2.6
    )
    await make_run(db, project, "promote", hours=hours - 2.6, minutes=0.1, round_=round_, step="promote")
    await promote(db, policy, in_use, hours=hours - 2.6, actor=None, reason="Passed its gate in round 1.")
    await make_run(
        db,
        project,
        "generate",
        hours=hours - 2.7,
        minutes=2.1,
        round_=round_,
        step="generate",
        result={"completions": 1600},
    )
    round_.dataset_version_id, round_.reward_id, round_.policy_id = dataset.id, reward.id, policy.id
    return round_, reward, policy


async def stopped_round(
    db: AsyncSession,
    project: Project,
    chance: random.Random,
    owner: User,
    number: int,
    hours: float,
    reference: ModelVersion,
    in_use: ModelVersion,
) -> tuple[Round, ModelVersion, ModelVersion]:
    round_ = await make_round(
        db, project, number, owner, hours=hours, label_target=400, step="policy_gate", status="stopped"
    )
    snapshot = await make_run(db, project, "snapshot", hours=hours - 1, minutes=0.1, round_=round_, step="snapshot")
    snapshot.result = {"number": number}
    dataset = await make_dataset(
        db, project, "preferences", number, 812, {"train": 708, "validation": 104, "ties": 64, "human": 812}, snapshot
    )
    reward_run = await make_run(
        db, project, "reward", hours=hours - 1.1, minutes=4, round_=round_, step="reward", total_steps=200
    )
    await make_metrics(db, reward_run, 200, reward_figures(chance))
    figures: dict[str, Any] = {
        "accuracy": 0.756,
        "accuracy_low": 0.721,
        "accuracy_high": 0.79,
        "previous_accuracy": 0.738,
        "accuracy_difference": 0.018,
        "accuracy_difference_low": -0.004,
        "accuracy_difference_high": 0.041,
        "nll": 0.511,
        "train_pairs": 708,
        "validation_pairs": 104,
        "ties": 64,
    }
    reward = await make_version(
        db, reward_run, "reward", number, figures, parent_id=reference.id, dataset_version_id=dataset.id
    )
    await make_gate(
        db, project, round_, "reward_gate", reward, gates.reward_rules(figures, RewardBounds()), hours - 1.3
    )
    ppo_run = await make_run(
        db, project, "ppo", hours=hours - 1.4, minutes=5.5, round_=round_, step="ppo", total_steps=60
    )
    await make_metrics(db, ppo_run, 60, ppo_figures(chance), samples=True)
    figures = {
        "proxy_win_rate": 0.71,
        "proxy_win_rate_low": 0.66,
        "proxy_win_rate_high": 0.755,
        "kl": 5.02,
        "reward": 1.4,
        "reward_gain": 1.31,
        "eos_rate": 0.973,
        "length_ratio": 1.84,
        "distinct_2": 0.79,
        "reference_distinct_2": 0.87,
        "iterations": 60,
    }
    policy = await make_version(
        db,
        ppo_run,
        "policy",
        number + 1,
        figures,
        parent_id=reference.id,
        reference_id=reference.id,
        reward_id=reward.id,
        dataset_version_id=dataset.id,
    )
    await make_run(
        db, project, "evaluate", hours=hours - 1.6, minutes=1.5, round_=round_, step="evaluate", result=figures
    )
    rules = gates.policy_rules(figures, PolicyBounds())
    await make_gate(db, project, round_, "policy_gate", policy, rules, hours - 1.7)
    round_.reason = gates.refusal(rules)
    round_.dataset_version_id, round_.reward_id, round_.policy_id = dataset.id, reward.id, policy.id
    assert in_use.state == "promoted"
    return round_, reward, policy


async def make_round(
    db: AsyncSession,
    project: Project,
    number: int,
    owner: User,
    *,
    hours: float,
    label_target: int,
    step: str,
    status: str = "active",
) -> Round:
    began = hours_ago(hours)
    entry = Round(
        project_id=project.id,
        number=number,
        status=status,
        step=step,
        label_target=label_target,
        started_by_id=owner.id,
        created_at=began,
        finished_at=None if status == "active" else began + timedelta(hours=3.1),
    )
    db.add(entry)
    await db.flush()
    return entry
