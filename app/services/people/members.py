"""Members of a project: their role, a pause, and leaving it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Group, GroupGrant, GroupMember, Judgement, Member, Project, SignInSession, User
from app.db.tables.projects import Role
from app.errors import Conflict, Forbidden, NotFound
from app.security import Principal
from app.services import accounts
from app.services.judging import releasing
from app.services.people import directory, trust
from app.services.projects import projects


@dataclass(frozen=True)
class Person:
    """A member with what they did here. `judged_at` is their last judgement; `has_come`: has ever been signed in."""

    user: User
    member: Member
    judgements: int
    judged_at: datetime | None
    has_come: bool


async def page(db: AsyncSession, project: Project, text: str, *, size: int, before: int | None = None) -> list[Person]:
    """People whose name or address holds `text`, the accounts made last first; those made before the account `before`
    if it is given."""
    wanted = (
        directory.holding(select(User.id), text)
        .join(Member, Member.user_id == User.id)
        .where(Member.project_id == project.id)
    )
    if before is not None:
        wanted = wanted.where(User.id < before)
    ids = (await db.scalars(wanted.order_by(User.id.desc()).limit(size))).all()
    found = {person.user.id: person for person in await of_project(db, project, ids)}
    return [found[user_id] for user_id in ids]


async def count(db: AsyncSession, project: Project) -> tuple[int, int]:
    """How many are in the project, and how many of them have judged."""
    has_judged = exists().where(
        Judgement.project_id == project.id,
        Judgement.annotator_id == Member.user_id,
        Judgement.superseded_by.is_(None),
        ~Judgement.is_verdict,
    )
    counted = select(func.count(), func.count().filter(has_judged)).where(Member.project_id == project.id)
    people, judged = (await db.execute(counted)).one()
    return people, judged


async def of_project(db: AsyncSession, project: Project, only: Collection[int] | None = None) -> list[Person]:
    """Everybody in the project, or those of these ids; who has most judgements first."""
    # One by one, by an index that is in their order: all of them at once would read what everybody said.
    said = (
        select(func.count().label("count"), func.max(Judgement.submitted_at).label("last"))
        .where(
            Judgement.project_id == project.id,
            Judgement.annotator_id == Member.user_id,
            Judgement.superseded_by.is_(None),
            ~Judgement.is_verdict,
        )
        .lateral()
    )
    has_come = select(SignInSession.id).where(SignInSession.user_id == User.id).exists()
    rows = await db.execute(
        select(User, Member, said.c.count, said.c.last, has_come)
        .join(Member, Member.user_id == User.id)
        .join(said, true())
        .where(Member.project_id == project.id, *([] if only is None else [Member.user_id.in_(only)]))
        .order_by(said.c.count.desc(), User.name)
    )
    return [Person(*row) for row in rows]


async def get(db: AsyncSession, project: Project, user_id: int) -> User:
    """A person of the project, whose membership stays as it is until the transaction ends. Raises NotFound."""
    user = await db.scalar(
        select(User)
        .join(Member, Member.user_id == User.id)
        .where(Member.project_id == project.id, User.id == user_id)
        .with_for_update(of=Member)
    )
    if user is None:
        raise NotFound
    return user


async def change_role(db: AsyncSession, actor: Principal | None, project: Project, user_id: int, role: Role) -> None:
    """Give a member another role. Raises Forbidden, and Conflict where owners would take their own ownership away."""
    if actor is not None:
        await trust.hold_rights(db, actor, project.id)
    await get(db, project, user_id)
    if actor and user_id == actor.user_id and role != "owner" and not actor.is_admin:
        raise Conflict("You can't take your own ownership away; another owner can.")
    await put(db, project, user_id, role)


async def put(db: AsyncSession, project: Project, user_id: int, role: Role) -> bool:
    """Have somebody be in the project in this role, whether or not they are a member already.

    Where that is a change, ways into their account end that neither an owner of this project nor an admin vouches for;
    says whether there were any.
    """
    had = await db.scalar(
        select(Member.role).where(Member.project_id == project.id, Member.user_id == user_id).with_for_update()
    )
    await projects.add_member(db, project, user_id, role)
    if had == role:
        return False
    if had == "owner":
        await trust.end_what_owner_made(db, user_id, project.id)
    return await trust.end_what_others_vouch_for(db, user_id, project_id=project.id)


async def remove(db: AsyncSession, actor: Principal | None, project: Project, user_id: int) -> None:
    """Take a person out of the project; what they judged stays. Their leases are free at once.

    Raises Conflict for oneself, for the last owner, and for who is here by way of a group.
    """
    await get(db, project, user_id)
    if actor and user_id == actor.user_id and not actor.is_admin:
        raise Conflict("You can't remove yourself; another owner can.")
    group = await db.scalar(
        select(Group.name)
        .join(GroupGrant, GroupGrant.group_id == Group.id)
        .join(GroupMember, GroupMember.group_id == Group.id)
        .where(GroupGrant.project_id == project.id, GroupMember.user_id == user_id)
        .limit(1)
    )
    if group is not None:
        raise Conflict("The group %(group)s is given to this project: take the person out of the group.", group=group)
    # Of two owners who remove each other at once, the second finds one owner left.
    owners = (
        await db.scalars(
            select(Member.user_id)
            .where(Member.project_id == project.id, Member.role == "owner")
            .order_by(Member.user_id)
            .with_for_update()
        )
    ).all()
    if list(owners) == [user_id]:
        raise Conflict("A project needs an owner: make somebody else one first.")
    await releasing.release(db, user_id, project=project)
    await trust.end_what_owner_made(db, user_id, project.id)
    await db.execute(delete(Member).where(Member.project_id == project.id, Member.user_id == user_id))


async def pause(db: AsyncSession, project: Project, user_id: int, *, paused: bool) -> None:
    """Give a person no more work in this project, or work again. A pause frees their leases. Raises NotFound."""
    await get(db, project, user_id)
    await db.execute(
        update(Member)
        .where(Member.project_id == project.id, Member.user_id == user_id)
        .where(Member.paused_at.is_(None) if paused else Member.paused_at.is_not(None))
        .values(paused_at=func.now() if paused else None)
    )
    if paused:
        await releasing.release(db, user_id, project=project)


async def require_may_sign_in(db: AsyncSession, actor: Principal, project: Project, user: User) -> None:
    """A sign-in link is the whole account. So an owner makes one only for people who can do nothing beyond the owner's
    own projects; for admins, and for people of other projects, an admin has to. Raises Forbidden.
    """
    await trust.hold_rights(db, actor, project.id)
    await db.execute(accounts.held(User.id == user.id))  # who comes to another project just now waits, or is there
    if actor.is_admin:
        return
    own = select(Member.project_id).where(Member.user_id == actor.user_id, Member.role == "owner")
    elsewhere = await db.scalar(
        select(Member.project_id).where(Member.user_id == user.id, Member.project_id.not_in(own)).limit(1)
    )
    if user.is_admin or elsewhere is not None:
        raise Forbidden("This person can do more than you: ask an admin for the link.")
