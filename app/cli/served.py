"""Served models from the command line: added, listed, tried and removed."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import say, show
from app.db.tables import ServedModel
from app.errors import Invalid
from app.services.projects import projects
from app.services.served import served_models
from app.services.served.client import Endpoint
from app.services.served.served_models import Description
from app.services.served.settings import Limits, Sampling, limits_of, sampling_of
from app.settings import settings

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]
Name = Annotated[str, typer.Argument(help="What it is called in the project.")]
SETTINGS = [*Sampling.model_fields, *Limits.model_fields]

served_commands = typer.Typer(help="Served models: endpoints that write responses.", no_args_is_help=True)
app.add_typer(served_commands, name="served", rich_help_panel=THINGS)


@served_commands.command()
def add(
    name: Name,
    project: ProjectName,
    address: Annotated[str, typer.Option(help="Of an OpenAI-compatible endpoint, https://example.org/v1.")],
    model: Annotated[str, typer.Option(help="What the endpoint calls the model.")],
    key_file: Annotated[
        str | None, typer.Option(help="File with the endpoint's key, - for standard input; it is stored encrypted.")
    ] = None,
    completions: Annotated[
        bool, typer.Option("--completions", help="Ask by completions, where the endpoint has no chat.")
    ] = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help=f"NAME=VALUE of how it is asked: {', '.join(SETTINGS)}.")
    ] = None,
) -> None:
    """Add a served model to a project. Try it by `plumbline served test`."""
    given = _settings(setting or [])
    description = Description(
        name,
        address,
        model,
        "completions" if completions else "chat",
        sampling_of({name: value for name, value in given.items() if name in Sampling.model_fields}),
        limits_of({name: value for name, value in given.items() if name in Limits.model_fields}),
    )
    key = None if key_file is None else _read(key_file)

    async def create(db: AsyncSession) -> ServedModel:
        found = await projects.named(db, project)
        return await served_models.create(db, found, description, key=key, home=settings().home)

    served = in_transaction(create)
    say(f"{served.name} is a served model of {project}, at {served.address}.")


@served_commands.command("list")
def list_served(project: ProjectName) -> None:
    """List the served models of a project."""

    async def read(db: AsyncSession) -> list[ServedModel]:
        return await served_models.list_served(db, (await projects.named(db, project)).id)

    rows = [
        {"name": one.name, "model": one.model, "address": one.address, "has_key": one.key_sealed is not None}
        for one in in_transaction(read)
    ]
    columns = {"name": "name", "model": "model", "address": "address", "has_key": "key"}
    show(rows, columns, empty="There is no served model.")


@served_commands.command("test")
def try_out(
    name: Name,
    project: ProjectName,
    prompt: Annotated[str, typer.Option(help="What to ask.")] = "In one sentence: why is the sky blue?",
) -> None:
    """Ask a served model for one response and print it. Nothing is stored."""

    async def read(db: AsyncSession) -> Endpoint:
        served = await served_models.named(db, await projects.named(db, project), name)
        return served_models.endpoint_of(served, served_models.described(served), settings().home)

    say(asyncio.run(served_models.try_out(in_transaction(read), prompt)).text)


@served_commands.command()
def remove(name: Name, project: ProjectName) -> None:
    """Have a served model asked no more. What it wrote stays."""

    async def leave(db: AsyncSession) -> None:
        await served_models.remove(db, await served_models.named(db, await projects.named(db, project), name))

    in_transaction(leave)
    say(f"{name} is removed.")


def _settings(given: list[str]) -> dict[str, Any]:
    """Values are JSON where they can be, else text."""
    found: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in SETTINGS:
            raise Invalid(f"--set takes NAME=VALUE with one of {', '.join(SETTINGS)}, not {text!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
