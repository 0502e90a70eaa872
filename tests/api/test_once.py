"""A call that is sent again with its Idempotency-Key has one effect, whoever waits for whom."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import KeptAnswer, Project, User
from app.services import kept_answers
from app.web.api import docs, routes
from app.web.api.once import OTHERWISE
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded

HERE = "/api/v1/projects/everyday-help"
KEY = {"Idempotency-Key": "3f1c"}
GOLD = {"better": 0, "prompt": "Which one?", "responses": ["This one.", "That one."]}


async def _gold(client: Client) -> int:
    return len((await client.get(f"{HERE}/gold-tasks")).json()["items"])


async def test_a_call_that_is_sent_again_has_one_effect_and_the_same_answer(calling: As) -> None:
    owner = calling("owner")
    before = await _gold(owner)
    first = await owner.post(f"{HERE}/gold-tasks", json=GOLD, headers=KEY)
    again = await owner.post(f"{HERE}/gold-tasks", json=GOLD, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert again.headers["content-type"] == first.headers["content-type"]
    assert await _gold(owner) == before + 1
    await owner.post(f"{HERE}/gold-tasks", json=GOLD, headers={"Idempotency-Key": "another"})
    assert await _gold(owner) == before + 2


async def test_two_that_send_the_same_at_once_have_one_effect(calling: As, site: FastAPI) -> None:
    owner = calling("owner")
    before = await _gold(owner)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site), base_url="http://test", headers=owner.headers
    ) as other:
        both = await asyncio.gather(
            *(client.post(f"{HERE}/gold-tasks", json=GOLD, headers=KEY) for client in (owner, other))
        )
    assert both[0].content == both[1].content
    assert sorted("idempotency-replayed" in answer.headers for answer in both) == [False, True]
    assert await _gold(owner) == before + 1


async def test_the_same_key_with_another_body_or_for_another_call_is_refused(calling: As) -> None:
    owner = calling("owner")
    await owner.post(f"{HERE}/gold-tasks", json=GOLD, headers=KEY)
    for path, body in ((f"{HERE}/gold-tasks", GOLD | {"better": 1}), (f"{HERE}/rounds", {})):
        refused = await owner.post(path, json=body, headers=KEY)
        assert (refused.status_code, refused.json()["type"]) == (422, "/api/docs#error-KeyReused")


async def test_a_refusal_is_not_kept_so_that_the_call_can_be_sent_again_once_its_reason_is_gone(calling: As) -> None:
    owner = calling("owner")
    asked = {"name": "lab", "address": "https://models.example/v1", "model": "small"}
    in_the_way = (await owner.post(f"{HERE}/served-models", json=asked)).json()["id"]
    assert (await owner.post(f"{HERE}/served-models", json=asked, headers=KEY)).status_code == 409
    assert (await owner.delete(f"{HERE}/served-models/{in_the_way}")).status_code == 204
    done = await owner.post(f"{HERE}/served-models", json=asked, headers=KEY)
    assert (done.status_code, "idempotency-replayed" in done.headers) == (201, False)


async def test_a_key_of_one_token_says_nothing_to_another(calling: As) -> None:
    first = await calling("owner").post("/api/v1/projects/everyday-help/reviews", headers=KEY)
    other = await calling("reviewer").post("/api/v1/projects/everyday-help/reviews", headers=KEY)
    assert "idempotency-replayed" not in first.headers
    assert "idempotency-replayed" not in other.headers


async def test_an_answer_with_a_secret_is_told_again_and_can_not_be_read_in_the_database(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    path = f"{HERE}/people/{seeded.annotator.id}/sign-in-link"
    links = [(await calling("owner").post(path, headers=KEY)).json()["link"] for _ in range(2)]
    assert links[0] == links[1]
    kept = (await db.scalars(select(KeptAnswer))).one()
    secret = links[0].rsplit("/", 1)[1].encode()
    stored = [value for value in vars(kept).values() if isinstance(value, bytes)]
    assert len(stored) == 4
    assert all(secret not in value and b"3f1c" not in value for value in stored)


async def test_what_is_kept_is_forgotten_after_a_day(db: AsyncSession, calling: As) -> None:
    owner = calling("owner")
    await owner.post(f"{HERE}/gold-tasks", json=GOLD, headers=KEY)
    await db.execute(update(KeptAnswer).values(created_at=func.now() - kept_answers.KEPT))
    await db.commit()
    late = await owner.post(f"{HERE}/gold-tasks", json=GOLD, headers=KEY)
    assert (late.status_code, "idempotency-replayed" in late.headers) == (201, False)
    assert await db.scalar(select(func.count()).select_from(KeptAnswer)) == 1


@pytest.mark.parametrize("key", ["", "k" * 201])
async def test_a_key_that_can_not_be_one_is_refused(calling: As, key: str) -> None:
    refused = await calling("owner").post(f"{HERE}/gold-tasks", json=GOLD, headers={"Idempotency-Key": key})
    assert refused.status_code == 422


async def test_a_project_is_made_once(db: AsyncSession, calling: As, seeded: Seeded) -> None:
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    await db.commit()
    slugs = {
        (await calling("owner").post("/api/v1/projects", json={"name": "Bread"}, headers=KEY)).json()["slug"]
        for _ in range(2)
    }
    assert len(slugs) == 1
    assert await db.scalar(select(func.count()).where(Project.name == "Bread")) == 1


def test_every_call_that_changes_something_takes_a_key_but_those_that_say_why_not() -> None:
    posts = [operation for operation in docs.operations(routes.openapi("test")) if operation.method == "POST"]
    keyless = {
        operation.anchor
        for operation in posts
        if "idempotency-key" not in {field.name.lower() for field in operation.parameters}
    }
    assert keyless == OTHERWISE.keys() - {"submit_judgement", "invite"}
