"""Where an invitation's link leads: in by an account of one's own, or by a new one."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.errors import Conflict, DomainError, Invalid
from app.security import Principal
from app.services.people import invitations
from app.web.locales import translated
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, MaybeUser, SessionToken
from app.web.serving.signing_in import device_of, signed_in

router = APIRouter(prefix="/invitations", include_in_schema=False)


class NewAccount(BaseModel):
    name: Annotated[str, Field(max_length=200)] = ""
    email: Annotated[str, Field(max_length=320)] = ""


@router.get("/{token}")
async def show_invitation(request: Request, token: str, principal: MaybeUser, db: Db) -> Response:
    """Says what it is an invitation to. Looking doesn't use it up: mail scanners and link previews open links."""
    return await _page(request, token, principal, db)


@router.post("/{token}")
async def accept_as_somebody_new(request: Request, token: str, form: Annotated[NewAccount, Form()], db: Db) -> Response:
    """Makes an account, signs its person in, and asks for a password."""
    offer = await invitations.offer_of(db, token)
    try:
        async with db.begin_nested():
            session = await invitations.accept_as_somebody_new(
                db, token, name=form.name, email=form.email, device=device_of(request)
            )
    except (Invalid, Conflict) as problem:
        return await _page(request, token, None, db, typed=form, problem=problem)
    work = f"/projects/{offer.project.slug}{'/annotate' if offer.invitation.role == 'annotator' else ''}"
    return signed_in(request, session, f"/account/welcome?next={quote(work, safe='/')}")


@router.post("/{token}/join")
async def join(token: str, principal: CurrentUser, session: SessionToken, db: Db) -> Response:
    """Lets somebody who is signed in into the project, with the account that they have."""
    project = await invitations.accept(db, principal, token, session_token=session)
    return render.redirect(f"/projects/{project.slug}/annotate")


async def _page(
    request: Request,
    token: str,
    principal: Principal | None,
    db: AsyncSession,
    *,
    typed: NewAccount | None = None,
    problem: DomainError | None = None,
) -> Response:
    offer = await invitations.offer_of(db, token)
    invitation = offer.invitation
    return render.page(
        request,
        "auth/invitation.html",
        status_code=problem.status if problem else 200,
        token=token,
        offer=offer,
        principal=principal,
        typed=typed or NewAccount(name=invitation.name, email=invitation.email or ""),
        problem=translated(problem) if problem else None,
    )
