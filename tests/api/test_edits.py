"""Edits that meet: who changes what somebody else has changed since is told so, and nothing is lost."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from app.web.api import docs, routes
from tests.api.conftest import As
from tests.browser.seed import Seeded

HERE = "/api/v1/projects/everyday-help"
EDITS: Mapping[str, tuple[str, dict[str, object]]] = {
    "a project": (HERE, {"description": "Short."}),
    "settings of rounds": (f"{HERE}/round-settings/ppo", {"values": {"kl_target": 6.5}}),
    "how verdicts are given": (f"{HERE}/review", {"shows_judgements": True}),
    "how people are checked": (f"{HERE}/checks", {"gold_percent": 5}),
    "a served model": (f"{HERE}/served-models/{{served}}", {"name": "Other"}),
    "a member": (f"{HERE}/people/{{person}}", {"paused": True}),
    "an account": ("/api/v1/people/{person}", {"is_admin": True}),
    "oneself": ("/api/v1/me", {"name": "Kim"}),
    "a gold task": (f"{HERE}/gold-tasks/{{gold}}", {"explanation": "Because."}),
    "a dataset version": (f"{HERE}/datasets/1", {"note": "The first."}),
    "a webhook": (f"{HERE}/webhooks/{{webhook}}", {"pause_seconds": 90}),
    "a webhook of the site": ("/api/v1/webhooks/{of_site}", {"pause_seconds": 90}),
    "a group": ("/api/v1/groups/{group}", {"name": "Everybody"}),
}


@pytest.fixture
async def owner(db: AsyncSession, calling: As, seeded: Seeded) -> httpx.AsyncClient:
    """An admin whose client says nothing of what it knows."""
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    await db.commit()
    client = calling("owner")
    del client.headers["If-Match"]
    return client


@pytest.fixture
async def here(owner: httpx.AsyncClient, seeded: Seeded) -> dict[str, int]:
    gold = {"better": 0, "prompt": "Which?", "responses": ["This.", "That."]}
    hook = {"address": "https://hooks.example/", "events": ["run.ended"]}
    return {
        "served": seeded.served.id,
        "person": seeded.annotator.id,
        "gold": (await owner.post(f"{HERE}/gold-tasks", json=gold)).json()["task_id"],
        "webhook": (await owner.post(f"{HERE}/webhooks", json=hook)).json()["id"],
        "of_site": (await owner.post("/api/v1/webhooks", json=hook)).json()["id"],
        "group": (await owner.post("/api/v1/groups", json={"name": "All"})).json()["id"],
    }


@pytest.mark.parametrize("what", EDITS)
async def test_what_was_read_is_changed_once_by_its_tag_and_not_by_an_old_one(
    what: str, owner: httpx.AsyncClient, here: dict[str, int]
) -> None:
    path, change = EDITS[what][0].format(**here), EDITS[what][1]
    blind = await owner.patch(path, json=change)
    assert (blind.status_code, blind.json()["type"]) == (428, "/api/docs#error-TagMissing")
    tag = (await owner.get(path)).headers["etag"]
    first = await owner.patch(path, json=change, headers={"If-Match": tag})
    assert first.is_success
    late = await owner.patch(path, json=change, headers={"If-Match": tag})
    assert (late.status_code, late.json()["type"]) == (412, "/api/docs#error-ChangedSince")
    assert (await owner.get(path)).headers["etag"] == first.headers["etag"] != tag
    assert (await owner.patch(path, json=change, headers={"If-Match": first.headers["etag"]})).is_success
    assert (await owner.patch(path, json=change, headers={"If-Match": "*"})).is_success


async def test_of_two_who_change_the_same_at_once_one_is_told_of_the_other(
    owner: httpx.AsyncClient, site: FastAPI
) -> None:
    tag = {"If-Match": (await owner.get(HERE)).headers["etag"]}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site), base_url="http://test", headers=owner.headers
    ) as other:
        first, second = await asyncio.gather(
            owner.patch(HERE, json={"name": "Mine"}, headers=tag),
            other.patch(HERE, json={"description": "Mine, too."}, headers=tag),
        )
    assert sorted((first.status_code, second.status_code)) == [200, 412]


def test_every_edit_takes_a_tag() -> None:
    edits = [operation for operation in docs.operations(routes.openapi("test")) if operation.method == "PATCH"]
    assert len(edits) == len(EDITS)
    assert all("if-match" in {field.name.lower() for field in operation.parameters} for operation in edits)
