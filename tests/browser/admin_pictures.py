"""The admin's pages for `tests.browser.screenshots`: a project in its third round, and one that is being set up."""

from collections.abc import Awaitable, Callable

from playwright.async_api import Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from app.jobs import execution
from app.jobs.context import WorkerContext
from app.security import Principal
from app.services.loop.runs import leases
from app.services.reports import reports
from app.services.reports.registry import REPORTS
from tests.browser.conversations import PROSE
from tests.browser.people import arrange, session_token
from tests.browser.seed import Seeded, seed
from tests.browser.seed.opinions import make_opinions
from tests.browser.test_review import judge_all
from tests.factories import make_member

Keep = Callable[[Page, str], Awaitable[None]]

ROWS = """question,answer_1,answer_2,asked_on
How do I keep bread fresh?,"In a cloth bag. Freeze what two days won't use.",In the fridge.,2026-10-02
How do I get wax out of a tablecloth?,"Scrape it off, then iron it through paper.",Wash it hot.,2026-10-02
Why do onions make me cry?,They let off a gas that turns into acid in the eye.,Because they are sharp.,2026-10-03
How long do I boil an egg?,"Six minutes for a soft yolk, nine for a firm one.",Until it is done.,2026-10-05
"""


async def arrange_admin(db: AsyncSession) -> Seeded:
    """With reports as a worker would have written them. Committed."""
    seeded = await seed(db, labels=30)
    await make_opinions(db, seeded.project)
    for report in REPORTS.values():
        await reports.current(db, seeded.project, report)
        await db.commit()
        await reports.write(db, seeded.project.id, report.name)
        await db.commit()
    return seeded


async def shoot_admin(page: Page, keep: Keep, seeded: Seeded, db: AsyncSession) -> None:
    """Leaves the project's owner signed in."""
    project = f"/projects/{seeded.project.slug}"
    owner = Principal(seeded.owner.id, seeded.owner.name, is_admin=False)
    await sign_in(page, db, owner)
    for name, path in {
        "projects": "/projects",
        "project": project,
        "round": f"{project}/rounds/2",
        "run": f"{project}/runs/{seeded.ppo.id}",
        "models": f"{project}/models",
        "loop": f"{project}/loop",
        "quality": f"{project}/quality",
        "tasks": f"{project}/browse/tasks?agreement=divided",
        "figures": f"{project}/figures",
        "agreement": f"{project}/agreement",
        "settings": f"{project}/round-settings/ppo",
        "people": f"{project}/people",
    }.items():
        await page.goto(path)
        await keep(page, name)


async def shoot_review(page: Page, keep: Keep, db: AsyncSession) -> None:
    """Leaves a reviewer signed in, with a divided pair before them."""
    project, one = await arrange(db, [PROSE], overlap=2)
    project.name = "Everyday help"
    other, reviewer = await make_member(db, project), await make_member(db, project, "reviewer")
    (await db.get_one(User, reviewer.user_id)).name = "Tomasz Lind"
    await judge_all(db, one, project, 2)
    await judge_all(db, other, project, 6)
    await db.commit()
    await sign_in(page, db, reviewer)
    await page.goto(f"/projects/{project.slug}/review")
    await page.keyboard.press("2")
    await keep(page, "review")


async def sign_in(page: Page, db: AsyncSession, person: Principal) -> None:
    await page.goto("/sign-in")
    await page.context.add_cookies([{"name": "session", "value": await session_token(db, person), "url": page.url}])


async def shoot_setup(page: Page, keep: Keep, worker: WorkerContext) -> None:
    """A new project, from its name to the question, with a file whose columns have names of their own."""
    await page.goto("/projects/new")
    await page.get_by_label("Name", exact=True).fill("Questions of October")
    await page.get_by_label("Compare responses that I bring").check()
    await keep(page, "new-project")
    await page.get_by_role("button", name="Create and go on").click()
    await page.get_by_role("link", name="Upload or paste").click()
    file = worker.home / "october.csv"
    file.write_text(ROWS)
    await page.get_by_label("A file, chosen or dropped here").set_input_files(file)
    await page.get_by_role("button", name="Look at it").click()
    await work_off(worker)
    await expect(page.get_by_role("button", name="Import 4 rows")).to_be_visible()
    await keep(page, "import")
    await page.get_by_label("Its rows are").scroll_into_view_if_needed()
    await keep(page, "import-mapping")
    await page.get_by_role("button", name="Import 4 rows").click()
    await work_off(worker)
    await page.get_by_role("link", name="Go on where you were").click()
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("#preview")).to_contain_text("bread fresh")
    await keep(page, "setup-question")


async def work_off(worker: WorkerContext) -> None:
    """What a worker would do with files that wait."""
    for run in await worker.database.run(leases.waiting):
        if run.stage == "import":
            await execution.execute(worker, run.id)
