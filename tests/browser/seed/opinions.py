"""What several people said of the same tasks, over two weeks."""

import random
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project, Task
from app.services import accounts
from app.services.projects import projects
from tests.browser.seed.judgements import make_judgement

NAMES = ("Kofi Mensah", "Lena Brandt", "Ravi Nair")
DAYS = 14


async def make_opinions(db: AsyncSession, project: Project) -> None:
    """Three people judge what one has judged, mostly as that one did."""
    chance = random.Random(11)
    people = [await accounts.create_user(db, name=name, email=f"{name[:4].lower()}@people.example") for name in NAMES]
    for person in people:
        await projects.add_member(db, project, person.id, "annotator")
    said = await db.execute(
        select(Judgement, Task)
        .join(Task, Task.id == Judgement.task_id)
        .where(Judgement.project_id == project.id)
        .order_by(Task.id)
    )
    for first, task in said.tuples().all():
        others = chance.sample(people, chance.choice((2, 3, 3)))
        task.quota = task.taken = task.judged = 1 + len(others)
        await db.flush()
        for person in others:
            choice = min(7, max(1, (first.choice or 4) + chance.choice((-1, 0, 0, 0, 1, 3))))
            at = datetime.now(UTC) - timedelta(days=chance.uniform(0, DAYS))
            await make_judgement(db, task, person, choice, at, active_ms=6_000 + 40 * task.id)
    await db.flush()
