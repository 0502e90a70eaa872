"""The forms of *Quality* and *Question* with what can't be meant: said, kept as it was typed, and nothing happened."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, GoldAnswer, Member, Project, Prompt, Task
from app.services.projects import question
from tests.browser.conversations import SHORT
from tests.browser.people import arrange
from tests.factories import make_member, make_project, make_task
from tests.web.conftest import SignIn
from tests.web.pages.test_quality import CHECKS, GOLD


async def rows_of(db: AsyncSession, *tables: type) -> list[int]:
    found = [await db.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
    await db.commit()
    return found


async def test_gold_that_can_not_be_meant_leaves_nothing_behind_and_everything_typed_on_the_form(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, _ = await arrange(db, [])
    owner = await make_member(db, project, "owner")
    client, page = await sign_in(owner), f"/projects/{project.slug}/quality"
    for wrong, said in (
        ({"prompt": " "}, "a prompt and two to nine responses"),
        ({"response_0": ""}, "a prompt and two to nine responses"),
        ({"response_1": " Better not.\r\n"}, "Two of the responses are the same."),
        ({"better": "5"}, "Say which of the responses is better."),
        ({"explanation": "Because\0 of **feet**."}, "can&#39;t be stored"),
    ):
        refused = await client.post(f"{page}/gold", data={**GOLD, **wrong})
        assert refused.status_code == 422, wrong
        assert said in refused.text, wrong
        assert "Nothing was saved yet." in refused.text
        for name in {"prompt", "response_1"} - set(wrong):
            assert GOLD[name] in refused.text, (wrong, name)
        assert await rows_of(db, Prompt, Task, Completion, GoldAnswer) == [0] * 4, wrong
    for beyond in ({"better": "9"}, {"purpose": "label"}, {"prompt": "x" * 100_001}):
        refused = await client.post(f"{page}/gold", data={**GOLD, **beyond})
        assert (refused.status_code, refused.headers["x-request-id"] in refused.text) == (422, True)
    assert await rows_of(db, Prompt, Task) == [0, 0]


async def test_what_is_wrong_is_told_in_the_owners_language(db: AsyncSession, sign_in: SignIn) -> None:
    project, _ = await arrange(db, [])
    client = await sign_in(await make_member(db, project, "owner"))
    client.headers["Accept-Language"] = "de"
    same = await client.post(f"/projects/{project.slug}/quality/gold", data={**GOLD, "response_1": "Better not."})
    assert "Zwei der Antworten sind gleich." in same.text
    asked = {"guidelines": "Sei nett.", "overlap": "0"}
    refused = await client.post(f"/projects/{project.slug}/question", data=asked)
    assert "Eine Aufgabe wird von 1 bis 100 Leuten beurteilt." in refused.text
    assert "Sei nett." in refused.text


async def test_checks_that_can_not_be_meant_are_refused_and_those_before_stay(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, _ = await arrange(db, [])
    client, page = await sign_in(await make_member(db, project, "owner")), f"/projects/{project.slug}/quality"
    assert (await client.post(page, data=CHECKS)).status_code == 303
    for wrong, said in (
        ({"qualification_size": "101"}, "Checks qualification_size: "),
        ({"qualification_percent": "0"}, "Checks qualification_percent: "),
        ({"gold_percent": "-1"}, "Checks gold_percent: "),
        ({"repeat_percent": "49"}, "at most half of the tasks can be checks"),
    ):
        refused = await client.post(page, data={**CHECKS, **wrong})
        assert (refused.status_code, said in refused.text) == (422, True), wrong
        for name, value in wrong.items():
            assert f'name="{name}" type="number"' in refused.text
            assert f'value="{value}" required' in refused.text, wrong
    await db.refresh(project)
    assert project.checks["gold_percent"] == 4
    unticked = {name: value for name, value in CHECKS.items() if name != "tells_gold"}
    assert (await client.post(page, data=unticked)).status_code == 303
    await db.refresh(project)
    assert "tells_gold" not in project.checks


async def test_gold_of_another_project_is_not_there_and_a_task_is_gold_once_for_each_purpose(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, other = await make_project(db), await make_project(db)
    task, foreign = await make_task(db, project), await make_task(db, other)
    several = await make_task(db, project, "a", "b", "c")
    client, page = await sign_in(await make_member(db, project, "owner")), f"/projects/{project.slug}/quality"
    assert (await client.post(f"{page}/tasks/{foreign.id}/gold", data={"better": "0"})).status_code == 404
    for purpose in ("gold", "qualification"):
        for status in (303, 409):
            form = {"better": "1", "purpose": purpose, "explanation": "So."}
            assert (await client.post(f"{page}/tasks/{task.id}/gold", data=form)).status_code == status
    for better, status in (("none", 422), ("3", 422), ("2", 303)):
        made = await client.post(f"{page}/tasks/{several.id}/gold", data={"better": better})
        assert made.status_code == status, better
    gold = {row.better: row.task_id for row in await db.scalars(select(GoldAnswer))}
    await db.commit()
    for path, form in ((f"{gold[2]}", {"better": "none"}), (f"{gold[2]}", {"better": "4"})):
        assert (await client.post(f"{page}/gold/{path}", data=form)).status_code == 422
    stranger = await sign_in(await make_member(db, other, "owner"))
    theirs = f"/projects/{other.slug}/quality/gold/{gold[1]}"
    assert (await stranger.post(theirs, data={"better": "0"})).status_code == 404
    assert (await stranger.post(f"{theirs}/use", data={"use": "false"})).status_code == 404
    assert (await client.post(f"{page}/gold/{gold[1]}/use", data={})).status_code == 422
    assert (await client.post(f"{page}/people/999/let-in")).status_code == 404


async def test_letting_in_is_for_good_and_the_first_time_counts(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [SHORT])
    client = await sign_in(await make_member(db, project, "owner"))
    at = []
    for _ in range(2):
        await client.post(f"/projects/{project.slug}/quality/people/{annotator.user_id}/let-in")
        at.append(await db.scalar(select(Member.qualified_at).where(Member.user_id == annotator.user_id)))
        await db.commit()
    assert at[0] is not None
    assert at[0] == at[1]


async def test_the_question_is_shown_as_it_was_saved(db: AsyncSession, sign_in: SignIn) -> None:
    project, _ = await arrange(db, [])
    asked = {"answer_type": "best", "size": 5, "flags": ["Made <up>", "Rude"], "rationale": "sampled"}
    project.question = question.checked({**asked, "rationale_share": 0.125, "skip_policy": "retire"}).to_json()
    project.lease_seconds = 90
    project.guidelines = "Be kind.\n</textarea>"
    client, page = await sign_in(await make_member(db, project, "owner")), f"/projects/{project.slug}/question"
    html = (await client.get(page)).text
    assert "Made &lt;up&gt;\nRude</textarea>" in html
    assert "Be kind.\n&lt;/textarea&gt;</textarea>" in html
    for shown in ('name="rationale_percent" type="number"', 'value="12.5"', 'name="answer_type" value="best" checked'):
        assert shown in html
    # Sent back as it is, it stays as it is, also where the form shows whole minutes.
    form = {"answer_type": "best", "size": "5", "flags": "Made <up>\r\nRude", "rationale": "sampled"}
    form |= {"rationale_percent": "12.5", "skip_policy": "retire", "fastest_words_per_minute": "0", "overlap": "1"}
    form |= {"guidelines": "Be kind.\r\n</textarea>", "lease_minutes": "1"}
    before = (project.question, project.guidelines, project.guidelines_version)
    assert (await client.post(page, data=form)).status_code == 303
    saved = await db.get_one(Project, project.id, populate_existing=True)
    assert (saved.question | {"fastest_words_per_minute": 1000}, saved.guidelines) == (
        before[0] | {"fastest_words_per_minute": 1000},
        "Be kind.\n</textarea>",
    )
    assert (saved.guidelines_version, saved.lease_seconds) == (before[2], 90)
