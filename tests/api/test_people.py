"""People by the API: invitations, members, accounts and groups, each as the pages have them."""

import asyncio

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Invitation, Member, User
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded

HERE = "/api/v1/projects/everyday-help"


async def test_people_are_invited_once_by_a_key_however_often_it_is_sent(db: AsyncSession, calling: As) -> None:
    body = {"people": [{"name": "Ada", "email": "ada@example.org"}, {"email": "bob@example.org"}], "days": 1}
    key = {"Idempotency-Key": "a-secret-of-my-own"}
    owner = calling("owner")
    both = await asyncio.gather(*(owner.post(f"{HERE}/invitations", json=body, headers=key) for _ in range(2)))
    first, second = [[one["link"] for one in answer.json()] for answer in both]
    assert first == second
    assert len(set(first)) == 2
    assert await db.scalar(select(func.count()).select_from(Invitation)) == 2
    listed = (await owner.get(f"{HERE}/invitations")).json()["items"]
    assert [one["email"] for one in listed] == ["bob@example.org", "ada@example.org"]
    assert "link" not in listed[0]
    renewed = await owner.post(f"{HERE}/invitations/{listed[0]['id']}/renew", json={"days": 30})
    assert (renewed.status_code, renewed.json()["email"]) == (201, "bob@example.org")
    assert renewed.json()["expires_at"] > listed[0]["expires_at"]
    assert renewed.json()["link"] not in first
    assert (await owner.delete(f"{HERE}/invitations/{listed[0]['id']}")).status_code == 204
    assert (await owner.post(f"{HERE}/invitations/{listed[0]['id']}/renew", json={})).status_code == 404
    assert (await owner.delete(f"{HERE}/invitations/{listed[0]['id']}")).status_code == 404
    for wrong in ({"people": []}, {"people": [{"email": "nobody"}]}, {"people": [{}], "days": 91}, {"people": 1}):
        assert (await owner.post(f"{HERE}/invitations", json=wrong)).status_code == 422
    short = await owner.post(f"{HERE}/invitations", json=body, headers={"Idempotency-Key": "short"})
    assert short.status_code == 422


async def test_a_member_gets_another_role_a_pause_and_the_way_out(calling: As, seeded: Seeded) -> None:
    owner, person = calling("owner"), f"{HERE}/people/{seeded.annotator.id}"
    listed = (await owner.get(f"{HERE}/people")).json()["items"]
    assert {one["id"]: one["role"] for one in listed}[seeded.annotator.id] == "annotator"
    figures = (await owner.get(person)).json()
    assert sum(day["judgements"] for day in figures["days"]) == figures["conduct"]["judgements"] == 7
    paused = (await owner.patch(person, json={"paused": True})).json()
    assert (paused["state"], paused["role"]) == ("paused", "annotator")
    assert (await calling("annotator").get(f"{HERE}/next-task")).status_code == 403
    changed = (await owner.patch(person, json={"paused": False, "role": "reviewer"})).json()
    assert (changed["state"], changed["role"]) == ("active", "reviewer")
    assert (await owner.post(f"{person}/release")).json() == {"tasks": 0}
    assert (await owner.post(f"{person}/reopen")).json()["tasks"] >= 0
    assert (await owner.post(f"{person}/sign-in-link")).json()["link"].startswith("http://localhost:8400/sign-in/link/")
    assert (await owner.delete(person)).status_code == 204
    assert (await calling("annotator").get(HERE)).status_code == 404
    assert (await owner.delete(f"{HERE}/people/{seeded.owner.id}")).status_code == 409


@pytest.fixture
async def admin(db: AsyncSession, calling: As, seeded: Seeded) -> Client:
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    await db.commit()
    return calling("owner")


async def test_an_admin_finds_changes_and_erases_accounts(
    db: AsyncSession, admin: Client, calling: As, seeded: Seeded
) -> None:
    found = (await admin.get("/api/v1/people", params={"text": "duarte"})).json()["items"]
    assert [one["id"] for one in found] == [seeded.annotator.id]
    person = f"/api/v1/people/{seeded.annotator.id}"
    assert (await admin.patch(person, json={"disabled": True})).json()["disabled_at"]
    assert (await calling("annotator").get(HERE)).status_code == 401
    assert (await admin.patch(person, json={"disabled": False, "is_admin": True})).json()["is_admin"]
    assert (await calling("annotator").get("/api/v1/people")).status_code == 401, "its token has ended for good"
    assert (await admin.delete(f"{person}/sessions")).status_code == 204
    assert (await admin.delete(f"/api/v1/people/{seeded.owner.id}")).status_code == 409
    assert (await admin.delete(person)).status_code == 204
    assert (await admin.delete(person)).status_code == 404
    assert await db.scalar(select(User.name).where(User.id == seeded.annotator.id)) == f"Person {seeded.annotator.id}"


async def test_an_admin_gives_groups_to_projects(db: AsyncSession, admin: Client, seeded: Seeded) -> None:
    group = (await admin.post("/api/v1/groups", json={"name": "All"})).json()
    home = f"/api/v1/groups/{group['id']}"
    assert (await admin.put(f"{home}/people/{seeded.annotator.id}")).status_code == 204
    assert (await admin.put(f"{home}/projects/elsewhere", json={"role": "reviewer"})).status_code == 204
    assert (await admin.patch(home, json={"name": "Everybody"})).status_code == 204
    (listed,) = (await admin.get("/api/v1/groups")).json()["items"]
    assert listed["name"] == "Everybody"
    assert (await admin.get(home)).json() == listed
    assert listed["people"] == 1
    assert [one["id"] for one in (await admin.get(f"{home}/people")).json()["items"]] == [seeded.annotator.id]
    assert listed["projects"] == [{"slug": "elsewhere", "role": "reviewer"}]
    role = select(Member.role).where(Member.user_id == seeded.annotator.id, Member.by_group)
    assert await db.scalar(role) == "reviewer"
    assert (await admin.delete(f"{home}/projects/elsewhere")).status_code == 204
    assert (await admin.delete(f"{home}/people/{seeded.annotator.id}")).status_code == 204
    await db.commit()
    assert await db.scalar(role) is None
    assert (await admin.delete(home)).status_code == 204
    assert (await admin.delete(home)).status_code == 404
