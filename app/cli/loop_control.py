"""Rounds, runs and promotions from the command line: what the admin's buttons do."""

import time
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import logs
from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.model import commands as model_commands
from app.cli.output import bar, say
from app.db.tables import ModelVersion, Project, Round, Run, ServedModel
from app.db.tables.lineage import ModelKind
from app.errors import Conflict, Invalid, NotFound
from app.phrases import Sentence
from app.services.judging import labels
from app.services.loop import round_rows
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.loop.rounds import first_policy, promoting, rounds
from app.services.loop.rounds.label_advice import Advice
from app.services.loop.runs import runs, starting
from app.services.loop.stages.registry import Startable
from app.services.projects import projects
from app.services.reports.advice import advice_on_labels
from app.services.served import served_models
from app.settings import settings

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]
Reason = Annotated[str, typer.Option(help="Why, for the log of promotions; a must where its gate refused it.")]
RunId = Annotated[int, typer.Argument(help="The run's number, as on its page.")]


round_commands = typer.Typer(help="Rounds of the loop: listed, started, cancelled.", no_args_is_help=True)
run_commands = typer.Typer(help="Runs: listed, started, followed, retried, cancelled.", no_args_is_help=True)
app.add_typer(round_commands, name="round", rich_help_panel=THINGS)
app.add_typer(run_commands, name="run", rich_help_panel=THINGS)


@round_commands.command("start")
def start_round(
    project: ProjectName,
    labels: Annotated[
        int | None, typer.Option(min=0, help="New judgements to wait for; unset: the project's own.")
    ] = None,
) -> None:
    """Open the project's next round."""

    async def start(db: AsyncSession) -> tuple[Round, Advice]:
        found = await projects.named(db, project)
        advice = await advice_on_labels(db, found)
        return await rounds.start(db, None, found, label_target=labels), advice

    round_, advice = in_transaction(start)
    words = f"Round {round_.number} is open and waits for {round_.label_target} judgements. {advice.sentence}"
    say(words, {"number": round_.number, "label_target": round_.label_target})


@round_commands.command("cancel")
def cancel_round(project: ProjectName) -> None:
    """End the round that is under way, and its runs."""

    async def cancel(db: AsyncSession) -> int:
        round_ = await round_rows.active(db, (await projects.named(db, project)).id)
        if round_ is None:
            raise NotFound("No round is under way.")
        await rounds.cancel(db, None, round_)
        return round_.number

    say(f"Round {in_transaction(cancel)} is cancelled.")


@round_commands.command("status")
def round_status(project: ProjectName) -> None:
    """Say where the latest round stands."""

    async def describe(db: AsyncSession) -> list[str]:
        found = await projects.named(db, project)
        round_ = await round_rows.latest(db, found.id)
        if round_ is None:
            raise NotFound("This project has had no round yet.")
        at_hand = await labels.labels_at_hand(db, found.id)
        lines = [f"Round {round_.number}: {round_.status}, at {round_.step}."]
        if round_.step == "label":
            lines.append(f"{at_hand} of {round_.label_target} judgements are there.")
        if round_.reason:
            lines.append(round_.reason)
        return [*lines, *(_run_line(run) for run in (await round_rows.step_runs(db, round_.id)).values())]

    print("\n".join(in_transaction(describe)))


@run_commands.command("start")
def start_run(
    stage: Annotated[Startable, typer.Argument(help="What to train, or to let the policy do.")],
    project: ProjectName,
    served: Annotated[str | None, typer.Option(help="For ask: the served model, where there are several.")] = None,
    prompts: Annotated[int | None, typer.Option(min=1, help="For ask: how many prompts to answer.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="For ask: whose responses to make pairs of: names of served models, or policy."),
    ] = None,
) -> None:
    """Queue a single run outside a round."""
    asks = served is not None or prompts is not None or bool(compare)
    if asks and stage.value != "ask":
        raise Invalid("--served, --prompts and --compare are for ask.")

    async def start(db: AsyncSession) -> tuple[Run, Sentence | None]:
        found = await projects.named(db, project)
        if not asks:
            warned = await first_policy.warning(db, found) if stage.value == "sft" else None
            return await starting.start(db, None, found, stage.value), warned
        model = await _served(db, found, served)
        compared = [await _writer(db, found, name) for name in compare or [model.name]]
        return await starting.ask(db, None, found, model, prompts=prompts, compared=compared), None

    run, warned = in_transaction(start)
    say(f"Run {run.id} is in the queue." + (f" {warned}" if warned else ""), {"run_id": run.id})


@run_commands.command("retry")
def retry_run(run_id: RunId) -> None:
    """Put a failed or cancelled run back into the queue; it goes on from its last checkpoint."""

    async def retry(db: AsyncSession) -> None:
        await runs.retry(db, None, await _run(db, run_id))

    in_transaction(retry)
    say(f"Run {run_id} is in the queue again.")


@run_commands.command("cancel")
def cancel_run(run_id: RunId) -> None:
    """Cancel a run; one that is under way writes a checkpoint first."""

    async def cancel(db: AsyncSession) -> None:
        await runs.request_cancel(db, None, await _run(db, run_id))

    in_transaction(cancel)
    say(f"Run {run_id} will end.")


@run_commands.command("watch")
def watch_run(
    run_id: RunId,
    seconds: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks at it.")] = 2.0,
) -> None:
    """Wait until a run is over, with a bar of how far it is. Exits 1 unless it succeeded."""
    with bar(f"Run {run_id}") as tell:
        while (run := in_transaction(lambda db: _run(db, run_id))).state in ("queued", "running"):
            tell(run.step, run.total_steps, f"{run.stage}, {run.phase or run.state}")
            time.sleep(seconds)
    words = f"Run {run.id} ({run.stage}) {run.state}" + (f": {run.error}" if run.error else ".")
    say(words, {"run_id": run.id, "stage": run.stage, "state": run.state, "error": run.error, "result": run.result})
    if run.state != "succeeded":
        raise typer.Exit(1)


@run_commands.command("log")
def run_log(run_id: RunId) -> None:
    """Print the end of what a run's training process said."""

    async def read(db: AsyncSession) -> str:
        return runs.log_tail(await _run(db, run_id), settings().home)

    # Into a terminal, which would do what control characters say.
    for line in in_transaction(read).splitlines():
        print(logs.escaped(line))


@app.command(hidden=True)
@model_commands.command()
def promote(
    project: ProjectName,
    number: Annotated[int, typer.Argument(help="The version's number.")],
    kind: Annotated[ModelKind, typer.Option(help="What kind of model.")] = "policy",
    reason: Reason = "",
) -> None:
    """Put a model version into use."""

    async def switch(db: AsyncSession) -> None:
        found = await projects.named(db, project)
        version = await db.scalar(
            select(ModelVersion).where(
                ModelVersion.project_id == found.id, ModelVersion.kind == kind, ModelVersion.number == number
            )
        )
        if version is None:
            raise NotFound(f"There is no {kind} {number}.")
        await promoting.promote(db, None, version, home=settings().home, reason=reason)

    in_transaction(switch)
    say(f"The {kind} in use is {number}.")


@app.command(hidden=True)
@model_commands.command()
def rollback(
    project: ProjectName,
    kind: Annotated[ModelKind, typer.Option(help="What kind of model.")] = "policy",
    reason: Reason = "",
) -> None:
    """Put the model version into use that was there before the current one."""

    async def switch(db: AsyncSession) -> ModelVersion:
        found = await projects.named(db, project)
        return await promoting.roll_back(db, None, found, home=settings().home, kind=kind, reason=reason)

    say(f"The {kind} in use is {in_transaction(switch).number} again.")


async def _served(db: AsyncSession, project: Project, name: str | None) -> ServedModel:
    if name is not None:
        return await served_models.named(db, project, name)
    there = await served_models.list_served(db, project.id)
    if len(there) != 1:
        raise Conflict(f"Say which served model by --served: there are {len(there)}.")
    return there[0]


async def _writer(db: AsyncSession, project: Project, name: str) -> Writer:
    if name != "policy":
        return Writer("served", (await served_models.named(db, project, name)).id)
    policy = await models.promoted(db, project.id)
    if policy is None:
        raise Conflict("There is no policy in use yet.")
    return Writer("policy", policy.id)


async def _run(db: AsyncSession, run_id: int) -> Run:
    run = await db.get(Run, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    return run


def _run_line(run: Run) -> str:
    progress = f", {run.phase} {run.step}/{run.total_steps}" if run.state == "running" and run.total_steps else ""
    error = f": {run.error}" if run.error else ""
    return f"  {run.round_step}: run {run.id} {run.state}{progress}{error}"
