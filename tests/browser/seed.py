"""A project in the middle of its third round, with runs, curves, models and people: what the admin pages are looked
at with.

`python -m tests.browser.seed URL` fills a migrated database and prints links to sign in.
"""

import asyncio
import math
import random
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import create_engine, session_factory, transaction
from app.db.tables import (
    Assignment,
    Completion,
    DatasetVersion,
    Demonstration,
    Gate,
    Judgement,
    Metric,
    ModelVersion,
    Project,
    Promotion,
    Prompt,
    Round,
    Run,
    Task,
    TaskCompletion,
    User,
)
from app.services import accounts, gates, projects

PROMPTS = (
    "How do I get candle wax out of a tablecloth?",
    "My neighbour’s dog barks all night. What should I do?",
    "Give me a few tips for learning to cycle as an adult.",
    "Please explain how to descale a kettle.",
    "What matters most when choosing a rucksack for a long walk?",
    "I would like to bake bread without a machine. Where do I start?",
    "How do I tell my landlord that the heating is broken?",
    "Write a short guide to keeping herbs on a windowsill.",
)
POLICY = (
    "Let the wax set hard, then lift off what you can with a blunt knife. Lay kitchen paper above and below the stain "
    "and press with a warm iron until the paper takes up the rest. Wash as usual afterwards."
)
REFERENCE = (
    "Wax is wax. You can try to wash it. Washing is good for many things and the tablecloth is one of these things."
)


@dataclass(frozen=True)
class Seeded:
    """What tests look for by id. `label_round` waits for labels, `ppo` is in the middle of its work."""

    project: Project
    owner: User
    reviewer: User
    annotator: User
    outsider: User
    label_round: Round
    stopped_round: Round
    sft: Run
    reward: Run
    ppo: Run
    failed: Run
    policies: list[ModelVersion]


async def seed(db: AsyncSession, *, slug: str = "everyday-help", label_target: int = 400, labels: int = 212) -> Seeded:
    """Flushes and never commits; everything is drawn from a fixed seed."""
    chance = random.Random(7)
    owner = await accounts.create_user(db, name="Ines Okafor", email=f"ines@{slug}.example")
    reviewer = await accounts.create_user(db, name="Tomasz Lind", email=f"tomasz@{slug}.example")
    annotator = await accounts.create_user(db, name="Mia Duarte", email=f"mia@{slug}.example")
    outsider = await accounts.create_user(db, name="Noor Haddad", email=f"noor@{slug}.example")
    project = await projects.create(
        db,
        slug=slug,
        name="Everyday help",
        description="Short, useful answers to everyday questions, and polite refusals where they are due.",
        guidelines="Prefer the response that helps more. Longer is not better.",
        owner_id=owner.id,
    )
    project.round_settings = {"label_target": label_target}
    await projects.add_member(db, project, reviewer.id, "reviewer")
    await projects.add_member(db, project, annotator.id, "annotator")
    prompts = await _prompts(db, project)
    sft = await _run(db, project, "sft", hours=30, minutes=2, started_by=owner)
    await _metrics(db, sft, 240, _sft_figures(chance))
    dataset = await _dataset(db, project, "demonstrations", 1, 640, {"train": 600, "validation": 40}, sft)
    first = await _version(
        db, sft, "policy", 1, {"nll": 1.384, "parameters": 3_412_224, "steps": 240}, dataset_version_id=dataset.id
    )
    await _promote(db, first, None, hours=29.9, actor=None, reason="First policy of the project.")

    round_1, _, policy_2 = await _finished_round(db, project, chance, owner, 1, 26, first, None, first)
    round_2, reward_2, _ = await _stopped_round(db, project, chance, owner, 2, 8, first, policy_2)
    label_round = await _round(db, project, 3, owner, hours=1.2, label_target=label_target, step="label")
    await _run(
        db, project, "select", hours=1.2, minutes=0.1, round_=label_round, step="select", result={"pairs_made": 480}
    )
    await _judgements(db, chance, project, prompts, annotator, label_round, labels)

    failed = await _run(
        db,
        project,
        "reward",
        hours=0.9,
        minutes=0.6,
        started_by=owner,
        state="failed",
        error="The training process ended with signal 9: it ran out of memory. Its last checkpoint is at step 40.",
    )
    ppo = await _run(db, project, "ppo", hours=0.05, minutes=None, started_by=owner, state="running", total_steps=60)
    await _metrics(db, ppo, 34, _ppo_figures(chance), total=60, seconds=5.4, samples=True)
    versions = [first, policy_2]
    del round_1, reward_2
    return Seeded(
        project=project,
        owner=owner,
        reviewer=reviewer,
        annotator=annotator,
        outsider=outsider,
        label_round=label_round,
        stopped_round=round_2,
        sft=sft,
        reward=failed,
        ppo=ppo,
        failed=failed,
        policies=versions,
    )


async def _finished_round(
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
    round_ = await _round(db, project, number, owner, hours=hours, label_target=400, step="done", status="finished")
    await _run(
        db, project, "select", hours=hours, minutes=0.1, round_=round_, step="select", result={"pairs_made": 480}
    )
    snapshot = await _run(db, project, "snapshot", hours=hours - 2, minutes=0.1, round_=round_, step="snapshot")
    dataset = await _dataset(
        db,
        project,
        "preferences",
        number,
        402 * number,
        {"train": 352 * number, "validation": 50 * number, "ties": 31},
        snapshot,
    )
    reward_run = await _run(
        db, project, "reward", hours=hours - 2.1, minutes=3.2, round_=round_, step="reward", total_steps=120
    )
    await _metrics(db, reward_run, 120, _reward_figures(chance))
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
    reward = await _version(
        db, reward_run, "reward", number, figures, parent_id=reference.id, dataset_version_id=dataset.id
    )
    await _gate(
        db, project, round_, "reward_gate", reward, gates.reward_rules(figures, gates.RewardBounds()), hours - 2.2
    )
    ppo_run = await _run(db, project, "ppo", hours=hours - 2.3, minutes=5.5, round_=round_, step="ppo", total_steps=60)
    await _metrics(db, ppo_run, 60, _ppo_figures(chance), samples=True)
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
    policy = await _version(
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
    await _run(db, project, "evaluate", hours=hours - 2.5, minutes=1.5, round_=round_, step="evaluate", result=figures)
    await _gate(
        db, project, round_, "policy_gate", policy, gates.policy_rules(figures, gates.PolicyBounds()), hours - 2.6
    )
    await _run(db, project, "promote", hours=hours - 2.6, minutes=0.1, round_=round_, step="promote")
    await _promote(db, policy, in_use, hours=hours - 2.6, actor=None, reason="Passed its gate in round 1.")
    await _run(
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


async def _stopped_round(
    db: AsyncSession,
    project: Project,
    chance: random.Random,
    owner: User,
    number: int,
    hours: float,
    reference: ModelVersion,
    in_use: ModelVersion,
) -> tuple[Round, ModelVersion, ModelVersion]:
    round_ = await _round(
        db, project, number, owner, hours=hours, label_target=400, step="policy_gate", status="stopped"
    )
    snapshot = await _run(db, project, "snapshot", hours=hours - 1, minutes=0.1, round_=round_, step="snapshot")
    dataset = await _dataset(
        db, project, "preferences", number, 812, {"train": 708, "validation": 104, "ties": 64}, snapshot
    )
    reward_run = await _run(
        db, project, "reward", hours=hours - 1.1, minutes=4, round_=round_, step="reward", total_steps=200
    )
    await _metrics(db, reward_run, 200, _reward_figures(chance))
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
    reward = await _version(
        db, reward_run, "reward", number, figures, parent_id=reference.id, dataset_version_id=dataset.id
    )
    await _gate(
        db, project, round_, "reward_gate", reward, gates.reward_rules(figures, gates.RewardBounds()), hours - 1.3
    )
    ppo_run = await _run(db, project, "ppo", hours=hours - 1.4, minutes=5.5, round_=round_, step="ppo", total_steps=60)
    await _metrics(db, ppo_run, 60, _ppo_figures(chance), samples=True)
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
    policy = await _version(
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
    await _run(db, project, "evaluate", hours=hours - 1.6, minutes=1.5, round_=round_, step="evaluate", result=figures)
    rules = gates.policy_rules(figures, gates.PolicyBounds())
    await _gate(db, project, round_, "policy_gate", policy, rules, hours - 1.7)
    round_.reason = gates.refusal(rules)
    round_.dataset_version_id, round_.reward_id, round_.policy_id = dataset.id, reward.id, policy.id
    assert in_use.state == "promoted"
    return round_, reward, policy


async def _prompts(db: AsyncSession, project: Project) -> list[Prompt]:
    splits = ["train"] * 40 + ["validation"] * 8 + ["held_out"] * 12
    prompts = [
        Prompt(
            project_id=project.id,
            messages=[{"role": "user", "content": f"{PROMPTS[index % len(PROMPTS)]}{' ' * (index // len(PROMPTS))}"}],
            digest=index.to_bytes(32, "big"),
            split=split,
            topic="home",
            source="starter",
        )
        for index, split in enumerate(splits)
    ]
    db.add_all(prompts)
    await db.flush()
    db.add_all(Demonstration(prompt_id=prompt.id, text=POLICY, source="starter") for prompt in prompts[:40])
    return prompts


async def _judgements(
    db: AsyncSession,
    chance: random.Random,
    project: Project,
    prompts: list[Prompt],
    annotator: User,
    round_: Round,
    count: int,
) -> None:
    now = datetime.now(UTC)
    for index in range(count + 6):
        prompt = prompts[index % 40]
        completions = [Completion(prompt_id=prompt.id, text=text, source="starter") for text in (POLICY, REFERENCE)]
        db.add_all(completions)
        done = index < count
        task = Task(
            project_id=project.id,
            prompt_id=prompt.id,
            round_id=round_.id,
            quota=1,
            taken=int(done),
            judged=int(done),
            state="closed" if done else "open",
        )
        db.add(task)
        await db.flush()
        db.add_all(
            TaskCompletion(task_id=task.id, position=position, completion_id=completion.id)
            for position, completion in enumerate(completions)
        )
        if not done:
            continue
        at = now - timedelta(seconds=12.5 * (count - index))
        assignment = Assignment(
            project_id=project.id,
            task_id=task.id,
            annotator_id=annotator.id,
            state="submitted",
            shown_order=[0, 1],
            guidelines_version=1,
            lease_expires_at=at,
            closed_at=at,
        )
        db.add(assignment)
        await db.flush()
        choice = chance.choice((1, 2, 2, 3, 4, 6))
        db.add(
            Judgement(
                project_id=project.id,
                task_id=task.id,
                assignment_id=assignment.id,
                annotator_id=annotator.id,
                kind="human",
                choice=choice,
                shown_order=[0, 1],
                preference=4 - choice,
                idempotency_key=f"seed-{index}",
                body_digest=bytes(32),
                guidelines_version=1,
                submitted_at=at,
                active_ms=8_000,
            )
        )
    await db.flush()


async def _round(
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
    began = _ago(hours)
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


async def _run(
    db: AsyncSession,
    project: Project,
    stage: str,
    *,
    hours: float,
    minutes: float | None,
    round_: Round | None = None,
    step: str | None = None,
    started_by: User | None = None,
    state: str = "succeeded",
    total_steps: int = 240,
    result: dict[str, Any] | None = None,
    error: str | None = None,
) -> Run:
    began = _ago(hours)
    run = Run(
        project_id=project.id,
        stage=stage,
        state=state,
        round_id=round_.id if round_ else None,
        round_step=step,
        settings={"seed": 0, "learning_rate": 3e-5, "batch_size": 64, "iterations": total_steps},
        attempt=1,
        started_by_id=started_by.id if started_by else None,
        queued_at=began,
        started_at=began,
        result=result,
        error=error,
        finished_at=began + timedelta(minutes=minutes) if minutes is not None else None,
        lease_expires_at=datetime.now(UTC) + timedelta(hours=24) if state == "running" else None,
        lease_owner="worker" if state == "running" else None,
        total_steps=total_steps,
    )
    db.add(run)
    await db.flush()
    run.folder = f"runs/{run.id}"
    return run


async def _metrics(
    db: AsyncSession,
    run: Run,
    steps: int,
    figures: Any,
    *,
    total: int | None = None,
    seconds: float = 1.0,
    samples: bool = False,
) -> None:
    assert run.started_at is not None
    run.step, run.total_steps, run.phase = steps, total or steps, run.stage
    for step in range(1, steps + 1):
        wanted = samples and (step % 10 == 0 or step == 1)
        db.add(
            Metric(
                run_id=run.id,
                phase=run.stage,
                step=step,
                figures=figures(step, total or steps),
                samples=[
                    {"prompt_id": "1", "prompt": PROMPTS[0], "policy": POLICY, "reference": REFERENCE},
                    {"prompt_id": "2", "prompt": PROMPTS[3], "policy": POLICY, "reference": REFERENCE},
                ]
                if wanted
                else None,
                recorded_at=run.started_at + timedelta(seconds=seconds * step),
            )
        )
    await db.flush()


async def _dataset(
    db: AsyncSession, project: Project, kind: str, number: int, rows: int, counts: dict[str, int], run: Run
) -> DatasetVersion:
    digest = f"{number:02x}c4b1{kind[0].encode().hex()}" * 8
    version = DatasetVersion(
        project_id=project.id,
        kind=kind,
        number=number,
        path=f"datasets/{project.slug}/{kind}-{number}.jsonl",
        sha256=digest[:64],
        row_count=rows,
        counts=counts,
        run_id=run.id,
        created_at=run.started_at,
    )
    db.add(version)
    await db.flush()
    return version


async def _version(
    db: AsyncSession, run: Run, kind: str, number: int, figures: dict[str, Any], **parents: int
) -> ModelVersion:
    version = ModelVersion(
        project_id=run.project_id,
        kind=kind,
        number=number,
        run_id=run.id,
        folder=f"models/{kind}-{number}",
        manifest_sha256=f"{run.id:04x}9be2" * 8,
        figures=figures,
        created_at=run.finished_at,
        **parents,
    )
    run.result = figures
    db.add(version)
    await db.flush()
    return version


async def _promote(
    db: AsyncSession,
    version: ModelVersion,
    previous: ModelVersion | None,
    *,
    hours: float,
    actor: User | None,
    reason: str,
) -> None:
    if previous is not None:
        previous.state = "archived"
        await db.flush()
    version.state, version.promoted_at = "promoted", _ago(hours)
    db.add(
        Promotion(
            project_id=version.project_id,
            model_version_id=version.id,
            previous_id=previous.id if previous else None,
            action="promote",
            actor_id=actor.id if actor else None,
            reason=reason,
            created_at=_ago(hours),
        )
    )
    await db.flush()


async def _gate(
    db: AsyncSession,
    project: Project,
    round_: Round,
    step: str,
    version: ModelVersion,
    rules: tuple[gates.Rule, ...],
    hours: float,
) -> None:
    run = await _run(db, project, "gate", hours=hours, minutes=0.05, round_=round_, step=step)
    run.result = {"passed": gates.passed(rules)}
    db.add(
        Gate(
            project_id=project.id,
            run_id=run.id,
            model_version_id=version.id,
            passed=gates.passed(rules),
            rules=[rule.to_json() for rule in rules],
        )
    )
    await db.flush()


def _sft_figures(chance: random.Random) -> Any:
    return lambda step, total: (
        {
            "loss": 1.3 + 4.6 * math.exp(-step / 38) + chance.gauss(0, 0.05),
            "learning_rate": 3e-3 * (0.5 + 0.5 * math.cos(math.pi * step / total)),
            "gradient_norm": 0.6 + 1.4 * math.exp(-step / 20) + abs(chance.gauss(0, 0.1)),
            "tokens": 8_100 + chance.gauss(0, 200),
        }
        | ({"held_out_nll": 1.38 + 4.5 * math.exp(-step / 40)} if step % 20 == 0 else {})
    )


def _reward_figures(chance: random.Random) -> Any:
    def figures(step: int, total: int) -> dict[str, float]:
        accuracy = 0.5 + 0.24 * (1 - math.exp(-step / 30))
        measured = {
            "loss": 0.49 + 0.2 * math.exp(-step / 30) + chance.gauss(0, 0.02),
            "accuracy": min(1.0, accuracy + 0.04 + chance.gauss(0, 0.03)),
            "gradient_norm": 1.1 + abs(chance.gauss(0, 0.3)),
        }
        if step % 10 == 0:
            measured |= {
                "validation_accuracy": accuracy,
                "validation_accuracy_low": accuracy - 0.045,
                "validation_accuracy_high": accuracy + 0.044,
            }
        return measured

    return figures


def _ppo_figures(chance: random.Random) -> Any:
    return lambda step, total: {
        "score": 1.25 * (1 - math.exp(-step / 18)) - 0.05 + chance.gauss(0, 0.06),
        "kl": 4.6 * (1 - math.exp(-step / 25)) + abs(chance.gauss(0, 0.15)),
        "length": 38 + 6 * (1 - math.exp(-step / 30)) + chance.gauss(0, 1.2),
        "eos_rate": min(1.0, 0.985 + chance.gauss(0, 0.006)),
        "entropy": 1.9 - 0.5 * (1 - math.exp(-step / 30)) + chance.gauss(0, 0.03),
        "clip_fraction": 0.05 + 0.06 * math.exp(-step / 15) + abs(chance.gauss(0, 0.01)),
        "explained_variance": 0.72 * (1 - math.exp(-step / 12)) + chance.gauss(0, 0.03),
        "kl_coefficient": 0.05 + 0.01 * math.sin(step / 6),
        "value_loss": 0.3 + 0.6 * math.exp(-step / 12),
    }


def _ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


async def main(url: str) -> None:
    engine = create_engine(url)
    async with transaction(session_factory(engine)) as db:
        seeded = await seed(db)
        admin = await accounts.create_user(db, name="Ada Keller", is_admin=True)
        people = {"admin": admin, "owner": seeded.owner, "annotator": seeded.annotator}
        links = {role: await accounts.create_sign_in_link(db, user.id) for role, user in people.items()}
    await engine.dispose()
    for role, token in links.items():
        sys.stdout.write(f"{role} /sign-in/link/{token}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
