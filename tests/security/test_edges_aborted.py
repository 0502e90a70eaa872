"""Who goes away in the middle of a request leaves nothing behind, and no crash in the log."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message
from structlog.testing import capture_logs

from app.db.session import SessionFactory
from app.db.tables import Import
from app.jobs import uploads
from app.services import accounts
from app.services.people import directory, members
from app.settings import Settings
from tests.factories import make_member, make_project, make_user
from tests.jobs.conftest import make_context
from tests.sites import site_of


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = site_of(Settings(database_url=database_url, home=tmp_path))
    async with app.router.lifespan_context(app):
        yield app


async def send_in(
    app: FastAPI, path: str, header: tuple[bytes, bytes], receive: Callable[[], Awaitable[Message]]
) -> list[Message]:
    """What the site answers to a body that comes in as `receive` tells."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    form = (b"content-type", b"application/x-www-form-urlencoded")
    await app(
        {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost"), form, header],
            "client": ("192.0.2.1", 1), "server": ("localhost", 80),
        },
        receive,
        send,
    )  # fmt: skip
    return sent


async def test_an_upload_that_breaks_off_is_gone(app: FastAPI, db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    owner = await make_member(db, project, "owner")
    token = await accounts.create_api_token(db, owner.user_id, name="test")
    await db.commit()
    coming: list[Message] = [
        {"type": "http.request", "body": b'{"prompt": "Tea?"}\n', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return coming.pop(0)

    path = f"/api/v1/projects/{project.slug}/imports"
    with capture_logs() as logged:
        sent = await send_in(app, path, (b"authorization", f"Bearer {token}".encode()), receive)
    assert [line["event"] for line in logged] == ["request.aborted", "request"]
    assert sent == []
    assert not list((tmp_path / "imports").glob("*"))


async def test_a_file_whose_taker_was_killed_is_removed_a_day_later_and_no_other(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db)
    for name, age_seconds in (("forgotten", 90_000), ("named", 90_000), ("coming", 60)):
        file = tmp_path / "imports" / name / "file"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        for path in (file, file.parent):
            os.utime(path, (time.time() - age_seconds,) * 2)
    db.add(Import(project_id=project.id, file_name="x", folder="imports/named", size_bytes=2, sha256="0" * 64))
    await db.commit()
    await uploads.look(make_context(sessions, tmp_path))
    assert {path.name for path in (tmp_path / "imports").glob("*")} == {"named", "coming"}


@pytest.mark.parametrize("door", ["page", "api"])
@pytest.mark.parametrize("ends", ["removed", "disabled"])
async def test_who_is_put_out_while_their_file_comes_in_leaves_none(
    app: FastAPI, db: AsyncSession, tmp_path: Path, door: str, ends: str
) -> None:
    project = await make_project(db)
    await make_user(db, is_admin=True)
    await make_member(db, project, "owner")
    owner = await make_member(db, project, "owner")
    session = await accounts.new_session(db, owner.user_id)
    token = await accounts.create_api_token(db, owner.user_id, name="test")
    await db.commit()
    coming = [b'text={"prompt":', b'"Tea?"}']

    async def receive() -> Message:
        if len(coming) == 1:
            if ends == "removed":
                await members.remove(db, None, project, owner.user_id)
            else:
                await directory.disable(db, await directory.get(db, owner.user_id))
            await db.commit()
        return {"type": "http.request", "body": coming.pop(0), "more_body": bool(coming)}

    if door == "page":
        path, header = f"/projects/{project.slug}/imports", (b"cookie", f"session={session}".encode())
    else:
        path, header = f"/api/v1/projects/{project.slug}/imports", (b"authorization", f"Bearer {token}".encode())
    begun, *_ = await send_in(app, path, header, receive)
    assert begun["status"] == 403
    assert await db.scalar(select(func.count()).select_from(Import)) == 0
    assert not list((tmp_path / "imports").glob("*"))
