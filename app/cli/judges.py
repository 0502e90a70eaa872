"""Judges that are models from the command line: made, listed with how far they can be trusted, asked, and stopped."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import say
from app.db.tables import Judge, Project, Run
from app.db.tables.judges import Outcome
from app.services.judging.machines import answered, judges
from app.services.judging.machines.answered import Answered
from app.services.judging.machines.calibration import Share
from app.services.loop.runs import starting
from app.services.projects import projects
from app.services.reports import reports
from app.services.reports.judges import JUDGES, Entry
from app.services.served import served_models

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]
Name = Annotated[str, typer.Argument(help="The served model's name.")]

judge_commands = typer.Typer(help="Served models that judge pairs.", no_args_is_help=True)
app.add_typer(judge_commands, name="judge", rich_help_panel=THINGS)


@judge_commands.command()
def add(name: Name, project: ProjectName) -> None:
    """Make a served model a judge. It judges when it is asked, and people are told of a machine."""

    async def make(db: AsyncSession) -> Judge:
        found = await projects.named(db, project)
        return await judges.make(db, found, await served_models.named(db, found, name))

    judge = in_transaction(make)
    say(f"{name} is a judge of {project}.", {"name": name, "judge_id": judge.id})


@judge_commands.command("list")
def list_judges(project: ProjectName) -> None:
    """List the judges of a project with how far each can be trusted, as it is now."""

    async def read(db: AsyncSession) -> Sequence[Entry]:
        await reports.one_snapshot(db)
        latest = await reports.fresh(db, await projects.named(db, project), JUDGES)
        return latest.content.entries if latest.content else ()

    entries = in_transaction(read)
    say("\n".join(map(_line, entries)) or "No served model is a judge here.", [asdict(entry) for entry in entries])


@judge_commands.command()
def ask(
    name: Name,
    project: ProjectName,
    pairs: Annotated[
        int, typer.Option(min=0, help="Open pairs, at most; 0: those alone that people have judged, to calibrate it.")
    ] = 0,
) -> None:
    """Have a judge judge pairs, twice each: those that it is measured by first, then open ones."""

    async def queue(db: AsyncSession) -> Run:
        found, judge = await _judge(db, project, name)
        return await starting.judge(db, None, found, judge, pairs=pairs)

    run = in_transaction(queue)
    say(f"Run {run.id} is in the queue.", {"run_id": run.id, "state": run.state})


@judge_commands.command("answers")
def list_answers(
    name: Name,
    project: ProjectName,
    outcome: Annotated[Outcome | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
) -> None:
    """Print what a judge replied, newest first; JSON has it word for word."""

    async def read(db: AsyncSession) -> list[Answered]:
        _, judge = await _judge(db, project, name)
        return await answered.newest(db, judge, outcome=outcome, limit=limit)

    found = in_transaction(read)
    lines = "\n".join(f"task {one.task_id}: {one.outcome}, {one.tokens} tokens" for one in found)
    say(lines or "It has answered nothing yet.", [asdict(one) for one in found])


@judge_commands.command()
def stop(name: Name, project: ProjectName) -> None:
    """Have a judge judge no more. What it said stays, and is learnt from no more."""

    async def end(db: AsyncSession) -> None:
        _, judge = await _judge(db, project, name)
        await judges.stop(db, judge)

    in_transaction(end)
    say(f"{name} judges no more.", {"name": name, "stopped": True})


async def _judge(db: AsyncSession, project: str, name: str) -> tuple[Project, Judge]:
    found = await projects.named(db, project)
    return found, await judges.required(db, await served_models.named(db, found, name))


def _line(entry: Entry) -> str:
    measured = entry.measured
    counts = f"weighs {measured.weight:.2f}" if measured.is_calibrated else "not calibrated"
    return (
        f"{entry.name}: {measured.answered} pairs judged, {measured.shared} of them by people, too; agreement"
        f" {_share(measured.agreement)}, flips {_share(measured.flips)}, {counts}, {measured.tokens:,} tokens"
    )


def _share(share: Share | None) -> str:
    return "unknown" if share is None else f"{share.share:.1%} [{share.low:.1%}, {share.high:.1%}]"
