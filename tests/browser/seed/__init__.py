"""A project in the middle of its third round, with runs, curves, models and people: what the admin pages are looked
at with."""

import random
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Errand, Import, ModelVersion, Project, Round, Run, ServedModel, User
from app.services import accounts
from app.services.projects import projects
from tests.browser.seed.curves import ppo_figures, sft_figures
from tests.browser.seed.errands import make_errand
from tests.browser.seed.imports import make_import
from tests.browser.seed.judgements import make_judgements, make_prompts
from tests.browser.seed.rounds import finished_round, make_round, stopped_round
from tests.browser.seed.runs import make_metrics, make_run
from tests.browser.seed.versions import make_dataset, make_version, promote


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
    imported: Import
    policies: list[ModelVersion]
    served: ServedModel
    errand: Errand


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
    prompts = await make_prompts(db, project)
    sft = await make_run(db, project, "sft", hours=30, minutes=2, started_by=owner)
    await make_metrics(db, sft, 240, sft_figures(chance))
    dataset = await make_dataset(db, project, "demonstrations", 1, 640, {"train": 600, "validation": 40}, sft)
    first = await make_version(
        db, sft, "policy", 1, {"nll": 1.384, "parameters": 3_412_224, "steps": 240}, dataset_version_id=dataset.id
    )
    await promote(db, first, None, hours=29.9, actor=None, reason="First policy of the project.")

    round_1, _, policy_2 = await finished_round(db, project, chance, owner, 1, 26, first, None, first)
    round_2, reward_2, _ = await stopped_round(db, project, chance, owner, 2, 8, first, policy_2)
    label_round = await make_round(db, project, 3, owner, hours=1.2, label_target=label_target, step="label")
    await make_run(
        db, project, "select", hours=1.2, minutes=0.1, round_=label_round, step="select", result={"pairs_made": 480}
    )
    await make_judgements(db, chance, project, prompts, annotator, label_round, labels)

    failed = await make_run(
        db,
        project,
        "reward",
        hours=0.9,
        minutes=0.6,
        started_by=owner,
        state="failed",
        error="The training process ended with signal 9: it ran out of memory. Its last checkpoint is at step 40.",
    )
    ppo = await make_run(
        db, project, "ppo", hours=0.05, minutes=None, started_by=owner, state="running", total_steps=60
    )
    await make_metrics(db, ppo, 34, ppo_figures(chance), total=60, seconds=5.4, samples=True)
    imported = await make_import(db, project, owner)
    served = ServedModel(
        project_id=project.id, name="Mistral in the lab", address="https://models.example/v1", model="mistral-small"
    )
    db.add(served)
    await db.flush()
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
        imported=imported,
        policies=versions,
        served=served,
        errand=await make_errand(db, project, owner, versions),
    )
