"""Judging through the API: what is taken, what is said, what is said twice."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Demonstration, Judgement, ModelVersion, Project
from app.services import accounts
from app.services.judging import gold
from app.services.judging.gold import Known
from app.services.projects import checks, projects, question
from tests import factories
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded
from tests.browser.seed.texts import POLICY, PROMPTS
from tests.cutting import cut_what_waits
from tests.factories import make_task, make_user

NEXT = "/api/v1/projects/everyday-help/next-task"


async def test_the_next_task_is_the_same_until_it_is_answered(calling: As) -> None:
    annotator = calling("annotator")
    first, again = await annotator.get(NEXT), await annotator.get(NEXT)
    assert first.json() == again.json()
    assert first.headers["cache-control"] == "no-store"
    await judge(annotator, first.json()["assignment_id"], "key-1")
    assert (await annotator.get(NEXT)).json()["assignment_id"] != first.json()["assignment_id"]


async def test_a_task_tells_nothing_but_the_conversation_and_the_responses(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    task = (await calling("annotator").get(NEXT)).json()
    assert set(task) == {"assignment_id", "project", "prompt", "panes", "question", "qualification", "lease_expires_at"}
    assert task["prompt"][-1]["role"] == "user"
    assert task["prompt"][-1]["content"].strip() in PROMPTS
    assert [pane["label"] for pane in task["panes"]] == ["A", "B"]
    assert all(set(pane) == {"label", "text"} for pane in task["panes"])
    assert POLICY in {pane["text"] for pane in task["panes"]}
    hashes = await db.scalars(select(ModelVersion.manifest_sha256).where(ModelVersion.project_id == seeded.project.id))
    assert not any(digest in json.dumps(task) for digest in hashes)


async def test_an_answer_in_the_qualification_round_is_followed_by_what_the_project_says(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    project = await db.get_one(Project, seeded.project.id)
    project.checks = checks.checked({"qualification_size": 1}).to_json()
    owner = factories.principal(seeded.owner)
    await gold.write(db, owner, project, "Eggs?", ["Gently.", "Hard."], Known("qualification", 0, "They break."))
    await db.commit()
    annotator = calling("annotator")
    task = (await annotator.get(NEXT)).json()
    assert task["qualification"] == {"number": 1, "size": 1, "needed": 1}
    better = next(pane["label"] for pane in task["panes"] if pane["text"] == "Gently.")
    for status in (201, 200):
        answer = await annotator.post(
            f"/api/v1/assignments/{task['assignment_id']}/judgements",
            json={"choice": 1},
            headers={"Idempotency-Key": "key"},
        )
        assert answer.status_code == status
        assert answer.json()["verdict"] == {"is_right": better == "A", "better": better, "explanation": "They break."}
    work = await annotator.get(NEXT)
    assert work.status_code == (200 if better == "A" else 204)


async def test_there_is_an_end_to_the_tasks(calling: As) -> None:
    annotator = calling("annotator")
    judged = 0
    while (answer := await annotator.get(NEXT)).status_code == 200:
        await judge(annotator, answer.json()["assignment_id"], f"key-{judged}")
        judged += 1
    assert judged == 6
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_judgement_needs_a_key(db: AsyncSession, calling: As) -> None:
    annotator = calling("annotator")
    before = await judgements(db)
    answer = await annotator.post(f"/api/v1/assignments/{await lease(annotator)}/judgements", json={"choice": 2})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Idempotency-Key" in answer.json()["detail"]
    assert await judgements(db) == before


@pytest.mark.parametrize(
    "said",
    [
        '{"choice": 1, "criteria": {"helpful\\ud83d": "A"}}',
        '{"choice": 1, "\\ud83d": 1}',
        '{"choice": 1, "rationale": "\\ud83d"}',
        '{"choice": 1, "flags": [["\\ud83d"], []]}',
        '{"choice": 1, "response": "a\\u0000b", "response_of": 0}',
    ],
)
async def test_half_a_character_is_a_mistake_in_what_was_sent(calling: As, said: str) -> None:
    annotator = calling("annotator")
    answer = await annotator.post(
        f"/api/v1/assignments/{await lease(annotator)}/judgements",
        content=said,
        headers={"Idempotency-Key": "key", "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["status"]) == (422, 422)


async def test_the_same_key_again_gets_the_same_answer_and_counts_once(db: AsyncSession, calling: As) -> None:
    annotator = calling("annotator")
    assignment = await lease(annotator)
    before = await judgements(db)
    first = await judge(annotator, assignment, "key-1", choice=2)
    again = await judge(annotator, assignment, "key-1", choice=2)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert set(first.json()) == {"id", "assignment_id", "answer_type", "choice", "ranks", "submitted_at", "verdict"}
    assert await judgements(db) == before + 1


async def test_twenty_at_once_with_one_key_are_one_judgement(db: AsyncSession, calling: As) -> None:
    annotator = calling("annotator")
    assignment = await lease(annotator)
    before = await judgements(db)
    answers = await asyncio.gather(*(judge(annotator, assignment, "key-1") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert await judgements(db) == before + 1


async def test_the_same_key_for_another_answer_is_refused(db: AsyncSession, calling: As) -> None:
    annotator = calling("annotator")
    assignment = await lease(annotator)
    await judge(annotator, assignment, "key-1", choice=2)
    before = await judgements(db)
    refused = await judge(annotator, assignment, "key-1", choice=6)
    assert refused.status_code == 422
    assert refused.json()["type"] == "/api/docs#error-KeyReused"
    assert await judgements(db) == before


async def test_another_key_changes_the_answer_until_a_dataset_holds_it(
    calling: As, sessions: SessionFactory, tmp_path: Path
) -> None:
    annotator, owner = calling("annotator"), calling("owner")
    assignment = await lease(annotator)
    await judge(annotator, assignment, "key-1", choice=2)
    changed = await judge(annotator, assignment, "key-2", choice=6)
    assert (changed.status_code, changed.json()["choice"]) == (201, 6)
    await owner.post("/api/v1/projects/everyday-help/datasets")
    await cut_what_waits(sessions, tmp_path / "home")
    late = await judge(annotator, assignment, "key-3", choice=4)
    assert late.status_code == 409


async def test_an_answer_replaces_the_judgement_that_it_means_and_no_newer_one(calling: As) -> None:
    annotator = calling("annotator")
    address = f"/api/v1/assignments/{(await annotator.get(NEXT)).json()['assignment_id']}/judgements"
    said = []
    for key, replaces in (("first", 0), ("stale", 0), ("second", None), ("stale too", None)):
        replaces = said[0]["id"] if replaces is None else replaces
        body = {"choice": 3, "replaces": replaces}
        answer = await annotator.post(address, json=body, headers={"Idempotency-Key": key})
        said.append(answer.json() | {"status": answer.status_code})
    assert [answer["status"] for answer in said] == [201, 409, 201, 409]
    assert said[1]["type"].endswith("#error-AnsweredBefore")


async def test_nobody_answers_for_somebody_else(db: AsyncSession, calling: As, seeded: Seeded) -> None:
    assignment = await lease(calling("annotator"))
    for somebody in ("owner", "outsider"):
        assert (await judge(calling(somebody), assignment, "key-1")).status_code == 404
        skipped = await calling(somebody).post(f"/api/v1/assignments/{assignment}/skip", json={})
        assert skipped.status_code == 404


async def test_a_skipped_task_goes_to_somebody_else(db: AsyncSession, calling: As, seeded: Seeded) -> None:
    annotator = calling("annotator")
    assignment = await lease(annotator)
    skipped = await annotator.post(f"/api/v1/assignments/{assignment}/skip", json={"reason": "I don't know kettles."})
    assert (skipped.status_code, skipped.content) == (204, b"")
    assert await lease(annotator) != assignment
    colleague = await make_user(db, "Colleague")
    await projects.add_member(db, seeded.project, colleague.id, "annotator")
    token = await accounts.create_api_token(db, colleague.id, name="test")
    await db.commit()
    offered = set()
    headers = {"Authorization": f"Bearer {token}"}
    while (answer := await calling("nobody").get(NEXT, headers=headers)).status_code == 200:
        task = answer.json()
        offered.add(task["prompt"][-1]["content"])
        await calling("nobody").post(
            f"/api/v1/assignments/{task['assignment_id']}/judgements",
            json={"choice": 4},
            headers={**headers, "Idempotency-Key": str(task["assignment_id"])},
        )
    # Six are open, one of them is on the annotator's screen, the skipped one is back in the pool.
    assert len(offered) == 5


async def test_a_body_that_says_too_much_or_nonsense_is_refused(calling: As) -> None:
    annotator = calling("annotator")
    url = f"/api/v1/assignments/{await lease(annotator)}/judgements"
    bodies: list[Any] = [{"choice": 0}, {"choice": 9}, {"choice": "best"}, {"choice": 2, "model": "mine"}, [], None]
    for body in bodies:
        refused = await annotator.post(url, json=body, headers={"Idempotency-Key": "key-1"})
        assert refused.status_code == 422, body
        assert refused.json()["errors"], body
    for body in ({}, {"choice": 8}, {"ranks": [1, 2]}, {"choice": 2, "criteria": {"unheard of": "A"}}):
        refused = await annotator.post(url, json=body, headers={"Idempotency-Key": "key-1"})
        assert refused.status_code == 422, body
        assert refused.json()["detail"], body


async def test_a_ranking_with_all_that_can_be_said_comes_back_as_it_was_given(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    asked = {
        "answer_type": "ranking",
        "size": 3,
        "asks_acceptable": True,
        "flags": ["Made up"],
        "rationale": "optional",
    }
    project = await db.get_one(Project, seeded.project.id)
    project.question = question.checked({**asked, "asks_edit": True}).to_json()
    await make_task(db, project, "zero", "one", "two", priority=9)
    await db.commit()
    annotator = calling("annotator")
    for stale in (await annotator.get(NEXT)).json(), (await annotator.get(NEXT)).json():
        if len(stale["panes"]) == 2:
            await judge(annotator, stale["assignment_id"], f"stale {stale['assignment_id']}")
    task = (await annotator.get(NEXT)).json()
    assert task["question"] == {
        "answer_type": "ranking",
        "criteria": [],
        "flags": ["Made up"],
        "asks_acceptable": True,
        "asks_edit": True,
        "asks_harm": False,
        "asks_rationale": False,
    }
    shown = [pane["text"] for pane in task["panes"]]
    said = {
        "answer_type": "ranking",
        "ranks": [2, None, 1],
        "acceptable": [True, False, None],
        "flags": [[], ["Made up"], []],
        "rationale": "„one“ is made up",
        "response": "One, two, three.",
        "response_of": 2,
    }
    url = f"/api/v1/assignments/{task['assignment_id']}/judgements"
    answer = await annotator.post(url, json=said, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["ranks"]) == (201, [2, None, 1])
    row = await db.get_one(Judgement, answer.json()["id"])
    at = [("zero", "one", "two").index(text) for text in shown]
    assert row.ranks is not None
    assert [row.ranks[position] for position in at] == [2, None, 1]
    assert row.acceptable is not None
    assert [row.acceptable[position] for position in at] == [True, False, None]
    assert row.flags == {str(at[1]): ["Made up"]}
    made = (await db.scalars(select(Demonstration).where(Demonstration.judgement_id == row.id))).one()
    assert (made.text, made.source) == ("One, two, three.", "edited")


async def test_where_a_project_asks_which_responses_are_safe_a_judgement_says_it(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    project = await db.get_one(Project, seeded.project.id)
    project.question = question.checked({"asks_harm": True}).to_json()
    await db.commit()
    annotator = calling("annotator")
    task = (await annotator.get(NEXT)).json()
    assert task["question"]["asks_harm"]
    url = f"/api/v1/assignments/{task['assignment_id']}/judgements"
    key = {"Idempotency-Key": "k"}
    for wrong, word in (
        ({}, "whether it is safe"),
        ({"safe": [True, True]}, "less harmful, too"),
        ({"safe": [True, False], "less_harmful": "B"}, "can't be more harmful"),
    ):
        refused = await annotator.post(url, json={"choice": 2, **wrong}, headers=key)
        assert refused.status_code == 422
        assert word in refused.json()["detail"]
    answer = await annotator.post(url, json={"choice": 2, "safe": [False, True]}, headers=key)
    assert answer.status_code == 201
    row = await db.get_one(Judgement, answer.json()["id"])
    assert (row.safe, row.less_harmful) == (([False, True], -1) if row.shown_order[0] == 0 else ([True, False], 1))


async def lease(client: Client) -> int:
    assignment: int = (await client.get(NEXT)).json()["assignment_id"]
    return assignment


async def judge(client: Client, assignment: int, key: str, *, choice: int = 3) -> Any:
    url = f"/api/v1/assignments/{assignment}/judgements"
    return await client.post(url, json={"choice": choice, "active_ms": 5_000}, headers={"Idempotency-Key": key})


async def judgements(db: AsyncSession) -> int:
    return await db.scalar(select(func.count()).select_from(Judgement)) or 0
