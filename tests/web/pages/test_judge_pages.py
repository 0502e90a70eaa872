"""A served model as a judge, by its pages and as an annotator never sees it."""

import re

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judge, Project, Round, Run, ServedModel, Task
from app.security import Principal
from app.services.judging.machines import answers, judges
from app.services.judging.machines.answers import Answer, Reply
from app.services.judging.machines.asking import NO_VERDICT, Order, Read, Said
from app.services.loop.asking import routing
from app.services.selection.label_worth import TOO_FEW_OTHERS
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.web.conftest import SignIn, app, sign_in

__all__ = ["app", "sign_in"]

TEXTS = ("Gently.", "In a shoe.")


async def make_judge(db: AsyncSession, project: Project) -> Judge:
    served = ServedModel(project_id=project.id, name="Vicuña", address="https://models.example/v1", model="m")
    db.add(served)
    await db.flush()
    return await judges.make(db, project, served)


async def answer(db: AsyncSession, judge: Judge, task: Task, *said: Said | None) -> None:
    """What a run would store of the task."""
    run = Run(project_id=judge.project_id, stage="judge")
    db.add(run)
    await db.flush()
    orders: tuple[Order, Order] = ((0, 1), (1, 0))
    first, turned = (
        Reply(order, Read(side, None if side else NO_VERDICT), f"<b>Hm.</b> VERDICT: {side}", 7)
        for order, side in zip(orders, said, strict=True)
    )
    await answers.store(db, judge, run.id, [Answer(task.id, "chance", None, (first, turned))], guidelines_version=1)


async def test_no_byte_that_an_annotator_gets_tells_a_pair_that_a_machine_judged_from_any_other(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project = await make_project(db)
    prompt = await make_prompt(db, project, "How do I boil an egg?")
    tasks = [await make_task(db, project, *TEXTS, prompt=prompt) for _ in range(3)]
    untouched = await seen(db, sign_in, project)
    judge = await make_judge(db, project)
    await routing.draw_arms(db, project.id, off_share=0.0)
    for task, said in zip(tasks[1:], [("A", "B"), (None, "A")], strict=True):
        await answer(db, judge, task, *said)  # type: ignore[arg-type]  # sides, as they are
        await routing.put_back(db, [task.id])
        assert await seen(db, sign_in, project) == untouched, "judged by a machine"
    await routing.draw_arms(db, project.id, off_share=1.0)
    tasks.append(await make_task(db, project, *TEXTS, prompt=prompt))
    await routing.draw_arms(db, project.id, off_share=1.0)
    assert await db.scalar(select(Task.selection["machines"].astext).where(Task.id == tasks[-1].id)) == "off"
    assert await seen(db, sign_in, project) == untouched, "kept from machines"


async def seen(db: AsyncSession, sign_in: SignIn, project: Project) -> dict[str, str]:
    """All that a new annotator gets to see of the next task, but for what is of no two tasks and no two people."""
    annotator: Principal = await make_member(db, project)
    client = await sign_in(annotator)
    paths = ("/annotate", "/annotate/next")
    pages = {path: await client.get(f"/projects/{project.slug}{path}") for path in paths}
    assert {page.status_code for page in pages.values()} == {200}
    assert all(text in pages["/annotate"].text for text in TEXTS)
    headers = {f"{path} {name}": value for path, page in pages.items() for name, value in page.headers.items()}
    return {name: alike(text) for name, text in {**{p: page.text for p, page in pages.items()}, **headers}.items()}


def alike(text: str) -> str:
    for said in TEXTS:
        text = text.replace(said, "…")
    text = re.sub(r'name="idempotency_key" value="[\w-]+"', "", text)
    return re.sub(r"[0-9a-f]{8}[0-9a-f-]*|nonce-[\w-]+|nonce=\"[^\"]*\"|\d+", "#", text)


async def test_an_owner_reads_what_a_judge_replied_word_for_word(db: AsyncSession, sign_in: SignIn) -> None:
    project = await make_project(db, "letters")
    judge = await make_judge(db, project)
    for said in (("A", "B"), ("A", "A"), (None, "B")):
        await answer(db, judge, await make_task(db, project, *TEXTS), *said)
    client = await sign_in(await make_member(db, project, "owner"))
    here = f"/projects/letters/served-models/{judge.served_model_id}"
    page = (await client.get(f"{here}/judge/answers")).text
    assert page.count('class="sample"') == 6
    assert "The last line of the reply is no verdict." in page
    assert "<b>Hm.</b>" not in page
    assert (await client.get(f"{here}/judge/answers?outcome=abstained")).text.count('class="sample"') == 2
    assert (await client.get(f"{here}/judge/answers?outcome=tie")).text.count('class="sample"') == 0
    of_task = (await client.get(re.findall(r'href="([^"]+/tasks/\d+)"', page)[-1])).text
    assert "Vicuña" in of_task
    assert '<span class="badge">by a machine</span>' in of_task
    judged = (await client.get("/projects/letters/browse/judgements?kind=machine")).text
    assert judged.count("by a machine") >= 2


@pytest.mark.parametrize("pairs", ["-1", "many", "100001"])
async def test_a_number_of_pairs_that_cant_be_is_refused(db: AsyncSession, sign_in: SignIn, pairs: str) -> None:
    project = await make_project(db)
    judge = await make_judge(db, project)
    client = await sign_in(await make_member(db, project, "owner"))
    runs = f"/projects/{project.slug}/served-models/{judge.served_model_id}/judge/runs"
    assert (await client.post(runs, data={"pairs": pairs})).status_code == 422


async def test_a_served_model_is_made_a_judge_once_and_stopped_once(db: AsyncSession, sign_in: SignIn) -> None:
    project = await make_project(db)
    judge = await make_judge(db, project)
    client = await sign_in(await make_member(db, project, "owner"))
    here = f"/projects/{project.slug}/served-models/{judge.served_model_id}"
    assert (await client.post(f"{here}/judge")).status_code == 409
    assert (await client.post(f"{here}/judge/stop")).status_code == 303
    assert (await client.post(f"{here}/judge/stop")).status_code == 404
    assert (await client.post(f"{here}/judge")).status_code == 303


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            {"labels_saved": 12, "labels_saved_low": -3, "labels_saved_high": 1_040},
            "is worth about 12 labels of people (roughly -3 to 1,040)",
        ),
        ({"labels_saved_unknown": TOO_FEW_OTHERS}, "Too few pairs have been judged by calibrated machines"),
        ({}, None),
    ],
)
async def test_a_rounds_page_says_what_machines_saved_people(
    db: AsyncSession, sign_in: SignIn, result: dict[str, object], sentence: str | None
) -> None:
    project = await make_project(db)
    round_ = Round(project_id=project.id, number=1, label_target=5, step="reward")
    db.add(round_)
    await db.flush()
    run = Run(project_id=project.id, round_id=round_.id, round_step="snapshot", stage="snapshot", state="succeeded")
    run.started_at = run.finished_at = project.created_at
    run.result = {"number": 1, "rows": 9, **result}
    db.add(run)
    client = await sign_in(await make_member(db, project, "owner"))
    page = (await client.get(f"/projects/{project.slug}/rounds/1")).text
    assert (sentence in page) if sentence else ("labels of people" not in page)
