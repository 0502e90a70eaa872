"""What people write and models answer stays in the database: no log holds a word of it, even where something breaks."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app import logs
from app.db.embedded import EmbeddedPostgres
from app.services import accounts
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.jobs.conftest import context, home, loop
from tests.jobs.test_imports import Site, site
from tests.web.conftest import app, client

__all__ = ["app", "client", "context", "home", "loop", "site"]

MARKER = "Zyxwvut"
"""Part of every text of this test, and of nothing else."""


@pytest.fixture(params=["text", "json"])
def said(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that this process logs, at the level that says most."""
    lines = io.StringIO()
    others = logging.StreamHandler(lines)
    others.setFormatter(logs.formatter(request.param))
    before = structlog.get_config()
    with redirect_stderr(lines):
        logs.configure("debug", request.param)
    logging.getLogger().addHandler(others)
    yield lines
    logging.getLogger().removeHandler(others)
    structlog.configure(**before)


async def test_a_judgement_and_what_breaks_it_leave_no_word_of_it(
    client: httpx.AsyncClient, db: AsyncSession, said: io.StringIO, postgres: EmbeddedPostgres
) -> None:
    project = await make_project(db, "bread")
    project.question = {"rationale": "optional"}
    annotator = await make_member(db, project)
    for number in range(2):
        prompt = await make_prompt(db, project, f"{MARKER} asked {number}")
        await make_task(db, project, f"{MARKER} one", f"{MARKER} two", prompt=prompt)
    token = await accounts.create_api_token(db, annotator.user_id, name="mine")
    await db.execute(text("ALTER TABLE judgements ADD CONSTRAINT one_only CHECK (rationale NOT LIKE '% second')"))
    await db.commit()
    client.headers["Authorization"] = f"Bearer {token}"
    assert (await judge(client, "first")).status_code == 201
    assert (await judge(client, "second")).status_code == 500
    log = said.getvalue()
    assert "request.crashed" in log
    assert "one_only" in log, "what refused it is named"
    assert MARKER not in log
    assert MARKER not in (postgres.home / "logs/postgres.log").read_text()


async def judge(client: httpx.AsyncClient, key: str) -> httpx.Response:
    task = (await client.get("/api/v1/projects/bread/next-task")).json()
    assert MARKER in json.dumps(task)
    path = f"/api/v1/assignments/{task['assignment_id']}/judgements"
    body = {"choice": 2, "rationale": f"{MARKER} {key}"}
    return await client.post(path, json=body, headers={"Idempotency-Key": key})


async def test_an_import_and_what_breaks_it_leave_no_word_of_it(
    site: Site, database_url: str, said: io.StringIO, home: Path, postgres: EmbeddedPostgres
) -> None:
    rows = [{"prompt": f"{MARKER} {n}?", "responses": [f"{MARKER} yes", f"{MARKER} no"]} for n in range(3)]
    page = await site.upload(*rows, {"prompt": f"{MARKER} alone", "responses": [MARKER]}, f"{{{MARKER}".encode())
    await site.loop.work_off()
    await site.press(page, "load", skip_bad="true")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM prompts").fetchone() == (3,)
        connection.execute("ALTER TABLE prompts ADD CONSTRAINT no_more CHECK (messages IS NULL) NOT VALID")
    page = await site.upload({"prompt": f"{MARKER} last?", "responses": [f"{MARKER} yes", f"{MARKER} no"]})
    await site.loop.work_off()
    await site.press(page, "load")
    log = said.getvalue()
    assert "no_more" in log, "what refused it is named"
    assert MARKER not in log
    assert MARKER not in (postgres.home / "logs/postgres.log").read_text()


@pytest.mark.parametrize("said", ["json"], indirect=True)
async def test_a_line_of_the_log_says_who_in_which_request(
    client: httpx.AsyncClient, db: AsyncSession, said: io.StringIO
) -> None:
    project = await make_project(db, "bread")
    annotator = await make_member(db, project)
    token = await accounts.create_api_token(db, annotator.user_id, name="mine")
    await db.commit()
    headers = {"Authorization": f"Bearer {token}"}
    seen = await client.get("/api/v1/projects/bread", headers=headers)
    refused = await client.get("/api/v1/projects/bread/models", headers=headers)
    await client.get("/%0a%1b[31mforged")
    first, second, third = [json.loads(line) for line in said.getvalue().splitlines()]
    assert (first["user_id"], first["status"]) == (annotator.user_id, 200)
    assert (second["user_id"], second["status"]) == (annotator.user_id, 403)
    assert [first["request_id"], second["request_id"]] == [one.headers["x-request-id"] for one in (seen, refused)]
    assert first["timestamp"].endswith("Z")
    assert "user_id" not in third
    assert third["path"] == "/\n\x1b[31mforged", "escaped in its line, whole in what is read of it"
