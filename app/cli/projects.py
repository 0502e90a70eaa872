"""Projects as a whole from the command line: made, changed, copied, archived, deleted."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import say, show
from app.db.tables import Project, User
from app.security import Principal
from app.services import accounts
from app.services.loop.chores import lifecycle
from app.services.people import trust
from app.services.projects import packing, projects, setup, unpacking
from app.services.projects.packing import Packed
from app.services.projects.templates import TEMPLATES
from app.settings import settings

project_commands = typer.Typer(
    help="Projects as a whole: made, changed, copied, moved, deleted.",
    no_args_is_help=True,
)
app.add_typer(project_commands, name="project", rich_help_panel=THINGS)

Slug = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's short name, as in its address.")]
Owner = Annotated[str, typer.Option("--owner", "-u", help="Name or e-mail address of who is to own it.")]
NewSlug = Annotated[str, typer.Option("--slug", help="Short name in addresses; unset: made from the name.")]

FIRST_TEMPLATE = next(iter(TEMPLATES))

if TYPE_CHECKING:
    TemplateName = str
else:  # the rows of the table, as choices that typer lists and checks
    TemplateName = Literal[*TEMPLATES]


@project_commands.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    owner: Owner,
    template: Annotated[TemplateName, typer.Option(help="What it begins with.")] = FIRST_TEMPLATE,
    slug: NewSlug = "",
    description: Annotated[str, typer.Option(help="For the list of projects.")] = "",
) -> None:
    """Make a project and print its short name."""

    async def make(db: AsyncSession) -> str:
        user = await accounts.find_user(db, owner)
        project = await setup.begin(
            db, _owner(user), "everybody", name=name, template=template, slug=slug, description=description
        )
        project.setup_step = None
        await trust.begin_own(db, _owner(user), project.id)
        return project.slug

    say(made := in_transaction(make), {"slug": made})


@project_commands.command("list")
def list_projects(
    archived: Annotated[bool, typer.Option("--archived", help="Those in the archive instead.")] = False,
) -> None:
    """List projects by their short names."""

    async def read(db: AsyncSession) -> list[Project]:
        there = Project.archived_at.is_not(None) if archived else Project.archived_at.is_(None)
        wanted = select(Project).where(there, Project.removal_asked_at.is_(None)).order_by(Project.slug)
        return list(await db.scalars(wanted))

    rows = [
        {"slug": one.slug, "name": one.name, "description": one.description, "created_at": one.created_at}
        for one in in_transaction(read)
    ]
    show(rows, {"slug": "short name", "name": "name"}, empty="There is no project.")


@project_commands.command()
def rename(slug: Slug, name: Annotated[str, typer.Argument(help="What people call it from now on.")]) -> None:
    """Call a project something else; its address stays."""
    say(f"{slug} is called {_change(slug, lambda _, project: _describe(project, name, project.description)).name}.")


@project_commands.command()
def describe(slug: Slug, text: Annotated[str, typer.Argument(help="What it is for.")]) -> None:
    """Say what a project is for."""
    _change(slug, lambda _, project: _describe(project, project.name, text))
    say(f"{slug} is described.")


@project_commands.command()
def copy(
    slug: Slug,
    name: Annotated[str, typer.Argument(help="What people call the copy.")],
    owner: Owner,
    new_slug: NewSlug = "",
    prompts: Annotated[bool, typer.Option("--prompts", help="With its prompts, which a worker brings.")] = False,
) -> None:
    """Make another project with the same settings and print its short name."""

    async def make(db: AsyncSession) -> str:
        user = await accounts.find_user(db, owner)
        found = await projects.named(db, slug)
        made = await lifecycle.copy(
            db, _owner(user), "everybody", found, name=name, slug=new_slug, with_prompts=prompts
        )
        return made.slug

    say(made := in_transaction(make), {"slug": made})


@project_commands.command()
def archive(slug: Slug) -> None:
    """Hide a project from everybody but its owners; nothing of it is lost."""
    _change(slug, lifecycle.archive)
    say(f"{slug} is in the archive.")


@project_commands.command()
def unarchive(slug: Slug) -> None:
    """Bring a project back from the archive."""
    _change(slug, lifecycle.take_out)
    say(f"{slug} is back.")


@project_commands.command()
def delete(
    slug: Slug,
    name: Annotated[str, typer.Option("--name", prompt="Name of the project", help="Its name, to be sure.")],
) -> None:
    """Delete a project for good; a worker removes what it holds."""
    _change(slug, lambda db, project: lifecycle.ask_removal(db, project, name=name))
    say(f"{slug} is deleted; a worker removes what it holds.")


@project_commands.command("export")
def export_project(
    slug: Slug,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, a zip.")],
    models: Annotated[bool, typer.Option("--models", help="With the files of its models.")] = False,
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms", help="Without names and e-mail addresses of people.")
    ] = False,
) -> None:
    """Write a whole project into one file, from which `project import` makes it again."""

    async def write(db: AsyncSession) -> Packed:
        project = await projects.named(db, slug)
        return await packing.pack(db, project.id, settings().home, out, with_models=models, with_people=not pseudonyms)

    packed = in_transaction(write)
    words = f"Wrote {packed.rows:,} rows of {slug} to {out} ({packed.size_bytes:,} bytes)."
    say(words, {"file": str(out), "rows": packed.rows, "size_bytes": packed.size_bytes})


@project_commands.command("import")
def import_project(
    file: Annotated[Path, typer.Argument(help="What `project export` wrote.")],
    owner: Owner,
    slug: NewSlug = "",
    name: Annotated[str, typer.Option(help="What people call it; unset: as in the file.")] = "",
) -> None:
    """Make a project again from its file and print its short name. People are known by their e-mail addresses."""

    async def read(db: AsyncSession) -> str:
        user = await accounts.find_user(db, owner)
        made = await unpacking.unpack(db, file, settings().home, owner_id=user.id, name=name, slug=slug)
        await trust.end_in_project(db, made.id)
        return made.slug

    say(made := in_transaction(read), {"slug": made})


def _change(slug: str, change: Callable[[AsyncSession, Project], Awaitable[None]]) -> Project:
    async def work(db: AsyncSession) -> Project:
        project = await projects.named(db, slug)
        await change(db, project)
        return project

    return in_transaction(work)


async def _describe(project: Project, name: str, description: str) -> None:
    projects.describe(project, name=name, description=description)


def _owner(user: User) -> Principal:
    return Principal(user.id, user.name, is_admin=user.is_admin)
