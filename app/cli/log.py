"""The log of changes from the command line."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.services import accounts, audit
from app.services.audit import Search
from app.services.projects import projects
from app.web.serving.log_files import LogFormat
from app.web.words.log import csv_lines, json_lines

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="A day or moment, UTC.")]


@app.command(short_help="Who changed what, newest first.", rich_help_panel=THINGS)
def log(
    project: Annotated[str | None, typer.Option("--project", "-p", help="Of this project alone.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="What this person did.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind of thing: projects, members, export …")] = None,
    since: Day = None,
    until: Day = None,
    text: Annotated[str, typer.Option(help="Beginnings of words of the changed values.")] = "",
    file_format: Annotated[LogFormat, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    limit: Annotated[int | None, typer.Option(min=1, help="So many entries at most; unset: all.")] = None,
) -> None:
    """Print who changed what, newest first."""

    async def write(db: AsyncSession) -> None:
        search = Search(
            project_id=(await projects.named(db, project)).id if project else None,
            actor_ids=((await accounts.find_user(db, user)).id,) if user else None,
            kind=kind,
            since=since and since.replace(tzinfo=UTC),
            until=until and until.replace(tzinfo=UTC),
            text=text,
        )
        before, left = None, limit
        while left is None or left > 0:
            size = min(audit.EXPORT_BATCH, left or audit.EXPORT_BATCH)
            entries = await audit.page(db, search, size=size, before=before)
            names = await audit.names(db, entries)
            is_csv = file_format == "csv"
            sys.stdout.write(csv_lines(entries, names, header=before is None) if is_csv else json_lines(entries, names))
            if len(entries) < size:
                return
            before, left = entries[-1].id, left and left - len(entries)

    in_transaction(write)
