"""Groups of people that are given to projects. Who is in a group is a member of each of its projects.

What a project says of a person alone goes before what their groups say: only who has no membership of their own gets
one by way of a group (`Member.by_group`), the strongest that any of their groups has.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Select, case, delete, exists, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Group, GroupGrant, GroupMember, Member, Project, User
from app.db.tables.projects import Role
from app.errors import Conflict, NotFound
from app.services import accounts
from app.services.judging import releasing
from app.services.people import trust


@dataclass(frozen=True)
class GroupView:
    """A group with how many are in it and which projects it has, each with the role there."""

    group: Group
    people: int
    projects: list[tuple[Project, Role]]


async def create(db: AsyncSession, name: str) -> Group:
    """Raises Invalid, and Conflict for a name that is taken."""
    name = accounts.checked_name(name)
    group = Group(name=name)
    try:
        async with db.begin_nested():
            db.add(group)
    except IntegrityError:
        raise Conflict("There is a group %(name)s already.", name=name) from None
    return group


async def get(db: AsyncSession, group_id: int) -> Group:
    """Raises NotFound."""
    group = await db.get(Group, group_id)
    if group is None:
        raise NotFound
    return group


async def named(db: AsyncSession, name: str) -> Group:
    """The group of this name, whatever its case. Raises NotFound."""
    group = await db.scalar(select(Group).where(func.lower(Group.name) == func.lower(name.strip())))
    if group is None:
        raise NotFound("There is no group %(name)s.", name=name)
    return group


async def given_to(db: AsyncSession, project_id: int) -> list[tuple[str, int]]:
    """Names of the groups that a project was given to, each with the id of one who is in it, by name."""
    is_given = exists().where(GroupGrant.group_id == Group.id, GroupGrant.project_id == project_id)
    rows = await db.execute(
        select(Group.name, GroupMember.user_id)
        .join(GroupMember, GroupMember.group_id == Group.id)
        .where(is_given)
        .order_by(Group.name, GroupMember.user_id)
    )
    return [(name, user_id) for name, user_id in rows]


async def page(db: AsyncSession, *, size: int, after: int | None = None, only: int | None = None) -> list[GroupView]:
    """Groups by name, those that come after the group `after` if it is given; or one alone."""
    wanted = select(Group).order_by(Group.name, Group.id).limit(size)
    if only is not None:
        wanted = wanted.where(Group.id == only)
    if after is not None:
        last = await get(db, after)
        wanted = wanted.where(tuple_(Group.name, Group.id) > (last.name, last.id))
    return await views(db, list(await db.scalars(wanted)))


async def count(db: AsyncSession) -> int:
    """How many groups there are."""
    return await db.scalar(select(func.count()).select_from(Group)) or 0


async def people_before(db: AsyncSession, group: Group, *, size: int, before: int | None = None) -> list[User]:
    """Who is in the group, the accounts made last first; those made before the account `before` if it is given."""
    wanted = people_of(group).order_by(GroupMember.user_id.desc()).limit(size)
    if before is not None:
        wanted = wanted.where(GroupMember.user_id < before)
    return list(await db.scalars(wanted))


async def all_of(db: AsyncSession) -> list[tuple[GroupView, list[User]]]:
    """Every group, by name, with who is in it."""
    groups = list(await db.scalars(select(Group).order_by(Group.name, Group.id)))
    people: dict[int, list[User]] = {group.id: [] for group in groups}
    members = select(GroupMember.group_id, User).join(User, User.id == GroupMember.user_id).order_by(User.name, User.id)
    for group_id, user in await db.execute(members):
        people[group_id].append(user)
    return [(view, people[view.group.id]) for view in await views(db, groups)]


async def views(db: AsyncSession, groups: Sequence[Group]) -> list[GroupView]:
    """These groups, in their order."""
    wanted = [group.id for group in groups]
    counted = select(GroupMember.group_id, func.count().label("size")).where(GroupMember.group_id.in_(wanted))
    people = {row.group_id: row.size for row in await db.execute(counted.group_by(GroupMember.group_id))}
    projects: dict[int, list[tuple[Project, Role]]] = {group_id: [] for group_id in wanted}
    grants = (
        select(GroupGrant.group_id, Project, GroupGrant.role)
        .join(Project, Project.id == GroupGrant.project_id)
        .where(GroupGrant.group_id.in_(wanted))
        .order_by(Project.name, Project.id)
    )
    for group_id, project, role in await db.execute(grants):
        projects[group_id].append((project, cast(Role, role)))
    return [GroupView(group, people.get(group.id, 0), projects[group.id]) for group in groups]


def people_of(group: Group) -> Select[User]:
    """Who is in the group."""
    return select(User).join(GroupMember, GroupMember.user_id == User.id).where(GroupMember.group_id == group.id)


async def rename(db: AsyncSession, group: Group, name: str) -> None:
    """Raises Invalid, and Conflict for a name that is taken."""
    name = accounts.checked_name(name)
    try:
        async with db.begin_nested():
            group.name = name
    except IntegrityError:
        raise Conflict("There is a group %(name)s already.", name=name) from None


async def remove(db: AsyncSession, group: Group) -> None:
    """Dissolve the group. Who was in a project by way of it alone is out of that project."""
    await _in_turn(db)
    await db.delete(group)
    await db.flush()
    await _follow(db)


async def put(db: AsyncSession, group: Group, user: User) -> None:
    """Put somebody into the group. Raises Conflict for who has been erased."""
    if user.erased_at is not None:
        raise Conflict("This person has been erased.")
    await _in_turn(db)
    added = insert(GroupMember).values(group_id=group.id, user_id=user.id)
    await db.execute(added.on_conflict_do_nothing())
    await _follow(db)


async def take_out(db: AsyncSession, group: Group, user_id: int) -> None:
    """Take somebody out of the group. Raises NotFound."""
    await _in_turn(db)
    gone = delete(GroupMember).where(GroupMember.group_id == group.id, GroupMember.user_id == user_id)
    if await db.scalar(gone.returning(GroupMember.user_id)) is None:
        raise NotFound
    await _follow(db)


async def give(db: AsyncSession, group: Group, project: Project, role: Role) -> None:
    """Give the group to a project, or change what it is there."""
    await _in_turn(db)
    given = insert(GroupGrant).values(group_id=group.id, project_id=project.id, role=role)
    await db.execute(given.on_conflict_do_update(index_elements=["group_id", "project_id"], set_={"role": role}))
    await _follow(db)


async def withdraw(db: AsyncSession, group: Group, project_id: int) -> None:
    """Take the group out of a project. Raises NotFound."""
    await _in_turn(db)
    gone = delete(GroupGrant).where(GroupGrant.group_id == group.id, GroupGrant.project_id == project_id)
    if await db.scalar(gone.returning(GroupGrant.project_id)) is None:
        raise NotFound
    await _follow(db)


async def follow_claim(db: AsyncSession, user: User, names: Collection[str]) -> None:
    """Have somebody be in the groups that have one of these names, whatever its case, and in none of before that only
    an earlier claim had put them into.
    """
    await _in_turn(db)
    said = [name.strip().lower() for name in names]
    wanted = set(await db.scalars(select(Group.id).where(func.lower(Group.name).in_(said))))
    own = select(GroupMember.group_id, GroupMember.by_claim).where(GroupMember.user_id == user.id)
    had = {row.group_id: row.by_claim for row in await db.execute(own)}
    left = [group_id for group_id, by_claim in had.items() if by_claim and group_id not in wanted]
    added = [{"group_id": group_id, "user_id": user.id, "by_claim": True} for group_id in wanted - had.keys()]
    if left:
        of_person = GroupMember.user_id == user.id, GroupMember.group_id.in_(left)
        await db.execute(delete(GroupMember).where(*of_person))
    if added:
        await db.execute(insert(GroupMember).values(added))
    if left or added:
        await _follow(db)


async def forget(db: AsyncSession, user_id: int) -> None:
    """Take somebody out of every group."""
    await _in_turn(db)
    await db.execute(delete(GroupMember).where(GroupMember.user_id == user_id))
    await _follow(db)


async def _in_turn(db: AsyncSession) -> None:
    """One change of groups after the other: each leaves memberships as all of them together say."""
    await db.execute(text("SELECT pg_advisory_xact_lock(hashtext('plumbline groups'))"))


async def _follow(db: AsyncSession) -> None:
    strength = case({"annotator": 1, "reviewer": 2, "owner": 3}, value=GroupGrant.role)
    granted = (
        select(GroupGrant.project_id, GroupMember.user_id, GroupGrant.role)
        .join(GroupMember, GroupMember.group_id == GroupGrant.group_id)
        .ext(distinct_on(GroupGrant.project_id, GroupMember.user_id))
        .order_by(GroupGrant.project_id, GroupMember.user_id, strength.desc())
    )
    wanted = granted.subquery()
    still = select(wanted.c.user_id).where(wanted.c.project_id == Member.project_id, wanted.c.user_id == Member.user_id)
    before = {
        (row.project_id, row.user_id): row.role
        for row in await db.execute(select(Member.project_id, Member.user_id, Member.role).where(Member.by_group))
    }
    left = await db.execute(
        delete(Member).where(Member.by_group, ~still.exists()).returning(Member.project_id, Member.user_id)
    )
    for project_id, user_id in left.all():
        await releasing.release(db, user_id, project=await db.get_one(Project, project_id))
        await trust.end_what_owner_made(db, user_id, project_id)
    added = insert(Member).from_select(
        ["project_id", "user_id", "role", "by_group"],
        select(wanted.c.project_id, wanted.c.user_id, wanted.c.role, text("true")),
    )
    differs = Member.by_group & (Member.role != added.excluded.role)
    changed = await db.execute(
        added.on_conflict_do_update(
            index_elements=["project_id", "user_id"], set_={"role": added.excluded.role}, where=differs
        ).returning(Member.project_id, Member.user_id)
    )
    for project_id, user_id in sorted(changed.all(), key=lambda row: row.user_id):  # all lock accounts in one order
        if before.get((project_id, user_id)) == "owner":
            await trust.end_what_owner_made(db, user_id, project_id)
        await trust.end_what_others_vouch_for(db, user_id, project_id=project_id)
