"""Settings of rounds, gates and stages from the command line: what the page of that name does."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app, output
from app.cli.database import in_transaction
from app.cli.output import Row, say
from app.errors import Invalid
from app.services.loop.models import models
from app.services.loop.settings import settable
from app.services.projects import projects

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]
GroupName = Annotated[str, typer.Argument(help="round, a gate or a stage; `show` lists them.")]

commands = typer.Typer(help="Settings of rounds, gates and stages.", no_args_is_help=True)
app.add_typer(commands, name="settings", rich_help_panel=THINGS)


@commands.command()
def show(
    project: ProjectName,
    group: Annotated[str | None, typer.Argument(help="Unset: every group, what was changed alone.")] = None,
) -> None:
    """What holds for the next round or run, and the default where that is something else."""

    async def read(db: AsyncSession) -> list[Row]:
        found = await projects.named(db, project)
        shown = settable.groups() if group is None else (settable.group_named(group),)
        facts = await models.facts_of_policy(db, found.id)
        return [
            _row(each.name, choice)
            for each in shown
            for choice in settable.choices_of(found, each, facts)
            if group is not None or choice.is_changed
        ]

    columns = {"group": "group", "name": "setting", "value": "value", "beside": ""}
    empty = f"Nothing was changed. Groups: {', '.join(each.name for each in settable.groups())}."
    output.show(in_transaction(read), columns, empty=empty)


@commands.command("set")
def set_values(
    project: ProjectName,
    group: GroupName,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="An empty value is null.")],
) -> None:
    """Let settings hold from the next round or run on, all of them or none."""

    async def change(db: AsyncSession) -> None:
        found = settable.group_named(group)
        typed = dict(_parts(value) for value in values)
        read = {name: settable.read(found.named(name), text.split(",")) for name, text in typed.items()}
        settable.change(await projects.named(db, project), found, read)

    in_transaction(change)
    say(f"Set in {group}: {', '.join(values)}.")


@commands.command()
def reset(
    project: ProjectName,
    group: GroupName,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Unset: all of the group.")] = None,
) -> None:
    """Go back to the defaults."""

    async def take_back(db: AsyncSession) -> None:
        found, target = settable.group_named(group), await projects.named(db, project)
        if not names:
            settable.reset(target, found)
        for name in names or []:
            settable.reset(target, found, name)

    in_transaction(take_back)
    say(f"Reset in {group}: {', '.join(names or ['everything'])}.")


def _parts(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not equals:
        raise Invalid(f"Write NAME=VALUE, not {value!r}.")
    return name.strip(), text


def _row(group: str, choice: settable.Choice) -> Row:
    told = {"group": group, "name": choice.setting.name, "value": choice.value, "default": choice.default}
    return {**told, "beside": _beside(choice)}


def _beside(choice: settable.Choice) -> str:
    if choice.is_changed:
        return f"by default {choice.default if choice.setting.by_model is None else 'as the model decides'}"
    if choice.setting.by_model is None:
        return ""
    return f"the model decides; the policy in use: {'not known yet' if choice.by_model is None else choice.by_model}"
