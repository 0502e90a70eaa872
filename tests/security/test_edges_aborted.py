"""Who goes away in the middle of a request leaves nothing behind, and no crash in the log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message
from structlog.testing import capture_logs

from app.services import accounts
from app.settings import Settings
from tests.factories import make_member, make_project
from tests.sites import site_of


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = site_of(Settings(database_url=database_url, home=tmp_path))
    async with app.router.lifespan_context(app):
        yield app


async def test_an_upload_that_breaks_off_is_gone(app: FastAPI, db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    owner = await make_member(db, project, "owner")
    token = await accounts.create_api_token(db, owner.user_id, name="test")
    await db.commit()
    coming: list[Message] = [
        {"type": "http.request", "body": b'{"prompt": "Tea?"}\n', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    path = f"/api/v1/projects/{project.slug}/imports"
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
    with capture_logs() as logged:
        await app(
            {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
                "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
                "client": ("192.0.2.1", 1), "server": ("localhost", 80),
            },
            receive,
            send,
        )  # fmt: skip
    assert [line["event"] for line in logged] == ["request.aborted", "request"]
    assert sent == []
    assert not list((tmp_path / "imports").glob("*"))
