"""Several people at once: each line of a list becomes a member, and whoever is new here gets an account."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Member, Project, User
from app.db.tables.projects import Role
from app.errors import Invalid
from app.services import accounts
from app.services.projects import projects

AT_ONCE = 100

_WITH_ADDRESS = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<email>[^<>\s]+@[^<>\s]+)>")


@dataclass(frozen=True)
class Line:
    """Somebody as they were typed: `Ada <ada@example.org>`, `ada@example.org` or `Ada`."""

    name: str
    email: str | None


def read(text: str) -> tuple[Line, ...]:
    """One person a line; empty lines are nobody. Raises Invalid for more than can be asked at once."""
    lines = tuple(dict.fromkeys(_line(line.strip()) for line in text.splitlines() if line.strip()))
    if len(lines) > AT_ONCE:
        raise Invalid("At most %(count)s people at once.", count=AT_ONCE)
    return lines


async def add(db: AsyncSession, project: Project, lines: Sequence[Line], role: Role) -> list[User]:
    """Make everybody a member who isn't one; those who had no account, for whom somebody has to make a link.

    A name without an address is the member who has it already, so that a list that is sent twice makes nobody twice.
    Raises Invalid for a name or an address that can't be used.
    """
    new = []
    for line in lines:
        known = await _known(db, project, line)
        user = known or await accounts.create_user(db, name=line.name, email=line.email)
        if known is None:
            new.append(user)
        if known is None or not await _is_member(db, project, user):
            await projects.add_member(db, project, user.id, role)
    return new


def _line(text: str) -> Line:
    found = _WITH_ADDRESS.fullmatch(text)
    if found:
        return Line(found["name"] or _before_at(found["email"]), found["email"])
    return Line(_before_at(text), text) if "@" in text and " " not in text else Line(text, None)


def _before_at(email: str) -> str:
    return email.partition("@")[0]


async def _known(db: AsyncSession, project: Project, line: Line) -> User | None:
    if line.email is not None:
        return await db.scalar(select(User).where(func.lower(User.email) == line.email.lower()))
    return await db.scalar(
        select(User)
        .join(Member, Member.user_id == User.id)
        .where(Member.project_id == project.id, User.name == line.name)
        .limit(1)
    )


async def _is_member(db: AsyncSession, project: Project, user: User) -> bool:
    return await db.get(Member, (project.id, user.id)) is not None
