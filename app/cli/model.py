"""Models from the command line: brought to a project, and taken out of one."""

import time
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.data import ProjectName
from app.cli.database import in_transaction
from app.cli.output import say
from app.db.base import Json
from app.db.tables import Errand, Run
from app.db.tables.lineage import ModelKind
from app.errors import Conflict, Invalid
from app.services import audit
from app.services.loop.chores import bringing, errands
from app.services.loop.chores.errands import Pair, Writing
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.loop.models.archive import Archive
from app.services.loop.runs import base_models, starting
from app.services.loop.runs.base_models import CheckedModel
from app.services.loop.runs.needs import Need
from app.services.loop.stages import model_card
from app.services.projects import projects
from app.settings import settings
from training.records import Message

LOOK_SECONDS = 0.5

commands = typer.Typer(help="Model versions: listed, brought, taken out, put into use.", no_args_is_help=True)
app.add_typer(commands, name="model", rich_help_panel=THINGS)


@commands.command()
def add(
    location: Annotated[str, typer.Argument(metavar="MODEL", help="A directory, or owner/name on the hub.")],
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="The project's short name, as in its address.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what it is and what it takes, and do nothing.")] = False,
) -> None:
    """Let a project take a model over as it is, as its first policy or as one that waits to be chosen."""
    folder = Path(location).expanduser()
    checked = base_models.checked(settings(), str(folder.absolute()) if folder.is_dir() else location, folders=None)
    print("\n".join(_table(checked)))
    if check:
        return
    if project is None:
        raise Invalid("Say which project by --project, or look at it alone by --check.")

    async def take(db: AsyncSession) -> Run:
        return await bringing.bring(db, None, await projects.named(db, project), checked.card)

    run = in_transaction(take)
    say(f"Run {run.id} is in the queue.", {"run_id": run.id})


@commands.command()
def download(
    kind: Annotated[ModelKind, typer.Argument(help="policy, reward or cost.")],
    number: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    project: ProjectName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; unset: by the model's name, here.")
    ] = None,
) -> None:
    """Write a model version as a tar of its plain directory; a file that was begun is gone on with."""
    home = settings().home

    async def find(db: AsyncSession) -> Archive:
        found = await projects.named(db, project)
        version = await models.numbered(db, found.id, kind, number)
        await audit.note(db, "export", f"{kind} {number}", {"as": "archive"}, project_id=found.id)
        return await model_card.archive_of(db, found, version, home)

    archive = in_transaction(find)
    target = out or Path(f"{archive.name}.tar")
    # The tag in the name: a card that says more by now begins another file.
    draft = target.with_name(f".{target.name}.{archive.etag[1:9]}.part")
    with draft.open("ab") as file:
        for piece in archive.pieces(first=file.tell()):
            file.write(piece)
    draft.replace(target)
    words = f"Wrote {_size(archive.size_bytes)} to {target}."
    say(words, {"file": str(target), "size_bytes": archive.size_bytes})


@commands.command()
def push(
    kind: Annotated[ModelKind, typer.Argument(help="policy, reward or cost.")],
    number: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    project: ProjectName,
    to: Annotated[str, typer.Option("--to", help="One of PLUMBLINE_PUSH_TO; a folder by its name and a slash.")],
) -> None:
    """Have a worker send a model version to a folder, a storage or a hub."""

    async def queue(db: AsyncSession) -> Run:
        found = await projects.named(db, project)
        return await starting.push(db, None, found, await models.numbered(db, found.id, kind, number), to)

    print(f"Run {in_transaction(queue).id} is in the queue.")


@commands.command()
def generate(
    number: Annotated[int, typer.Argument(min=1, help="Number of the policy.")],
    prompt: Annotated[str, typer.Argument(help="What a user says.")],
    project: ProjectName,
    samples: Annotated[int, typer.Option(min=1, max=errands.MOST_SAMPLES, help="How many responses.")] = 1,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, max=errands.MOST_TOKENS, help="Unset: as the project has it.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0.01, max=2, help="Unset: as the project has it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same writes the same.")] = 0,
) -> None:
    """Have a policy answer a prompt, by a worker that keeps it in memory."""

    async def ask(db: AsyncSession) -> Errand:
        found = await projects.named(db, project)
        version = await models.numbered(db, found.id, "policy", number)
        writing = Writing(
            [Message("user", prompt)],
            [Writer("policy", version.id)],
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        return await errands.write(db, None, found, writing)

    for answer in _came_of(in_transaction(ask), project):
        if answer["state"] != "done":
            raise Conflict("%(why)s", why=answer.get("problem") or errands.LOST)
        print(answer["text"])


@commands.command()
def score(
    number: Annotated[int, typer.Argument(min=1, help="Number of the reward model.")],
    prompt: Annotated[str, typer.Argument(help="What a user says.")],
    responses: Annotated[list[str], typer.Argument(help="What is scored.")],
    project: ProjectName,
) -> None:
    """Print what a reward model makes of responses to a prompt: normalised, and as the model says it."""

    async def ask(db: AsyncSession) -> Errand:
        found = await projects.named(db, project)
        version = await models.numbered(db, found.id, "reward", number)
        return await errands.score(
            db, None, found, version, [Pair([Message("user", prompt)], response) for response in responses]
        )

    for answer, response in zip(_came_of(in_transaction(ask), project), responses, strict=True):
        print(f"{answer['score']:+.3f}  {answer['raw']:+.3f}  {response}")


def _came_of(errand: Errand, project: str) -> list[Json]:
    """What came of it. Raises Conflict, with why, where nothing did."""

    async def look(db: AsyncSession) -> Errand:
        return await errands.get(db, await projects.named(db, project), errand.id)

    while errand.ended_at is None:
        time.sleep(LOOK_SECONDS)
        errand = in_transaction(look)
    if errand.error is not None:
        raise Conflict("%(why)s", why=errand.error)
    return errand.answers


def _table(checked: CheckedModel) -> list[str]:
    card = checked.card
    said = {
        "type": card.model_type,
        "parameters": f"{card.parameters:,}",
        "size on disk": _size(card.size_bytes),
        "numbers": ", ".join(card.dtypes),
        "context": f"{card.context:,} tokens" if card.context else "not said",
        "licence": card.licence or "not said",
        "chat template": "its own" if card.has_chat_template else "none; a plain one is used",
        "memory here": _size(checked.machine_memory_bytes),
    }
    return [
        card.location,
        *(f"  {name:<14} {value}" for name, value in said.items()),
        *(_line(need) for need in checked.needs),
    ]


def _line(need: Need) -> str:
    name = need.stage + (" with adapters" if need.with_adapters else "")
    fits = "fits" if need.fits else "too much for this machine"
    if need.changes:
        fits = f"fits with {need.changed}: {_size(need.changed_bytes)}"
    return f"  {name:<20} {_size(need.memory_bytes):>9}  {need.step_seconds:>8,.1f} s a step  {fits}"


def _size(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"
