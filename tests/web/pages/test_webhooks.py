"""Webhooks by the forms that an owner sends, from an address to a message that arrived and was sent again."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from standardwebhooks import Webhook as Verifier

from app.db.session import SessionFactory
from app.jobs import hooks
from app.settings import Settings, settings
from tests.factories import make_member, make_project, make_user, principal
from tests.jobs.conftest import make_context
from tests.served_endpoint import Reply, ServedEndpoint, endpoint, loopback_allowed
from tests.sites import site_of
from tests.web.conftest import HOST, SignIn

__all__ = ["endpoint", "loopback_allowed"]

pytestmark = pytest.mark.usefixtures("loopback_allowed")

HERE = "/projects/letters/webhooks"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def app(database_url: str, home: Path) -> AsyncIterator[FastAPI]:
    app = site_of(Settings(database_url=database_url, home=home, trusted_hosts=HOST))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def owner(db: AsyncSession, sign_in: SignIn) -> httpx.AsyncClient:
    project = await make_project(db, "letters")
    person = await make_member(db, project, "owner")
    await db.commit()
    return await sign_in(person)


async def test_from_an_address_to_a_message_that_is_verified_refused_and_sent_again(
    owner: httpx.AsyncClient, endpoint: ServedEndpoint, sessions: SessionFactory, home: Path
) -> None:
    form = {"address": f"http://127.0.0.1:{endpoint.port}/in", "events": ["run.ended"], "pause_seconds": "5"}
    added = await owner.post(HERE, data=form)
    assert added.status_code == 200
    (secret,) = set(re.findall(r"whsec_[\w+/=]+", added.text))
    page = f"{HERE}/1"
    assert secret not in (await owner.get(page)).text, "it is shown once"
    endpoint.next = [Reply(503, b"<script>busy</script>"), Reply(200, b"thanks")]
    assert (await owner.post(f"{page}/test")).headers["location"] == page
    assert 'hx-select="#told"' in (await owner.get(page)).text, "it looks again by itself until there is an answer"
    await hooks.tell_next(make_context(sessions, home), settings(), hooks.Busy())
    told = (await owner.get(page)).text
    assert "given up" in told
    assert 'hx-select="#told"' not in told
    assert "503" in told
    assert "&lt;script&gt;busy" in told
    assert "not reached for now" in (await owner.get(HERE)).text
    await owner.post(f"{page}/deliveries/1/redeliver")
    await hooks.tell_next(make_context(sessions, home), settings(), hooks.Busy())
    assert "delivered" in (await owner.get(page)).text
    for asked in endpoint.asked:
        assert Verifier(secret).verify(asked.raw, asked.headers)["type"] == "webhook.test"
    rotated = await owner.post(f"{page}/secret")
    assert len(set(re.findall(r"whsec_[\w+/=]+", rotated.text)) - {secret}) == 1
    assert "is valid until" in rotated.text


async def test_an_admin_has_an_address_told_of_every_project_and_hears_of_one_that_is_gone(
    db: AsyncSession,
    sign_in: SignIn,
    owner: httpx.AsyncClient,
    endpoint: ServedEndpoint,
    sessions: SessionFactory,
    home: Path,
) -> None:
    admin = await sign_in(principal(await make_user(db, is_admin=True)))
    await db.commit()
    assert 'href="/webhooks"' in (await admin.get("/projects")).text
    form = {"address": f"http://127.0.0.1:{endpoint.port}/in", "events": ["run.ended"]}
    assert "whsec_" in (await admin.post("/webhooks", data=form)).text
    assert form["address"] in (await admin.get("/webhooks")).text
    assert form["address"] not in (await owner.get(HERE)).text
    assert (await owner.get("/webhooks/1")).status_code == 403
    assert (await admin.post("/webhooks/1/test")).headers["location"] == "/webhooks/1"
    endpoint.next = [Reply(410)]
    await hooks.tell_next(make_context(sessions, home), settings(), hooks.Busy())
    assert "webhook.test" in (await admin.get("/webhooks/1")).text
    assert "A webhook was switched off" in (await admin.get("/health")).text
    assert (await admin.post("/webhooks/1/switch", data={"on": "true"})).headers["location"] == "/webhooks/1"
    assert "A webhook was switched off" not in (await admin.get("/health")).text
    assert (await admin.post("/webhooks/1/remove")).headers["location"] == "/webhooks"


async def test_what_cannot_be_is_said_on_the_form_and_kept_as_it_was_typed(owner: httpx.AsyncClient) -> None:
    good = {"address": "https://example.org/in", "events": ["run.ended"], "pause_seconds": "5"}
    for wrong, said in (
        ({"address": "ftp://example.org"}, "looks like https://example.org/hooks"),
        ({"address": "https://me:secret@example.org/"}, "neither a name or password"),
        ({"events": []}, "Choose one event at least"),
        ({"events": ["run.began"]}, "There is no event run.began."),
        ({"pause_seconds": "0"}, "The pause has 1 to 86400 seconds."),
        ({"pause_seconds": "soon"}, "The pause has 1 to 86400 seconds."),
    ):
        refused = await owner.post(HERE, data=good | wrong)
        assert refused.status_code == 422, wrong
        assert said in refused.text
        assert "No other program is told" in refused.text
    assert 'value="soon"' in refused.text
    assert (await owner.post(HERE, data=good)).status_code == 200
    changed = await owner.post(f"{HERE}/1", data=good | {"address": "nowhere"})
    assert changed.status_code == 422
    assert (await owner.get(f"{HERE}/2")).status_code == 404


async def test_one_that_was_given_up_is_said_on_the_projects_page_until_it_is_switched_on(
    owner: httpx.AsyncClient, endpoint: ServedEndpoint, sessions: SessionFactory, home: Path
) -> None:
    form = {"address": f"http://127.0.0.1:{endpoint.port}/in", "events": ["run.ended"]}
    await owner.post(HERE, data=form)
    await owner.post(f"{HERE}/1/test")
    endpoint.next = [Reply(410)]
    await hooks.tell_next(make_context(sessions, home), settings(), hooks.Busy())
    said = "A webhook was switched off"
    assert said in (await owner.get("/projects/letters")).text
    assert (await owner.post(f"{HERE}/1/test")).status_code == 409
    assert "receiver is gone" in (await owner.get(HERE)).text
    await owner.post(f"{HERE}/1/switch", data={"on": "true"})
    assert said not in (await owner.get("/projects/letters")).text
    await owner.post(f"{HERE}/1/switch", data={"on": "false"})
    assert said not in (await owner.get("/projects/letters")).text, "the owner knows what they did"
    assert (await owner.post(f"{HERE}/1/remove")).headers["location"] == HERE
    assert "No other program is told" in (await owner.get(HERE)).text


async def test_a_page_with_a_secret_that_is_loaded_again_makes_no_second_webhook_and_no_other_secret(
    owner: httpx.AsyncClient,
) -> None:
    (key,) = re.findall(r'name="key" value="([^"]+)"', (await owner.get(HERE)).text)
    form = {"address": "https://example.org/in", "events": ["run.ended"], "pause_seconds": "5", "key": key}
    first, again = [await owner.post(HERE, data=form) for _ in range(2)]
    secrets = [set(re.findall(r"whsec_[\w+/=]+", page.text)) for page in (first, again)]
    assert len(secrets[0]) == 1
    assert secrets[0] == secrets[1]
    assert (await owner.get(f"{HERE}/2")).status_code == 404
    (seen,) = re.findall(r'/webhooks/1/secret".*?name="seen" value="([^"]+)"', first.text, re.DOTALL)
    rotated = await owner.post(f"{HERE}/1/secret", data={"seen": seen})
    assert set(re.findall(r"whsec_[\w+/=]+", rotated.text)) - secrets[0]
    assert (await owner.post(f"{HERE}/1/secret", data={"seen": seen})).headers["location"] == f"{HERE}/1"
    other = await owner.post(HERE, data=form | {"address": "https://example.org/other"})
    assert set(re.findall(r"whsec_[\w+/=]+", other.text)) - secrets[0], "another webhook from the same page"
