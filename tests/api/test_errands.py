"""Models asked at once over the API: what came of it within the time, or where to ask again."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Errand, Task
from app.services.loop.chores import errands
from tests.api.conftest import As
from tests.browser.seed import Seeded

PROMPT = [{"role": "user", "content": "Why is the sky blue?"}]


async def do_it(sessions: SessionFactory, answers: list[dict[str, object]]) -> None:
    """What a worker would, as soon as there is something to do."""
    while True:
        async with transaction(sessions) as db:
            waiting = await db.scalar(errands.select(Errand.id).where(Errand.state == "queued"))
            if waiting is not None:
                taken = await errands.take(db, waiting)
                assert taken is not None
                await errands.end(db, taken, answers)
                return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("models/policy/2/generate", {"messages": PROMPT}),
        ("models/reward/2/score", {"pairs": [{"messages": PROMPT, "response": "It scatters."}]}),
    ],
)
async def test_who_waits_gets_what_came_of_it_and_who_does_not_asks_again(
    calling: As, seeded: Seeded, sessions: SessionFactory, call: str, body: dict[str, object]
) -> None:
    owner, home = calling("owner"), f"/api/v1/projects/{seeded.project.slug}"
    answer = await owner.post(f"{home}/{call}", json={**body, "wait_seconds": 0})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    where = answer.headers["location"]
    assert where == f"{home}/errands/{answer.json()['id']}"
    came = [{"state": "done", "text": "It scatters.", "score": 0.5}]
    await do_it(sessions, came)
    later = (await calling("reviewer").get(where)).json()
    assert (later["state"], later["answers"], later["error"]) == ("succeeded", came, None)
    waited, _ = await asyncio.gather(
        owner.post(f"{home}/{call}", json={**body, "wait_seconds": 20}), do_it(sessions, came)
    )
    assert (waited.status_code, waited.json()["answers"]) == (200, came)
    assert "location" not in waited.headers


async def test_a_task_is_made_of_two_answers(calling: As, seeded: Seeded, db: AsyncSession) -> None:
    address = f"/api/v1/projects/{seeded.project.slug}/errands/{seeded.errand.id}/task"
    made = await calling("owner").post(address, json={"answers": [0, 1]})
    assert made.status_code == 201
    assert (await calling("owner").post(address, json={"answers": [0, 1]})).json() == made.json()
    assert (await db.get_one(Task, made.json()["task_id"])).state == "open"


async def test_what_can_not_be_asked_is_refused(calling: As, seeded: Seeded) -> None:
    owner, home = calling("owner"), f"/api/v1/projects/{seeded.project.slug}"
    for body in (
        {"messages": []},
        {"messages": PROMPT, "max_new_tokens": 5_000},
        {"messages": PROMPT, "temperature": 0},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": PROMPT, "wait_seconds": 60},
        {"messages": [{"role": "assistant", "content": "x"}]},
    ):
        assert (await owner.post(f"{home}/models/policy/2/generate", json=body)).status_code == 422, body
    assert (await owner.post(f"{home}/models/policy/99/generate", json={"messages": PROMPT})).status_code == 404
    for writers in (["reward:1"], ["policy:99999"], ["served:x"]):
        body = {"messages": PROMPT, "writers": writers}
        assert (await owner.post(f"{home}/errands", json=body)).status_code == 422, writers


async def test_more_than_twenty_do_not_wait(calling: As, seeded: Seeded) -> None:
    owner, home = calling("owner"), f"/api/v1/projects/{seeded.project.slug}"
    body = {"messages": PROMPT, "wait_seconds": 0}
    for _ in range(errands.MOST_WAITING):
        assert (await owner.post(f"{home}/models/policy/2/generate", json=body)).status_code == 202
    refused = await owner.post(f"{home}/models/policy/2/generate", json=body)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
