"""A model's files are compared with its manifest whenever it is put into use, and looked at while it is (P5)."""

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import ModelVersion, Promotion
from app.jobs.models_in_use import ModelsInUse
from app.services import accounts
from app.services.loop.models import artifacts
from app.services.published import beside
from tests.browser.people import session_token
from tests.browser.seed import Seeded
from tests.command_line import runner
from tests.factories import make_user, principal
from tests.jobs.conftest import make_context
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

PROJECT = "/projects/everyday-help"
REASON = {"reason": "I read its samples."}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def flip_a_byte(folder: Path) -> None:
    weights = folder / "weights.txt"
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)


BREAKAGES: dict[str, Callable[[Path], None]] = {
    "a flipped byte": flip_a_byte,
    "no folder": shutil.rmtree,
    "a file too many": lambda folder: (folder / "code.py").write_text("1") and None,
    "a missing file": lambda folder: (folder / "weights.txt").unlink(),
    "a link in place of a file": lambda folder: _link(folder / "weights.txt"),
    "a pipe in place of a file": lambda folder: _pipe(folder / "weights.txt"),
}


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".there"))
    path.symlink_to(path.with_suffix(".there"))


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_no_door_puts_a_broken_model_into_use_or_goes_back_to_one(
    breakage: str,
    doors: dict[str, Door],
    site: FastAPI,
    db: AsyncSession,
    seeded: Seeded,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seeded_url: str,
) -> None:
    for number in (1, 3):
        BREAKAGES[breakage](home / "models" / f"policy-{number}")
    before = await in_use(db)
    promotions = await db.scalar(select(func.count()).select_from(Promotion))
    token = await accounts.create_api_token(db, seeded.owner.id, name="test")
    await db.commit()
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as program:
        api = f"/api/v1{PROJECT}/models"
        answers = [
            await doors["owner"].send("POST", f"{PROJECT}/models/policy/3/promote", REASON),
            await doors["owner"].send("POST", f"{PROJECT}/models/roll-back", {"kind": "policy"}),
            await program.post(f"{api}/policy/3/promote", json=REASON),
            await program.post(f"/api/v1{PROJECT}/roll-back", json={"kind": "policy"}),
        ]
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert "manifest" in answer.text
        assert str(home) not in answer.text, "where files lie is the machine's own affair"
    plumbline = runner(monkeypatch, capsys)
    environment = {"DATABASE_URL": seeded_url, "PLUMBLINE_HOME": str(home)}
    for arguments in (
        ("promote", "3", "-p", "everyday-help", "--reason", "Fine."),
        ("rollback", "-p", "everyday-help"),
    ):
        done = await asyncio.to_thread(plumbline, *arguments, **environment)
        assert "manifest" in done.refusal
    assert await in_use(db) == before
    assert await db.scalar(select(func.count()).select_from(Promotion)) == promotions


async def test_a_model_that_takes_long_to_compare_is_put_into_use_by_who_asks_again_and_an_old_answer_is_none(
    doors: dict[str, Door], site: FastAPI, db: AsyncSession, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, begun, require_intact = threading.Event(), list[Path](), artifacts.require_intact

    def slow(folder: Path, digest: str) -> None:
        begun.append(folder)
        require_intact(folder, digest)
        goes_on.wait(20)

    monkeypatch.setattr(artifacts, "require_intact", slow)
    monkeypatch.setattr(beside, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(beside, "FRESH_SECONDS", 0.0)

    async def promote() -> httpx.Response:
        return await doors["owner"].send("POST", f"{PROJECT}/models/policy/3/promote", REASON)

    before = await in_use(db)
    for _ in range(2):
        answer = await promote()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert "are being copied or compared" in answer.text
    assert len(begun) == 1
    goes_on.set()
    (compared,) = (work.made for work in beside._begun.values())
    await asyncio.to_thread(compared.exception)
    flip_a_byte(home / "models" / "policy-3")
    assert (await promote()).status_code == 422, "what was found a while ago needn't be so now"
    assert await in_use(db) == before
    flip_a_byte(home / "models" / "policy-3")
    assert (await promote()).status_code == 303
    assert await in_use(db) != before


async def test_what_happens_to_the_files_of_a_model_in_use_is_seen_and_told_and_forgotten_when_it_is_mended(
    site: FastAPI, sessions: SessionFactory, db: AsyncSession, home: Path
) -> None:
    admin = await make_user(db, is_admin=True)
    cookies = {"session": await session_token(db, principal(admin))}
    await db.commit()
    watch = ModelsInUse(make_context(sessions, home))
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as browser:
        await watch.look()
        assert "artifacts" not in (await fresh(site, browser)).json()["failing"]
        weights = home / "models" / "policy-2" / "weights.txt"
        content = weights.read_bytes()
        flip_a_byte(weights.parent)
        await watch.look()
        red = await fresh(site, browser)
        assert (red.status_code, red.json()["failing"]) == (503, ["artifacts"])
        assert str(home) not in red.text
        assert (await browser.get("/readyz?exclude=artifacts")).status_code == 200
        page = (await browser.get("/health")).text
        assert "policy-2/weights.txt doesn&#39;t match its manifest" in page
        weights.write_bytes(content)
        await watch.look()
        assert (await fresh(site, browser)).status_code == 200
        assert "The models in use are the ones that were registered." in (await browser.get("/health")).text


async def fresh(site: FastAPI, browser: httpx.AsyncClient) -> httpx.Response:
    """What a probe sees some seconds later."""
    site.state.readiness._fresh_until = 0
    return await browser.get("/readyz")


async def in_use(db: AsyncSession) -> set[int]:
    return set(await db.scalars(select(ModelVersion.id).where(ModelVersion.state == "promoted")))
