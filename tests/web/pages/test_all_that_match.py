"""All rows of a list that match, and tasks for a person: by form, and by a program."""

import html
import re

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import BulkChange, Judgement, Run, Task
from app.services.browse import changes, listing
from app.services.browse.lists import LISTS
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.chores import changing
from tests.browser.seed import Seeded
from tests.factories import make_prompt, make_task, principal
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

HOME = "/projects/everyday-help"


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a run is a few rows."""
    monkeypatch.setattr(changes, "AT_ONCE", 3)
    monkeypatch.setattr(changing, "AT_ONCE", 3)


@pytest.fixture
async def many_tasks(db: AsyncSession, seeded: Seeded) -> int:
    """More open tasks than a page shows; how many there are."""
    for _ in range(55):
        await make_task(db, seeded.project)
    await db.commit()
    of_project = (Task.project_id == seeded.project.id, Task.state == "open")
    return await db.scalar(select(func.count()).where(*of_project)) or 0


def hidden(page: str, name: str) -> str:
    (value,) = re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)"', page)
    return html.unescape(value)


async def run_of(db: AsyncSession) -> Run:
    return (await db.scalars(select(Run).where(Run.stage == "change").order_by(Run.id.desc()).limit(1))).one()


async def test_a_list_longer_than_its_page_leads_to_all_that_match_and_says_how_many(
    doors: dict[str, Door], many_tasks: int
) -> None:
    owner = doors["owner"]
    page = (await owner.send("GET", f"{HOME}/browse/tasks?state=open")).text
    (path,) = re.findall(r'hx-get="([^"]+/matching[^"]*)"', page)
    told = (await owner.send("GET", html.unescape(path))).text
    assert f"Select all {many_tasks} that match" in told
    (link,) = re.findall(r'href="([^"]+)"', told)
    everything = (await owner.send("GET", html.unescape(link))).text
    assert f"All {many_tasks} that match are selected." in everything
    assert hidden(everything, "filters") == "state=open"
    short = (await owner.send("GET", f"{HOME}/browse/tasks?state=retired")).text
    assert "/matching" not in short, "where a page shows all of it, ticking its head is enough"
    assert "/matching" not in (await doors["reviewer"].send("GET", f"{HOME}/browse/tasks?state=open")).text


async def test_beyond_a_bound_nobody_waits_for_the_number(
    doors: dict[str, Door], many_tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "COUNTED", 20)
    assert many_tasks > 20
    assert "more than 20" in (await doors["owner"].send("GET", f"{HOME}/browse/tasks/matching?state=open")).text
    assert "more than 20" in (await doors["owner"].send("GET", f"{HOME}/browse/tasks?state=open&all=yes")).text


@pytest.mark.usefixtures("few_at_once")
async def test_many_are_changed_by_a_run_whose_page_offers_the_way_back(
    doors: dict[str, Door], many_tasks: int, db: AsyncSession, seeded: Seeded
) -> None:
    owner = doors["owner"]
    page = (await owner.send("GET", f"{HOME}/browse/tasks?state=open&all=yes")).text
    form = {"change": "priority", "number": "7", "all": "true", "filters": hidden(page, "filters")}
    answer = await owner.send("POST", f"{HOME}/browse/changes", form)
    run = await run_of(db)
    assert answer.headers["location"] == f"{HOME}/runs/{run.id}"
    kept = (await db.scalars(select(BulkChange))).one()
    assert (kept.filters, kept.value, kept.changed) == ({"state": "open"}, "7", 0)
    undo = f"{HOME}/browse/changes/{kept.id}/undo"
    assert (await owner.send("POST", undo, {"back": "/"})).status_code == 409
    assert undo not in (await owner.send("GET", f"{HOME}/runs/{run.id}")).text
    while (await changes.step(db, seeded.project, kept.id)).has_more:
        pass
    await finish(db, run)
    shown = (await owner.send("GET", f"{HOME}/runs/{run.id}")).text
    assert f"{many_tasks} rows were changed." in shown
    assert undo in shown
    assert undo not in (await doors["reviewer"].send("GET", f"{HOME}/runs/{run.id}")).text
    back = await owner.send("POST", undo, {"back": f"{HOME}/runs/{run.id}"})
    assert back.headers["location"] == f"{HOME}/runs/{(await run_of(db)).id}" != answer.headers["location"]


async def finish(db: AsyncSession, run: Run) -> None:
    run.state, run.finished_at = "cancelled", func.now()
    await db.commit()


async def test_few_are_changed_at_once_and_the_page_says_so(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    task = await make_task(db, seeded.project)
    task.state = "retired"
    await db.commit()
    form = {"change": "put_back", "all": "true", "filters": "state=retired", "back": f"{HOME}/browse/tasks"}
    answer = await doors["owner"].send("POST", f"{HOME}/browse/changes", form)
    assert "One row was changed." in (await doors["owner"].send("GET", answer.headers["location"])).text
    await db.refresh(task)
    assert task.state == "open"
    nothing = await doors["owner"].send("POST", f"{HOME}/browse/changes", form)
    assert (nothing.status_code, "Nothing matches." in nothing.text) == (409, True)


@pytest.mark.parametrize(
    "form",
    [
        {"change": "priority", "number": "high", "filters": "state=open"},
        {"change": "retire", "filters": "state=gone"},
        {"change": "give", "person": "", "filters": "state=open"},
        {"change": "give", "person": "99999", "filters": "state=open"},
    ],
)
async def test_what_can_not_be_is_refused_before_anything_is_queued(
    form: dict[str, str], doors: dict[str, Door], db: AsyncSession
) -> None:
    answer = await doors["owner"].send("POST", f"{HOME}/browse/changes", form | {"all": "true"})
    assert answer.status_code == 422
    assert await db.scalar(select(BulkChange.id)) is None


async def test_tasks_are_given_to_a_person_who_is_said_on_list_and_page(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    owner, name = doors["owner"], seeded.annotator.name
    new = await make_task(db, seeded.project)
    judged = await db.scalar(
        select(Judgement.task_id).where(Judgement.annotator_id == seeded.annotator.id, ~Judgement.is_check).limit(1)
    )
    await db.commit()
    form = {"change": "give", "person": str(seeded.annotator.id), "back": f"{HOME}/browse/tasks"}
    answer = await owner.send("POST", f"{HOME}/browse/changes", form | {"ids": [str(new.id), str(judged)]})
    said = (await owner.send("GET", answer.headers["location"])).text
    assert "One row was changed." in said
    assert "They have judged it already. (1)" in said
    theirs = (await owner.send("GET", f"{HOME}/browse/tasks?given_to={name}")).text
    assert re.findall(r'<th scope="row"><a href="[^"]+">(\d+)</a>', theirs) == [str(new.id)]
    assert f"open, for {name}" in theirs
    assert f"Given to {name}" in (await owner.send("GET", f"{HOME}/tasks/{new.id}")).text
    assert "Tasks given to them" in (await owner.send("GET", f"{HOME}/people/{seeded.annotator.id}")).text
    shared = await owner.send("POST", f"{HOME}/browse/changes", {"change": "share", "ids": [str(new.id)], "back": "/"})
    assert shared.status_code == 303
    assert f"Given to {name}" not in (await owner.send("GET", f"{HOME}/tasks/{new.id}")).text


async def test_where_nothing_could_be_given_the_page_says_why_and_offers_no_way_back(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    closed = await make_task(db, seeded.project)
    closed.state = "closed"
    await db.commit()
    form = {
        "change": "give",
        "person": str(seeded.annotator.id),
        "ids": [str(closed.id)],
        "back": f"{HOME}/browse/tasks",
    }
    answer = await doors["owner"].send("POST", f"{HOME}/browse/changes", form)
    said = (await doors["owner"].send("GET", answer.headers["location"])).text
    assert "It is not open. (1)" in said
    assert "/undo" not in said


async def test_tasks_are_found_by_what_was_flagged_in_them(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    seeded.project.question = {**seeded.project.question, "flags": ["Makes facts up"]}
    flagged = await make_task(db, seeded.project, priority=10**6)
    db.add(seeded.project)
    await db.flush()
    reviewer = principal(seeded.reviewer)
    lease = await assignments.lease_next(db, reviewer, seeded.project)
    assert lease is not None
    assert lease.task_id == flagged.id
    said = Answer(2, flags=(("Makes facts up",), ()))
    await judgements.submit(db, reviewer, lease.id, Submission(said, "flagged"))
    await db.commit()
    for flag, found in (("Makes facts up", [str(flagged.id)]), ("Makes", [])):
        page = (await doors["owner"].send("GET", f"{HOME}/browse/tasks?flag={flag}")).text
        assert re.findall(r'<th scope="row"><a href="[^"]+">(\d+)</a>', page) == found


async def test_a_tag_is_found_however_rare_it_is(
    seeded: Seeded, db: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = [await make_prompt(db, seeded.project) for _ in range(4)]
    for prompt in common:
        prompt.tags = ["common"]
    common[0].tags = ["common", "rare"]
    await db.flush()
    monkeypatch.setattr(listing, "RARE", 3)
    prompts = LISTS["prompts"]
    for tag, found in (("common", common), ("rare", common[:1]), ("of nobody", [])):
        page = await prompts.page(db, seeded.project, prompts.filters(tag=tag), after=None, limit=10)
        assert {row.id for row in page.rows} == {prompt.id for prompt in found}
