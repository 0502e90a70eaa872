"""Whoever guesses is slowed down; whoever is meant by it comes in, and nobody learns who has an account."""

import re

import httpx
import pytest
from fastapi import FastAPI
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Attempts, AuditEntry, User
from app.services import accounts, attempts
from app.services.attempts import _Counted
from app.settings import Settings
from tests.factories import make_member, make_project
from tests.sites import new_site
from tests.web.conftest import HOST, SITE, SignIn, app, client, client_of, sign_in

__all__ = ["app", "client", "sign_in"]

Client = httpx.AsyncClient
PASSWORD = "correct horse battery"
RIGHT = {"email": "ada@example.org", "password": PASSWORD}
WRONG = {"email": "ada@example.org", "password": "wrong"}


@pytest.fixture
async def ada(db: AsyncSession) -> User:
    user = await accounts.create_user(db, name="Ada", email="Ada@example.org", password=PASSWORD)
    await db.commit()
    return user


def browser_at(app: FastAPI, address: str) -> Client:
    """A browser with an address of its own in the network."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 40_000))
    return Client(transport=transport, base_url=SITE, headers={"Sec-Fetch-Site": "same-origin"})


async def tried(browser: Client, form: dict[str, str], times: int = 1) -> list[int]:
    return [(await browser.post("/sign-in", data=form)).status_code for _ in range(times)]


async def test_ten_failures_lock_out_who_fails_and_nobody_else(app: FastAPI, ada: User) -> None:
    async with browser_at(app, "192.0.2.66") as attacker, browser_at(app, "198.51.100.7") as owner:
        assert await tried(attacker, WRONG, 10) == [401] * 10
        turned_away = await attacker.post("/sign-in", data=RIGHT)
        assert turned_away.status_code == 429
        wait = int(turned_away.headers["retry-after"])
        assert 1 <= wait <= 2 * attempts.WINDOW.total_seconds()
        assert f"Wait {wait} seconds" in turned_away.text
        assert await tried(owner, RIGHT) == [303]


async def test_the_owners_own_browser_is_not_locked_out_even_at_the_attackers_address(app: FastAPI, ada: User) -> None:
    async with browser_at(app, "192.0.2.66") as attacker, browser_at(app, "192.0.2.66") as owner:
        await owner.post("/sign-in", data=RIGHT)
        await owner.post("/sign-out")
        assert await tried(attacker, WRONG, 35) == [401] * 10 + [429] * 25
        assert await tried(owner, RIGHT) == [303]
        await owner.post("/sign-out")
        assert await tried(owner, WRONG, 11) == [401] * 10 + [429]


async def test_a_browser_that_is_known_for_one_account_is_a_stranger_to_every_other_of_that_address(
    db: AsyncSession, app: FastAPI, ada: User
) -> None:
    """Otherwise an account of one's own that says the victim's address would buy ten tries with each signing in."""
    await accounts.create_user(db, name="Eve", email="ada@example.org", password="eves own password")
    await db.commit()
    async with browser_at(app, "192.0.2.66") as attacker:
        assert await tried(attacker, {"email": "ada@example.org", "password": "eves own password"}) == [303]
        await attacker.post("/sign-out")
        assert await tried(attacker, RIGHT) == [401]


async def test_who_tries_many_accounts_from_one_place_is_turned_away_after_thirty(app: FastAPI, ada: User) -> None:
    async with browser_at(app, "2001:db8:1:2::1") as attacker, browser_at(app, "2001:db8:1:2::ffff") as neighbour:
        for number in range(30):
            assert await tried(attacker, {"email": f"person-{number}@example.org", "password": "x"}) == [401]
        assert await tried(neighbour, RIGHT) == [429], "whoever has one address has its whole /64"
    async with browser_at(app, "2001:db8:1:3::1") as elsewhere:
        assert await tried(elsewhere, RIGHT) == [303]


async def test_two_processes_count_together(database_url: str, app: FastAPI, ada: User) -> None:
    other = new_site(Settings(database_url=database_url, trusted_hosts=HOST))
    async with (
        other.router.lifespan_context(other),
        browser_at(app, "192.0.2.66") as here,
        browser_at(other, "192.0.2.66") as there,
    ):
        assert await tried(here, WRONG, 5) + await tried(there, WRONG, 5) == [401] * 10
        assert await tried(here, WRONG) == [429]


@pytest.mark.parametrize(("now", "before"), [(11, 0), (31, 0), (300, 7), (3, 50), (10, 3)])
@pytest.mark.parametrize("gone", [0.0, 0.1])
def test_the_wait_ends_when_a_try_is_let_in_again_and_no_sooner(now: int, before: int, gone: float) -> None:
    counted = _Counted(now, before, gone)
    assert counted.now + counted.still > attempts.LIMIT
    waited = gone + counted.wait_seconds(attempts.LIMIT) / attempts.WINDOW.total_seconds()
    assert _after(counted, waited + 1e-9) <= attempts.LIMIT < _after(counted, waited - 0.02)


def _after(counted: _Counted, windows: float) -> int:
    """What one more try counts as, so many windows after the beginning of the first."""
    over = windows >= 1
    then = _Counted(1, counted.now, windows - 1) if over else _Counted(counted.now + 1, counted.before, windows)
    return then.now + then.still


async def test_after_the_wait_the_right_password_signs_in(db: AsyncSession, app: FastAPI, ada: User) -> None:
    async with browser_at(app, "192.0.2.66") as browser:
        assert (await tried(browser, WRONG, 11))[-1] == 429
        await db.execute(update(Attempts).values(window_start=Attempts.window_start - 2 * attempts.WINDOW))
        await db.commit()
        assert await tried(browser, RIGHT) == [303]


async def test_failures_are_in_the_log_with_whom_they_were_meant_for_and_a_part_of_where_from(
    db: AsyncSession, app: FastAPI, ada: User
) -> None:
    async with browser_at(app, "198.51.100.7") as browser:
        await tried(browser, WRONG)
        await tried(browser, {"email": "nobody@example.org", "password": "x"})
        await browser.post("/sign-in/passkey", data={"credential": "{}"})
    entries = (
        await db.scalars(select(AuditEntry).where(AuditEntry.kind == "sign_in_failed").order_by(AuditEntry.id))
    ).all()
    assert [(entry.subject, entry.after, entry.door) for entry in entries] == [
        (str(ada.id), {"by": "password", "from": "198.51.100.0/24"}, "page"),
        ("unknown", {"by": "password", "from": "198.51.100.0/24"}, "page"),
        ("unknown", {"by": "passkey", "from": "198.51.100.0/24"}, "page"),
    ]


async def test_no_answer_tells_whether_an_address_has_an_account(
    db: AsyncSession, app: FastAPI, ada: User, sign_in: SignIn
) -> None:
    """By text and status, at every door where somebody may say one: signing in up to being locked out, one's own name
    and address, a first password. An invitation is in test_accounts_end.py.
    """
    tea = await make_project(db, "tea")
    members = [await make_member(db, tea) for _ in range(2)]
    shut_out = await accounts.create_user(db, name="Bob", email="bob@example.org", password=PASSWORD)
    shut_out.disabled_at = shut_out.created_at
    browsers = [await sign_in(one) for one in members]
    said = []
    for email, browser in (("ada@example.org", browsers[0]), ("eve@example.org", browsers[1])):
        async with client_of(app) as stranger:
            tries = [await stranger.post("/sign-in", data={"email": email, "password": "wrong"}) for _ in range(11)]
        kept = [
            await browser.post("/account/password", data={"new": PASSWORD, "again": PASSWORD, "email": email}),
            await browser.post("/account", data={"name": "Me", "email": email, "password": PASSWORD}),
            await browser.get("/account"),
        ]
        said.append([(one.status_code, _alike(one.text, email)) for one in (*tries, *kept)])
    assert [status for status, _ in said[0]] == [401] * 10 + [429, 303, 303, 200]
    assert said[0] == said[1]
    async with client_of(app) as stranger:
        answers = [
            await stranger.post("/sign-in", data=RIGHT | {"email": f"{name}@example.org"}) for name in ("bob", "fay")
        ]
    assert len({(one.status_code, _alike(one.text, "bob@example.org", "fay@example.org")) for one in answers}) == 1


@pytest.mark.parametrize("kind", ["somebody", "nobody", "without a password", "shut out", "two accounts"])
async def test_an_answer_takes_one_hash_whoever_is_there(
    db: AsyncSession, client: Client, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A hash is nearly all of the time that an answer takes."""
    if kind != "nobody":
        password = None if kind == "without a password" else PASSWORD
        bob = await accounts.create_user(db, name="Bob", email="bob@example.org", password=password)
        bob.disabled_at = bob.created_at if kind == "shut out" else None
    if kind == "two accounts":
        await accounts.create_user(db, name="Eve", email="bob@example.org", password="another password")
    await db.commit()
    await tried(client, {"email": "first@example.org", "password": "wrong"})
    computed: list[str] = []
    plain = Argon2Hasher.hash

    def counted(self: Argon2Hasher, password: str, *, salt: bytes | None = None) -> str:
        computed.append(password)
        return plain(self, password, salt=salt)

    monkeypatch.setattr(Argon2Hasher, "hash", counted)
    assert await tried(client, {"email": "bob@example.org", "password": "wrong"}) == [401]
    assert computed == ["wrong"]


def _alike(html: str, *addresses: str) -> str:
    for address in addresses:
        html = html.replace(address, "…")
    return re.sub(r"\d+ seconds?( ago)?|[0-9a-f]{16}|Person \d+|sessions/\d+", "…", html)
