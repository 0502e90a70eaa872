"""Who has opened somebody's account keeps nothing of it once the account gets to see more, or its person acts."""

import re
from collections.abc import AsyncIterator, Callable
from html import unescape

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, User
from app.security import new_token
from app.services import accounts
from app.settings import Settings
from tests.factories import make_member, make_project, make_user, principal
from tests.sites import new_site
from tests.web.conftest import HOST, SignIn, app, client, client_of, sign_in

__all__ = ["app", "client", "sign_in"]

Client = httpx.AsyncClient
Browser = Callable[[], Client]
ALL = {"scopes": ["read", "judge", "manage"], "days": "365"}
PASSWORD = "correct horse battery"


@pytest.fixture
async def tea(db: AsyncSession) -> Project:
    return await make_project(db, "tea")


@pytest.fixture
async def coffee(db: AsyncSession) -> Project:
    return await make_project(db, "coffee")


@pytest.fixture
def browser(app: FastAPI) -> Browser:
    """Makes browsers that nobody is signed in with."""
    return lambda: client_of(app)


@pytest.fixture
async def root(db: AsyncSession, sign_in: SignIn) -> Client:
    return await sign_in(principal(await make_user(db, "Root", is_admin=True)))


async def invited(owner: Client, slug: str, person: str, role: str = "annotator") -> str:
    form = {"people": person, "role": role, "days": "7", "key": new_token()}
    made = await owner.post(f"/projects/{slug}/people/invitations", data=form)
    (link,) = links(made.text)
    return link


def links(html: str) -> list[str]:
    return re.findall(r"<code[^>]*>http://localhost:8400(/[^<]+)</code>", html)


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


async def token_of(browser: Client) -> str:
    made = await browser.post("/tokens", data={"name": "mine", **ALL})
    (token,) = set(re.findall(r"plumb_\w{43}", made.text))
    return token


async def reads(site: Client, token: str, slug: str) -> int:
    answer = await site.get(f"/api/v1/projects/{slug}", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def opens(browser: Client, slug: str) -> int:
    return (await browser.get(f"/projects/{slug}/annotate")).status_code


async def user_called(db: AsyncSession, name: str) -> int:
    user_id = await db.scalar(select(User.id).where(User.name == name))
    assert user_id is not None
    return user_id


@pytest.mark.parametrize("door", ["page", "api", "group", "invitation", "owner"])
async def test_the_owner_of_one_project_who_opened_somebodys_account_does_not_read_the_next_project_it_comes_to(
    db: AsyncSession, tea: Project, coffee: Project, root: Client, client: Client, sign_in: SignIn, browser: Browser,
    door: str,
) -> None:  # fmt: skip
    """The attack: invite an address, open the link oneself, make a token that lasts a year, and wait."""
    attacker = await sign_in(await make_member(db, tea, "owner"))
    victim = await make_member(db, coffee, "owner")
    taken = browser()
    link = await invited(attacker, "tea", "ada@example.org")
    await taken.post(link, data={"name": "Ada", "email": "ada@example.org"})
    await taken.post("/account/password", data={"new": PASSWORD, "again": PASSWORD})
    token = await token_of(taken)
    ada = await user_called(db, "Ada")
    (spare,) = links((await attacker.post(f"/projects/tea/people/{ada}/link")).text)
    assert (await reads(client, token, "tea"), await opens(taken, "tea")) == (200, 200)

    if door == "page":
        await root.post("/projects/coffee/people/add", data={"person": "ada@example.org"})
    elif door == "api":
        bearer = {"Authorization": f"Bearer {await token_of(root)}"}
        added = await client.post("/api/v1/projects/coffee/people", json={"person": "Ada"}, headers=bearer)
        assert added.status_code == 201
    elif door == "group":
        made = (await root.post("/groups", data={"name": "Drinkers"})).headers["location"]
        home = f"/groups/{made.rpartition('-')[2]}"
        await root.post(f"{home}/people", data={"person": "ada@example.org"})
        await root.post(f"{home}/projects", data={"project": "coffee"})
    elif door == "invitation":
        theirs = await sign_in(victim)
        async with browser() as real:
            joined = await real.post(
                await invited(theirs, "coffee", "ada@example.org"), data={"name": "Ada", "email": "ada@example.org"}
            )
            assert joined.status_code == 303, "that somebody else claims the address keeps nobody out"
            assert await opens(real, "coffee") == 200
    else:
        # Ada owns a project of her own by now, with the session that she keeps.
        await root.post("/projects/coffee/people/add", data={"person": "Ada", "role": "owner"})

    assert await reads(client, token, "coffee") in {401, 404}
    assert await opens(taken, "coffee") in {303, 404}
    again = await client.post("/sign-in", data={"email": "ada@example.org", "password": PASSWORD})
    if again.status_code == 303:
        assert await opens(client, "coffee") == 404
    if door != "invitation":
        assert again.status_code == 401
        assert (await client.post(spare)).status_code == 404
    await taken.aclose()


async def test_another_role_ends_what_goes_back_to_nobody_who_owns_the_project(
    db: AsyncSession, tea: Project, client: Client, sign_in: SignIn, browser: Browser
) -> None:
    first, second = [await make_member(db, tea, "owner") for _ in range(2)]
    leaving, staying = [await sign_in(one) for one in (first, second)]
    taken = browser()
    await taken.post(await invited(leaving, "tea", "Ada"), data={"name": "Ada"})
    token = await token_of(taken)
    ada = await user_called(db, "Ada")
    await staying.post(f"/projects/tea/people/{first.user_id}/remove")
    promoted = await staying.post(f"/projects/tea/people/{ada}/role", data={"role": "reviewer"})
    assert promoted.status_code == 303
    assert await reads(client, token, "tea") == 401
    assert await opens(taken, "tea") == 303
    await taken.aclose()


async def test_the_same_role_again_ends_nothing(
    db: AsyncSession, tea: Project, client: Client, sign_in: SignIn, browser: Browser
) -> None:
    first, second = [await make_member(db, tea, "owner") for _ in range(2)]
    leaving, staying = [await sign_in(one) for one in (first, second)]
    async with browser() as own:
        await own.post(await invited(leaving, "tea", "Ada"), data={"name": "Ada"})
        ada = await user_called(db, "Ada")
        await staying.post(f"/projects/tea/people/{first.user_id}/remove")
        await staying.post(f"/projects/tea/people/{ada}/role", data={"role": "annotator"})
        assert await opens(own, "tea") == 200


@pytest.mark.parametrize("end", ["remove", "role", "disabled"])
async def test_links_that_an_owner_has_made_and_nobody_has_opened_end_with_the_ownership(
    db: AsyncSession, tea: Project, root: Client, client: Client, sign_in: SignIn, end: str
) -> None:
    owners = [await make_member(db, tea, "owner") for _ in range(2)]
    ada = await make_member(db, tea)
    leaving, staying = [await sign_in(one) for one in owners]
    invitation = await invited(leaving, "tea", "Bob", role="reviewer")
    kept = await invited(staying, "tea", "Eve")
    (link,) = links((await leaving.post(f"/projects/tea/people/{ada.user_id}/link")).text)
    (stays,) = links((await staying.post(f"/projects/tea/people/{ada.user_id}/link")).text)
    if end == "disabled":
        await root.post(f"/people/{owners[0].user_id}/disabled", data={"disabled": "true"})
    else:
        await staying.post(f"/projects/tea/people/{owners[0].user_id}/{end}", data={"role": "annotator"})
    assert [(await client.get(path)).status_code for path in (invitation, link, kept, stays)] == [404, 404, 200, 200]


async def test_a_new_password_ends_every_session_link_and_token_but_this_one(
    db: AsyncSession, client: Client, sign_in: SignIn
) -> None:
    ada = await accounts.create_user(db, name="Ada", email="ada@example.org", password=PASSWORD)
    unopened = await accounts.create_sign_in_link(db, ada.id)
    here, thief = [await sign_in(principal(ada)) for _ in range(2)]
    token = await token_of(thief)
    assert await reads(client, token, "tea") == 404
    form = {"current": PASSWORD, "new": "another password", "again": "another password"}
    changed = await here.post("/account/password", data=form)
    assert (await here.get(changed.headers["location"])).status_code == 200
    assert (await thief.get("/account")).status_code == 303
    assert await reads(client, token, "tea") == 401
    assert (await client.get(f"/sign-in/link/{unopened}")).status_code == 404


@pytest.mark.parametrize("door", ["page", "api"])
async def test_who_was_shut_out_comes_back_with_no_session_link_or_token_of_before(
    db: AsyncSession, tea: Project, root: Client, client: Client, sign_in: SignIn, door: str
) -> None:
    ada = await make_member(db, tea)
    unopened = await accounts.create_sign_in_link(db, ada.user_id)
    browser = await sign_in(ada)
    token = await token_of(browser)
    bearer = {"Authorization": f"Bearer {await token_of(root)}", "If-Match": "*"}
    for disabled in (True, False):
        if door == "page":
            await root.post(f"/people/{ada.user_id}/disabled", data={"disabled": str(disabled).lower()})
        else:
            path = f"/api/v1/people/{ada.user_id}"
            changed = await client.patch(path, json={"disabled": disabled}, headers=bearer)
            assert changed.status_code == 200
        assert await opens(browser, "tea") == 303
        assert await reads(client, token, "tea") == 401
        assert (await client.get(f"/sign-in/link/{unopened}")).status_code == 404


async def test_an_admin_sees_where_somebody_is_signed_in_and_ends_it_all_at_once(
    db: AsyncSession, tea: Project, root: Client, client: Client, sign_in: SignIn
) -> None:
    ada = await make_member(db, tea)
    browsers = [await sign_in(ada) for _ in range(2)]
    token = await token_of(browsers[0])
    home = f"/people/{ada.user_id}"
    assert "Signed in on 2 devices. One program may act for this person." in words((await root.get(home)).text)
    ended = await root.post(f"{home}/end")
    assert ended.headers["location"] == f"{home}?said=ended"
    assert [await opens(one, "tea") for one in browsers] == [303, 303]
    assert await reads(client, token, "tea") == 401
    assert "may act for this person" not in words((await root.get(home)).text)
    assert "Signed in nowhere." in words((await root.get(home)).text)
    assert (await browsers[0].post(f"{home}/end")).status_code == 401


async def test_who_is_no_admin_any_more_has_no_link_left_that_they_made(
    db: AsyncSession, tea: Project, root: Client, client: Client, sign_in: SignIn
) -> None:
    other = await make_user(db, "Other", is_admin=True)
    ada = await make_member(db, tea)
    leaving = await sign_in(principal(other))
    (link,) = links((await leaving.post(f"/people/{ada.user_id}/link")).text)
    invitation = await invited(leaving, "tea", "Bob", role="owner")
    await root.post(f"/people/{other.id}/admin", data={"is_admin": "false"})
    assert [(await client.get(path)).status_code for path in (link, invitation)] == [404, 404]


@pytest.fixture
async def generous(database_url: str) -> AsyncIterator[FastAPI]:
    """A site where everybody may make projects."""
    app = new_site(Settings(database_url=database_url, trusted_hosts=HOST, project_creation="everybody"))
    async with app.router.lifespan_context(app):
        yield app


@pytest.mark.parametrize("door", ["page", "api"])
async def test_a_project_of_ones_own_is_not_read_by_who_opened_the_account_before(
    db: AsyncSession, tea: Project, generous: FastAPI, door: str
) -> None:
    owner, spy, ada, programs = [client_of(generous) for _ in range(4)]
    link = await accounts.create_sign_in_link(db, (await make_member(db, tea, "owner")).user_id)
    await db.commit()
    await owner.post(f"/sign-in/link/{link}")
    await spy.post(await invited(owner, "tea", "Ada"), data={"name": "Ada"})
    (second,) = links((await owner.post(f"/projects/tea/people/{await user_called(db, 'Ada')}/link")).text)
    await ada.post(second)
    await ada.post("/account/password", data={"new": PASSWORD, "again": PASSWORD, "email": "ada@example.org"})
    (third,) = links((await owner.post(f"/projects/tea/people/{await user_called(db, 'Ada')}/link")).text)
    await spy.post(third)
    spied, own = await token_of(spy), await token_of(ada)
    if door == "page":
        assert (await ada.post("/projects/new", data={"name": "Hers"})).status_code == 303
        assert (await ada.get("/projects/hers/settings")).status_code == 200
        assert await reads(programs, own, "hers") == 401, "whose it is can't be told"
        again = await programs.post("/sign-in", data={"email": "ada@example.org", "password": PASSWORD})
        assert again.status_code == 303, "the password that opened this session goes on with it"
    else:
        bearer = {"Authorization": f"Bearer {own}"}
        made = await programs.post("/api/v1/projects", json={"name": "Hers"}, headers=bearer)
        assert made.status_code == 201
        assert await reads(programs, own, "hers") == 200
    assert await reads(programs, spied, "hers") == 401
    assert (await spy.get("/projects/hers/settings")).status_code == 303
    for one in (owner, spy, ada, programs):
        await one.aclose()
