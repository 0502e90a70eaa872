"""A dataset version as a file, and what of a file can't be used: for the pages and the API alike."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from anyio import from_thread
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response, StreamingResponse

from app.db.session import SessionFactory, look_up
from app.db.tables import DatasetVersion, Import, Project, Run
from app.errors import NotFound
from app.services import audit
from app.services.data import datasets
from app.services.data.exports import judgements
from app.services.data.exports.annotations import Annotation, Annotations, InOrder, annotations_from, pseudonyms
from app.services.data.exports.formats import FORMATS, Format, json_line, json_lines
from app.services.data.exports.registry import open_export
from app.services.data.storing import imports
from app.services.data.storing.loads import BAD_ROW_COLUMNS
from app.web.serving.conversions import Conversions

CHUNK_BYTES = 65_536
# Of what raw rows add, how much is looked up at once.
ANNOTATIONS_AT_ONCE = 2_000


async def records(
    db: AsyncSession,
    sessions: SessionFactory,
    project: Project,
    version: DatasetVersion,
    home: Path,
    conversions: Conversions,
    *,
    form: Format,
    raw: bool,
    schema: str | None = None,
) -> Response:
    """The rows of a version, straight from its verified file and never all in memory.

    `raw` adds to each row which judgement it comes from, how strong it was and a pseudonym of who gave it, which are
    looked up in `sessions` of their own while the rows are sent. Raises ErasedFrom, BrokenDataset, Busy.
    """
    datasets.require_whole(version)
    await _note(db, version, form=form, raw=raw, schema=schema)
    said = await _said(db, sessions, version) if raw else None
    named = "".join(f"-{part}" for part in (schema, "raw" if raw else None) if part)
    name = f"{project.slug}-{version.kind}-{version.number}{named}.{form}"
    with conversions.one():
        export = await run_in_threadpool(open_export, version, home, schema=schema, annotations=said)
        if form != "jsonl":
            folder = tempfile.TemporaryDirectory(prefix="plumbline-export-")
            file = Path(folder.name) / name
            await run_in_threadpool(FORMATS[form].write, export, file)
            return _sent(folder, file, form)
    return StreamingResponse(_chunks(json_lines(export)), media_type=FORMATS[form].media_type, headers=_attached(name))


async def _said(db: AsyncSession, sessions: SessionFactory, version: DatasetVersion) -> Annotations:
    """For a thread that writes rows, of which the event loop reads some thousand at a time."""
    names = await pseudonyms(db, version.project_id)

    async def some(first_id: int) -> Mapping[int, Annotation]:
        async with look_up(sessions) as session:
            return await annotations_from(session, version, names, first_id, most=ANNOTATIONS_AT_ONCE)

    return InOrder(lambda first_id: from_thread.run(some, first_id))


async def judgement_rows(
    db: AsyncSession, project: Project, version: DatasetVersion, conversions: Conversions
) -> Response:
    """A row for each judgement of the version, by way of a file: no session is held while it is sent.

    Raises ErasedFrom, Busy.
    """
    datasets.require_whole(version)
    await _note(db, version, schema=judgements.SCHEMA.name)
    name = f"{project.slug}-{version.kind}-{version.number}-{judgements.SCHEMA.name}.jsonl"
    with conversions.one():
        folder = tempfile.TemporaryDirectory(prefix="plumbline-export-")
        file = Path(folder.name) / name
        with file.open("w", encoding="utf-8") as lines:
            async for row in judgements.rows(db, version):
                lines.write(json_line(row))
    return _sent(folder, file, "jsonl")


def bad_rows(home: Path, project: Project, import_: Import) -> Response:
    """The rows of an import that can't be used, as a table; the heading alone where there are none."""
    file = imports.bad_rows_file(home, import_)
    headers = _attached(f"{project.slug}-import-{import_.id}-bad-rows.csv")
    if file.exists():
        return FileResponse(file, media_type="text/csv", headers=headers)
    return Response(",".join(BAD_ROW_COLUMNS) + "\r\n", media_type="text/csv", headers=headers)


async def _note(db: AsyncSession, version: DatasetVersion, **asked: str | bool | None) -> None:
    subject = f"{version.kind} {version.number}"
    await audit.note(db, "export", subject, asked, project_id=version.project_id)


def whole_project(project: Project, run: Run, home: Path) -> Response:
    """The file that an export has left. Raises NotFound where it was removed since."""
    file = home / str(run.folder) / f"{project.slug}.zip"
    if not file.is_file():
        raise NotFound
    return FileResponse(file, media_type="application/zip", headers=_attached(file.name))


def _sent(folder: "tempfile.TemporaryDirectory[str]", file: Path, form: Format) -> Response:
    """The file, and its folder gone once it was sent."""
    return FileResponse(
        file,
        media_type=FORMATS[form].media_type,
        headers=_attached(file.name),
        background=BackgroundTask(run_in_threadpool, folder.cleanup),
    )


def _attached(name: str) -> dict[str, str]:
    # Slugs, kinds, schemas and numbers are plain ASCII, so the name needs no quoting rules.
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
