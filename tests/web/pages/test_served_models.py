"""Served models by the forms that an owner sends, to pairs on an annotator's page, without JavaScript."""

import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Project, Run, ServedModel
from app.jobs import execution
from app.services.loop.runs import leases
from app.services.served import keys
from app.settings import Settings, settings
from tests.factories import make_member, make_project, make_prompt
from tests.jobs.conftest import make_context
from tests.served_endpoint import KEY, Reply, ServedEndpoint, endpoint, loopback_allowed, of, says
from tests.sites import site_of
from tests.web.conftest import HOST, SignIn
from tests.web.forms import judgement_form

__all__ = ["endpoint", "loopback_allowed"]

pytestmark = pytest.mark.usefixtures("loopback_allowed")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def app(database_url: str, home: Path) -> AsyncIterator[FastAPI]:
    app = site_of(Settings(database_url=database_url, home=home, trusted_hosts=HOST))
    async with app.router.lifespan_context(app):
        yield app


@dataclass(frozen=True)
class Scene:
    """A project with three prompts, its owner's browser, and a worker that works off what they queue."""

    project: Project
    owner: httpx.AsyncClient
    db: AsyncSession
    sessions: SessionFactory
    home: Path

    @property
    def url(self) -> str:
        return f"/projects/{self.project.slug}/served-models"

    async def add(self, endpoint: ServedEndpoint, **fields: str) -> str:
        """The address of the new one's page."""
        form = {"name": "Vicuña", "address": endpoint.address, "model": "vicuna-13b", "key": KEY, **fields}
        added = await self.owner.post(self.url, data=form)
        assert added.status_code == 303, added.text
        return added.headers["location"]

    async def work_off(self) -> None:
        context = make_context(self.sessions, self.home)
        while waiting := await self._waiting():
            for run in waiting:
                await execution.execute(context, run.id)

    async def _waiting(self) -> list[Run]:
        async with self.sessions() as db:
            return await leases.waiting(db)

    async def served(self) -> ServedModel:
        found = await self.db.scalar(select(ServedModel).execution_options(populate_existing=True))
        assert found is not None
        return found


@pytest.fixture
async def scene(db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, home: Path) -> Scene:
    project = await make_project(db, "letters")
    owner = await make_member(db, project, "owner")
    for number in range(3):
        await make_prompt(db, project, f"Write letter {number}.")
    await db.commit()
    return Scene(project, await sign_in(owner), db, sessions, home)


async def test_from_an_address_to_pairs_on_a_page_that_names_nobody(
    scene: Scene, endpoint: ServedEndpoint, db: AsyncSession, sign_in: SignIn
) -> None:
    page = await scene.add(endpoint)
    tried = await scene.owner.post(f"{page}/test", data={"prompt": "Say hello."})
    assert "Answer 1 to Say hello." in tried.text
    assert "ended by itself" in tried.text
    started = await scene.owner.post(f"{page}/runs", data={"prompts": "3", "compared": "itself"})
    assert started.status_code == 303
    await scene.work_off()
    shown = (await scene.owner.get(started.headers["location"])).text
    assert "Ask a served model is done: " in shown
    assert '<span class="tally">6</span></span> responses received.' in shown
    assert ">6</td>" in (await scene.owner.get(scene.url)).text
    annotator = await make_member(db, scene.project)
    judging = await (await sign_in(annotator)).get(f"/projects/{scene.project.slug}/annotate")
    assert "to Write letter" in judging.text
    for secret in ("vicuna-13b", "Vicuña", "served", str(endpoint.port), KEY):
        assert secret not in judging.text, secret


async def test_two_served_models_are_chosen_compared_and_judged_and_the_page_says_who_is_preferred(
    scene: Scene, endpoint: ServedEndpoint, db: AsyncSession, sign_in: SignIn
) -> None:
    endpoint.reply = lambda asked: says(f"{asked.body['model']} writes {len(endpoint.asked)}")
    one = await scene.add(endpoint, name="One", model="first-style", responses_per_prompt="1")
    two = await scene.add(endpoint, name="Two", model="second-style", responses_per_prompt="1")
    refused = await scene.owner.post(f"{one}/runs", data={"prompts": "3", "compared": "itself"})
    assert refused.status_code == 422
    for page in (one, two):
        await scene.owner.post(f"{page}/runs", data={"prompts": "3", "compared": ""})
    await scene.work_off()
    writers = [f"served:{page.rsplit('/', 1)[-1]}" for page in (one, two)]
    made = await scene.owner.post(f"{scene.url}/pairs", data={"first": writers[0], "second": writers[1], "pairs": "3"})
    await scene.work_off()
    assert "3</span></span> pairs chosen." in (await scene.owner.get(made.headers["location"])).text
    assert "Nobody has compared a served model" in (await scene.owner.get(f"{scene.url}/comparisons")).text
    annotator = await sign_in(await make_member(db, scene.project))
    for _ in range(3):
        page = (await annotator.get(f"/projects/{scene.project.slug}/annotate")).text
        action, fields = judgement_form(page)
        best = "1" if page.index("first-style writes") < page.index("second-style writes") else "7"
        assert (await annotator.post(action, data={**fields, "choice": best})).status_code == 303
    told = (await scene.owner.get(f"{scene.url}/comparisons")).text
    assert "People haven’t decided between One and Two yet." in told, "three judgements are too few"
    assert "3 of 3" in told


async def test_the_key_is_on_no_page_and_goes_when_it_is_told_to(scene: Scene, endpoint: ServedEndpoint) -> None:
    page = await scene.add(endpoint)
    shown = await scene.owner.get(page)
    assert "There is one. It is never shown" in shown.text
    refused = await scene.owner.post(
        page, data={"name": "", "address": endpoint.address, "model": "m", "key": "sk-refused"}
    )
    assert refused.status_code == 422
    for answer in (shown, refused, await scene.owner.get(scene.url)):
        assert KEY not in answer.text
        assert "sk-refused" not in answer.text
    served = await scene.served()
    assert served.key_sealed is not None
    assert keys.unseal(served.key_sealed, project_id=scene.project.id, home=scene.home) == KEY
    kept = {"name": "Vicuña", "address": endpoint.address, "model": "vicuna-13b"}
    await scene.owner.post(page, data={**kept, "key": "sk-new"})
    await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    await scene.owner.post(page, data=kept)
    await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    await scene.owner.post(page, data={**kept, "forget_key": "true"})
    await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    sent = [asked.headers.get("authorization") for asked in endpoint.asked]
    assert sent == ["Bearer sk-new", "Bearer sk-new", None]


async def test_a_key_does_not_follow_to_an_address_that_it_was_not_given_for(
    scene: Scene, endpoint: ServedEndpoint
) -> None:
    page = await scene.add(endpoint)
    mine = ServedEndpoint()
    with mine.serving():
        moved = {"name": "Vicuña", "address": mine.address, "model": "m"}
        refused = await scene.owner.post(page, data=moved)
        assert refused.status_code == 422
        assert "The key was given for another address" in refused.text
        await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
        assert mine.asked == []
        assert (await scene.owner.post(page, data={**moved, "forget_key": "true"})).status_code == 303
        await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
        assert [asked.headers.get("authorization") for asked in mine.asked] == [None]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (of({"error": {"message": f"Incorrect key {KEY}"}}, 401), "The endpoint refuses us (401): “Incorrect key …”."),
        (Reply(302, headers={"Location": "http://127.0.0.1/"}), "sends to another address (302)"),
        (Reply(200, b"<html><script>alert(1)</script>hello"), "isn&#39;t JSON: “hello”"),
        (Reply(500, b"<img src=x onerror=alert(1)>"), "The endpoint failed (500): “–”."),
        (says("<script>alert(1)</script>"), "&lt;script&gt;"),
    ],
    ids=str,
)
async def test_a_test_shows_what_went_wrong_in_a_sentence_and_never_as_markup(
    scene: Scene, endpoint: ServedEndpoint, reply: Reply, said: str
) -> None:
    page = await scene.add(endpoint)
    endpoint.reply = lambda _: reply
    shown = await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    assert shown.status_code == 200
    assert said in shown.text
    assert len(endpoint.asked) == 1
    for never in (KEY, "<script>alert", "<img src=x"):
        assert never not in shown.text


async def test_a_test_waits_for_nobody_and_holds_no_connection_meanwhile(
    scene: Scene, endpoint: ServedEndpoint, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.served.served_models.TEST_SECONDS", 1.0)
    page = await scene.add(endpoint)
    never, held = threading.Event(), []

    def reply(_: Any) -> Reply:
        held.append(app.state.sessions.kw["bind"].sync_engine.pool.checkedout())
        return Reply(waits=never)

    endpoint.reply = reply
    try:
        shown = await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    finally:
        never.set()
    assert "didn&#39;t answer within 1 s" in shown.text
    assert held == [0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"address": "file:///etc/passwd"}, "looks like https://"),
        ({"address": "https://me:pw@example.org/v1"}, "must not hold a name or password"),
        ({"temperature": "3"}, "Sampling temperature"),
        ({"max_tokens": "many"}, "Sampling max_tokens"),
        ({"parallel": "1000"}, "Limit parallel"),
        ({"name": " "}, "needs a name"),
        ({"key": "two words"}, "no spaces"),
        ({"stop": "a\nb\nc\nd\ne"}, "Sampling stop"),
    ],
    ids=str,
)
async def test_what_cannot_be_used_is_said_on_the_form_with_what_was_typed(
    scene: Scene, endpoint: ServedEndpoint, fields: dict[str, str], said: str
) -> None:
    form = {"name": "Vicuña", "address": endpoint.address, "model": "vicuna-13b", **fields}
    refused = await scene.owner.post(scene.url, data=form)
    assert refused.status_code == 422
    assert said in refused.text
    assert 'value="vicuna-13b"' in refused.text
    assert await scene.db.scalar(select(ServedModel)) is None


async def test_settings_come_back_as_they_were_typed(scene: Scene, endpoint: ServedEndpoint) -> None:
    page = await scene.add(
        endpoint,
        temperature="",
        top_p="0.9",
        stop="END\n\\n\\nUser:",
        system="Be brief.\r\nBe kind.",
        most_tokens="5000",
    )
    await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    assert endpoint.asked[0].body == {
        "model": "vicuna-13b", "max_tokens": 512, "top_p": 0.9, "stop": ["END", "\n\nUser:"],
        "messages": [{"role": "system", "content": "Be brief.\nBe kind."}, {"role": "user", "content": "Hello"}],
    }  # fmt: skip
    shown = (await scene.owner.get(page)).text
    for there in ('step="any" value=""', 'value="0.9"', ">END\n\\n\\nUser:<", "Be brief.\nBe kind.", 'value="5000"'):
        assert there in shown, there


async def test_an_address_of_this_machine_is_refused_where_the_installation_does_not_allow_it(
    scene: Scene, endpoint: ServedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await scene.add(endpoint)
    monkeypatch.delenv("PLUMBLINE_PRIVATE_ADDRESSES")
    settings.cache_clear()
    shown = await scene.owner.post(f"{page}/test", data={"prompt": "Hello"})
    assert "isn&#39;t a public address" in shown.text
    assert endpoint.asked == []


async def test_a_name_is_one_models_until_that_is_removed(scene: Scene, endpoint: ServedEndpoint) -> None:
    page = await scene.add(endpoint)
    form = {"name": "Vicuña", "address": endpoint.address, "model": "m"}
    refused = await scene.owner.post(scene.url, data=form)
    assert (refused.status_code, "of that name already" in refused.text) == (409, True)
    assert (await scene.owner.post(f"{page}/remove")).status_code == 303
    assert (await scene.owner.get(page)).status_code == 404
    assert "No served model writes responses here yet." in (await scene.owner.get(scene.url)).text
    await scene.add(endpoint)
