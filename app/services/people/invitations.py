"""Invitations: a link that lets one person into a project, once.

It makes an account or takes in the one that somebody is signed in with; it never signs in to an account that exists.
So an address that an owner types gives nobody anything: who comes is who was given the link.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Invitation, Member, Project, User
from app.db.tables.projects import Role
from app.errors import Conflict, Invalid, NotFound
from app.security import Principal, digest, new_token, of_form
from app.services import accounts
from app.services.people import trust

DAYS = range(1, 91)
MOST_AT_ONCE = 200
SHORTEST_FORM_KEY = 16


@dataclass(frozen=True)
class Invitee:
    """Whom a link is for, as far as is known. Either may be empty, for the person to say."""

    name: str
    email: str | None


@dataclass(frozen=True)
class Invited:
    """An invitation with the secret of its link, which is known while it is made and never again."""

    invitation: Invitation
    token: str


@dataclass(frozen=True)
class Offer:
    """What the link's page says before somebody accepts."""

    invitation: Invitation
    project: Project
    inviter: str | None


def invitees_of(text: str) -> list[Invitee]:
    """One person a line: a name, an e-mail address, or both: “Ada <ada@example.org>”, “Ada, ada@example.org”.

    Raises Invalid.
    """
    invitees = []
    for number, line in enumerate(text.replace("\0", "").splitlines(), 1):
        if not line.strip():
            continue
        try:
            invitees.append(_invitee(line))
        except Invalid as error:
            raise Invalid("Line %(number)s: %(reason)s", number=number, reason=str(error)) from None
    if not invitees:
        raise Invalid("Write a name or an e-mail address in each line.")
    if len(invitees) > MOST_AT_ONCE:
        raise Invalid("At most %(most)s people can be invited at once.", most=MOST_AT_ONCE)
    return invitees


async def invite(
    db: AsyncSession,
    actor: Principal | None,
    project: Project,
    invitees: Sequence[Invitee],
    role: Role,
    *,
    days: int,
    form_key: str,
) -> list[Invited]:
    """A link for each of `invitees`. The same `form_key` gives the same links, however often it comes.

    Raises Invalid, Forbidden for who doesn't own the project, and Conflict where the key came before for other people.
    """
    _require_days(days)
    if len(form_key) < SHORTEST_FORM_KEY:
        raise Invalid("The key of the form is too short.")
    if actor is not None:
        await trust.hold_rights(db, actor, project.id)
    tokens = [_token(form_key, project.id, position) for position in range(len(invitees))]
    # Of two that send the form at once, the second waits here and then finds what the first made.
    await db.execute(
        insert(Invitation)
        .values(
            [
                {
                    "project_id": project.id,
                    "role": role,
                    "name": invitee.name,
                    "email": invitee.email,
                    "token_digest": digest(token),
                    "form_digest": digest(form_key),
                    "position": position,
                    "created_by_id": actor.user_id if actor else None,
                    "vouched_by_id": trust.voucher(actor),
                    "expires_at": func.now() + timedelta(days=days),
                }
                for position, (invitee, token) in enumerate(zip(invitees, tokens, strict=True))
            ]
        )
        # Whichever of the two keys is found first: the place in the form, or the secret that follows from it.
        .on_conflict_do_nothing()
    )
    made = await db.scalars(
        select(Invitation)
        .where(Invitation.project_id == project.id, Invitation.form_digest == digest(form_key))
        .order_by(Invitation.position)
    )
    invitations = list(made)
    if [(one.name, one.email, one.role) for one in invitations] != [(one.name, one.email, role) for one in invitees]:
        raise Conflict("This form was sent before with other people in it. Load the page anew to invite more.")
    return [Invited(one, token) for one, token in zip(invitations, tokens, strict=True)]


def open_in(project: Project) -> Select[Invitation]:
    """Invitations that nobody has accepted or revoked, newest first. Those whose link is over are among them: they can
    have a new one.
    """
    return select(Invitation).where(Invitation.project_id == project.id, *_is_unused()).order_by(Invitation.id.desc())


async def renew(
    db: AsyncSession,
    actor: Principal | None,
    project: Project,
    invitation_id: int,
    *,
    days: int = 7,
    form_key: str = "",
) -> Invited:
    """Another link for an open invitation; the one before lets nobody in any more. The same `form_key` gives the same
    link, however often it comes. Raises NotFound for an invitation that is used, revoked or of another project,
    Invalid, and Forbidden.
    """
    _require_days(days)
    if actor is not None:
        await trust.hold_rights(db, actor, project.id)
    open_one = open_in(project).where(Invitation.id == invitation_id).with_for_update()
    invitation = await db.scalar(open_one.execution_options(populate_existing=True))
    if invitation is None:
        raise NotFound
    drawn = of_form(form_key, "invitation", invitation.id)
    token = new_token() if drawn is None else _written(drawn)
    if invitation.token_digest != digest(token):
        invitation.token_digest = digest(token)
        invitation.expires_at = func.now() + timedelta(days=days)
        # Whoever makes a link could open it.
        invitation.created_by_id = actor.user_id if actor else None
        invitation.vouched_by_id = trust.voucher(actor)
        await db.flush()
        await db.refresh(invitation)
    return Invited(invitation, token)


async def revoke(db: AsyncSession, project: Project, invitation_id: int) -> None:
    """Have the link let nobody in any more. Raises NotFound for one that is used, revoked or of another project."""
    revoked = await db.scalar(
        update(Invitation)
        .where(Invitation.id == invitation_id, Invitation.project_id == project.id, *_is_unused())
        .values(revoked_at=func.now())
        .returning(Invitation.id)
    )
    if revoked is None:
        raise NotFound


async def offer_of(db: AsyncSession, token: str) -> Offer:
    """What the link offers; looking does not use it up. Raises NotFound if unknown, used, revoked or over."""
    row = (
        await db.execute(
            select(Invitation, Project, User.name)
            .join(Project, Project.id == Invitation.project_id)
            .outerjoin(User, User.id == Invitation.created_by_id)
            .where(Invitation.token_digest == digest(token), Project.archived_at.is_(None), *_is_open())
        )
    ).one_or_none()
    if row is None:
        raise NotFound("This invitation is unknown, used, revoked or over.")
    return Offer(*row)


async def accept_as_somebody_new(db: AsyncSession, token: str, *, name: str, email: str, device: str = "") -> str:
    """The token of a session of the account that this makes. Raises NotFound, Invalid."""
    # Before it is used up, so that what is wrong with the form can be put right.
    user = await accounts.create_user(db, name=name, email=email.strip() or None)
    invitation = await _use(db, token, user.id)
    await _let_in(db, invitation, user.id)
    return await accounts.new_session(db, user.id, device=device, vouched_by_id=invitation.vouched_by_id)


async def accept(db: AsyncSession, actor: Principal, token: str, *, session_token: str) -> Project:
    """Join with one's own account. Ways into it that neither an admin nor an owner of this project vouches for end.

    The session that accepts goes on: whoever holds it was given the link. Raises NotFound.
    """
    invitation = await _use(db, token, actor.user_id)
    await trust.lock(db, actor.user_id)
    await accounts.vouch_for_way_in(db, digest(session_token), invitation.vouched_by_id)
    await _let_in(db, invitation, actor.user_id)
    return await db.get_one(Project, invitation.project_id)


async def _let_in(db: AsyncSession, invitation: Invitation, user_id: int) -> None:
    """Whoever is in the project already keeps the role that they have."""
    added = insert(Member).values(project_id=invitation.project_id, user_id=user_id, role=invitation.role)
    own = {"role": invitation.role, "by_group": False}
    by_group = added.on_conflict_do_update(
        index_elements=["project_id", "user_id"], set_=own, where=Member.by_group.is_(True)
    )
    await db.execute(by_group)
    await trust.end_what_others_vouch_for(db, user_id, project_id=invitation.project_id)


async def _use(db: AsyncSession, token: str, user_id: int) -> Invitation:
    # One statement: of two that accept at once, the second finds it used.
    used: Invitation | None = await db.scalar(
        update(Invitation)
        .where(Invitation.token_digest == digest(token), *_is_open())
        .values(accepted_at=func.now(), accepted_by_id=user_id)
        .returning(Invitation)
    )
    if used is None:
        raise NotFound("This invitation is unknown, used, revoked or over.")
    return used


def _is_open() -> tuple[ColumnElement[bool], ...]:
    return (*_is_unused(), Invitation.expires_at > func.now())


def _is_unused() -> tuple[ColumnElement[bool], ...]:
    return Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None)


def _require_days(days: int) -> None:
    if days not in DAYS:
        raise Invalid("A link works for 1 to 90 days.")


def _token(form_key: str, project_id: int, position: int) -> str:
    """Follows from the key, so that a form sent twice shows the same links; neither is in the database."""
    return _written(hashlib.sha256(f"invitation {project_id} {position} {form_key}".encode()).digest())


def _written(drawn: bytes) -> str:
    return base64.urlsafe_b64encode(drawn).decode().rstrip("=")


def _invitee(line: str) -> Invitee:
    line = " ".join(line.replace(",", " ").replace(";", " ").replace("<", " ").replace(">", " ").split())
    parts = line.split(" ")
    addresses = [part for part in parts if "@" in part]
    if len(addresses) > 1:
        raise Invalid("One e-mail address in each line.")
    name = " ".join(part for part in parts if "@" not in part).strip('"')
    return Invitee(
        name=accounts.checked_name(name) if name else "",
        email=accounts.checked_email(addresses[0]) if addresses else None,
    )
