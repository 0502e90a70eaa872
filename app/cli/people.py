"""People from the command line: accounts, ways in, tokens."""

from typing import Annotated, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.membership import people
from app.cli.output import say
from app.db.tables.people import Scope
from app.db.tables.projects import Role
from app.errors import Conflict
from app.services import accounts
from app.services.projects import projects
from app.settings import settings

UserName = Annotated[str, typer.Option("--user", "-u", help="Name, e-mail address or number (#12) of an account.")]


@app.command(hidden=True)
@people.command("create")
def create_user(
    name: Annotated[str, typer.Argument(help="What others call this person.")],
    email: Annotated[str | None, typer.Option(help="For signing in with a password.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything in every project.")] = False,
    password: Annotated[bool, typer.Option("--password", help="Ask for a password.")] = False,
    project: Annotated[str | None, typer.Option("--project", "-p", help="A project to work in.")] = None,
    role: Annotated[str, typer.Option(help="What to be in it: owner, reviewer or annotator.")] = "annotator",
) -> None:
    """Make an account and print its first one-time sign-in link."""
    secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True) if password else None

    async def create(db: AsyncSession) -> str:
        if email and await accounts.is_said(db, email):
            raise Conflict("Another account has the e-mail address %(email)s.", email=email)
        user = await accounts.create_user(db, name=name, email=email, password=secret, is_admin=admin)
        if project is not None:
            await projects.add_member(db, await projects.named(db, project), user.id, cast(Role, role))
        return await accounts.create_sign_in_link(db, user.id)

    say(address := _address(in_transaction(create)), {"link": address})


@app.command(hidden=True)
@people.command()
def link(
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Name, e-mail address or number (#12); unset: the first admin.")
    ] = None,
) -> None:
    """Print a new one-time sign-in link."""

    async def make(db: AsyncSession) -> str:
        found = await accounts.find_user(db, user) if user else await accounts.first_admin(db)
        return await accounts.create_sign_in_link(db, found.id)

    say(address := _address(in_transaction(make)), {"link": address})


@app.command(short_help="Print a new API token.", rich_help_panel=THINGS)
def token(
    user: UserName,
    name: Annotated[str, typer.Option(help="What it is for, so that it can be told from others.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: read, judge, manage; several times for more than one.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=accounts.LONGEST_TOKEN_DAYS, help="How long it works.")
    ] = accounts.TOKEN_DAYS,
) -> None:
    """Print a new API token, which may read unless more is said. It is shown this once."""
    scopes = cast(list[Scope], scope or ["read"])

    async def make(db: AsyncSession) -> str:
        found = await accounts.find_user(db, user)
        return await accounts.create_api_token(db, found.id, name=name, days=days, scopes=scopes)

    say(made := in_transaction(make), {"token": made})


def _address(link_token: str) -> str:
    return f"{settings().site_url}/sign-in/link/{link_token}"
