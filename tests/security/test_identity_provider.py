"""Signing in with an identity provider, against a real one in a process of its own, over sockets."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import AuditEntry, ExternalIdentity, GroupMember, Member, User
from app.services import accounts
from app.services.people import groups
from app.services.people.oidc import Provider, _verified
from app.settings import Settings, SettingsError, load_settings
from tests.factories import make_project, make_user
from tests.sites import new_site
from tests.up import free_port
from tests.web.conftest import HOST, client_of

Client = httpx.AsyncClient
ADA = {"sub": "ada-1", "name": "Ada Lovelace", "email": "ada@example.org", "groups": ["Leads", "site-admins"]}
BOB = {"sub": "bob-2", "name": "Bob", "email": "ada@example.org", "groups": ["leads"]}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The address of a provider that knows Ada and Bob."""
    port = free_port()
    program = Path(sys.executable).with_name("oidc-provider-mock")
    known = [word for person in (ADA, BOB) for word in ("--user-claims", json.dumps(person))]
    with subprocess.Popen(
        [program, "--port", str(port), "--require-nonce", "true", *known],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as provider:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"{address}/.well-known/openid-configuration", trust_env=False).is_success:
                    break
            time.sleep(0.1)
        try:
            yield address
        finally:
            provider.terminate()


@pytest.fixture
async def site(database_url: str, issuer: str, tmp_path: Path) -> AsyncIterator[FastAPI]:
    secret = tmp_path / "secret"
    secret.write_text("a secret: with/odd signs\n")
    app = new_site(
        Settings(
            database_url=database_url,
            trusted_hosts=HOST,
            oidc_issuer=issuer,
            oidc_name="Example Ltd",
            oidc_admin_group="site-admins",
            oidc_client_secret_file=secret,
        )
    )
    async with app.router.lifespan_context(app):
        yield app


async def out(browser: Client, following: str = "/account") -> str:
    """The provider's address, to which the site leads."""
    gone = await browser.get("/sign-in/oidc", params={"next": following})
    assert gone.status_code == 303
    return gone.headers["location"]


async def back(address: str, subject: str) -> str:
    """The path to which the provider leads back, once somebody has signed in there."""
    async with Client(trust_env=False) as there:
        answered = await there.post(address, data={"sub": subject})
    assert answered.status_code == 302, answered.text
    returned = urlsplit(answered.headers["location"])
    return f"{returned.path}?{returned.query}"


async def came_in(browser: Client, subject: str) -> httpx.Response:
    return await browser.get(await back(await out(browser), subject))


async def people(db: AsyncSession) -> list[User]:
    await db.rollback()
    return list(await db.scalars(select(User).order_by(User.id)))


async def test_who_the_provider_names_is_signed_in_with_an_account_of_their_own_and_comes_back_to_it(
    db: AsyncSession, site: FastAPI
) -> None:
    """An account that says the same e-mail address is somebody else's: nobody has shown whose address it is."""
    await accounts.create_user(db, name="Earlier", email="ada@example.org")
    await db.commit()
    async with client_of(site) as browser:
        form = (await browser.get("/sign-in?next=/account")).text
        assert 'href="/sign-in/oidc?next=%2Faccount"' in form
        assert "Sign in with Example Ltd" in form
        answer = await came_in(browser, "bob-2")
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        page = (await browser.get("/account")).text
        assert 'value="Bob"' in page
    async with client_of(site) as again:
        assert (await came_in(again, "bob-2")).status_code == 303
    assert [user.name for user in await people(db)] == ["Earlier", "Bob"]
    noted = (await db.scalars(select(AuditEntry.after).where(AuditEntry.kind == "sign_in"))).all()
    assert noted == [{"by": "provider"}] * 2


async def test_groups_of_the_claim_give_roles_and_take_them_away_and_leave_those_that_an_admin_gave(
    db: AsyncSession, site: FastAPI
) -> None:
    tea = await make_project(db, "tea")
    leads, kept = [await groups.create(db, name) for name in ("leads", "Kept")]
    await groups.give(db, leads, tea, "owner")
    await make_user(db, "Root", is_admin=True)
    await db.commit()
    async with client_of(site) as browser:
        await came_in(browser, "ada-1")
        assert (await browser.get("/projects/tea/people")).status_code == 200
    ada = (await people(db))[-1]
    assert ada.is_admin
    assert await db.scalar(select(Member.role).where(Member.user_id == ada.id)) == "owner"
    await groups.put(db, await groups.get(db, kept.id), ada)
    await db.execute(update(ExternalIdentity).values(subject="bob-2"))  # whose claim has no admins, and one group less
    await groups.rename(db, await groups.get(db, leads.id), "Leaders")
    await db.commit()
    async with client_of(site) as browser:
        await came_in(browser, "bob-2")
        assert (await browser.get("/projects/tea/people")).status_code == 404
    await db.rollback()
    await db.refresh(ada)
    assert not ada.is_admin
    assert list(await db.scalars(select(GroupMember.group_id))) == [kept.id]


async def test_who_is_shut_out_here_is_not_let_in_there(db: AsyncSession, site: FastAPI) -> None:
    async with client_of(site) as browser:
        await came_in(browser, "bob-2")
    await db.execute(update(User).values(disabled_at=func.now()))
    await db.commit()
    async with client_of(site) as browser:
        refused = await came_in(browser, "bob-2")
        assert refused.status_code == 401
        assert "You are shut out of this site" in refused.text
        assert "session" not in browser.cookies
    failed = (await db.scalars(select(AuditEntry.after).where(AuditEntry.kind == "sign_in_failed"))).all()
    assert [told and told["by"] for told in failed] == ["provider"]


async def test_the_way_out_has_a_challenge_and_secrets_of_this_browser_alone(site: FastAPI, issuer: str) -> None:
    async with client_of(site) as browser:
        first, second = await out(browser), await out(browser)
        kept = browser.cookies["oidc"].split(".")
    asked = [{name: values[0] for name, values in parse_qs(urlsplit(one).query).items()} for one in (first, second)]
    assert first.startswith(f"{issuer}/oauth2/authorize?")
    assert asked[1]["redirect_uri"] == "http://localhost:8400/sign-in/oidc/callback"
    assert asked[1]["code_challenge_method"] == "S256"
    digest = hashlib.sha256(kept[2].encode()).digest()
    assert asked[1]["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert [asked[1]["state"], asked[1]["nonce"]] == kept[:2]
    assert not {asked[0][name] for name in ("state", "nonce", "code_challenge")} & set(asked[1].values())
    assert kept[2] not in second


async def test_what_comes_back_to_another_browser_or_twice_or_with_another_secret_signs_nobody_in(
    db: AsyncSession, site: FastAPI
) -> None:
    async with client_of(site) as browser, client_of(site) as other:
        returned = await back(await out(browser), "bob-2")
        stolen = await other.get(returned)
        mixed = await back(await out(other), "bob-2")
        wrong = [
            stolen,
            await other.get(returned),
            await browser.get(mixed),
            await browser.get(re.sub(r"state=[^&]+", "state=x", returned)),
            await browser.get("/sign-in/oidc/callback?error=access_denied&state=x"),
            await browser.get("/sign-in/oidc/callback"),
        ]
        assert [answer.status_code for answer in wrong] == [401] * 6
        assert all("The identity provider did not sign you in." in answer.text for answer in wrong)
        assert (await browser.get(returned)).status_code == 303
        assert (await browser.get(returned)).status_code == 401, "a code is used up"
    assert len(await people(db)) == 1


async def test_a_token_for_another_nonce_is_refused(db: AsyncSession, site: FastAPI) -> None:
    async with client_of(site) as browser:
        returned = await back(await out(browser), "bob-2")
        state, _, verifier, wanted = browser.cookies["oidc"].split(".")
        browser.cookies.clear()
        browser.cookies.set("oidc", f"{state}.another.{verifier}.{wanted}", domain=HOST)
        assert (await browser.get(returned)).status_code == 401
    assert await people(db) == []


async def test_a_provider_that_is_away_is_said_and_the_other_ways_in_stay(database_url: str) -> None:
    app = new_site(
        Settings(database_url=database_url, trusted_hosts=HOST, oidc_issuer=f"http://127.0.0.1:{free_port()}")
    )
    async with app.router.lifespan_context(app), client_of(app) as browser:
        refused = await browser.get("/sign-in/oidc?next=/account")
    assert refused.status_code == 401
    assert "The identity provider did not sign you in." in refused.text
    assert 'name="password"' in refused.text


async def test_without_a_provider_there_is_no_button_and_no_way(database_url: str) -> None:
    app = new_site(Settings(database_url=database_url, trusted_hosts=HOST))
    async with app.router.lifespan_context(app), client_of(app) as browser:
        assert "/sign-in/oidc" not in (await browser.get("/sign-in")).text
        for path in ("/sign-in/oidc", "/sign-in/oidc/callback?code=x&state=x"):
            assert (await browser.get(path)).status_code == 404


def test_a_provider_without_https_or_its_package_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for address in ("http://id.example.org", "http://localhost.example.org", "id.example.org"):
        with pytest.raises(SettingsError, match="must start with https://"):
            load_settings({"PLUMBLINE_OIDC_ISSUER": address})
    monkeypatch.setattr("app.services.people.oidc.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'plumbline\[oidc\]'"):
        new_site(Settings(oidc_issuer="https://id.example.org"))


def signed(key: RSAKey, **claims: object) -> str:
    now = int(time.time())
    usual = {"iss": "https://id.example.org", "aud": "plumbline", "sub": "a", "nonce": "n", "iat": now, "exp": now + 60}
    return jwt.encode({"alg": "RS256"}, {**usual, **claims}, key)


def in_plain(algorithm: str, token: str) -> str:
    """The same claims, with a header that asks to believe them for less."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}."


@pytest.mark.parametrize(
    "forged",
    [
        {"aud": "another-site"},
        {"iss": "https://elsewhere.example.org"},
        {"exp": 1_000_000_000},
        {"nonce": "another"},
        {"aud": ["plumbline", "another-site"], "azp": "another-site"},
    ],
)
def test_an_id_token_for_another_site_time_or_browser_is_refused(forged: dict[str, object]) -> None:
    key = RSAKey.generate_key(2048)
    keys = {"keys": [key.as_dict(private=False)]}
    provider = Provider("https://id.example.org", "plumbline", None, "openid", "groups", "https://here/callback")
    assert _verified(provider, signed(key), keys, nonce="n")["sub"] == "a"
    with pytest.raises(JoseError):
        _verified(provider, signed(key, **forged), keys, nonce="n")


@pytest.mark.parametrize("algorithm", ["none", "HS256", ""])
def test_an_id_token_that_the_provider_has_not_signed_is_refused(algorithm: str) -> None:
    key, foreign = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
    keys = {"keys": [key.as_dict(private=False)]}
    provider = Provider("https://id.example.org", "plumbline", None, "openid", "groups", "https://here/callback")
    token = in_plain(algorithm, signed(key)) if algorithm else signed(foreign)
    with pytest.raises((JoseError, ValueError)):
        _verified(provider, token, keys, nonce="n")
