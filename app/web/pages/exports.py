"""A dataset version as a file: for the pages and the API alike."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response, StreamingResponse

from app.db.tables import DatasetVersion, Project
from app.services.data import datasets, exports, judgement_rows

Format = Literal["jsonl", "parquet"]

JSON_LINES = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
CHUNK_BYTES = 65_536


async def export(
    db: AsyncSession, project: Project, version: DatasetVersion, home: Path, *, form: Format, raw: bool
) -> Response:
    """The rows of a version, straight from its verified file and never all in memory.

    `raw` adds to each row which judgement it comes from, how strong it was and a pseudonym of who gave it.
    """
    annotations = await exports.annotations(db, version) if raw else None
    await run_in_threadpool(datasets.verify, version, home)
    name = f"{project.slug}-{version.kind}-{version.number}{'-raw' if raw else ''}.{form}"
    if form == "jsonl":
        return StreamingResponse(
            _chunks(exports.stream_jsonl(version, home, annotations=annotations)),
            media_type=JSON_LINES,
            headers=_attached(name),
        )
    folder = tempfile.TemporaryDirectory(prefix="plumbline-export-")
    file = Path(folder.name) / name
    await run_in_threadpool(exports.write_parquet, version, home, file, annotations=annotations)
    return FileResponse(
        file, media_type=PARQUET, headers=_attached(name), background=BackgroundTask(run_in_threadpool, folder.cleanup)
    )


async def export_judgements(db: AsyncSession, project: Project, version: DatasetVersion) -> Response:
    """A row for each judgement of the version, by way of a file: no session is held while it is sent."""
    folder = tempfile.TemporaryDirectory(prefix="plumbline-export-")
    name = f"{project.slug}-{version.kind}-{version.number}-judgements.jsonl"
    file = Path(folder.name) / name
    with file.open("w", encoding="utf-8") as lines:
        async for row in judgement_rows.rows(db, version):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return FileResponse(
        file,
        media_type=JSON_LINES,
        headers=_attached(name),
        background=BackgroundTask(run_in_threadpool, folder.cleanup),
    )


def _attached(name: str) -> dict[str, str]:
    # Slugs, kinds and numbers are plain ASCII, so the name needs no quoting rules.
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}


def _chunks(lines: Iterator[str]) -> Iterator[bytes]:
    """Lines in pieces of about CHUNK_BYTES: one piece per line would cost a thread switch each."""
    held: list[str] = []
    length = 0
    for line in lines:
        held.append(line)
        length += len(line)
        if length >= CHUNK_BYTES:
            yield "".join(held).encode()
            held, length = [], 0
    if held:
        yield "".join(held).encode()
