"""Who a person is in a project, locked for the length of a transaction."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, bindparam, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.prepared import Prepared
from app.db.tables import Member, Project, Task
from app.db.tables.projects import Role
from app.errors import NotFound
from app.security import Principal
from app.services import conditions


@dataclass(frozen=True)
class Membership:
    """What one person is in a project, how their sides are balanced, and what the project gives out now.

    `has_kept`: tasks with a free place are kept for them.
    """

    role: Role
    qualified_at: datetime | None
    paused_at: datetime | None
    side_balance: int
    lease_seconds: int
    guidelines_version: int
    checked: Json
    has_kept: bool


_STATEMENT = Prepared(
    Membership,
    select(
        Member.role,
        Member.qualified_at,
        Member.paused_at,
        Member.side_balance,
        Project.lease_seconds,
        Project.guidelines_version,
        Project.checks.label("checked"),
        exists()
        .where(
            Task.project_id == Member.project_id,
            conditions.kept_for(Member.user_id),
            Task.state == "open",
            Task.purpose == "label",
            Task.taken < Task.quota,
        )
        .label("has_kept"),
    )
    .join(Project, Project.id == Member.project_id)
    .where(
        Member.project_id == bindparam("project", type_=BigInteger),
        Member.user_id == bindparam("actor", type_=BigInteger),
        Project.archived_at.is_(None),
    )
    .with_for_update(of=Member),
)


async def locked(db: AsyncSession, actor: Principal, project_id: int) -> Membership:
    """What `actor` is in the project, locked; an admin's row is made at the first need of one. Raises NotFound."""
    if actor.is_admin:
        await db.execute(
            insert(Member)
            .values(project_id=project_id, user_id=actor.user_id, role="owner")
            .on_conflict_do_nothing(index_elements=["project_id", "user_id"])
        )
    member = await _STATEMENT.first(db, project=project_id, actor=actor.user_id)
    if member is None:
        raise NotFound
    return member
