"""What documents say that a program can ask is asked, of a seeded site, with the bodies that they show."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Prompt, Task, User
from app.services import accounts
from tests.browser.seed import Seeded
from tests.cutting import work_off
from tests.documents.shown import DOCUMENTS
from tests.documents.test_commands import HISTORY
from tests.seeded import seeded, seeded_template, seeded_url, site

__all__ = ["seeded", "seeded_template", "seeded_url", "site"]

CALL = re.compile(r"\b(GET|POST|PUT|PATCH) +(/api/v1/[^\s`]*)(?:[ `]+(\{.*\}))?")
PROJECT = "/api/v1/projects/everyday-help"
# By a part of the address, a reason; an entry that no document shows any more is a mistake.
NOT_ASKED = {
    "project-files": "wants the file that another project was packed into: tests/api/test_projects.py",
}


@dataclass(frozen=True)
class Call:
    document: str
    method: str
    path: str
    body: Any


def calls() -> Iterator[Call]:
    """Every GET, and what else is shown with the body to send; a body that goes on (`…`) is none."""
    for document in DOCUMENTS:
        for method, path, body in CALL.findall(document.read_text()) if document.name != HISTORY else ():
            try:
                sent = json.loads(body) if body else None
            except ValueError:
                continue
            if method == "GET" or sent is not None:
                yield Call(document.name, method, path.rstrip(".,;:"), None if method == "GET" else sent)


def address_of(path: str) -> str:
    """Without what is optional and what is left out, and with the first of what can stand in one place."""
    path = re.sub(r"\[[^\]]*\]|[?&]\w*=?…|\|\w+", "", path)
    return path if "?" in path else path.replace("&", "?", 1)


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
async def owner(site: FastAPI, db: AsyncSession, seeded: Seeded) -> AsyncIterator[httpx.AsyncClient]:
    """Who is one of the site's admins, too."""
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    token = await accounts.create_api_token(db, seeded.owner.id, name="test")
    await db.commit()
    headers = {"Authorization": f"Bearer {token}", "If-Match": "*"}
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def test_every_call_that_is_shown_is_taken(
    owner: httpx.AsyncClient, db: AsyncSession, sessions: SessionFactory, seeded: Seeded, tmp_path: Path
) -> None:
    """What is to be read is there; what is sent is understood, even where the state of things is in its way."""
    ids = await numbers(owner, db, sessions, seeded, tmp_path / "home")
    strange = []
    for call in calls():
        if any(part in call.path for part in NOT_ASKED):
            continue
        address = named(address_of(call.path), ids)
        answer = await owner.request(call.method, address, json=call.body)
        if call.method == "POST" and address.endswith(("/datasets/3/exports", f"{PROJECT}/exports")):
            ids["exports"] = answer.json()["id"]
            await work_off(sessions, tmp_path / "home", answer.json()["stage"])
        if not (answer.is_success or _is_understood(answer)):
            strange.append(f"{call.document}: {call.method} {address}: {answer.status_code} {answer.text[:300]}")
    assert not strange, "\n".join(strange)


def _is_understood(refusal: httpx.Response) -> bool:
    """Whether the state of things is in its way and not how it is put: that would be told field by field."""
    return refusal.status_code in (400, 409, 422) and "errors" not in refusal.json()


def test_every_reason_is_needed() -> None:
    assert [part for part in NOT_ASKED if not any(part in call.path for call in calls())] == []


async def numbers(
    owner: httpx.AsyncClient, db: AsyncSession, sessions: SessionFactory, seeded: Seeded, home: Path
) -> dict[str, object]:
    """What stands for a number, by the part of an address before it. Version 3 is the first with a file."""
    assert (await owner.post(f"{PROJECT}/datasets")).status_code == 202
    await work_off(sessions, home, "snapshot")
    assert (await owner.post(f"{PROJECT}/datasets/3/folder")).status_code == 202
    await work_off(sessions, home, "folder")
    task = await db.scalar(select(func.min(Task.id)).where(Task.project_id == seeded.project.id))
    prompt = await db.scalar(select(func.min(Prompt.id)))
    await db.commit()  # the server ends transactions that are silent for a minute
    gold = await owner.post(f"{PROJECT}/tasks/{task}/gold", json={"better": 0})
    return {
        "prompts": prompt,
        "tasks": task,
        "gold-tasks": gold.json()["task_id"],
        "assignments": (await owner.get(f"{PROJECT}/next-task")).json()["assignment_id"],
        "projects": "everyday-help",
        "datasets": 3,
        "rounds": seeded.stopped_round.number,
        "runs": seeded.ppo.id,
        "models": "policy",
        "policy": 1,
        "errands": seeded.errand.id,
        "served-models": seeded.served.id,
        "webhooks": 1,
    }


def named(path: str, ids: Mapping[str, object]) -> str:
    parts = path.split("/")
    for place, part in enumerate(parts):
        if part.startswith("{") or part == "ID":
            parts[place] = str(ids[parts[place - 1]])
    return "/".join(parts)
