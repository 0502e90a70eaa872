"""Webhooks over REST: the secret once, the log in pages, and nothing of another project."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from tests.api.conftest import As
from tests.browser.seed import Seeded

BODY = {"address": "https://hooks.example/in?token=t", "events": ["run.ended", "judgements.created"]}


@pytest.mark.parametrize("whose", ["/projects/everyday-help", ""], ids=["of a project", "of the site"])
async def test_a_webhook_is_added_changed_rotated_tested_and_removed(
    db: AsyncSession, calling: As, seeded: Seeded, whose: str
) -> None:
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    await db.commit()
    owner, here = calling("owner"), f"/api/v1{whose}/webhooks"
    elsewhere = "/api/v1/webhooks" if whose else "/api/v1/projects/everyday-help/webhooks"
    made = await owner.post(here, json=BODY)
    assert made.status_code == 201
    secret = made.json()["secret"]
    one = f"{here}/{made.json()['id']}"
    read = (await owner.get(one)).json()
    assert "secret" not in read
    assert read["events"] == ["judgements.created", "run.ended"], "in the table's order"
    assert (read["is_on"], read["pause_seconds"]) == (True, 60)
    changed = await owner.patch(one, json={"pause_seconds": 5, "is_on": False})
    assert (changed.json()["off_because"], changed.json()["address"]) == ("owner", BODY["address"])
    assert (await owner.post(f"{one}/test")).status_code == 409
    await owner.patch(one, json={"is_on": True})
    rotated = (await owner.post(f"{one}/secret")).json()
    assert rotated["secret"] != secret
    assert rotated["previous_until"] is not None
    test = await owner.post(f"{one}/test")
    assert (test.status_code, test.json()["state"]) == (202, "waiting")
    await owner.post(f"{one}/test")
    first = (await owner.get(f"{one}/deliveries?limit=1")).json()
    rest = (await owner.get(f"{one}/deliveries?limit=1&cursor={first['next_cursor']}")).json()
    assert [entry["id"] for entry in rest["items"]] == [test.json()["id"]]
    again = await owner.post(f"{one}/deliveries/{test.json()['id']}/redeliver")
    assert again.json()["message_id"] == test.json()["message_id"]
    assert (await owner.get(f"{elsewhere}/{read['id']}")).status_code == 404
    assert (await owner.get(elsewhere)).json()["items"] == []
    assert (await owner.delete(one)).status_code == 204
    assert (await owner.get(here)).json()["items"] == []


async def test_what_no_webhook_can_be_is_refused_with_the_field(calling: As, seeded: Seeded) -> None:
    owner, here = calling("owner"), f"/api/v1/projects/{seeded.project.slug}/webhooks"
    wrongs: tuple[dict[str, Any], ...] = (
        {"events": []},
        {"events": ["run.began"]},
        {"address": "nowhere"},
        {"pause_seconds": 0},
        {"secret": "mine"},
    )
    for wrong in wrongs:
        assert (await owner.post(here, json=BODY | wrong)).status_code == 422, wrong
    for _ in range(18):
        assert (await owner.post(here, json=BODY)).status_code == 201
    at_once = await asyncio.gather(*(owner.post(here, json=BODY) for _ in range(4)))
    assert sorted(answer.status_code for answer in at_once) == [201, 201, 409, 409]
