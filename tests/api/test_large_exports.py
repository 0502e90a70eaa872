"""Large exports: a worker writes them, and whoever asked fetches the file, in parts if need be."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import AuditEntry, DatasetVersion
from app.jobs import execution
from app.services.loop.chores import exporting
from tests.api.conftest import As, Client
from tests.cutting import cut_what_waits
from tests.jobs.conftest import make_context

VERSION = "/api/v1/projects/everyday-help/datasets/3"


@pytest.fixture
async def owner(calling: As, sessions: SessionFactory, tmp_path: Path) -> Client:
    """The owner, after version 3 was cut."""
    client = calling("owner")
    assert (await client.post(VERSION.removesuffix("/3"))).status_code == 202
    await cut_what_waits(sessions, tmp_path / "home")
    return client


async def written(client: Client, sessions: SessionFactory, home: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The run that a worker has done."""
    started = await client.post(f"{VERSION}/exports", json=asked)
    assert started.status_code == 202, started.text
    run = started.json()
    assert (await client.get(f"{VERSION}/exports/{run['id']}")).status_code == 404, "not before it is there"
    await execution.execute(make_context(sessions, home), run["id"])
    done: dict[str, Any] = (await client.get(f"/api/v1/runs/{run['id']}")).json()
    assert done["state"] == "succeeded", done
    return done


async def test_a_worker_writes_what_is_asked_for_and_the_file_is_fetched_in_parts(
    owner: Client, sessions: SessionFactory, tmp_path: Path
) -> None:
    asked = {"format": "parquet", "schema": "judgements"}
    done = await written(owner, sessions, tmp_path / "home", asked)
    address = f"{VERSION}/exports/{done['id']}"
    whole = await owner.get(address)
    assert whole.status_code == 200
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-disposition"] == (
        'attachment; filename="everyday-help-preferences-3-judgements.parquet"'
    )
    assert whole.headers["etag"] == f'"{sha256(whole.content).hexdigest()}"'
    assert done["result"]["rows_written"] == parquet.read_table(io.BytesIO(whole.content)).num_rows
    assert done["result"]["size_bytes"] == len(whole.content)
    rest = await owner.get(address, headers={"Range": "bytes=100-", "If-Range": whole.headers["etag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    changed = await owner.get(address, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert (await owner.get(address, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
    assert (await owner.get(address, headers={"Range": "bytes=999999999-"})).status_code == 416
    again = (await owner.post(f"{VERSION}/exports", json=asked)).json()
    assert again["id"] == done["id"], "what is there isn't written again"
    other = (await owner.post(f"{VERSION}/exports", json={**asked, "split": "train"})).json()
    assert other["id"] != done["id"]


async def test_a_version_that_is_large_is_had_from_a_worker_alone(
    owner: Client, sessions: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (await owner.get(f"{VERSION}/export")).content
    monkeypatch.setattr(exporting, "MOST_AT_ONCE", 3)
    for path in ("export", "rows", "judgements"):
        refused = await owner.get(f"{VERSION}/{path}")
        assert refused.status_code == 409
        assert refused.json()["type"] == "/api/docs#error-TooLarge"
    await written(owner, sessions, tmp_path / "home", {})
    answer = await owner.get(f"{VERSION}/export")
    assert (answer.status_code, answer.content) == (200, small), "its address is the same from then on"


async def test_an_export_is_refused_before_a_worker_is_asked(owner: Client) -> None:
    for asked, status in (
        ({"schema": "nothing"}, 404),
        ({"schema": "raw", "votes": "soft"}, 422),
        ({"format": "xlsx"}, 422),
        ({"shape": 1}, 422),
        ({"split": "held_out"}, 422),
    ):
        assert (await owner.post(f"{VERSION}/exports", json=asked)).status_code == status, asked


async def test_what_was_erased_from_is_not_handed_out_any_more(
    owner: Client, db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    done = await written(owner, sessions, tmp_path / "home", {"format": "csv"})
    await db.execute(update(DatasetVersion).where(DatasetVersion.number == 3).values(erased_from_at=func.now()))
    await db.commit()
    for path in ("export", "rows", f"exports/{done['id']}"):
        refused = await owner.get(f"{VERSION}/{path}")
        assert (refused.status_code, refused.json()["type"]) == (409, "/api/docs#error-ErasedFrom"), path


async def test_the_log_says_who_took_what(owner: Client, db: AsyncSession) -> None:
    await owner.get(f"{VERSION}/export?schema=unpaired&format=csv&flagged=no")
    entry = await db.scalar(select(AuditEntry).where(AuditEntry.kind == "export").order_by(AuditEntry.id.desc()))
    assert entry is not None
    assert entry.subject == "preferences 3"
    assert entry.after == {"schema": "unpaired", "format": "csv", "flagged": "no", "votes": "each", "files": "one"}


async def test_the_first_rows_are_those_of_the_file(owner: Client, db: AsyncSession) -> None:
    shown = (await owner.get(f"{VERSION}/rows?schema=preference-text")).json()
    lines = (await owner.get(f"{VERSION}/export?schema=preference-text")).text.splitlines()
    assert shown["rows"] == [json.loads(line) for line in lines][:5]
    assert shown["columns"] == [{"name": name, "type": "text"} for name in ("prompt", "chosen", "rejected", "split")]
    assert await db.scalar(select(DatasetVersion.row_count).where(DatasetVersion.number == 3))
