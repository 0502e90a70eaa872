"""Erasing a prompt, a response or what a person wrote, from the command line."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import app
from app.cli.database import in_transaction
from app.cli.imports import data_commands
from app.db.tables import Run
from app.services.erasure.targets import Kind, Target, reach_of
from app.services.erasure.touched import Touched, look
from app.services.loop.chores import erasing
from app.services.projects import projects


@app.command(hidden=True)
@data_commands.command()
def erase(
    kind: Annotated[Kind, typer.Argument(help="What the number is of.")],
    number: Annotated[int, typer.Argument(min=1, help="Id of the prompt, the response or the person.")],
    project: Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")],
    files: Annotated[
        bool, typer.Option("--files", help="Remove files of dataset versions, exports and runs that hold it, too.")
    ] = False,
    reason: Annotated[str, typer.Option(help="For the log.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be touched.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask whether you are sure.")] = False,
) -> None:
    """Erase a text for good: what it touches is told first, and a worker does it. What people chose stays."""
    target = Target(kind, number)

    async def see(db: AsyncSession) -> Touched:
        found = await projects.named(db, project)
        return await look(db, found, await reach_of(db, found, target))

    async def queue(db: AsyncSession) -> Run:
        found = await projects.named(db, project)
        return await erasing.start(db, None, found, target, files=files, reason=reason)

    print("\n".join(_lines(in_transaction(see))))
    if dry_run or not (yes or typer.confirm("This can't be undone. Erase it?", err=True)):
        return
    print(f"Run {in_transaction(queue).id} erases it, as soon as a worker takes it up.")


def _lines(touched: Touched) -> list[str]:
    versions = [f"{one.kind} {one.number}{'' if one.has_file else ' (file removed)'}" for one in touched.versions]
    models = [f"{one.kind} {one.number}" for one in touched.models]
    return [
        f"texts: {touched.prompts:,} prompts, {touched.responses:,} responses, "
        f"{touched.demonstrations:,} demonstrations, {touched.words:,} reasons and explanations",
        f"tasks given to nobody any more: {touched.tasks:,}; leases that end: {touched.leases:,}",
        f"judgements of them, which stay: {touched.judgements:,}",
        f"dataset versions refused from then on: {', '.join(versions) or 'none'}",
        f"models trained on those, which stay: {', '.join(models) or 'none'}",
        f"exports of the project: {touched.exports:,}; files not brought in yet: {touched.waiting_files:,}; "
        f"runs under way: {touched.runs:,}",
    ]
