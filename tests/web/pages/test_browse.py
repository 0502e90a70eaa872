"""What a project holds, found by filters and words, page by page; and changes of many rows that can be undone."""

import asyncio
import re
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import BulkChange, Completion, Judgement, Project, Prompt, Run, Task, TaskCompletion
from app.errors import Conflict
from app.services import conditions
from app.services.browse import changes
from app.services.browse.kinds import ChangeName
from app.services.browse.listing import Filters
from app.services.browse.lists import LISTS, ListName, TaskFilters
from app.services.data import datasets
from app.services.erasure import rows
from app.services.erasure.targets import Target, reach_of
from tests.browser.seed import Seeded
from tests.factories import make_project, make_prompt, make_task
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

HOME = "/projects/everyday-help"


def numbers_in(html: str) -> list[int]:
    """The rows of a list, as they stand."""
    return [int(number) for number in re.findall(r'<th scope="row"><a href="[^"]+">(\d+)</a>', html)]


def ticked(html: str) -> list[str]:
    return re.findall(r'<input type="checkbox" name="ids" value="(\d+)"', html)


async def ids_of(db: AsyncSession, name: ListName, project: Project, **filters: object) -> list[int]:
    listing = LISTS[name]
    page = await listing.page(db, project, listing.filters.model_validate(filters), after=None, limit=100)
    return [row.id for row in page.rows]


@pytest.mark.parametrize("name", LISTS)
async def test_every_list_pages_through_all_of_it_newest_first_whatever_arrives(
    name: ListName, seeded: Seeded, db: AsyncSession
) -> None:
    everything = await ids_of(db, name, seeded.project)
    assert everything == sorted(everything, reverse=True)
    assert everything
    seen: list[int] = []
    after = None
    while after is not None or not seen:
        page = await LISTS[name].page(db, seeded.project, LISTS[name].filters(), after=after, limit=7)
        seen += [row.id for row in page.rows]
        after = page.after
        await make_task(db, seeded.project)
    assert seen == everything[: len(seen)]
    assert set(everything) == set(seen)


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_of_every_list_shows_its_rows_and_leads_on(name: ListName, doors: dict[str, Door]) -> None:
    page = (await doors["reviewer"].send("GET", f"{HOME}/browse/{name}")).text
    shown = numbers_in(page)
    assert shown == sorted(shown, reverse=True)
    assert shown
    (link, *_) = re.findall(r'<th scope="row"><a href="([^"]+)">', page)
    assert (await doors["reviewer"].send("GET", link.partition("#")[0])).status_code == 200
    assert not ticked(page), "a reviewer changes nothing"


async def test_words_are_found_in_prompts_responses_and_tasks(db: AsyncSession) -> None:
    project = await make_project(db)
    kettle = await make_prompt(db, project, "How do I descale a kettle?")
    task = await make_task(db, project, "Vinegar, then rinse.", "Throw it away.", prompt=kettle)
    await make_task(db, project, "Vinegar is for salads.", "No.")
    assert await ids_of(db, "prompts", project, search="kettle descale") == [kettle.id]
    assert await ids_of(db, "tasks", project, search='"a kettle"') == [task.id]
    assert len(await ids_of(db, "responses", project, search="vinegar")) == 2
    assert len(await ids_of(db, "responses", project, search="vinegar -salads")) == 1
    assert await ids_of(db, "prompts", project, search="teapot") == []


async def test_filters_narrow_tasks_to_those_that_divide_people(db: AsyncSession, seeded: Seeded) -> None:
    divided = await ids_of(db, "tasks", seeded.project, agreement="divided")
    agreed = await ids_of(db, "tasks", seeded.project, agreement="agreed")
    side = func.sign(Judgement.preference)
    twice = (
        select(Judgement.task_id)
        .where(Judgement.project_id == seeded.project.id, Judgement.superseded_by.is_(None))
        .group_by(Judgement.task_id)
        .having(func.count() > 1, func.min(side) * func.max(side) < 0)
    )
    assert set(divided) == set(await db.scalars(twice))
    assert not set(divided) & set(agreed)


async def test_what_one_person_said_is_found_by_their_name_whatever_the_case(db: AsyncSession, seeded: Seeded) -> None:
    name = seeded.annotator.name.upper()
    theirs = select(Judgement.id).where(Judgement.annotator_id == seeded.annotator.id).order_by(Judgement.id.desc())
    assert await ids_of(db, "judgements", seeded.project, annotator=name) == list(await db.scalars(theirs)) != []
    assert await ids_of(db, "judgements", seeded.project, annotator="Nobody") == []
    assert await ids_of(db, "tasks", seeded.project, annotator=name)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("tasks", "state=open&purpose=label&round=3&split=train&since=2020-01-01&until=2100-01-01"),
        ("tasks", "annotator=Ada&policy=1&tag=x"),
        ("judgements", "standing=current&kind=simulated&hurried=no&in_dataset=yes&search=because&flag=Makes+facts+up"),
        ("responses", "source=policy&policy=1&longer_than=3&shorter_than=4000"),
        ("demonstrations", "source=starter&author=Ada&search=the"),
        ("prompts", "topic=home&source=starter&excluded=no&tag="),
    ],
)
async def test_every_filter_can_be_asked_for(name: str, query: str, doors: dict[str, Door]) -> None:
    answer = await doors["owner"].send("GET", f"{HOME}/browse/{name}?{query}")
    assert answer.status_code == 200


async def test_tasks_are_found_by_the_policy_that_wrote_for_them(db: AsyncSession, seeded: Seeded) -> None:
    _, policy = seeded.policies
    task = await make_task(db, await db.get_one(Project, seeded.project.id))
    compared = select(TaskCompletion.completion_id).where(TaskCompletion.task_id == task.id)
    written = update(Completion).where(Completion.id.in_(compared))
    await db.execute(written.values(source="policy", model_version_id=policy.id))
    assert await ids_of(db, "tasks", seeded.project, policy=2) == [task.id]
    assert await ids_of(db, "tasks", seeded.project, policy=1) == []


@pytest.mark.parametrize("query", ["state=gone", "since=yesterday", "round=-1", "search=a%00b", "policy=99999999999"])
async def test_a_filter_that_is_none_is_said_and_everything_is_shown(query: str, doors: dict[str, Door]) -> None:
    answer = await doors["owner"].send("GET", f"{HOME}/browse/tasks?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert numbers_in(answer.text)


async def test_what_is_ticked_is_changed_and_one_button_undoes_it(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    page = (await doors["owner"].send("GET", f"{HOME}/browse/prompts?split=train")).text
    ids = ticked(page)[:3]
    form = {"change": "tag", "tag": " hard  ones ", "ids": ids, "back": f"{HOME}/browse/prompts?split=train"}
    answer = await doors["owner"].send("POST", f"{HOME}/browse/changes", form)
    assert answer.status_code == 303
    assert sorted(await ids_of(db, "prompts", seeded.project, tag="hard ones")) == sorted(map(int, ids))
    said = (await doors["owner"].send("GET", answer.headers["location"])).text
    assert "3 rows were changed." in said
    (undo,) = re.findall(r'action="([^"]+/undo)"', said)
    assert (await doors["owner"].send("POST", undo, {"back": f"{HOME}/browse/prompts"})).status_code == 303
    await db.rollback()
    assert await ids_of(db, "prompts", seeded.project, tag="hard ones") == []
    assert (await doors["owner"].send("POST", undo, {"back": "/"})).status_code == 409


async def test_what_is_said_of_an_excluded_prompt_is_in_no_dataset_version(
    seeded: Seeded, db: AsyncSession, tmp_path: Path
) -> None:
    whole = await datasets.cut_preferences(db, seeded.project, home=tmp_path)
    (judged, *_) = await db.scalars(
        select(Task.prompt_id).join(Judgement).where(*conditions.labels_of(seeded.project.id)).order_by(Judgement.id)
    )
    about_it = await db.scalar(
        select(func.count())
        .select_from(Judgement)
        .join(Task)
        .where(*conditions.labels_of(seeded.project.id), Task.prompt_id == judged)
    )
    await changed(db, seeded.project, "exclude", [judged])
    assert about_it
    assert (await datasets.cut_preferences(db, seeded.project, home=tmp_path)).row_count == whole.row_count - about_it


@pytest.fixture
async def project(db: AsyncSession) -> Project:
    return await make_project(db)


async def changed(db: AsyncSession, project: Project, name: ChangeName, ids: list[int], value: str = "") -> int:
    done = await changes.change(db, None, project, name, ids, value)
    assert done.change_id is not None
    return done.change_id


async def test_a_task_is_retired_and_put_back_as_what_it_would_be_by_now(db: AsyncSession, project: Project) -> None:
    task = await make_task(db, project, quota=2)
    retired = await changed(db, project, "retire", [task.id])
    assert task.state == "retired"
    task.taken = task.judged = 2  # two leases that were out have come back since
    await db.flush()
    await changes.undo(db, project, retired)
    assert task.state == "closed"


async def test_a_quota_below_what_is_out_is_left_and_told(db: AsyncSession, project: Project) -> None:
    few, many = await make_task(db, project, quota=3), await make_task(db, project, quota=3)
    many.taken = many.judged = 2
    await db.flush()
    done = await changes.change(db, None, project, "quota", [few.id, many.id], "1")
    assert (done.changed, set(done.left)) == (1, {many.id})
    assert (few.quota, many.quota) == (1, 3)
    done = await changes.change(db, None, project, "quota", [many.id], "2")
    assert many.state == "closed"
    assert done.change_id is not None
    wider = await changed(db, project, "quota", [few.id], "5")
    few.taken = few.judged = 4
    await db.flush()
    back = await changes.undo(db, project, wider)
    assert (back.changed, set(back.left), few.quota) == (0, {few.id}, 5)


async def test_what_was_changed_again_since_is_left_by_an_undo(db: AsyncSession, project: Project) -> None:
    one, two = await make_prompt(db, project), await make_prompt(db, project)
    moved = await changed(db, project, "split", [one.id, two.id], "held_out")
    await changed(db, project, "split", [two.id], "validation")
    back = await changes.undo(db, project, moved)
    assert (back.changed, set(back.left)) == (1, {two.id})
    assert (one.split, two.split) == ("train", "validation")


async def test_of_two_who_undo_at_once_one_is_refused(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    prompt = await make_prompt(db, project)
    kept = await changed(db, project, "exclude", [prompt.id])
    await db.commit()

    async def undo() -> bool:
        async with sessions() as mine:
            try:
                await changes.undo(mine, await mine.get_one(Project, project.id), kept)
            except Conflict:
                return False
            await mine.commit()
            return True

    assert sorted(await asyncio.gather(undo(), undo())) == [False, True]
    assert (await db.get_one(Prompt, prompt.id, populate_existing=True)).excluded is False


async def test_rows_of_another_project_are_not_there(
    db: AsyncSession, project: Project, doors: dict[str, Door]
) -> None:
    foreign = await make_task(db, project)
    await db.commit()
    assert (await doors["owner"].send("GET", f"{HOME}/tasks/{foreign.id}")).status_code == 404
    assert (await doors["owner"].send("GET", f"{HOME}/prompts/{foreign.prompt_id}")).status_code == 404
    form = {"change": "retire", "ids": [str(foreign.id)], "back": HOME}
    assert (await doors["owner"].send("POST", f"{HOME}/browse/changes", form)).status_code == 303
    assert (await db.get_one(Task, foreign.id, populate_existing=True)).state == "open"
    assert await db.scalar(select(BulkChange.id)) is None


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("quota", "many"),
        ("quota", "0"),
        ("tag", "  "),
        ("split", "elsewhere"),
        ("priority", "1e9"),
        ("priority", "--5"),
    ],
)
async def test_a_value_that_can_not_be_is_refused(change: str, value: str, doors: dict[str, Door]) -> None:
    name = "tasks" if change in ("quota", "priority") else "prompts"
    (first, *_) = ticked((await doors["owner"].send("GET", f"{HOME}/browse/{name}")).text)
    field = {"quota": "number", "priority": "number"}.get(change, change)
    form = {"change": change, field: value, "ids": [first]}
    answer = await doors["owner"].send("POST", f"{HOME}/browse/changes", form)
    assert answer.status_code == 422


async def test_an_owner_reads_what_goes_before_it_is_erased_and_every_page_says_so_after(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    judged = await db.scalar(
        select(Task).join(Judgement).where(*conditions.labels_of(seeded.project.id)).order_by(Judgement.id).limit(1)
    )
    assert judged is not None
    prompt, owner = f"{HOME}/prompts/{judged.prompt_id}", doors["owner"]
    words = str((await db.get_one(Prompt, judged.prompt_id)).messages[-1]["content"])
    (link, *_) = re.findall(r'href="([^"]+/erase/prompt/\d+)"', (await owner.send("GET", prompt)).text)
    told = (await owner.send("GET", link)).text
    assert "1 prompt<" in told
    assert "stays, without the texts" in told or "stay, without the texts" in told
    assert (await owner.send("POST", link, {})).status_code == 422
    asked = await owner.send("POST", link, {"sure": "true", "reason": "they asked"})
    assert "/runs/" in asked.headers["location"]
    run = await db.scalar(select(Run).where(Run.stage == "erase"))
    assert run is not None
    assert run.settings == {"kind": "prompt", "id": judged.prompt_id, "files": False, "reason": "they asked"}

    reach = await reach_of(db, seeded.project, Target("prompt", judged.prompt_id))
    await rows.erase(db, seeded.project, reach, lambda done, total: None)
    await db.commit()
    for page in (prompt, f"{HOME}/tasks/{judged.id}", f"{HOME}/browse/tasks?state=retired", link):
        shown = (await owner.send("GET", page)).text
        assert words not in shown
        assert "rased" in shown, page
    person = f"{HOME}/erase/person/{seeded.annotator.id}"
    assert seeded.annotator.name in (await owner.send("GET", person)).text
    assert (await owner.send("POST", person, {"name": "Somebody"})).status_code == 422
    nothing = await owner.send("POST", person, {"name": seeded.annotator.name})
    assert (nothing.status_code, "Nothing of it is left" in nothing.text) == (409, True)
    assert (await owner.send("GET", f"{HOME}/erase/response/999999")).status_code == 404


def test_filters_have_words_and_conditions() -> None:
    for listing in LISTS.values():
        assert issubclass(listing.filters, Filters)
        assert list(listing.filters().conditions()) == []
    assert len(list(TaskFilters(state="open", round=1).conditions())) == 2
