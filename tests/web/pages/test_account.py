"""One's own account: a password after a link, another name or address, and the browsers that are signed in."""

import re
from html import unescape

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import SignInSession, User
from app.services import accounts
from tests.factories import make_user, principal
from tests.web.conftest import SignIn, client_of

PASSWORD = "correct horse battery"


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture
async def ada(db: AsyncSession) -> User:
    return await accounts.create_user(db, name="Ada", email="Ada@Example.org", password=PASSWORD)


async def signs_in(app: FastAPI, email: str, password: str) -> bool:
    async with client_of(app) as browser:
        answer = await browser.post("/sign-in", data={"email": email, "password": password})
        return answer.status_code == 303


async def test_who_comes_by_a_link_is_asked_for_a_password_and_comes_back_with_it(
    db: AsyncSession, app: FastAPI, client: httpx.AsyncClient
) -> None:
    bob = await make_user(db, "Bob")
    link = await accounts.create_sign_in_link(db, bob.id)
    await db.commit()
    welcome = (await client.post(f"/sign-in/link/{link}")).headers["location"]
    page = await client.get(welcome)
    assert "Welcome, Bob" in words(page.text)
    form = {"next": "/projects", "email": "bob@example.org", "new": PASSWORD, "again": PASSWORD}
    for wrong, said in (
        ({"again": "something else"}, "You typed two different passwords."),
        ({"new": "short", "again": "short"}, "A password has 8 to 200 characters."),
        ({"email": "bob"}, "'bob' is not an e-mail address."),
    ):
        refused = await client.post("/account/password", data=form | wrong)
        assert refused.status_code == 422
        assert said in words(refused.text)
    assert not await signs_in(app, "bob@example.org", PASSWORD)
    assert (await client.post("/account/password", data=form)).headers["location"] == "/projects"
    assert await signs_in(app, "BOB@example.org", PASSWORD)
    assert (await client.get("/account/welcome")).status_code == 303


async def test_a_password_is_changed_by_who_knows_it_and_signs_every_other_browser_out(
    db: AsyncSession, app: FastAPI, sign_in: SignIn, ada: User
) -> None:
    here, there = [await sign_in(principal(ada)) for _ in range(2)]
    form = {"current": "wrong", "new": "another password", "again": "another password"}
    refused = await here.post("/account/password", data=form)
    assert "That is not your password." in words(refused.text)
    assert (await there.get("/account")).status_code == 200
    changed = await here.post("/account/password", data=form | {"current": PASSWORD})
    said = words((await here.get(changed.headers["location"])).text)
    assert "Every other device is signed out, and your tokens have ended." in said
    assert (await there.get("/account")).status_code == 303
    assert [await signs_in(app, "ada@example.org", word) for word in (PASSWORD, "another password")] == [False, True]


async def test_a_password_can_not_be_tried_for_ever_by_who_found_a_browser_open(
    db: AsyncSession, sign_in: SignIn, ada: User
) -> None:
    browser = await sign_in(principal(ada))
    form = {"current": "wrong", "new": "another password", "again": "another password"}
    answers = [(await browser.post("/account/password", data=form)).status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]
    assert (await browser.post("/account/password", data=form | {"current": PASSWORD})).status_code == 429


async def test_a_name_is_changed_freely_and_an_address_by_who_knows_the_password(
    db: AsyncSession, app: FastAPI, sign_in: SignIn, ada: User
) -> None:
    browser = await sign_in(principal(ada))
    form = {"name": " Ada  Lovelace ", "email": "ada@example.org"}
    assert (await browser.post("/account", data=form)).status_code == 303
    assert "Ada Lovelace" in (await browser.get("/account")).text
    for wrong, status, said in (
        ({"email": "new@example.org"}, 422, "That is not your password."),
        ({"name": " "}, 422, "1 to 200 printable"),
    ):
        refused = await browser.post("/account", data=form | wrong)
        assert refused.status_code == status
        assert said in words(refused.text)
    await browser.post("/account", data=form | {"email": "new@example.org", "password": PASSWORD})
    assert [await signs_in(app, f"{name}@example.org", PASSWORD) for name in ("ada", "new")] == [False, True]


async def test_each_browser_is_listed_and_signed_out_by_itself_or_with_all_others(
    db: AsyncSession, sign_in: SignIn, app: FastAPI, ada: User
) -> None:
    here, second, third = [await sign_in(principal(ada)) for _ in range(3)]
    stranger = await sign_in(principal(await make_user(db, "Eve")))
    async with client_of(app) as named:
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        form = {"email": "ada@example.org", "password": PASSWORD}
        await named.post("/sign-in", data=form, headers={"User-Agent": agent})
    page = await here.get("/account")
    assert "You are signed in on 3 other devices." in words(page.text)
    assert "Firefox on Linux" in words(page.text)
    ends = re.findall(r'action="(/account/sessions/\d+/end)"', page.text)
    assert len(ends) == 3
    assert (await stranger.post(ends[0])).status_code == 404
    for end in ends:
        assert (await here.post(end)).status_code == 303
    assert {(await one.get("/account")).status_code for one in (second, third)} == {303}
    assert (await here.post(ends[0])).status_code == 404
    second = await sign_in(principal(ada))
    await here.post("/account/sessions/end-others")
    assert (await second.get("/account")).status_code == 303
    assert "You are signed in here only." in words((await here.get("/account")).text)
    assert len(list(await db.scalars(select(SignInSession.id).where(SignInSession.user_id == ada.id)))) == 1
