"""What gates and reports say of models, and what an owner does about it, in a real browser."""

from datetime import UTC, datetime
from itertools import count

import pytest
from playwright.async_api import expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Prompt, Round, Task, TaskCompletion
from app.services.reports import reports
from app.services.reports.leaderboard import LEADERBOARD
from tests.browser.admin import arrange, owner
from tests.browser.axe import violations
from tests.browser.conftest import PHONE, SignIn
from tests.browser.seed import Seeded
from tests.browser.seed.judgements import make_judgement
from tests.browser.seed.reward_report import examine

numbers = count(1)

# A page that is measured before its charts hear of its new width.
NEVER_REDRAWN = "window.ResizeObserver = class { observe() {} unobserve() {} disconnect() {} }"


@pytest.fixture
def slug() -> str:
    return f"report-{next(numbers)}"


async def test_a_pair_on_which_model_and_people_differ_goes_to_a_reviewer_by_one_click(
    db: AsyncSession, sign_in: SignIn, slug: str
) -> None:
    seeded = await arrange(db, slug)
    await examine(db, seeded.project)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/models")
    await page.get_by_role("link", name="Report on reward model 2").click()
    await expect(page.locator("h1")).to_contain_text("too few for a share")
    for title in ("Tricks that it isn’t taken in by", "Best of n", "Whether it is as sure as it is right"):
        await expect(page.get_by_role("heading", name=title)).to_be_visible()
    await expect(page.locator("[data-chart] canvas")).to_have_count(1)
    row = page.locator("[aria-labelledby=disputed] tbody tr").first
    task = await row.get_by_role("link").inner_text()
    await row.get_by_role("button", name=f"Send to review: task {task}").press("Enter")
    await expect(page.locator(f"#task-{task}")).to_contain_text("sent to review")
    await page.locator(f"#task-{task}").get_by_role("link").click()
    await expect(page.locator("h1")).to_contain_text(f"Task {task}")
    await page.goto(f"/projects/{slug}/review")
    await expect(page.locator("#pane-a")).to_be_visible()


async def test_the_report_is_for_everybody_and_fits_a_phone(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    await examine(db, seeded.project)
    page = await sign_in(owner(seeded), reduced_motion="reduce")
    await page.add_init_script(NEVER_REDRAWN)
    for path in (f"/projects/{slug}/models/reward/2", f"/projects/{slug}/models/reward/1"):
        await page.goto(path)
        await expect(page.locator("[data-chart] canvas")).to_have_count(1 if path.endswith("2") else 0)
        await page.set_viewport_size(PHONE)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert await violations(page, path) == []


async def test_a_refusal_stands_on_the_rounds_page_and_is_gone_on_from_for_a_reason(
    db: AsyncSession, sign_in: SignIn, slug: str
) -> None:
    seeded = await arrange(db, slug)
    running = (await db.scalars(select(Round).where(Round.id == seeded.label_round.id))).one()
    running.status, running.finished_at = "cancelled", running.created_at
    await db.commit()
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/rounds/2")
    await expect(page.locator("h1")).to_have_text("Round 2 was refused at its policy gate.")
    refused = page.locator(".gate").last.locator("tr", has_text="at most 1.5 is allowed")
    await expect(refused).to_contain_text("refused")
    await expect(page.get_by_role("link", name="Report on reward model 2")).to_be_visible()
    await page.get_by_role("button", name="Go on all the same").press("Enter")
    question = page.get_by_role("dialog", name="Go on against the gate?")
    await question.get_by_role("button", name="Go on").press("Enter")
    await expect(question, "a reason is asked for").to_be_visible()
    await question.get_by_label("Why it is to go on all the same").fill("Long answers are what these people asked for.")
    await question.get_by_role("button", name="Go on").press("Enter")
    await expect(page.locator("h1")).to_contain_text("Round 2 is promoting the new policy")
    await expect(page.get_by_text("went on from this refusal: Long answers are what these people")).to_be_visible()
    await expect(refused, "what the gate saw stays").to_contain_text("refused")


async def test_writers_are_ranked_and_read_side_by_side(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    await let_them_meet(db, seeded)
    page = await sign_in(owner(seeded), reduced_motion="reduce")
    await page.goto(f"/projects/{slug}/models")
    board = page.locator("[aria-labelledby=leaderboard]")
    await expect(board.locator("tbody tr").first).to_contain_text("policy 2")
    assert await violations(page, "models with a leaderboard") == []
    await board.get_by_role("link", name="Read them side by side").press("Enter")
    await expect(page.locator("h1")).to_have_text("Prompt 1 of 12 that both answered")
    await page.get_by_label("One", exact=True).select_option(label="policy 1")
    await page.get_by_label("The other").select_option(label="policy 2")
    await page.get_by_role("button", name="Show").press("Enter")
    first, second = page.locator(".response").nth(0), page.locator(".response").nth(1)
    await expect(first).to_contain_text("Policy 1 says 0.")
    await expect(second).to_contain_text("Policy 2 says 0.")
    await page.get_by_role("link", name="Next").press("Enter")
    await expect(page.locator("h1")).to_have_text("Prompt 2 of 12 that both answered")
    await expect(first).to_contain_text("Policy 1 says 1.")


async def let_them_meet(db: AsyncSession, seeded: Seeded) -> None:
    """Two policies answer twelve prompts, in tasks drawn at random; people prefer the second's responses but one.
    Committed, with the leaderboard as a worker would have written it."""
    project = seeded.project
    of_project = (ModelVersion.project_id == project.id, ModelVersion.kind == "policy", ModelVersion.number <= 2)
    policies = list(await db.scalars(select(ModelVersion).where(*of_project).order_by(ModelVersion.number)))
    prompts = await db.scalars(
        select(Prompt).where(Prompt.project_id == project.id, Prompt.split == "held_out").order_by(Prompt.id)
    )
    for place, prompt in enumerate(prompts):
        task = Task(
            project_id=project.id, prompt_id=prompt.id, quota=1, taken=1, judged=1, state="closed",
            selection={"rule": "duel", "propensity": 1.0},
        )  # fmt: skip
        responses = [
            Completion(
                prompt_id=prompt.id,
                text=f"Policy {policy.number} says {place}.",
                source="policy",
                model_version_id=policy.id,
            )
            for policy in policies
        ]
        db.add_all([task, *responses])
        await db.flush()
        db.add_all(
            TaskCompletion(task_id=task.id, position=position, completion_id=response.id)
            for position, response in enumerate(responses)
        )
        choice = 2 if place == 0 else 6
        await make_judgement(db, task, seeded.annotator, choice, datetime.now(UTC), active_ms=8_000)
    await db.flush()
    await reports.current(db, project, LEADERBOARD)
    await db.commit()
    await reports.write(db, project.id, "leaderboard")
    await db.commit()
