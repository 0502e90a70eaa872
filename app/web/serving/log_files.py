"""The log of changes as a file, for the pages and the API alike."""

from collections.abc import AsyncIterator
from typing import Literal

from starlette.responses import Response, StreamingResponse

from app.db.session import SessionFactory, look_up
from app.services import audit
from app.services.audit import Search
from app.web.words import log

LogFormat = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[LogFormat, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}


def log_file(sessions: SessionFactory, search: Search, form: LogFormat, *, name: str) -> Response:
    """All entries that are wanted, newest first, read as they are sent."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"', "Cache-Control": "private, no-store"}
    return StreamingResponse(_lines(sessions, search, form), media_type=MEDIA_TYPES[form], headers=headers)


async def _lines(sessions: SessionFactory, search: Search, form: LogFormat) -> AsyncIterator[str]:
    is_first = True
    async for batch in audit.all_of(sessions, search):
        async with look_up(sessions) as db:
            names = await audit.names(db, batch)
        yield log.csv_lines(batch, names, header=is_first) if form == "csv" else log.json_lines(batch, names)
        is_first = False
    if is_first and form == "csv":
        yield log.csv_lines([], {}, header=True)
