"""Pages whose lists grow all the years that a project lasts: each shows the newest, and leads to those before."""

import re
from html import unescape

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import DatasetVersion, Group, GroupMember, Member, ModelVersion, Project, User
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.reports import reports
from tests.browser.conversations import PROSE, SHORT
from tests.browser.people import arrange
from tests.browser.seed import Seeded
from tests.factories import make_member, make_user, principal
from tests.seeded import seeded, seeded_template, site
from tests.web.conftest import SignIn
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

MANY = 120


def older(html: str) -> str:
    """Where older ones go on."""
    (address,) = re.findall(r'href="([^"]+)" rel="next"', html)
    return unescape(address)


async def every_page(door: Door, first: str) -> list[str]:
    """The page and all that come after it, as they lead on."""
    pages = [await read(door, first)]
    while 'rel="next"' in pages[-1]:
        pages.append(await read(door, older(pages[-1])))
    return pages


async def test_the_page_of_models_shows_some_and_what_is_in_use_and_leads_to_the_rest(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    used, last = seeded.policies[1], 3
    db.add_all(
        ModelVersion(
            project_id=seeded.project.id,
            kind="policy",
            number=last + number,
            folder=f"models/{number}",
            manifest_sha256="0" * 64,
            parent_id=seeded.policies[0].id,
            figures={},
        )
        for number in range(1, MANY + 1)
    )
    await db.commit()
    pages = await every_page(doors["owner"], f"{PROJECT}/models")
    shown = [[int(number) for number in re.findall(r'<li class="version" id="policy-(\d+)"', page)] for page in pages]
    assert len(pages) == 3
    assert all(len(numbers) <= 51 for numbers in shown), "50 and the one in use"
    assert all(used.number in numbers for numbers in shown), "to compare with"
    once = sorted({number for numbers in shown for number in numbers})
    assert once == list(range(1, last + MANY + 1))
    # What stands on another page is linked there.
    (parent,) = set(re.findall(r'from <a href="([^"]+)">policy 1<', pages[0]))
    assert parent.startswith("?before=")
    target = await read(doors["owner"], f"{PROJECT}/models{parent.partition('#')[0]}")
    assert 'id="policy-1"' in target
    assert 'href="#policy-1"' in pages[-1]


async def test_the_page_of_datasets_shows_some_versions_and_leads_to_the_rest(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    there = len(list(await db.scalars(select(DatasetVersion.id))))
    db.add_all(
        DatasetVersion(
            project_id=seeded.project.id,
            kind="preferences",
            number=number,
            path=f"datasets/{number}.jsonl",
            sha256="0" * 64,
            row_count=1,
            counts={"human": number},
        )
        for number in range(101, 101 + MANY)
    )
    await db.commit()
    pages = await every_page(doors["reviewer"], f"{PROJECT}/datasets")
    shown = [re.findall(r'<tr id="((?:preferences|demonstrations)-\d+)"', page) for page in pages]
    assert [len(names) for names in shown] == [50, 50, MANY + there - 100]
    assert len({name for names in shown for name in names}) == MANY + there
    # Which is the newest is said on each, not which heads the page.
    newest = f"Preferences {100 + MANY} holds"
    assert all(newest in page for page in pages)


async def test_the_page_of_a_projects_people_shows_some_and_finds_the_rest(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    there = len(list(await db.scalars(select(Member.user_id).where(Member.project_id == seeded.project.id))))
    people = [User(name=f"Guest {number}", email=f"guest{number}@example.org") for number in range(MANY)]
    db.add_all(people)
    await db.flush()
    db.add_all(Member(project_id=seeded.project.id, user_id=user.id, role="annotator") for user in people)
    await db.commit()
    pages = await every_page(doors["reviewer"], f"{PROJECT}/people")
    shown = [re.findall(r'<th scope="row"><a href="[^"]+/people/(\d+)"', page) for page in pages]
    assert [len(ids) for ids in shown] == [50, 50, MANY + there - 100]
    assert len({user_id for ids in shown for user_id in ids}) == MANY + there
    assert all(f"{MANY + there} people are in this project" in page for page in pages)
    found = await read(doors["reviewer"], f"{PROJECT}/people?text=guest77@example")
    assert re.findall(r"<bdi>(Guest \d+)</bdi>", found) == ["Guest 77"]
    assert "Nobody has this name" in await read(doors["reviewer"], f"{PROJECT}/people?text=100%25")


async def test_the_page_of_groups_shows_some_and_some_of_their_people_and_leads_to_the_rest(
    db: AsyncSession, sign_in: SignIn
) -> None:
    admin = await sign_in(principal(await make_user(db, is_admin=True)))
    groups = [Group(name=f"Group {number:03}") for number in range(30)]
    people = [User(name=f"Guest {number}") for number in range(MANY)]
    db.add_all([*groups, *people])
    await db.flush()
    db.add_all(GroupMember(group_id=groups[0].id, user_id=user.id) for user in people)
    await db.commit()
    first = (await admin.get("/groups")).text
    assert "There are 30 groups." in first
    assert re.findall(r"<h2 id=[^>]+><bdi>Group (\d+)", first) == [f"{number:03}" for number in range(20)]
    of_group, following = (unescape(address) for address in re.findall(r'href="([^"]+)" rel="next"', first))
    second = (await admin.get(following)).text
    assert re.findall(r"<h2 id=[^>]+><bdi>Group (\d+)", second) == [f"{number:03}" for number in range(20, 30)]
    names = re.findall(r"<bdi>(Guest \d+)</bdi>", first)
    for _ in range(2):
        html = (await admin.get(of_group)).text
        names += re.findall(r"<bdi>(Guest \d+)</bdi>", html)
        of_group = unescape("".join(re.findall(r'href="([^"]+)" rel="next"', html)))
    assert (of_group, len(names), len(set(names))) == ("", MANY, MANY)


async def test_tasks_that_would_make_good_gold_are_suggested_once_a_worker_has_looked(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn
) -> None:
    project, _ = await arrange(db, [PROSE, SHORT])
    owner = await make_member(db, project, "owner")
    leased = await assignments.lease_next(db, owner, project)
    assert leased is not None
    await judgements.submit(db, owner, leased.id, Submission(Answer(1), idempotency_key="owner"))
    await db.commit()
    client, page = await sign_in(owner), f"/projects/{project.slug}/quality"
    assert "Tasks on which people agree" not in (await client.get(page)).text
    await look(sessions, project)
    html = (await client.get(page)).text
    assert "Tasks on which people agree" in html
    (make,) = re.findall(r'action="([^"]+/tasks/\d+/gold)"', html)
    assert (await client.post(make, data={"better": "0"})).status_code == 303
    assert "Tasks on which people agree" not in (await client.get(page)).text, "although nobody has looked again"


async def look(sessions: SessionFactory, project: Project) -> None:
    async with transaction(sessions) as own:
        await reports.write(own, project.id, "gold")
