"""What a person does in the browser, and a worker meanwhile, as one step each."""

import asyncio
import re

from playwright.async_api import Page, expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project
from app.jobs import execution
from app.jobs.context import WorkerContext
from app.services.loop.runs import leases

PATIENCE_SECONDS = 30


async def confirm(page: Page) -> None:
    """Press Enter on what is chosen and wait until this pair has gone."""
    form = page.locator("#judgement")
    address = await form.get_attribute("action")
    assert address is not None
    await page.keyboard.press("Enter")
    await expect(page.locator(f'#judgement[action="{address}"]')).to_have_count(0)


async def sent(page: Page) -> None:
    """Wait until the server has answered to everything that was handed over."""
    await page.wait_for_function("() => !Object.keys(localStorage).some((name) => name.startsWith('outbox:'))")


async def has_fetched_ahead(page: Page) -> None:
    """Wait until the task after the one on the desk is at hand, and the page asks for no more."""
    html = page.locator("html")
    await expect(html).to_have_attribute("data-ahead", re.compile("[1-9]"))
    await expect(html).to_have_attribute("data-is-fetching-ahead", "false")


async def judgements(db: AsyncSession, project: Project) -> list[Judgement]:
    """What counts now, in the order of the tasks."""
    await db.rollback()
    await db.refresh(project)
    current = select(Judgement).where(Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
    return list(await db.scalars(current.order_by(Judgement.task_id)))


async def work_off(db: AsyncSession, worker: WorkerContext, project_id: int) -> None:
    """What a worker would do with the runs of a project that wait."""
    for run_id in [run.id for run in await leases.waiting(db) if run.project_id == project_id]:
        await execution.execute(worker, run_id)
    await db.rollback()


async def expect_choices(db: AsyncSession, project: Project, choices: list[int | None]) -> None:
    """What counts becomes this: the page goes on before its answer has arrived."""
    for _ in range(PATIENCE_SECONDS * 20):
        if [row.choice for row in await judgements(db, project)] == choices:
            return
        await asyncio.sleep(0.05)
    assert [row.choice for row in await judgements(db, project)] == choices
