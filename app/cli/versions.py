"""Dataset versions looked into, and judgements followed without cutting one."""

import json
import time
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli.data import ProjectName, dataset_commands
from app.cli.database import in_transaction
from app.services.data import following
from app.services.data.following import News
from app.services.projects import projects

EVERY_SECONDS = 2.0


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
