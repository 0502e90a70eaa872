"""What the page of quality says of people: who can be relied on, who doesn't look, and who sees things differently."""

import re
from html import unescape

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import User
from app.services.people import groups
from app.services.reports import reports
from tests.factories import make_member, make_project
from tests.services.loop.test_annotators import FIRST, SECOND, check, crowd
from tests.web.conftest import SignIn


async def read(client: httpx.AsyncClient, address: str) -> str:
    """The words of a page."""
    answer = await client.get(address)
    assert answer.status_code == 200, address
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def test_who_is_unreliable_and_who_is_different_stands_apart_by_person_and_by_group(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn
) -> None:
    project, people = await crowd(db, FIRST, FIRST, FIRST, SECOND, SECOND)
    await check(db, project, people[3], right=8, wrong=0)
    await check(db, project, people[4], right=0, wrong=8)
    group = await groups.create(db, "Night shift")
    await groups.put(db, group, await db.get_one(User, people[3].user_id))
    await groups.give(db, group, project, "annotator")
    owner = await make_member(db, project, "owner")
    await db.commit()
    client, home = await sign_in(owner), f"/projects/{project.slug}"
    assert "Being computed." in await read(client, f"{home}/quality")
    async with transaction(sessions) as own:
        await reports.write(own, project.id, "annotators")
    page = await read(client, f"{home}/quality/state")
    said = re.findall(r" (reliable|unreliable|different) 24 ", page)
    assert sorted(said) == ["different", "reliable", "reliable", "reliable", "unreliable"]
    assert "Night shift" in page
    file = (await client.get(f"{home}/figures/annotators.json")).json()
    verdicts = {row["user_id"]: row["verdict"] for row in file["rows"]}
    assert [verdicts[person.user_id] for person in people] == ["reliable"] * 3 + ["different", "unreliable"]
    by_id = {row["user_id"]: row for row in file["rows"]}
    assert all(row["reliability_low"] < row["reliability"] < row["reliability_high"] for row in file["rows"])
    assert by_id[people[4].user_id]["reliability"] < 0.4 < 0.8 < by_id[people[0].user_id]["reliability"]
    (of_group,) = (await client.get(f"{home}/figures/annotators-by-group.json")).json()["rows"]
    assert (of_group["people"], of_group["different"], of_group["within"]) == (1, 1, None)
    assert of_group["across"] == 0.25, "three say the opposite, one the same"


async def test_where_nobody_has_judged_the_page_says_so(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn
) -> None:
    project = await make_project(db)
    owner = await make_member(db, project, "owner")
    await db.commit()
    client, home = await sign_in(owner), f"/projects/{project.slug}"
    assert "Being computed." in await read(client, f"{home}/quality")
    async with transaction(sessions) as own:
        await reports.write(own, project.id, "annotators")
    assert "Nobody has judged a pair yet." in await read(client, f"{home}/quality")
