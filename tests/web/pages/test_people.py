"""Inviting, joining and leaving by pages: a link lets one person in once, and no owner into another owner's project."""

import asyncio
import re
from collections.abc import Callable
from html import unescape

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import ApiToken, Assignment, Invitation, Judgement, Member, Project, Task, User
from app.security import new_token
from app.services import accounts
from app.services.judging import assignments
from tests.factories import make_member, make_project, make_task, make_user, principal
from tests.waiting import somebody_waits_for_a_lock
from tests.web.conftest import SignIn, client_of
from tests.web.forms import judgement_form

Client = httpx.AsyncClient
PEOPLE = "/projects/tea/people"


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def links(html: str) -> list[str]:
    return re.findall(r"<code[^>]*>http://localhost:8400(/[^<]+)</code>", html)


def form_key(html: str) -> str:
    (key,) = re.findall(r'name="key" value="([^"]+)"', html)
    return key


async def invite(client: Client, people: str, *, slug: str = "tea", role: str = "annotator") -> list[str]:
    page = await client.get(f"/projects/{slug}/people")
    form = {"people": people, "role": role, "days": "7", "key": form_key(page.text)}
    made = await client.post(f"/projects/{slug}/people/invitations", data=form)
    assert made.status_code == 200, words(made.text)
    return links(made.text)


async def is_open(client: Client, slug: str) -> bool:
    answer = await client.get(f"/projects/{slug}/annotate")
    assert answer.status_code in {200, 404, 303}
    return answer.status_code == 200


@pytest.fixture
async def tea(db: AsyncSession) -> Project:
    return await make_project(db, "tea")


@pytest.fixture
async def owner(db: AsyncSession, tea: Project, sign_in: SignIn) -> Client:
    return await sign_in(await make_member(db, tea, "owner"))


@pytest.fixture
def browser(app: FastAPI) -> Callable[[], Client]:
    """Makes browsers that nobody is signed in with."""
    return lambda: client_of(app)


async def test_people_are_invited_many_at_once_and_each_comes_in_by_their_own_link(
    db: AsyncSession, owner: Client, browser: Callable[[], Client]
) -> None:
    made = await invite(owner, 'Ada Lovelace <ada@example.org>\n\nbob@example.org\r\n"Eve", eve@example.org\nMallory\n')
    assert len(set(made)) == 4
    listed = words((await owner.get(PEOPLE)).text)
    assert "4 open invitations" in listed
    assert "/invitations/" not in re.sub(r'action="[^"]+"', "", (await owner.get(PEOPLE)).text)
    async with browser() as ada:
        page = await ada.get(made[0])
        assert "You are invited to “Tea”" in words(page.text)
        assert 'value="Ada Lovelace"' in page.text
        joined = await ada.post(made[0], data={"name": "Ada Lovelace", "email": "ada@example.org"})
        assert joined.headers["location"] == "/account/welcome?next=/projects/tea/annotate"
        assert await is_open(ada, "tea")
    async with browser() as late:
        assert (await late.get(made[0])).status_code == 404
        assert (await late.post(made[0], data={"name": "Late"})).status_code == 404
    assert "3 open invitations" in words((await owner.get(PEOPLE)).text)
    assert await db.scalar(select(func.count()).select_from(User).where(User.email == "ada@example.org")) == 1


async def test_a_form_that_is_sent_twice_invites_nobody_twice_and_shows_the_same_links(
    db: AsyncSession, owner: Client
) -> None:
    form = {"people": "Ada\nBob", "role": "annotator", "days": "7", "key": new_token()}
    both = await asyncio.gather(*(owner.post(f"{PEOPLE}/invitations", data=form) for _ in range(2)))
    again = await owner.post(f"{PEOPLE}/invitations", data=form)
    assert len({tuple(links(answer.text)) for answer in (*both, again)}) == 1
    assert await db.scalar(select(func.count()).select_from(Invitation)) == 2
    changed = await owner.post(f"{PEOPLE}/invitations", data=form | {"people": "Ada\nEve"})
    assert changed.status_code == 409
    assert "This form was sent before with other people in it." in words(changed.text)


async def test_a_link_lets_one_of_two_in_who_open_it_at_once(
    db: AsyncSession, owner: Client, browser: Callable[[], Client]
) -> None:
    (link,) = await invite(owner, "Ada")
    first, second = browser(), browser()
    answers = await asyncio.gather(*(one.post(link, data={"name": "Ada"}) for one in (first, second)))
    assert sorted(answer.status_code for answer in answers) == [303, 404]
    assert await db.scalar(select(func.count()).select_from(User).where(User.name == "Ada")) == 1
    for one in (first, second):
        await one.aclose()


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ("", "Write a name or an e-mail address in each line."),
        ("Ada\na@b@c d@e", "Line 2: One e-mail address in each line."),
        ("x" * 201, "Line 1: A name has 1 to 200 printable characters."),
        ("@example.org", "Line 1: '@example.org' is not an e-mail address."),
        ("Ada\n" * 201, "At most 200 people can be invited at once."),
    ],
)
async def test_what_can_not_be_meant_is_said_on_the_form_which_keeps_it(owner: Client, people: str, said: str) -> None:
    form = {"people": people or " ", "key": new_token()}
    refused = await owner.post(f"{PEOPLE}/invitations", data=form)
    assert refused.status_code == 422
    assert said in words(refused.text)
    assert people.strip() in unescape(refused.text).replace("\r\n", "\n")


async def test_a_revoked_link_and_one_that_is_over_let_nobody_in(
    db: AsyncSession, owner: Client, client: Client
) -> None:
    revoked, over = await invite(owner, "Ada\nBob")
    ids = list(await db.scalars(select(Invitation.id).order_by(Invitation.position)))
    assert (await owner.post(f"{PEOPLE}/invitations/{ids[0]}/revoke")).status_code == 303
    assert (await owner.post(f"{PEOPLE}/invitations/{ids[0]}/revoke")).status_code == 404
    await db.execute(update(Invitation).where(Invitation.id == ids[1]).values(expires_at=func.now()))
    await db.commit()
    for link in (revoked, over):
        assert (await client.get(link)).status_code == 404
        assert (await client.post(link, data={"name": "Ada"})).status_code == 404
    listed = words((await owner.get(PEOPLE)).text)
    assert "One open invitation" in listed
    assert " over " in listed
    assert (await owner.post(f"{PEOPLE}/invitations/{ids[1]}/revoke")).status_code == 303
    assert "open invitation" not in words((await owner.get(PEOPLE)).text)


async def test_an_invitation_whose_link_is_over_or_lost_gets_another_one_and_the_one_before_ends(
    db: AsyncSession, owner: Client, client: Client, sign_in: SignIn, tea: Project
) -> None:
    (over,) = await invite(owner, "Bob")
    invitation_id = await db.scalar(update(Invitation).values(expires_at=func.now()).returning(Invitation.id))
    renew = f"{PEOPLE}/invitations/{invitation_id}/renew"
    form = {"key": new_token()}
    another = await sign_in(await make_member(db, tea, "owner"))
    sent = [await another.post(renew, data=form) for _ in range(2)]
    ((lost,), (same,)) = [links(answer.text) for answer in sent]
    assert lost == same, "a page that is loaded again shows what it made"
    (last,) = links((await owner.post(renew)).text)
    assert [(await client.get(link)).status_code for link in (over, lost, last)] == [404, 404, 200]
    assert (await client.post(last, data={"name": "Bob"})).status_code == 303
    assert (await owner.post(renew)).status_code == 404
    assert await db.scalar(select(func.count()).select_from(Invitation)) == 1


async def test_who_has_an_account_joins_with_it_and_the_link_signs_nobody_in(
    db: AsyncSession, owner: Client, sign_in: SignIn, client: Client
) -> None:
    (link,) = await invite(owner, "ada@example.org", role="reviewer")
    ada = await accounts.create_user(db, name="Ada", email="ada@example.org")
    await db.commit()
    assert (await client.post(f"{link}/join")).status_code == 401
    browser = await sign_in(principal(ada))
    assert "Join as Ada" in words((await browser.get(link)).text)
    assert (await browser.post(f"{link}/join")).status_code == 303
    assert await db.scalar(select(Member.role).where(Member.user_id == ada.id)) == "reviewer"
    assert (await browser.post(f"{link}/join")).status_code == 404


@pytest.fixture
async def coffee(db: AsyncSession, sign_in: SignIn) -> Client:
    """The browser of the owner of another project."""
    return await sign_in(await make_member(db, await make_project(db, "coffee"), "owner"))


async def token_of(client: Client) -> str:
    made = await client.post("/tokens", data={"name": "mine", "scopes": ["read"]})
    return re.findall(r"plumb_\w{43}", made.text)[0]


async def reads(site: Client, token: str, slug: str) -> int:
    answer = await site.get(f"/api/v1/projects/{slug}", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def test_an_owner_who_opened_an_invitation_themself_does_not_read_what_the_address_is_invited_to_later(
    owner: Client, coffee: Client, browser: Callable[[], Client], client: Client
) -> None:
    (mine,) = await invite(owner, "ada@example.org")
    taken_over = browser()
    await taken_over.post(mine, data={"name": "Ada", "email": "ada@example.org"})
    token = await token_of(taken_over)
    (theirs,) = await invite(coffee, "ada@example.org", slug="coffee")
    assert await reads(client, token, "tea") == 200
    assert await reads(client, token, "coffee") == 404
    async with browser() as ada:
        await ada.post(theirs, data={"name": "Ada"})
        assert await is_open(ada, "coffee")
    assert await reads(client, token, "coffee") == 404
    assert not await is_open(taken_over, "coffee")
    await taken_over.aclose()


async def test_what_an_owners_link_opened_ends_when_its_person_joins_another_owners_project(
    db: AsyncSession, owner: Client, coffee: Client, browser: Callable[[], Client], client: Client
) -> None:
    (mine,) = await invite(owner, "Ada")
    ada, spy = browser(), browser()
    await ada.post(mine, data={"name": "Ada"})
    user_id = await db.scalar(select(User.id).where(User.name == "Ada"))
    (back_door,) = links((await owner.post(f"{PEOPLE}/{user_id}/link")).text)
    await spy.post(back_door)
    await spy.post("/account/password", data={"new": "a" * 8, "again": "a" * 8, "email": "x@example.org"})
    spied = await token_of(spy)
    # A password signs every other browser out; Ada asks for a link and has a token of her own, too.
    (unused,) = links((await owner.post(f"{PEOPLE}/{user_id}/link")).text)
    await ada.post(unused)
    (unused,) = links((await owner.post(f"{PEOPLE}/{user_id}/link")).text)
    own = await token_of(ada)
    assert await reads(client, spied, "tea") == await reads(client, own, "tea") == 200

    (theirs,) = await invite(coffee, "Ada", slug="coffee")
    assert (await ada.post(f"{theirs}/join")).status_code == 303
    assert await is_open(ada, "coffee")
    assert (await client.post(unused)).status_code == 404
    assert (await spy.get("/projects/coffee/annotate")).status_code == 303
    assert {await reads(client, token, "coffee") for token in (spied, own)} == {401}
    refused = await client.post("/sign-in", data={"email": "x@example.org", "password": "a" * 8})
    assert refused.status_code == 401
    assert (await owner.post(f"{PEOPLE}/{user_id}/link")).status_code == 403
    for one in (ada, spy):
        await one.aclose()


async def test_what_an_admin_vouches_for_stays_however_many_projects_its_person_joins(
    db: AsyncSession, owner: Client, coffee: Client, app: FastAPI, client: Client
) -> None:
    await accounts.create_user(db, name="Ada", email="ada@example.org", password="a" * 8)
    await db.commit()
    signing_in = {"email": "ada@example.org", "password": "a" * 8}
    async with client_of(app) as ada:
        await ada.post("/sign-in", data=signing_in)
        token = await token_of(ada)
        for inviter, slug in ((owner, "tea"), (coffee, "coffee")):
            (link,) = await invite(inviter, "Ada", slug=slug)
            assert (await ada.post(f"{link}/join")).status_code == 303
            assert await is_open(ada, slug)
    assert await reads(client, token, "coffee") == 200
    assert (await client.post("/sign-in", data=signing_in)).status_code == 303


async def test_what_an_owners_link_opened_ends_when_an_admin_adds_its_person_or_a_group_brings_them(
    db: AsyncSession, owner: Client, coffee: Client, browser: Callable[[], Client], client: Client, sign_in: SignIn
) -> None:
    admin = await sign_in(principal(await make_user(db, "Root", is_admin=True)))
    tokens = []
    for name in ("Ada", "Bob"):
        (link,) = await invite(owner, name)
        async with browser() as one:
            await one.post(link, data={"name": name})
            tokens.append(await token_of(one))
    for spelt in ("ada", "root"):
        added = await admin.post("/projects/coffee/people/add", data={"person": spelt})
        assert added.headers["location"].endswith("said=added-ended" if spelt == "ada" else "said=added")
    assert (await coffee.post("/projects/coffee/people/add", data={"person": "Bob"})).status_code == 403
    assert await reads(client, tokens[0], "coffee") == 401
    await admin.post("/groups", data={"name": "Drinkers"})
    group = (await admin.get("/groups")).text
    (home,) = set(re.findall(r'action="(/groups/\d+)/people"', group))
    await admin.post(f"{home}/projects", data={"project": "coffee", "role": "reviewer"})
    assert await reads(client, tokens[1], "tea") == 200
    await admin.post(f"{home}/people", data={"person": "bob"})
    assert await reads(client, tokens[1], "coffee") == 401
    assert "Bob" in words((await coffee.get("/projects/coffee/people")).text)
    assert "Root" not in words((await coffee.get("/projects/coffee")).text)


async def test_a_person_is_paused_and_their_tasks_are_free_at_once(
    db: AsyncSession, tea: Project, owner: Client, sign_in: SignIn
) -> None:
    task = await make_task(db, tea)
    ada = await make_member(db, tea)
    browser = await sign_in(ada)
    await browser.get("/projects/tea/annotate")
    assert await db.scalar(select(Task.taken)) == 1
    page = f"{PEOPLE}/{ada.user_id}"
    assert "Free the tasks held now" in words((await owner.get(page)).text)
    await owner.post(f"{page}/pause", data={"paused": "true"})
    await db.refresh(task)
    assert task.taken == 0
    refused = await browser.get("/projects/tea/annotate")
    assert refused.status_code == 403
    assert "An owner of this project has paused your work here." in words(refused.text)
    assert "paused" in words((await owner.get(PEOPLE)).text)
    await owner.post(f"{page}/pause", data={"paused": "false"})
    assert (await browser.get("/projects/tea/annotate")).status_code == 200
    released = await owner.post(f"{page}/release")
    assert "One task is free for others." in words((await owner.get(released.headers["location"])).text)
    assert await db.scalar(select(func.count()).where(Assignment.state == "leased")) == 0


async def test_who_is_removed_is_out_at_once_and_what_they_judged_stays(
    db: AsyncSession, tea: Project, owner: Client, sign_in: SignIn
) -> None:
    await make_task(db, tea)
    ada = await make_member(db, tea)
    browser = await sign_in(ada)
    html = (await browser.get("/projects/tea/annotate")).text
    action, fields = judgement_form(html)
    assert (await browser.post(action, data={**fields, "choice": "2"})).status_code in {200, 303}
    page = f"{PEOPLE}/{ada.user_id}"
    shown = words((await owner.get(page)).text)
    assert "has judged one pair here." in shown
    assert "A is better" in shown
    reopened = await owner.post(f"{page}/reopen")
    assert "One task is open again." in words((await owner.get(reopened.headers["location"])).text)
    assert (await db.execute(select(Task.quota, Task.taken, Task.state))).one() == (2, 1, "open")
    again = await owner.post(f"{page}/reopen")
    assert "0 tasks are open again." in words((await owner.get(again.headers["location"])).text)
    assert (await owner.post(f"{page}/remove")).headers["location"] == f"{PEOPLE}?said=removed"
    assert (await browser.get("/projects/tea/annotate")).status_code == 404
    assert (await owner.get(page)).status_code == 404
    assert await db.scalar(select(Task.judged)) == 1


@pytest.mark.parametrize("end", ["removed", "archived"])
async def test_who_is_out_reads_nothing_by_the_number_of_a_task_and_changes_no_answer(
    db: AsyncSession, tea: Project, owner: Client, client: Client, sign_in: SignIn, end: str
) -> None:
    for _ in range(2):
        await make_task(db, tea)
    ada = await make_member(db, tea)
    browser = await sign_in(ada)
    answered, fields = judgement_form((await browser.get("/projects/tea/annotate")).text)
    assert (await browser.post(answered, data={**fields, "choice": "2"})).status_code == 303
    on_screen, others = judgement_form((await browser.get("/projects/tea/annotate")).text)
    token = await accounts.create_api_token(db, ada.user_id, name="kept")
    await db.commit()
    bearer = {"Authorization": f"Bearer {token}", "Idempotency-Key": "late"}
    calls = [f"/api/v1/assignments/{action.split('/')[-2]}" for action in (answered, on_screen)]
    assert [(await client.get(call, headers=bearer)).status_code for call in calls] == [200, 200]
    if end == "removed":
        await owner.post(f"{PEOPLE}/{ada.user_id}/remove")
    else:
        await owner.post("/projects/tea/settings/archive")
    for action, form in ((answered, fields), (on_screen, others)):
        sent = await browser.post(action, data={**form, "idempotency_key": new_token(), "choice": "1"})
        assert sent.status_code == 404
    for call in calls:
        assert (await client.get(call, headers=bearer)).status_code == 404
        said = await client.post(f"{call}/judgements", json={"choice": 1}, headers=bearer)
        assert said.status_code == 404
        assert (await client.post(f"{call}/skip", json={}, headers=bearer)).status_code == 404
    assert list(await db.scalars(select(Judgement.choice))) == [2]


async def test_a_project_keeps_an_owner_when_two_remove_each_other_at_once(
    db: AsyncSession, tea: Project, sign_in: SignIn
) -> None:
    people = [await make_member(db, tea, "owner") for _ in range(2)]
    first, second = [await sign_in(one) for one in people]
    answers = await asyncio.gather(
        first.post(f"{PEOPLE}/{people[1].user_id}/remove"), second.post(f"{PEOPLE}/{people[0].user_id}/remove")
    )
    assert 303 in {answer.status_code for answer in answers}
    assert await db.scalar(select(func.count()).where(Member.role == "owner")) == 1
    left = first if await db.get(Member, (tea.id, people[0].user_id)) else second
    me = await db.scalar(select(Member.user_id).where(Member.role == "owner"))
    assert (await left.post(f"{PEOPLE}/{me}/remove")).status_code == 409


async def test_only_owners_act_on_people(db: AsyncSession, tea: Project, sign_in: SignIn, coffee: Client) -> None:
    ada = await make_member(db, tea)
    page = f"{PEOPLE}/{ada.user_id}"
    forms = {
        "role": {"role": "owner"},
        "pause": {"paused": "true"},
        "link": {},
        "release": {},
        "reopen": {},
        "remove": {},
    }
    for client, read, refused in (
        (await sign_in(await make_member(db, tea, "reviewer")), 200, 403),
        (await sign_in(ada), 403, 403),
        (coffee, 404, 404),
    ):
        assert (await client.get(page)).status_code == read
        for name, form in forms.items():
            assert (await client.post(f"{page}/{name}", data=form)).status_code == refused, name
        invited = {"people": "Eve", "key": new_token()}
        assert (await client.post(f"{PEOPLE}/invitations", data=invited)).status_code == refused
    assert await db.scalar(select(func.count()).select_from(Invitation)) == 0


@pytest.fixture
async def root(db: AsyncSession, sign_in: SignIn) -> Client:
    return await sign_in(principal(await make_user(db, "Root", is_admin=True)))


async def test_admins_see_everybody_and_nobody_else_does(
    db: AsyncSession, root: Client, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.pages.directory.PAGE_SIZE", 1)
    await accounts.create_user(db, name="Ada 100%", email="ada@example.org")
    await db.commit()
    first = await root.get("/people")
    assert "Ada 100%" in words(first.text)
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    assert "Ada 100%" not in words((await root.get(unescape(older))).text)
    assert "Ada 100%" in words((await root.get("/people?text=0%25+EXAMPLE")).text)
    assert "Nobody has this name" in words((await root.get("/people?text=_da")).text)
    for path in ("/people", "/groups", "/people/1"):
        assert (await owner.get(path)).status_code == 403


async def test_somebody_is_shut_out_and_let_in_again(
    db: AsyncSession, tea: Project, root: Client, sign_in: SignIn, client: Client
) -> None:
    await make_task(db, tea)
    ada = await make_member(db, tea)
    token = await accounts.create_api_token(db, ada.user_id, name="t")
    browser = await sign_in(ada)
    assert await is_open(browser, "tea")
    home = f"/people/{ada.user_id}"
    await root.post(f"{home}/disabled", data={"disabled": "true"})
    assert "is shut out of this site." in words((await root.get(home)).text)
    assert (await browser.get("/projects/tea/annotate")).status_code == 303
    assert await reads(client, token, "tea") == 401
    assert await db.scalar(select(Task.taken)) == 0
    await root.post(f"{home}/disabled", data={"disabled": "false"})
    assert await reads(client, token, "tea") == 401
    assert (await browser.get("/projects/tea/annotate")).status_code == 303
    (link,) = links((await root.post(f"{home}/link")).text)
    assert (await browser.post(link)).headers["location"] == "/account/welcome"


async def test_an_erased_person_has_no_name_anywhere_and_what_they_judged_stays(
    db: AsyncSession, tea: Project, root: Client, owner: Client, browser: Callable[[], Client]
) -> None:
    await make_task(db, tea)
    await db.commit()
    (link,) = await invite(owner, "Ada Lovelace <ada@example.org>")
    async with browser() as ada:
        await ada.post(link, data={"name": "Ada Lovelace", "email": "ada@example.org"})
        await token_of(ada)
        action, fields = judgement_form((await ada.get("/projects/tea/annotate")).text)
        await ada.post(action, data={**fields, "choice": "2"})
    user = (await db.scalars(select(User).where(User.name == "Ada Lovelace"))).one()
    home = f"/people/{user.id}"
    assert (await root.post(f"{home}/erase", data={"name": "Ada"})).status_code == 409
    assert (await root.post(f"{home}/erase", data={"name": "Ada Lovelace"})).status_code == 303
    assert (await root.get(home)).status_code == 404
    await db.refresh(user)
    assert (user.name, user.email, user.password_hash, user.is_admin) == (f"Person {user.id}", None, None, False)
    assert await db.scalar(select(func.count()).select_from(ApiToken)) == 0
    assert (await db.execute(select(Invitation.name, Invitation.email))).all() == [("", None)]
    assert await db.scalar(select(Task.judged)) == 1
    for page in ("/log", "/people", "/projects/tea/quality", PEOPLE):
        assert "Ada Lovelace" not in (await root.get(page)).text, page
    assert "erasure" in words((await root.get("/log")).text)


async def test_the_site_keeps_an_admin_when_two_end_each_other_at_once(db: AsyncSession, sign_in: SignIn) -> None:
    admins = [principal(await make_user(db, is_admin=True)) for _ in range(2)]
    first, second = [await sign_in(one) for one in admins]
    no_more = {"is_admin": "false"}
    await asyncio.gather(
        first.post(f"/people/{admins[1].user_id}/admin", data=no_more),
        second.post(f"/people/{admins[0].user_id}/admin", data=no_more),
    )
    assert await db.scalar(select(func.count()).where(User.is_admin)) == 1


async def test_an_admin_shuts_nobody_out_who_is_themself_and_a_new_admin_starts_afresh(
    db: AsyncSession, root: Client, owner: Client, browser: Callable[[], Client], client: Client
) -> None:
    me = await db.scalar(select(User.id).where(User.name == "Root"))
    for path, form in (
        ("admin", {"is_admin": "false"}),
        ("disabled", {"disabled": "true"}),
        ("erase", {"name": "Root"}),
    ):
        assert (await root.post(f"/people/{me}/{path}", data=form)).status_code == 409
    (link,) = await invite(owner, "Ada")
    async with browser() as ada:
        await ada.post(link, data={"name": "Ada"})
        token = await token_of(ada)
    user_id = await db.scalar(select(User.id).where(User.name == "Ada"))
    await root.post(f"/people/{user_id}/admin", data={"is_admin": "true"})
    assert "Ada runs this site." in words((await root.get(f"/people/{user_id}")).text)
    assert await reads(client, token, "tea") == 401


async def test_a_group_brings_its_people_into_its_projects_and_takes_them_along(
    db: AsyncSession, tea: Project, root: Client
) -> None:
    await make_project(db, "coffee")
    ada, bob = await make_user(db, "Ada"), await make_user(db, "Bob")
    db.add(Member(project_id=tea.id, user_id=bob.id, role="annotator"))
    await db.commit()
    ada_id, tea_id = ada.id, tea.id

    async def roles() -> dict[tuple[str, str], str]:
        await db.rollback()
        rows = await db.execute(
            select(Project.slug, User.name, Member.role)
            .join_from(Member, Project)
            .join(User, User.id == Member.user_id)
        )
        return {(slug, name): role for slug, name, role in rows}

    homes = []
    for name in ("Strong", "Weak"):
        made = await root.post("/groups", data={"name": name})
        homes.append(f"/groups/{made.headers['location'].rpartition('-')[2]}")
        for person in ("Ada", "Bob"):
            await root.post(f"{homes[-1]}/people", data={"person": person})
    strong, weak = homes
    assert (await root.post("/groups", data={"name": "strong"})).status_code == 409
    assert (await root.post(f"{weak}/name", data={"name": " STRONG"})).status_code == 409
    assert (await root.post(f"{weak}/name", data={"name": "Weaker"})).status_code == 303
    await root.post(f"{weak}/projects", data={"project": "tea", "role": "reviewer"})
    assert await roles() == {("tea", "Ada"): "reviewer", ("tea", "Bob"): "annotator"}, "one's own role goes before"
    await root.post(f"{strong}/projects", data={"project": "tea", "role": "owner"})
    await root.post(f"{strong}/projects", data={"project": "coffee", "role": "annotator"})
    assert await roles() == {
        ("tea", "Ada"): "owner",
        ("tea", "Bob"): "annotator",
        ("coffee", "Ada"): "annotator",
        ("coffee", "Bob"): "annotator",
    }
    refused = await root.post(f"{PEOPLE}/{ada_id}/remove")
    assert refused.status_code == 409
    assert "take the person out of the group." in words(refused.text)
    await root.post(f"{strong}/projects/{tea_id}/remove")
    assert (await roles())["tea", "Ada"] == "reviewer"
    await root.post(f"{weak}/people/{ada_id}/remove")
    assert ("tea", "Ada") not in await roles()
    assert (await root.post(f"{weak}/people/{ada_id}/remove")).status_code == 404
    await root.post(f"{strong}/remove")
    assert await roles() == {("tea", "Bob"): "annotator"}


async def test_two_admins_who_change_groups_at_once_leave_what_both_say(
    db: AsyncSession, tea: Project, sign_in: SignIn
) -> None:
    first, second = [await sign_in(principal(await make_user(db, is_admin=True))) for _ in range(2)]
    await make_user(db, "Ada")
    await db.commit()
    made = await first.post("/groups", data={"name": "All"})
    home = f"/groups/{made.headers['location'].rpartition('-')[2]}"
    await asyncio.gather(
        first.post(f"{home}/people", data={"person": "Ada"}),
        second.post(f"{home}/projects", data={"project": "tea"}),
    )
    assert await db.scalar(select(Member.role)) == "annotator"


async def test_a_lease_that_is_given_meanwhile_does_not_outlive_a_removal(
    db: AsyncSession, sessions: SessionFactory, tea: Project, owner: Client
) -> None:
    await make_task(db, tea)
    ada = await make_member(db, tea)
    await db.commit()
    assert await assignments.lease_next(db, ada, tea) is not None  # not committed yet
    removal = asyncio.create_task(owner.post(f"{PEOPLE}/{ada.user_id}/remove"))
    async with sessions() as looking:
        await somebody_waits_for_a_lock(looking)
    await db.commit()
    assert (await removal).status_code == 303
    assert await db.scalar(select(func.count()).where(Assignment.state == "leased")) == 0
