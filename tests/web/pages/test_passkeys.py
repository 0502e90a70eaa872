"""Passkeys by plain requests, with a device in software: added, signed in with, and everything that is turned away."""

import asyncio
import copy
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor, parse_cbor

from app.db.tables import AuditEntry, Passkey, PasskeyChallenge, SignInSession, User
from app.services import accounts, attempts
from app.services.people import directory, invitations, trust
from app.services.people.ceremonies import relying_party
from app.settings import Settings
from tests.authenticator import Authenticator
from tests.factories import make_member, make_project, make_user, principal
from tests.sites import site_of
from tests.web.conftest import HOST, SignIn, client_of

PASSWORD = "correct horse battery"
REFUSED = "This passkey was not accepted. Try again, or choose another way."
STALE = "That took too long, or was sent before. Try again."

Browser = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture
def device() -> Authenticator:
    return Authenticator()


@pytest.fixture
def browser(app: FastAPI) -> Browser:
    """Makes browsers that nobody is signed in with."""
    return lambda: client_of(app)


@pytest.fixture
async def ada(db: AsyncSession) -> User:
    return await accounts.create_user(db, name="Ada", email="ada@example.org", password=PASSWORD)


@pytest.fixture
async def here(sign_in: SignIn, ada: User) -> httpx.AsyncClient:
    """Ada's browser."""
    return await sign_in(principal(ada))


async def options(browser: httpx.AsyncClient, path: str) -> dict[str, Any]:
    asked = await browser.post(f"{path}/options")
    assert asked.status_code == 200, words(asked.text)
    found: dict[str, Any] = asked.json()
    return found


async def add(browser: httpx.AsyncClient, device: Authenticator, name: str = "Laptop", **others: str) -> httpx.Response:
    made = device.make(await options(browser, "/account/passkeys"))
    return await browser.post("/account/passkeys", data={"credential": made, "name": name, **others})


async def enter(browser: httpx.AsyncClient, device: Authenticator, following: str = "/account") -> httpx.Response:
    signed = device.sign(await options(browser, "/sign-in/passkey"))
    return await browser.post("/sign-in/passkey", data={"credential": signed, "next": following})


async def prove(browser: httpx.AsyncClient, device: Authenticator) -> httpx.Response:
    signed = device.sign(await options(browser, "/account/proof"))
    return await browser.post("/account/proof", data={"credential": signed})


async def forget_proof(db: AsyncSession) -> None:
    """Some minutes pass."""
    await db.execute(update(SignInSession).values(proved_at=func.now() - accounts.PROOF_LASTS))
    await db.commit()


async def test_a_passkey_is_kept_and_signs_in_without_a_name_and_leads_where_its_person_was_going(
    db: AsyncSession, here: httpx.AsyncClient, ada: User, device: Authenticator, browser: Browser
) -> None:
    kept = await add(here, device, "Ada’s <phone>")
    shown = words((await here.get(kept.headers["location"])).text)
    assert "Your passkey is kept" in shown
    assert re.search(r"Ada’s <phone> .* never", shown)
    async with browser() as other:
        entered = await enter(other, device, "/account?from=passkey")
        assert (entered.status_code, entered.headers["location"]) == (303, "/account?from=passkey")
        assert "HttpOnly" in entered.headers["set-cookie"]
        shown = words((await other.get("/account")).text)
    assert "Ada’s <phone>" in shown
    assert "never" not in shown
    noted = (
        await db.scalars(select(AuditEntry).where(AuditEntry.kind == "sign_in").order_by(AuditEntry.id.desc()))
    ).first()
    assert noted is not None
    assert (noted.subject, noted.after) == (str(ada.id), {"by": "passkey"})
    (told,) = await db.scalars(select(AuditEntry).where(AuditEntry.kind == "passkeys"))
    assert (told.action, told.actor_id) == ("insert", ada.id)
    assert "phone" not in json.dumps(told.after)


async def test_whoever_is_invited_makes_a_passkey_in_place_of_a_password(
    db: AsyncSession, app: FastAPI, device: Authenticator, browser: Browser
) -> None:
    tea = await make_project(db, "tea")
    (invited,) = await invitations.invite(
        db, None, tea, invitations.invitees_of("Kim"), "annotator", days=1, form_key="of-this-very-form"
    )
    await db.commit()
    async with browser() as kim:
        welcome = (await kim.post(f"/invitations/{invited.token}", data={"name": "Kim"})).headers["location"]
        page = (await kim.get(welcome)).text
        assert "Choose a password or make a passkey" in page
        refused = await add(kim, replace(device, verifies=False), next="/projects/tea/annotate")
        assert "Welcome, Kim" in words(refused.text)
        assert REFUSED in words(refused.text)
        kept = await add(kim, device, next="/projects/tea/annotate")
        assert kept.headers["location"] == "/projects/tea/annotate"
        assert (await kim.get(welcome)).status_code == 303
    async with browser() as kim:
        await enter(kim, device)
        account = words((await kim.get("/account")).text)
    assert "You are signed in on one other device." in account
    assert await db.scalar(select(User.password_hash).where(User.name == "Kim")) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "http://localhost:8401"},
        {"origin": "https://localhost:8400"},
        {"origin": "http://elsewhere.test"},
        {"party": "elsewhere.test"},
        {"verifies": False},
    ],
)
async def test_what_is_signed_for_another_site_or_without_its_owner_is_refused_at_every_door(
    here: httpx.AsyncClient, device: Authenticator, browser: Browser, wrong: dict[str, Any]
) -> None:
    refused = await add(here, replace(device, **wrong))
    assert (refused.status_code, REFUSED in words(refused.text)) == (422, True)
    await add(here, device)
    another = replace(device, **wrong)
    async with browser() as other:
        refused = await enter(other, another)
        assert (refused.status_code, REFUSED in words(refused.text)) == (401, True)
        assert "session" not in other.cookies
    refused = await prove(here, another)
    assert (refused.status_code, REFUSED in words(refused.text)) == (422, True)
    async with browser() as other:
        assert (await enter(other, device)).status_code == 303


async def test_an_answer_is_good_once_and_no_longer_than_minutes_and_in_the_browser_that_was_asked(
    db: AsyncSession, here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    async with browser() as first, browser() as second:
        signed = {"credential": device.sign(await options(first, "/sign-in/passkey"))}
        await options(second, "/sign-in/passkey")
        stolen = await second.post("/sign-in/passkey", data=signed)
        assert (stolen.status_code, STALE in words(stolen.text)) == (401, True)
        assert (await first.post("/sign-in/passkey", data=signed)).status_code == 303
        replayed = await first.post("/sign-in/passkey", data=signed)
        assert (replayed.status_code, STALE in words(replayed.text)) == (401, True)
        signed = {"credential": device.sign(await options(second, "/sign-in/passkey"))}
        await db.execute(update(PasskeyChallenge).values(expires_at=func.now() - timedelta(seconds=1)))
        await db.commit()
        late = await second.post("/sign-in/passkey", data=signed)
        assert (late.status_code, STALE in words(late.text)) == (401, True)
        await options(second, "/sign-in/passkey")
        assert await db.scalar(select(func.count()).select_from(PasskeyChallenge)) == 1  # what is over is swept up


async def test_an_answer_that_is_refused_uses_the_challenge_up(
    here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    async with browser() as other:
        asked = await options(other, "/sign-in/passkey")
        wrong = replace(device, origin="http://elsewhere.test").sign(asked)
        await other.post("/sign-in/passkey", data={"credential": wrong})
        right = await other.post("/sign-in/passkey", data={"credential": device.sign(asked)})
        assert (right.status_code, STALE in words(right.text)) == (401, True)


async def test_of_two_tabs_that_answer_one_challenge_at_once_one_is_signed_in(
    db: AsyncSession, here: httpx.AsyncClient, ada: User, device: Authenticator, browser: Browser
) -> None:
    device.counts = False  # so that nothing but the challenge tells the two apart
    await add(here, device)
    before = await db.scalar(select(func.count()).where(SignInSession.user_id == ada.id))
    async with browser() as first, browser() as second:
        asked = await options(first, "/sign-in/passkey")
        second.cookies.update(first.cookies)
        answers = await asyncio.gather(
            *(tab.post("/sign-in/passkey", data={"credential": device.sign(asked)}) for tab in (first, second))
        )
    assert sorted(answer.status_code for answer in answers) == [303, 401]
    assert await db.scalar(select(func.count()).where(SignInSession.user_id == ada.id)) == (before or 0) + 1


async def test_of_a_passkey_and_its_copy_the_one_that_counts_less_is_refused(
    here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    stolen = copy.copy(device)
    stolen.keys = {name: replace(key) for name, key in device.keys.items()}
    async with browser() as other:
        for _ in range(2):
            assert (await enter(other, device)).status_code == 303
    async with browser() as thief:
        refused = await enter(thief, stolen)
        assert refused.status_code == 401
        assert "there is a copy of it" in words(refused.text)
        assert "session" not in thief.cookies
    async with browser() as other:
        assert (await enter(other, device)).status_code == 303


async def test_a_device_that_does_not_count_signs_in_again_and_again(
    here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    device.counts = False
    await add(here, device)
    for _ in range(3):
        async with browser() as other:
            assert (await enter(other, device)).status_code == 303


async def test_the_eleventh_try_is_refused_even_with_the_right_passkey(
    db: AsyncSession, here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    wrong = replace(device, origin="http://elsewhere.test")
    async with browser() as other:
        for _ in range(3):
            assert (await enter(other, device)).status_code == 303  # what succeeds isn't held against anybody
        for _ in range(attempts.LIMIT):
            assert (await enter(other, wrong)).status_code == 401
        refused = await enter(other, device)
        assert (refused.status_code, "Too many tries" in words(refused.text)) == (429, True)
        by_password = await other.post("/sign-in", data={"email": "ada@example.org", "password": PASSWORD})
        assert by_password.status_code == 303  # each door has limits of its own


async def test_nothing_tells_who_has_a_passkey_or_is_shut_out(
    db: AsyncSession, here: httpx.AsyncClient, ada: User, device: Authenticator, browser: Browser
) -> None:
    before = await options(here, "/sign-in/passkey")
    await add(here, device)
    await directory.disable(db, ada)
    await db.commit()
    stranger = Authenticator()
    stranger.make({"user": {"id": bytes_to_base64url(b"nobody")}, "challenge": "eA"})
    async with browser() as other:
        after = await options(other, "/sign-in/passkey")
        assert {**after, "challenge": ""} == {**before, "challenge": ""}
        assert after["allowCredentials"] == []
        refused = [await enter(other, one) for one in (device, stranger)]
    assert [answer.status_code for answer in refused] == [401, 401]
    assert refused[0].text == refused[1].text


async def test_a_device_that_takes_the_key_for_somebody_elses_signs_nobody_in(
    here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    (key,) = device.keys.values()
    for handle in (b"somebody else", b""):
        key.handle = handle
        async with browser() as other:
            assert (await enter(other, device)).status_code == 401


async def test_an_erased_person_has_no_passkey(
    db: AsyncSession, here: httpx.AsyncClient, ada: User, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    await directory.erase(db, await directory.get(db, ada.id))
    await db.commit()
    assert await db.scalar(select(func.count()).select_from(Passkey)) == 0
    async with browser() as other:
        assert (await enter(other, device)).status_code == 401


async def test_a_new_password_ends_sessions_by_passkey_and_leaves_the_passkey(
    here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    async with browser() as other:
        await enter(other, device)
        await here.post("/account/password", data={"new": "another password", "again": "another password"})
        assert (await other.get("/account")).status_code == 303
        assert (await enter(other, device)).status_code == 303
        await here.post("/account/sessions/end-others")
        assert (await other.get("/account")).status_code == 303


async def test_a_removed_passkey_opens_nothing_and_every_other_device_is_signed_out(
    db: AsyncSession, sign_in: SignIn, here: httpx.AsyncClient, device: Authenticator, browser: Browser
) -> None:
    await add(here, device)
    (passkey_id,) = await db.scalars(select(Passkey.id))
    stranger = await sign_in(principal(await make_user(db, "Eve")))
    assert (await stranger.post(f"/account/passkeys/{passkey_id}/remove")).status_code == 404
    assert (await stranger.post(f"/account/passkeys/{passkey_id}/rename", data={"name": "x"})).status_code == 404
    await here.post(f"/account/passkeys/{passkey_id}/rename", data={"name": " My  phone "})
    assert "My phone" in words((await here.get("/account")).text)
    async with browser() as other:
        await enter(other, device)
        removed = await here.post(f"/account/passkeys/{passkey_id}/remove")
        assert "Every other device is signed out." in words((await here.get(removed.headers["location"])).text)
        assert (await other.get("/account")).status_code == 303
        assert (await enter(other, device)).status_code == 401
    assert (await here.post(f"/account/passkeys/{passkey_id}/remove")).status_code == 404


async def test_nobody_removes_their_last_way_in_not_even_by_two_windows_at_once(
    db: AsyncSession, sign_in: SignIn, device: Authenticator
) -> None:
    here = await sign_in(principal(await make_user(db, "Bob")))
    assert "You sign in by links only." in words((await here.get("/account")).text)
    await add(here, device, "Laptop")
    await add(here, device, "Phone")
    first, second = await db.scalars(select(Passkey.id).order_by(Passkey.id))
    answers = await asyncio.gather(
        here.post(f"/account/passkeys/{first}/remove"), here.post(f"/account/passkeys/{second}/remove")
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    (left,) = await db.scalars(select(Passkey.id))
    assert "your only way in" in words((await here.get("/account")).text)
    refused = await here.post(f"/account/passkeys/{left}/remove")
    assert (refused.status_code, "This is your only way in." in words(refused.text)) == (409, True)
    form = {"email": "bob@example.org", "new": PASSWORD, "again": PASSWORD}
    assert (await here.post("/account/password", data=form)).status_code == 303
    assert (await here.post(f"/account/passkeys/{left}/remove")).status_code == 303


async def test_who_finds_a_browser_open_adds_no_passkey_and_removes_none_before_they_know_the_password(
    db: AsyncSession, here: httpx.AsyncClient, device: Authenticator
) -> None:
    asked = await options(here, "/account/passkeys")
    await forget_proof(db)
    page = (await here.get("/account")).text
    assert 'data-passkey="create"' not in page
    assert (await here.post("/account/passkeys/options")).status_code == 403
    made = {"credential": device.make(asked), "name": "Mallory's"}
    refused = await here.post("/account/passkeys", data=made)
    assert (refused.status_code, "Show first that it is you" in words(refused.text)) == (403, True)
    wrong = await here.post("/account/proof", data={"password": "wrong"})
    assert (wrong.status_code, "That is not your password." in words(wrong.text)) == (422, True)
    proved = await here.post("/account/proof", data={"password": PASSWORD})
    assert "It is you." in words((await here.get(proved.headers["location"])).text)
    assert (await add(here, device)).status_code == 303
    await forget_proof(db)
    (passkey_id,) = await db.scalars(select(Passkey.id))
    assert (await here.post(f"/account/passkeys/{passkey_id}/remove")).status_code == 403


async def test_who_has_passkeys_only_shows_one_of_their_own_before_anything_else_opens_the_account(
    db: AsyncSession, sign_in: SignIn, device: Authenticator
) -> None:
    bob, eve = await make_user(db, "Bob"), await make_user(db, "Eve")
    here, theirs = await sign_in(principal(bob)), await sign_in(principal(eve))
    hers = Authenticator()
    await add(here, device)
    await add(theirs, hers)
    await forget_proof(db)
    form = {"email": "bob@example.org", "new": PASSWORD, "again": PASSWORD}
    assert "by a passkey" in words((await here.get("/account")).text)
    refused = await here.post("/account/password", data=form)
    assert (refused.status_code, "Show first that it is you" in words(refused.text)) == (403, True)
    assert (await here.post("/account/passkeys/options")).status_code == 403
    assert (await prove(here, hers)).status_code == 422
    assert (await here.post("/account/password", data=form)).status_code == 403
    assert (await prove(here, device)).status_code == 303
    assert (await here.post("/account/password", data=form)).status_code == 303


async def test_an_admins_link_lets_in_who_lost_their_device_and_an_owners_does_not_go_so_far(
    db: AsyncSession, browser: Browser, device: Authenticator
) -> None:
    bob, owner = await make_user(db, "Bob"), await make_user(db, "Owner")
    by_admin = [await accounts.create_sign_in_link(db, bob.id) for _ in range(2)]
    by_owner = await accounts.create_sign_in_link(db, bob.id, vouched_by_id=owner.id)
    await db.commit()
    async with browser() as first, browser() as lent, browser() as new:
        await first.post(f"/sign-in/link/{by_admin[0]}")
        await add(first, device)
        await lent.post(f"/sign-in/link/{by_owner}")
        assert (await lent.post("/account/passkeys/options")).status_code == 403
        await new.post(f"/sign-in/link/{by_admin[1]}")
        assert (await add(new, Authenticator())).status_code == 303


async def test_a_passkey_of_an_owners_link_ends_at_another_owners_project_and_the_one_that_joins_goes_on(
    db: AsyncSession, browser: Browser
) -> None:
    tea, coffee = await make_project(db, "tea"), await make_project(db, "coffee")
    owners = [await make_member(db, project, "owner") for project in (tea, coffee)]
    bob = await make_user(db, "Bob")
    link = await accounts.create_sign_in_link(db, bob.id, vouched_by_id=owners[0].user_id)
    (invited,) = await invitations.invite(
        db, owners[1], coffee, invitations.invitees_of("Bob"), "annotator", days=1, form_key="of-this-very-form"
    )
    await db.commit()
    old, own = Authenticator(), Authenticator()
    async with browser() as first, browser() as joining:
        await first.post(f"/sign-in/link/{link}")
        await add(first, old)
        await add(first, own)
        await enter(joining, own)
        assert (await joining.post(f"/invitations/{invited.token}/join")).status_code == 303
        assert (await first.get("/account")).status_code == 303
        assert [(await enter(first, one)).status_code for one in (old, own)] == [401, 303]
    await trust.end_what_others_vouch_for(db, bob.id, project_id=tea.id)
    assert list(await db.scalars(select(Passkey.id))) == []


async def test_a_passkey_belongs_to_one_person_and_has_a_name(
    db: AsyncSession, sign_in: SignIn, here: httpx.AsyncClient, device: Authenticator
) -> None:
    await add(here, device)
    eve = await sign_in(principal(await make_user(db, "Eve")))
    hers = Authenticator()
    answer = json.loads(hers.make(await options(eve, "/account/passkeys")))
    (own,), (taken,) = hers.keys, device.keys
    attested = base64url_to_bytes(answer["response"]["attestationObject"])
    answer["response"]["attestationObject"] = bytes_to_base64url(attested.replace(own, taken))
    answer["id"] = answer["rawId"] = bytes_to_base64url(taken)
    refused = await eve.post("/account/passkeys", data={"credential": json.dumps(answer), "name": "Mine"})
    assert (refused.status_code, "in use already" in words(refused.text)) == (409, True)
    nameless = await add(here, device, " ")
    assert (nameless.status_code, "1 to 200 printable" in words(nameless.text)) == (422, True)
    excluded = (await options(here, "/account/passkeys"))["excludeCredentials"]
    assert [one["id"] for one in excluded] == [bytes_to_base64url(taken)]


NO_SIGNATURE = {"clientDataJSON": "YQ", "authenticatorData": "YQ", "signature": "YQ"}


@pytest.mark.parametrize(
    "junk",
    [
        *("", "{}", "[]", "null", "[" * 10_000, "\ud800", "é", '{"id": 1}'),
        *(
            json.dumps({"id": "YQ", "rawId": "YQ", "type": "public-key", "response": response})
            for response in ({}, NO_SIGNATURE, {**NO_SIGNATURE, "userHandle": "a"})
        ),
    ],
)
async def test_what_is_no_answer_is_refused_like_any_other(
    here: httpx.AsyncClient, client: httpx.AsyncClient, junk: str
) -> None:
    sent = {"credential": junk.encode("utf-8", "surrogatepass")}
    refused = await client.post("/sign-in/passkey", data=sent)
    assert refused.status_code in (401, 422)
    assert refused.status_code == 422 or REFUSED in words(refused.text)
    assert (await here.post("/account/passkeys", data={**sent, "name": "x"})).status_code == 422


async def test_a_key_that_lacks_a_coordinate_is_refused(here: httpx.AsyncClient, device: Authenticator) -> None:
    answer = json.loads(device.make(await options(here, "/account/passkeys")))
    attested = parse_cbor(base64url_to_bytes(answer["response"]["attestationObject"]))
    whole, lacking = (bytes([0xA0 + parts, 1, 2, 3, 0x26]) for parts in (5, 4))
    attested["authData"] = attested["authData"].replace(whole, lacking)[: -len("\x22\x58\x20" + 32 * "y")]
    answer["response"]["attestationObject"] = bytes_to_base64url(encode_cbor(attested))
    refused = await here.post("/account/passkeys", data={"credential": json.dumps(answer), "name": "x"})
    assert (refused.status_code, REFUSED in words(refused.text)) == (422, True)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("http://localhost:8400", ("localhost", "http://localhost:8400")),
        ("http://plumbline.localhost", ("plumbline.localhost", "http://plumbline.localhost")),
        ("https://Example.org:443/", ("example.org", "https://example.org")),
        ("https://example.org:8443/below", ("example.org", "https://example.org:8443")),
        ("https://bücher.example", ("xn--bcher-kva.example", "https://xn--bcher-kva.example")),
        ("http://example.org", None),
        ("http://192.0.2.7:8400", None),
        ("https://192.0.2.7", None),
        ("https://[2001:db8::1]", None),
    ],
)
def test_passkeys_are_bound_to_the_address_that_people_are_told(address: str, found: tuple[str, str] | None) -> None:
    party = relying_party(address)
    assert (party and (party.id, party.origin)) == found


async def test_a_site_at_an_address_without_passkeys_says_so_and_has_no_button(
    db: AsyncSession, ada: User, database_url: str
) -> None:
    link = await accounts.create_sign_in_link(db, ada.id)
    await db.commit()
    app = site_of(Settings(database_url=database_url, trusted_hosts=HOST, public_url="http://192.0.2.7:8400"))
    async with app.router.lifespan_context(app), client_of(app) as browser:
        assert "data-passkey" not in (await browser.get("/sign-in")).text
        assert (await browser.post("/sign-in/passkey/options")).status_code == 409
        await browser.post(f"/sign-in/link/{link}")
        account = await browser.get("/account")
        assert "this site has no such address" in words(account.text)
        assert "data-passkey" not in account.text
