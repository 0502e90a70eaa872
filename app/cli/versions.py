"""Dataset versions looked into, and judgements followed without cutting one."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli.data import ProjectName, dataset_commands
from app.cli.database import in_transaction
from app.db.base import Json
from app.db.tables.lineage import DatasetKind
from app.errors import Conflict
from app.services.data import datasets, differences, following, manifests
from app.services.data.following import News
from app.services.data.recutting import CutAgain, cut_again
from app.services.projects import projects

EVERY_SECONDS = 2.0

Number = Annotated[int, typer.Argument(min=1, help="Number of the version.")]
Kind = Annotated[DatasetKind, typer.Option(help="preferences or demonstrations.")]


@dataset_commands.command()
def manifest(number: Number, project: ProjectName, kind: Kind = "preferences") -> None:
    """Print what a version came from, as JSON."""

    async def read(db: AsyncSession) -> Json:
        found = await projects.named(db, project)
        return await manifests.manifest(db, found, await datasets.get_version(db, found, number, kind))

    print(json.dumps(in_transaction(read), ensure_ascii=False, indent=2))


@dataset_commands.command()
def again(
    number: Number,
    project: ProjectName,
    kind: Kind = "preferences",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write what is cut to this file.")] = None,
) -> None:
    """Cut a version again and say whether it has the same bytes, or precisely why not."""

    async def cut(db: AsyncSession) -> CutAgain:
        version = await datasets.get_version(db, await projects.named(db, project), number, kind)
        with (out or Path(os.devnull)).open("wb") as file:
            return await cut_again(db, version, file)

    found = in_transaction(cut)
    if not found.is_same:
        raise Conflict(f"Dataset {number} of {project} can't be cut again as it was: {'; '.join(found.reasons)}.")
    print(f"Dataset {number} of {project} has the same {found.rows:,} rows, SHA-256 {found.sha256}.")


@dataset_commands.command()
def compare(
    number: Number,
    project: ProjectName,
    since: Annotated[int | None, typer.Option(min=1, help="Number of the earlier one; unset: the one before.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Say how many judgements came, went, moved to another split or weigh otherwise between two versions."""

    async def compared(db: AsyncSession) -> differences.Summary:
        before, after = await differences.versions(db, await projects.named(db, project), number, since=since)
        return (await differences.compare(db, before, after)).summary

    counts = asdict(in_transaction(compared))
    if as_json:
        print(json.dumps(counts))
    else:
        print(", ".join(f"{count:,} {what}" for what, count in counts.items()))


@dataset_commands.command()
def follow(
    project: ProjectName,
    after: Annotated[str | None, typer.Option(help="The cursor of the last line of an earlier call.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing more, instead of waiting.")] = False,
) -> None:
    """Print judgements as they come, change and go, a JSON object a line, without cutting a version.

    {"row": …} is a judgement as it counts now, {"gone": 12} one that counts no more, {"cursor": "…"} where to go on.
    """
    cursor = after
    while True:
        news = in_transaction(lambda db: _news(db, project, cursor))  # noqa: B023 - called at once
        for line in (*({"row": row} for row in news.rows), *({"gone": number} for number in news.gone)):
            print(json.dumps(line, ensure_ascii=False))
        if news.rows or news.gone or (once and news.is_up_to_date):
            print(json.dumps({"cursor": news.cursor}), flush=True)
        if once and news.is_up_to_date:
            return
        cursor = news.cursor
        if news.is_up_to_date:
            time.sleep(EVERY_SECONDS)


async def _news(db: AsyncSession, project: str, cursor: str | None) -> News:
    return await following.follow(db, await projects.named(db, project), cursor)
