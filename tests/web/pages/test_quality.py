"""The page on which an owner checks annotators, and the annotator's page in a qualification round, over plain forms."""

import re

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, GoldAnswer, Judgement, Member, Project, Task
from app.security import Principal
from app.services.projects.checks import Checks
from tests.browser.conversations import PROSE, SHORT
from tests.browser.people import arrange
from tests.factories import make_member
from tests.web.conftest import SignIn
from tests.web.forms import judgement_form

HTMX = {"HX-Request": "true"}
GOLD = {
    "prompt": "May I boil an egg in a shoe?",
    "response_0": "Better not.",
    "response_1": "Always.",
    "better": "0",
    "explanation": "Shoes are for **feet**.",
    "purpose": "qualification",
}
CHECKS = {
    "qualification_size": "1",
    "qualification_percent": "100",
    "gold_percent": "4",
    "tells_gold": "true",
    "repeat_percent": "2.5",
}


async def test_an_owner_writes_gold_sets_the_checks_and_reads_who_passed(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    owner = await make_member(db, project, "owner")
    await db.commit()
    client, page = await sign_in(owner), f"/projects/{project.slug}/quality"
    assert "Nobody is checked yet" in (await client.get(page)).text
    assert (await client.post(f"{page}/gold", data=GOLD)).status_code == 303
    saved = await client.post(page, data=CHECKS, follow_redirects=True)
    assert 'role="status"' in saved.text
    await db.refresh(project)
    assert Checks.of(project.checks) == Checks(
        qualification_size=1, qualification_percent=100, gold_percent=4, tells_gold=True, repeat_percent=2.5
    )
    assert "Nobody has passed the qualification round yet" in saved.text
    listed = (await client.get(f"/projects/{project.slug}/browse/tasks?purpose=qualification")).text
    (task,) = re.findall(r'<th scope="row"><a href="([^"]+)">', listed)
    assert ("0 / ∞" in listed, "judged by 0 of ∞" in (await client.get(task)).text) == (True, True)
    assert "not yet" in saved.text
    await db.execute(update(Member).where(Member.user_id == annotator.user_id).values(qualified_at=Member.created_at))
    await db.commit()
    assert "1 annotator has passed" in (await client.get(page)).text


async def test_what_can_not_be_gold_is_said_and_what_was_typed_is_kept(db: AsyncSession, sign_in: SignIn) -> None:
    project, _ = await arrange(db, [])
    client, page = await sign_in(await _owner(db, project)), f"/projects/{project.slug}/quality"
    answer = await client.post(f"{page}/gold", data={**GOLD, "response_1": "Better not. "})
    assert answer.status_code == 422
    assert "Two of the responses are the same." in answer.text
    assert "May I boil an egg in a shoe?" in answer.text
    answer = await client.post(page, data={**CHECKS, "gold_percent": "50"})
    assert answer.status_code == 422
    assert 'value="50"' in answer.text
    await db.refresh(project)
    assert Checks.of(project.checks) == Checks()


async def test_gold_is_explained_taken_out_and_used_again(db: AsyncSession, sign_in: SignIn) -> None:
    project, _ = await arrange(db, [])
    client, page = await sign_in(await _owner(db, project)), f"/projects/{project.slug}/quality"
    await client.post(f"{page}/gold", data=GOLD)
    task_id = await db.scalar(select(GoldAnswer.task_id))
    await client.post(f"{page}/gold/{task_id}", data={"better": "none", "explanation": "It depends."})
    row = await db.scalar(select(GoldAnswer).execution_options(populate_existing=True))
    assert row is not None
    assert (row.better, row.explanation) == (None, "It depends.")
    for use, state in (("false", "retired"), ("true", "open")):
        await client.post(f"{page}/gold/{task_id}/use", data={"use": use})
        assert await db.scalar(select(Task.state).where(Task.id == task_id)) == state
    assert (await client.post(f"{page}/gold/999/use", data={"use": "true"})).status_code == 404


async def test_a_new_annotator_qualifies_by_plain_forms_and_is_told_after_each_answer(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE])
    owner = await sign_in(await _owner(db, project))
    await owner.post(f"/projects/{project.slug}/quality/gold", data=GOLD)
    await owner.post(f"/projects/{project.slug}/quality", data={**CHECKS, "gold_percent": "0", "repeat_percent": "0"})
    client = await sign_in(annotator)
    page = await client.get(f"/projects/{project.slug}/annotate")
    assert "Qualification, 1 of 1" in page.text
    assert 'popovertarget="skip"' not in page.text
    assert "feet" not in page.text
    right = await _side_of(db, annotator.user_id, 0)
    action, fields = judgement_form(page.text)
    answer = await client.post(action, data={**fields, "choice": "1" if right == "A" else "7"})
    assert answer.status_code == 303
    told = await client.get(answer.headers["location"])
    assert "Right." in told.text
    assert f"{right} is better." in told.text
    assert "Shoes are for <strong>feet</strong>." in told.text
    assert "You have passed the qualification round" in told.text
    work = await client.get(f"/projects/{project.slug}/annotate")
    assert "Qualification" not in work.text
    assert 'id="judgement"' in work.text


async def test_who_fails_for_good_is_told_so_until_an_owner_lets_them_in(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE])
    owner = await sign_in(await _owner(db, project))
    await owner.post(f"/projects/{project.slug}/quality/gold", data=GOLD)
    await owner.post(f"/projects/{project.slug}/quality", data=CHECKS)
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    action, fields = judgement_form((await client.get(home)).text)
    wrong = await _side_of(db, annotator.user_id, 1)
    told = await client.post(action, data={**fields, "choice": "1" if wrong == "A" else "7"}, headers=HTMX)
    assert "Not what the project says." in told.text
    over = await client.get(f"{home}/next", headers=HTMX)
    assert "0 of 1 answers were what the project says; 1 are needed." in over.text
    assert (await client.get(f"{home}/next?waiting=true", headers=HTMX)).status_code == 204
    quality = f"/projects/{project.slug}/quality"
    assert "0 of 1 right" in (await owner.get(quality)).text
    await owner.post(f"{quality}/people/{annotator.user_id}/let-in")
    assert 'id="judgement"' in (await client.get(f"{home}/next?waiting=true", headers=HTMX)).text


async def test_a_change_of_an_answer_that_was_told_is_refused(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE])
    owner = await sign_in(await _owner(db, project))
    await owner.post(f"/projects/{project.slug}/quality/gold", data=GOLD)
    await owner.post(f"/projects/{project.slug}/quality", data=CHECKS)
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    await client.post(action, data={**fields, "choice": "1"})
    changed = await client.post(action, data={**fields, "choice": "7", "idempotency_key": "another"})
    assert changed.status_code == 409
    assert list(await db.scalars(select(Judgement.choice))) == [1]


async def test_hidden_gold_has_the_same_bytes_as_any_other_task(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [SHORT])
    client = await sign_in(annotator)
    plain = await client.get(f"/projects/{project.slug}/annotate")
    await db.execute(update(Task).values(purpose="gold"))
    task = (await db.scalars(select(Task))).one()
    db.add(GoldAnswer(task_id=task.id, better=0, explanation="Because."))
    project.checks = Checks(gold_percent=5).to_json()
    await db.commit()
    hidden = await client.get(f"/projects/{project.slug}/annotate")
    assert _without_keys(hidden.text) == _without_keys(plain.text)


async def _owner(db: AsyncSession, project: Project) -> Principal:
    owner = await make_member(db, project, "owner")
    await db.commit()
    return owner


async def _side_of(db: AsyncSession, user_id: int, position: int) -> str:
    order = await db.scalar(select(Assignment.shown_order).where(Assignment.annotator_id == user_id))
    assert order is not None
    return "AB"[order.index(position)]


def _without_keys(html: str) -> str:
    return re.sub(r'name="idempotency_key" value="[^"]+"|max="\d+"', "", html)
