"""Admin pages in a real browser: they move by themselves, work by keyboard and without script, show text as text."""

from itertools import count
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.session import SessionFactory, transaction
from app.db.tables import Metric, Run, User
from app.services.events import notify
from app.services.reports import reports
from tests.browser.admin import arrange, owner, pages
from tests.browser.axe import THEMES, violations
from tests.browser.conftest import PHONE, SignIn
from tests.browser.seed import Seeded
from tests.browser.seed.hacking import write_report

numbers = count(1)

# How long a busy machine may take is no property of the pages.
expect.set_options(timeout=60_000)

PAYLOAD = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def slug() -> str:
    return f"live-{next(numbers)}"


async def test_the_curves_and_the_sentence_follow_a_run_without_a_page_load(
    db: AsyncSession, sign_in: SignIn, slug: str
) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/runs/{seeded.ppo.id}")
    await expect(page.locator("h1")).to_contain_text("step 34 of 60")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    kl = page.locator("[data-figure=kl] output")
    await expect(kl).not_to_be_empty()
    assert await page.locator(".curve canvas").count() >= 7
    await page.locator("#numbers-table summary").click()
    await measure(db, seeded, 35, kl=7.25)
    await expect(page.locator("h1")).to_contain_text("step 35 of 60")
    await expect(kl).to_have_text("7.25")
    # What a person has opened stays open while the page moves.
    await expect(page.locator("#numbers-table tbody tr").last).to_contain_text("7.25")


async def test_the_curve_of_over_optimisation_follows_the_evaluations(
    db: AsyncSession, sign_in: SignIn, slug: str, site_home: Path
) -> None:
    seeded = await arrange(db, slug)
    write_report(site_home, seeded.ppo, evaluations=5)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/runs/{seeded.ppo.id}")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await expect(page.locator("#frontier-5 canvas")).to_have_count(1)
    await expect(page.locator("[aria-labelledby=hacking]")).to_contain_text("One detector raised an alarm.")
    await page.locator("#audit-1 summary").click()
    write_report(site_home, seeded.ppo, evaluations=6)
    await measure(db, seeded, 35, kl=7.25)
    await expect(page.locator("#frontier-6 canvas")).to_have_count(1)
    await expect(page.locator("[aria-labelledby=hacking]")).to_contain_text("2 detectors raised an alarm.")
    await expect(page.locator("#audit-1 .sample").first).to_be_visible()
    await page.emulate_media(color_scheme="dark")
    await expect(page.locator("[data-chart] canvas")).to_have_count(1)


async def test_the_loop_is_one_screen_that_draws_what_a_worker_has_computed(
    db: AsyncSession, sign_in: SignIn, slug: str, sessions: SessionFactory
) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded), reduced_motion="reduce", viewport=PHONE)
    await page.goto(f"/projects/{slug}")
    await page.get_by_role("navigation", name="Pages of this part").get_by_role("link", name="Rounds").click()
    await expect(page.locator("h1")).to_contain_text("Round 3 is labelling.")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    async with transaction(sessions) as own:
        await reports.write(own, seeded.project.id, "loop")
    await expect(page.locator("[aria-labelledby=loop-policies] canvas")).to_have_count(1)
    await page.locator("#loop-policies-table summary").click()
    await expect(page.locator("#loop-policies-table tbody tr").first).to_contain_text("#3")
    await expect(page.locator("[aria-labelledby=round-2]")).to_contain_text("at most 1.5 is allowed")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_figures_come_to_an_open_page_as_soon_as_a_worker_has_written_them(
    db: AsyncSession, sign_in: SignIn, slug: str, sessions: SessionFactory
) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded), reduced_motion="reduce")
    await page.goto(f"/projects/{slug}/figures")
    await expect(page.locator("h1")).to_have_text("The figures are on their way.")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    async with transaction(sessions) as own:
        await reports.write(own, seeded.project.id, "dashboard")
    await expect(page.locator("[data-chart] canvas")).to_have_count(2)
    await page.locator("#judgements-by-day-table summary").click()
    await expect(page.locator("#judgements-by-day-table tbody tr")).not_to_have_count(0)
    assert await violations(page, "figures") == []


async def test_a_page_behind_a_proxy_that_holds_streams_back_moves_all_the_same(
    db: AsyncSession, sign_in: SignIn, slug: str
) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded))

    async def refuse(route: Route) -> None:
        await route.abort()

    await page.route("**/events", refuse)
    await page.goto(f"/projects/{slug}/runs/{seeded.ppo.id}")
    await expect(page.locator("[data-live=polling]")).to_be_attached()
    await measure(db, seeded, 35, kl=7.25)
    await expect(page.locator("h1")).to_contain_text("step 35 of 60")
    await expect(page.locator("[data-figure=kl] output")).to_have_text("7.25")


async def test_one_key_shows_the_same_numbers_as_a_table(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/runs/{seeded.ppo.id}")
    await expect(page.locator("[data-figure=kl] output")).not_to_be_empty()
    shown = await page.locator("[data-figure=kl] output").inner_text()
    await page.keyboard.press("t")
    await expect(page.locator("#numbers-table tbody tr").last).to_contain_text(shown)
    await page.keyboard.press("t")
    await expect(page.locator("#numbers-table tbody")).to_be_hidden()


async def test_an_open_question_stays_open_while_the_page_moves(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await page.get_by_role("button", name="Cancel the round").click()
    question = page.get_by_role("dialog", name="Cancel round 3?")
    await expect(question).to_be_visible()
    async with page.expect_response(f"**/projects/{slug}/state"):
        await notify(db, project_id=seeded.project.id)
        await db.commit()
    await expect(question).to_be_visible()
    await question.get_by_role("button", name="Cancel round 3").click()
    await expect(page.locator("h1")).to_contain_text("PPO is running by itself")


async def test_a_round_is_cancelled_and_started_without_script(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded), java_script_enabled=False)
    await page.goto(f"/projects/{slug}")
    await page.get_by_role("button", name="Cancel the round").click()
    await page.get_by_role("button", name="Cancel round 3").click()
    await page.get_by_role("button", name="Start a round").click()
    await page.get_by_label("New judgements to wait for").fill("12")
    await page.get_by_role("button", name="Start the round").click()
    await expect(page.locator("h1")).to_contain_text("Round 4 is choosing pairs to compare")


async def test_a_policy_is_promoted_and_rolled_back_by_keyboard(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/models")
    await expect(page.locator("h1")).to_contain_text("Policy 2 is in use")
    await page.locator("#policy-3").get_by_role("button", name="Promote").press("Enter")
    question = page.get_by_role("dialog", name="Promote policy 3?")
    await expect(question).to_contain_text("Its gate refused it.")
    await question.get_by_label("Why").fill("The length is right for these prompts.")
    await question.get_by_role("button", name="Promote policy 3").press("Enter")
    await expect(page.locator("h1")).to_contain_text("Policy 3 is in use")
    await expect(page.get_by_text("The length is right for these prompts.")).to_be_visible()
    await page.get_by_role("button", name="Roll back", exact=True).press("Enter")
    await page.get_by_role("button", name="Roll back to policy 2").press("Enter")
    await expect(page.locator("h1")).to_contain_text("Policy 2 is in use")


async def test_the_ring_leads_to_the_runs_by_keyboard(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded))
    await page.goto(f"/projects/{slug}/rounds/2")
    await page.get_by_role("link", name="Policy gate").press("Enter")
    await expect(page.get_by_role("heading", name="What the gate said")).to_be_visible()
    await page.goto(f"/projects/{slug}")
    await page.locator(".ring a", has_text="Select").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/projects/{slug}/runs/*")


async def test_nothing_is_wider_than_a_phone(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    page = await sign_in(owner(seeded), viewport=PHONE)
    for path in (*pages(seeded), f"/projects/{slug}/runs/{seeded.ppo.id}"):
        await page.goto(path)
        for theme in THEMES:
            await page.emulate_media(color_scheme=theme)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, theme)
    await page.goto(f"/projects/{slug}/datasets")
    place = page.locator(".views [aria-current]")
    await expect(place).to_be_in_viewport(ratio=0.99)  # the row of pages has been scrolled to it, by whole pixels
    await expect(place).to_have_text("Dataset versions")


async def test_what_people_models_and_errors_say_is_shown_as_text(db: AsyncSession, sign_in: SignIn, slug: str) -> None:
    seeded = await arrange(db, slug)
    await db.execute(update(Run).where(Run.id == seeded.failed.id).values(error=PAYLOAD))
    await db.execute(update(User).where(User.id == seeded.annotator.id).values(name=PAYLOAD))
    seeded.project.name = PAYLOAD
    seeded.label_round.reason = PAYLOAD
    samples: list[Json] = [{"prompt_id": "1", "prompt": PAYLOAD, "policy": PAYLOAD, "reference": PAYLOAD}]
    await measure(db, seeded, 35, kl=1.0, samples=samples)
    page = await sign_in(owner(seeded))
    project = f"/projects/{slug}"
    for path in ("/projects", project, f"{project}/runs", f"{project}/runs/{seeded.failed.id}", f"{project}/people"):
        await page.goto(path)
        await assert_harmless(page)
    await page.goto(f"{project}/runs/{seeded.ppo.id}")
    await expect(page.locator(".sample-prompt").first).to_have_text(PAYLOAD)
    await assert_harmless(page)


async def measure(db: AsyncSession, seeded: Seeded, step: int, *, kl: float, samples: list[Json] | None = None) -> None:
    """What a worker does when a step of the run is measured."""
    figures = {"score": 1.0, "kl": kl, "length": 40.0, "eos_rate": 1.0, "entropy": 1.5, "clip_fraction": 0.1}
    db.add(Metric(run_id=seeded.ppo.id, phase="ppo", step=step, figures=figures, samples=samples))
    await db.execute(update(Run).where(Run.id == seeded.ppo.id).values(step=step))
    await notify(db, project_id=seeded.project.id, run_id=seeded.ppo.id)
    await db.commit()


async def assert_harmless(page: Page) -> None:
    assert await page.locator("img[src=x]").count() == 0
    assert await page.locator("script:not([src])").count() == 0
