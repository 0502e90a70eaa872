"""A person's own API tokens: made, shown once, revoked."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables.people import Scope
from app.errors import Invalid
from app.security import Principal, new_token
from app.services import accounts
from app.web.locales import translated
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, SessionToken, settings_of

router = APIRouter(prefix="/tokens", include_in_schema=False)

LIFETIMES = (30, 90, 365)


class NewToken(BaseModel):
    name: Annotated[str, Field(max_length=200)]
    days: Literal["30", "90", "365"] = "90"
    scopes: list[Scope] = []
    key: Annotated[str, Field(max_length=200)] = ""


@router.get("")
async def list_tokens(request: Request, principal: CurrentUser, db: Db) -> Response:
    """Shows people their own tokens by name and first letters, with a form for another."""
    return await _page(request, principal, db)


@router.post("")
async def create_token(
    request: Request, form: Annotated[NewToken, Form()], principal: CurrentUser, session: SessionToken, db: Db
) -> Response:
    """Answers with the page and not with a redirect: the token is in this answer and nowhere else."""
    try:
        async with db.begin_nested():
            token = await accounts.create_api_token(
                db,
                principal.user_id,
                name=form.name,
                days=int(form.days),
                scopes=form.scopes,
                vouched_by_id=(await accounts.held_session_of(db, session)).vouched_by_id,
                form_key=form.key,
            )
    except Invalid as problem:
        return await _page(request, principal, db, typed=form, problem=problem)
    return await _page(request, principal, db, token=token)


@router.post("/{token_id}/revoke")
async def revoke_token(token_id: Annotated[int, Path(ge=1, le=2**63 - 1)], principal: CurrentUser, db: Db) -> Response:
    """Ends one of the person's own tokens at once and for good. Raises NotFound for anybody else's."""
    await accounts.revoke_api_token(db, principal, token_id)
    return render.redirect("/tokens")


async def _page(
    request: Request,
    principal: Principal,
    db: AsyncSession,
    *,
    token: str | None = None,
    typed: NewToken | None = None,
    problem: Invalid | None = None,
) -> Response:
    return render.page(
        request,
        "tokens/list.html",
        status_code=problem.status if problem else 200,
        tokens=await accounts.list_api_tokens(db, principal.user_id),
        token=token,
        typed=typed or NewToken(name="", scopes=["read"]),
        problem=translated(problem) if problem else None,
        lifetimes=LIFETIMES,
        key=new_token(),
        site_url=settings_of(request).site_url,
    )
