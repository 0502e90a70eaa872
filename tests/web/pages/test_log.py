"""The log as owners and admins read it: what it says of a change, who may see it, how it is searched and exported."""

import csv
import json
import re
from html import unescape
from io import StringIO

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.security import Principal
from app.services import accounts
from app.services.projects import projects
from tests.factories import make_member, make_project, make_user, principal
from tests.web.conftest import SignIn


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split()).replace(" ,", ",")


@pytest.fixture
async def owner(db: AsyncSession) -> Principal:
    project = await make_project(db, "tea")
    ada = await make_user(db, "Ada")
    await projects.add_member(db, project, ada.id, "owner")
    return principal(ada)


async def test_a_change_by_a_form_is_told_with_who_what_and_the_request(
    db: AsyncSession, sign_in: SignIn, owner: Principal
) -> None:
    client = await sign_in(owner)
    changed = await client.post("/projects/tea/quality", data={"gold_percent": "5"})
    assert changed.status_code == 303, changed.text
    told = words((await client.get("/projects/tea/log")).text)
    assert f"Ada page project tea, changed Request {changed.headers['x-request-id']}" in told
    assert "checks.gold_percent 5" in told


async def test_owners_read_their_projects_log_and_admins_that_of_the_site(
    db: AsyncSession, sign_in: SignIn, owner: Principal
) -> None:
    project = (await db.scalars(select(Project))).one()
    others = {"reviewer": await make_member(db, project, "reviewer"), "annotator": await make_member(db, project)}
    admin = principal(await make_user(db, is_admin=True))
    stranger = await make_member(db, await make_project(db, "coffee"), "owner")
    for person, of_project, of_site in (
        (owner, 200, 403),
        (others["reviewer"], 403, 403),
        (others["annotator"], 403, 403),
        (stranger, 404, 403),
        (admin, 200, 200),
    ):
        client = await sign_in(person)
        for path in ("", "/export"):
            assert (await client.get(f"/projects/tea/log{path}")).status_code == of_project, path
            assert (await client.get(f"/log{path}")).status_code == of_site, path
    site = words((await (await sign_in(admin)).get("/log")).text)
    assert "project coffee, made" in site
    assert "project coffee, made" not in words((await (await sign_in(owner)).get("/projects/tea/log")).text)


async def test_it_is_searched_by_form_and_says_so_when_nothing_fits(
    db: AsyncSession, sign_in: SignIn, owner: Principal
) -> None:
    client = await sign_in(owner)
    await client.post("/projects/tea/quality", data={"gold_percent": "5"})
    everything = {"text": "", "person": "", "kind": "", "since": "", "until": ""}
    for asked, found in (
        ({}, 3),
        ({"text": "gold_perc"}, 1),
        ({"person": "ada", "kind": "projects"}, 1),
        ({"since": "2020-01-01", "until": "2020-12-31"}, 0),
        ({"since": "0001-01-01", "until": "9999-12-31"}, 3),
        ({"kind": "members"}, 1),
    ):
        page = await client.get("/projects/tea/log", params=everything | asked)
        assert page.text.count("<time ") == found, asked
    nothing = await client.get("/projects/tea/log", params={"text": "nowhere"})
    assert "No change fits this search." in nothing.text
    assert "No change fits" in (await client.get("/projects/tea/log", params={"person": "Bob"})).text
    assert (await client.get("/projects/tea/log", params={"since": "yesterday"})).status_code == 422


async def test_it_comes_in_pages_and_as_files(
    db: AsyncSession, sign_in: SignIn, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.pages.log.PAGE_SIZE", 2)
    monkeypatch.setattr("app.services.audit.EXPORT_BATCH", 2)
    client = await sign_in(owner)
    for percent in ("5", "6", "=7", "8"):
        await client.post("/projects/tea/quality", data={"gold_percent": percent})
    first = await client.get("/projects/tea/log")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    second = await client.get(unescape(older))
    assert [page.text.count("<time ") for page in (first, second)] == [2, 2]
    assert not set(re.findall(r"Request <code>\w+", first.text)) & set(re.findall(r"Request <code>\w+", second.text))
    lines = (await client.get("/projects/tea/log/export?format=jsonl")).text.splitlines()
    read = [json.loads(line) for line in lines]
    assert [entry["kind"] for entry in read] == ["export", *["projects"] * 3, "members", "projects"]
    assert read[1]["actor"] == "Ada"
    assert read[1]["after"] == {"checks": {"gold_percent": 8.0}}
    table = list(csv.DictReader(StringIO((await client.get("/projects/tea/log/export")).text)))
    assert len(table) == len(read) + 1
    assert table[2]["after"] == '{"checks": {"gold_percent": 8.0}}'


async def test_programs_read_it_in_pages_and_whole(
    db: AsyncSession, client: httpx.AsyncClient, owner: Principal
) -> None:
    token = await accounts.create_api_token(db, owner.user_id, name="notebook")
    await db.commit()
    client.headers["Authorization"] = f"Bearer {token}"
    page = (await client.get("/api/v1/projects/tea/audit", params={"limit": 1})).json()
    (newest,) = page["items"]
    assert (newest["kind"], newest["action"]) == ("members", "insert")
    older = (await client.get("/api/v1/projects/tea/audit", params={"cursor": page["next_cursor"]})).json()
    assert [entry["kind"] for entry in older["items"]] == ["projects"]
    exported = await client.get("/api/v1/projects/tea/audit/export", params={"kind": "projects"})
    assert [json.loads(line)["kind"] for line in exported.text.splitlines()] == ["projects"]
    assert (await client.get("/api/v1/audit")).status_code == 403
    assert (await client.get("/api/v1/projects/tea/audit", params={"cursor": "?"})).status_code == 422
