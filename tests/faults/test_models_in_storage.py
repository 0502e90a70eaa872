"""A site whose models are in a storage, seen from its doors: what it serves, shows, backs up and puts back."""

import asyncio
import tarfile
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.db.session import SessionFactory, transaction
from app.db.tables import ModelVersion, Project
from app.jobs import worker
from app.jobs.worker import CannotWork
from app.services import accounts
from app.services.published import beside, shelf, standing
from app.services.published.bucket import Heard, Held
from app.services.published.shelf import shelf_of
from app.services.published.thing import of_model
from app.settings import Settings, settings
from tests.browser.people import session_token
from tests.command_line import runner
from tests.factories import make_member, make_user, principal
from tests.faults.backups.conftest import Command, command, here, there
from tests.faults.test_models_in_use import fresh
from tests.jobs.conftest import InProcess, make_context
from tests.jobs.loop import Loop
from tests.object_storage import Between, Stored, between
from tests.sites import site_of

__all__ = ["between", "command", "here", "there"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "here" / "home"


@pytest.fixture
def other_home(tmp_path: Path) -> Path:
    return tmp_path / "there" / "home"


@pytest.fixture
def loop(sessions: SessionFactory, home: Path) -> Loop:
    return Loop(sessions, replace(make_context(sessions, home), executor=InProcess()))


@pytest.fixture
async def project(stored: Stored, loop: Loop) -> Project:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    return project


@pytest.fixture
async def site(database_url: str, other_home: Path) -> AsyncIterator[FastAPI]:
    """On another host than the worker: its home holds nothing yet."""
    app = site_of(Settings(home=other_home, database_url=database_url, trusted_hosts="test"))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def owner(site: FastAPI, sessions: SessionFactory, project: Project) -> AsyncIterator[httpx.AsyncClient]:
    async with transaction(sessions) as db:
        user = (await make_member(db, project, "owner")).user_id
        token = await accounts.create_api_token(db, user, name="test")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site), base_url="http://test/api/v1", headers=headers
    ) as client:
        yield client


async def policy_of(loop: Loop, project: Project) -> ModelVersion:
    (policy,) = await loop.versions(project)
    return policy


async def test_a_model_is_downloaded_from_a_site_that_has_it_in_its_storage_alone(
    stored: Stored, project: Project, loop: Loop, owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch,
    other_home: Path,
) -> None:  # fmt: skip
    address = f"/projects/{project.slug}/models/policy/1/archive"
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    shelf._bucket.cache_clear()
    refused = await owner.get(address)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert "can't be used" in refused.json()["detail"]
    monkeypatch.setenv("AWS_ENDPOINT", stored.server)
    shelf._bucket.cache_clear()
    whole = await owner.get(address)
    with tarfile.open(fileobj=BytesIO(whole.content)) as archive:
        assert any(name.endswith("/weights.txt") for name in archive.getnames())
    folder = other_home / (await policy_of(loop, project)).folder
    (folder / "weights.txt").write_text("changed in the copy")
    reason = {"reason": "It reads well."}
    assert (await owner.post(f"/projects/{project.slug}/models/policy/1/promote", json=reason)).status_code < 500
    stored.flip_a_byte("weights.txt")
    shelf_of(other_home).copies.drop(of_model(*await named(loop, project)))
    broken = await owner.get(address)
    assert broken.status_code == 422
    assert "weights.txt doesn't match its manifest" in broken.json()["detail"]


async def test_a_request_that_would_wait_long_for_a_copy_is_told_when_to_ask_again_and_the_copy_goes_on(
    stored: Stored, project: Project, owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, begun, fill = threading.Event(), list[str](), Held.fill

    def slow(held: Held, folder: Path, heard: Heard = lambda _: None) -> None:
        begun.append(held.thing.path)
        goes_on.wait(20)
        fill(held, folder, heard)

    monkeypatch.setattr(Held, "fill", slow)
    monkeypatch.setattr(beside, "WAIT_SECONDS", 0.2)
    model = f"/projects/{project.slug}/models/policy/1"
    for _ in range(2):
        answer = await owner.get(f"{model}/archive")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert "are being copied or compared" in answer.json()["detail"]
    goes_on.set()
    while (answer := await owner.get(f"{model}/archive")).status_code == 503:  # noqa: ASYNC110 - as a client would
        await asyncio.sleep(0.05)
    assert (answer.status_code, len(begun)) == (200, 1)


async def named(loop: Loop, project: Project) -> tuple[str, str]:
    policy = await policy_of(loop, project)
    return policy.folder, policy.manifest_sha256


async def test_admins_and_probes_see_how_the_storage_is(
    stored: Stored, site: FastAPI, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "FRESH_SECONDS", 0.0)
    async with transaction(sessions) as db:
        cookies = {"session": await session_token(db, principal(await make_user(db, is_admin=True)))}
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as browser:
        assert (await fresh(site, browser)).json()["checks"]["storage"] == "ok"
        assert f"The storage answers: {stored.url}." in (await browser.get("/health")).text
        monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
        standing._last_look.cache_clear()
        red = await fresh(site, browser)
        assert (red.status_code, red.json()["failing"]) == (503, ["storage"])
        assert (await browser.get("/readyz?exclude=storage")).status_code == 200
        assert f"The storage {stored.url} can&#39;t be used" in (await browser.get("/health")).text


async def test_a_storage_that_lets_a_name_be_taken_twice_is_named_and_nobody_works_with_it(
    stored: Stored, between: Between, site: FastAPI, loop: Loop, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], database_url: str,
) -> None:  # fmt: skip
    between.forgets_conditions = True
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    found = (await site.state.readiness.findings())[-1]
    assert (found.name, found.state) == ("storage", "failing")
    assert "doesn't obey If-None-Match" in found.sentence
    with pytest.raises(CannotWork, match="doesn't obey If-None-Match"):
        await worker.work(settings(), database_url)
    run = await loop.execute(await loop.queue_sft(await loop.make_project()))
    assert (run.state, run.attempt) == ("queued", 0)
    assert "doesn't obey If-None-Match" in str(run.error)
    assert stored.names() == []
    told = await asyncio.to_thread(runner(monkeypatch, capsys), "doctor", DATABASE_URL=database_url)
    assert "doesn't obey If-None-Match: it would let a model be overwritten" in told.out + told.err


async def test_a_backup_takes_models_from_the_storage_once_and_they_come_back(
    stored: Stored, loop: Loop, project: Project, here: Command, there: Command, home: Path, other_home: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str,
) -> None:  # fmt: skip
    folder, digest = await named(loop, project)
    weights = (home / folder / "weights.txt").read_bytes()
    assert shelf_of(home).copies.drop(of_model(folder, digest))
    place = f"{tmp_path / 'backups'}/"
    environment = {"PLUMBLINE_STORAGE_URL": stored.url}
    first, second = [await here("backup", place, **environment) for _ in range(2)]
    assert (first.code, "Not in it" in first.out) == (0, False), first
    assert second.code == 0
    assert not (home / folder).exists()
    restored = await there("restore", place, **environment)
    assert (restored.code, "`plumbline storage move` puts them" in restored.out) == (0, True)
    assert (other_home / folder / "weights.txt").read_bytes() == weights
    doctor = runner(monkeypatch, capsys)
    healthy = doctor("doctor", "--all-files", DATABASE_URL=database_url, PLUMBLINE_HOME=str(home), **environment)
    assert "manifest" not in healthy.out + healthy.err
    stored.flip_a_byte("weights.txt")
    sick = doctor("doctor", "--all-files", DATABASE_URL=database_url, PLUMBLINE_HOME=str(home), **environment)
    assert "weights.txt doesn't match its manifest" in sick.out + sick.err
    third = await here("backup", f"{tmp_path / 'others'}/", **environment)
    assert f"In it as it is, but damaged: {folder}/weights.txt" in third.out
