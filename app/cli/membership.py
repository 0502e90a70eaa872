"""`plumbline people` and `plumbline group`: who is in a project and as what, who may sign in, and who leaves."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import Row, say, show
from app.db.tables import User
from app.db.tables.projects import Role
from app.errors import Invalid
from app.security import new_token
from app.services import accounts
from app.services.judging import releasing
from app.services.people import directory, groups, invitations, members
from app.services.projects import projects
from app.settings import settings

people = typer.Typer(help="People: accounts, links, who is in a project and as what.", no_args_is_help=True)
app.add_typer(people, name="people", rich_help_panel=THINGS)
group = typer.Typer(help="Groups of people that are given to projects.", no_args_is_help=True)
app.add_typer(group, name="group", rich_help_panel=THINGS)

Slug = Annotated[str, typer.Option("--project", "-p", help="Short name of the project.")]
Who = Annotated[str, typer.Argument(help="Name, e-mail address or number (#12) of an account.")]
AsWhat = Annotated[str, typer.Option("--role", help="owner, reviewer or annotator.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


@people.command("list")
def list_people(
    project: Annotated[str | None, typer.Option("--project", "-p", help="Of this project; unset: of the site.")] = None,
) -> None:
    """Print who is in a project, or on the site: id, name, address, role or standing."""

    async def read(db: AsyncSession) -> list[Row]:
        if project is None:
            listed = await directory.page(db, "", size=100_000)
            return [_row(one.user, "admin" if one.user.is_admin else "") for one in listed]
        there = await members.of_project(db, await projects.named(db, project))
        return [_row(one.user, one.member.role, "paused" if one.member.paused_at else "") for one in there]

    show(in_transaction(read), {"id": "id", "name": "name", "email": "address", "standing": ""}, empty="Nobody.")


@people.command()
def invite(
    project: Slug,
    names: Annotated[list[str] | None, typer.Argument(help="Names or e-mail addresses, each one person.")] = None,
    file: Annotated[Path | None, typer.Option(help="One person in each line; - reads standard input.")] = None,
    role: AsWhat = "annotator",
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the links work.")] = 7,
) -> None:
    """Print a link for each person, by which they make an account or join with the one that they have."""
    lines = "\n".join(names or ())
    if file is not None:
        lines += "\n" + (sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))

    async def make(db: AsyncSession) -> list[Row]:
        wanted = invitations.invitees_of(lines)
        in_project = await projects.named(db, project)
        made = await invitations.invite(db, None, in_project, wanted, _role(role), days=days, form_key=new_token())
        site = settings().site_url
        return [
            {"person": one.invitation.name or one.invitation.email, "link": f"{site}/invitations/{one.token}"}
            for one in made
        ]

    show(in_transaction(make), {"person": "person", "link": "link"}, empty="Nobody was named.")


@people.command("invitations")
def list_invitations(project: Slug) -> None:
    """Print the invitations that nobody has accepted yet, and until when their links work."""

    async def read(db: AsyncSession) -> list[Row]:
        found = await db.scalars(invitations.open_in(await projects.named(db, project)))
        return [{name: getattr(one, name) for name in ("id", "name", "email", "role", "expires_at")} for one in found]

    columns = {"id": "number", "name": "name", "email": "address", "role": "role", "expires_at": "works until"}
    show(in_transaction(read), columns, empty="There is no open invitation.")


@people.command("renew")
def renew_invitation(
    project: Slug,
    invitation: Annotated[int, typer.Argument(min=1, help="Number, as `plumbline people invitations` says it.")],
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the new link works.")] = 7,
) -> None:
    """Print another link for an invitation whose link is lost or over; that one lets nobody in any more."""

    async def renew(db: AsyncSession) -> str:
        in_project = await projects.named(db, project)
        return (await invitations.renew(db, None, in_project, invitation, days=days)).token

    say(link := f"{settings().site_url}/invitations/{in_transaction(renew)}", {"link": link})


@people.command()
def add(project: Slug, who: Who, role: AsWhat = "annotator") -> None:
    """Put an account into a project, or give a member another role."""

    async def put(db: AsyncSession) -> str:
        user = await accounts.find_user(db, who)
        ended = await members.put(db, await projects.named(db, project), user.id, _role(role))
        lost = " Sessions and tokens that go back to a link of another project's owner have ended." if ended else ""
        return f"{user.name} is {role} of {project}.{lost}"

    say(in_transaction(put))


@people.command()
def remove(project: Slug, who: Who) -> None:
    """Take somebody out of a project; what they judged stays."""

    async def take_out(db: AsyncSession) -> str:
        user = await accounts.find_user(db, who)
        await members.remove(db, None, await projects.named(db, project), user.id)
        return f"{user.name} is out of {project}."

    say(in_transaction(take_out))


@people.command()
def pause(project: Slug, who: Who) -> None:
    """Give somebody no more work in a project, and free the tasks that they hold."""
    _pause(project, who, paused=True)


@people.command()
def resume(project: Slug, who: Who) -> None:
    """Give somebody work again."""
    _pause(project, who, paused=False)


@people.command()
def release(project: Slug, who: Who) -> None:
    """Free the tasks that somebody holds in a project."""

    async def free(db: AsyncSession) -> int:
        user = await accounts.find_user(db, who)
        return await releasing.release(db, user.id, project=await projects.named(db, project))

    say(f"{in_transaction(free)} tasks are free for others.")


@people.command()
def reopen(project: Slug, who: Who) -> None:
    """Have others judge again what somebody judged in a project; what was said stays."""

    async def open_again(db: AsyncSession) -> int:
        user = await accounts.find_user(db, who)
        return await releasing.reopen(db, await projects.named(db, project), user.id)

    say(f"{in_transaction(open_again)} tasks are open again.")


@people.command()
def disable(who: Who) -> None:
    """Shut somebody out of the site at once. Their sessions, tokens and links end for good."""
    _change(who, directory.disable, "is shut out.")


@people.command()
def enable(who: Who) -> None:
    """Let somebody in again who was shut out."""
    _change(who, directory.enable, "may sign in again.")


@people.command("sign-out")
def sign_out(who: Who) -> None:
    """End every session, token and unopened link of somebody, who comes in again by password, passkey or a new link."""
    _change(who, directory.end_ways_in, "is signed out everywhere.")


@people.command()
def admin(who: Who, no: Annotated[bool, typer.Option("--no", help="No longer one.")] = False) -> None:
    """Make somebody an admin of the site."""

    async def change(db: AsyncSession, user: User) -> None:
        await directory.set_admin(db, user, is_admin=not no)

    _change(who, change, "is no admin any more." if no else "is an admin.")


@people.command()
def erase(who: Who, yes: Yes = False) -> None:
    """Forget somebody's name, address, ways in and memberships for good; what they judged stays."""
    if not yes:
        typer.confirm(f"Erase {who} for good?", abort=True, err=True)

    async def forget(db: AsyncSession) -> str:
        user = await directory.get(db, (await accounts.find_user(db, who)).id)
        await directory.erase(db, user)
        return user.name

    say(f"Erased. What they judged is of {in_transaction(forget)}.")


@group.command("list")
def list_groups() -> None:
    """Print each group with its people and projects."""

    async def read(db: AsyncSession) -> list[Row]:
        return [
            {
                "name": view.group.name,
                "people": [person.name for person in people],
                "projects": [f"{role} of {project.slug}" for project, role in view.projects],
            }
            for view, people in await groups.all_of(db)
        ]

    columns = {"name": "group", "people": "people", "projects": "projects"}
    show(in_transaction(read), columns, empty="There is no group.")


Name = Annotated[str, typer.Argument(help="Name of the group.")]


@group.command("create")
def create_group(name: Name) -> None:
    """Make a group with nobody in it."""

    async def make(db: AsyncSession) -> None:
        await groups.create(db, name)

    in_transaction(make)


@group.command("remove")
def remove_group(name: Name) -> None:
    """Dissolve a group; who is in a project by way of it alone is out of it."""

    async def dissolve(db: AsyncSession) -> None:
        await groups.remove(db, await groups.named(db, name))

    in_transaction(dissolve)


@group.command()
def put(name: Name, who: Who) -> None:
    """Put somebody into a group, and so into its projects."""

    async def put_in(db: AsyncSession) -> None:
        await groups.put(db, await groups.named(db, name), await accounts.find_user(db, who))

    in_transaction(put_in)


@group.command("take-out")
def take_out(name: Name, who: Who) -> None:
    """Take somebody out of a group, and so out of its projects."""

    async def take(db: AsyncSession) -> None:
        await groups.take_out(db, await groups.named(db, name), (await accounts.find_user(db, who)).id)

    in_transaction(take)


@group.command()
def give(name: Name, project: Slug, role: AsWhat = "annotator") -> None:
    """Give a group to a project, or change its role there."""

    async def give_it(db: AsyncSession) -> None:
        await groups.give(db, await groups.named(db, name), await projects.named(db, project), _role(role))

    in_transaction(give_it)


@group.command()
def withdraw(name: Name, project: Slug) -> None:
    """Take a group out of a project."""

    async def take(db: AsyncSession) -> None:
        await groups.withdraw(db, await groups.named(db, name), (await projects.named(db, project)).id)

    in_transaction(take)


def _pause(project: str, who: str, *, paused: bool) -> None:
    async def change(db: AsyncSession) -> str:
        user = await accounts.find_user(db, who)
        await members.pause(db, await projects.named(db, project), user.id, paused=paused)
        return user.name

    say(f"{in_transaction(change)} {'gets no more work' if paused else 'gets work again'} in {project}.")


def _change(who: str, change: Callable[[AsyncSession, User], Awaitable[None]], said: str) -> None:
    async def find_and_change(db: AsyncSession) -> str:
        user = await directory.get(db, (await accounts.find_user(db, who)).id)
        await change(db, user)
        return user.name

    say(f"{in_transaction(find_and_change)} {said}")


def _role(name: str) -> Role:
    if name not in ("owner", "reviewer", "annotator"):
        raise Invalid(f"A role is one of owner, reviewer, annotator, not {name!r}.")
    return cast(Role, name)


def _row(user: User, *more: str) -> Row:
    shut_out = "shut out" if user.disabled_at else ""
    standing = [word for word in (*more, shut_out) if word]
    return {"id": user.id, "name": user.name, "email": user.email, "standing": standing}
