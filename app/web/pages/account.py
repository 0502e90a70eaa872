"""A person's own account: name, address, ways in, and the browsers that are signed in."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import User
from app.errors import DomainError
from app.security import Principal, digest
from app.services import accounts
from app.services.people import account, passkeys
from app.web.locales import translated
from app.web.rendering import render
from app.web.serving import errors
from app.web.serving.deps import CurrentUser, Db, SessionToken
from app.web.serving.signing_in import device_of, party_of
from app.web.words.devices import device_name

router = APIRouter(prefix="/account", include_in_schema=False)

Password = Annotated[str, Field(max_length=1000)]


class AboutMe(BaseModel):
    name: Annotated[str, Field(max_length=200)]
    email: Annotated[str, Field(max_length=320)] = ""
    password: Password = ""


class NewPassword(BaseModel):
    """`email` for who has none yet, `current` for who has a password already."""

    new: Password
    again: Password
    current: Password = ""
    email: Annotated[str, Field(max_length=320)] = ""
    next: str = "/account?said=password"


@router.get("")
async def show_account(request: Request, principal: CurrentUser, session: SessionToken, db: Db) -> Response:
    """Shows people what others call them, how they sign in, and where they are signed in."""
    return await account_page(request, principal, session, db)


@router.post("")
async def change_account(
    request: Request, form: Annotated[AboutMe, Form()], principal: CurrentUser, session: SessionToken, db: Db
) -> Response:
    """Keeps name and address; what can't be used is said on the form."""
    try:
        async with db.begin_nested():
            await account.rename(db, principal, name=form.name, email=form.email, password=form.password)
    except DomainError as problem:
        return await account_page(request, principal, session, db, problem=problem, typed=form)
    return render.redirect("/account?said=saved")


@router.get("/welcome")
async def welcome(request: Request, principal: CurrentUser, db: Db, next: str = "/") -> Response:  # noqa: A002 - the URL's word
    """Asks who came by a link for a passkey or a password of their own, which they may leave for later."""
    return await welcome_page(request, principal, db, next_path=next)


@router.post("/password")
async def set_password(
    request: Request, form: Annotated[NewPassword, Form()], principal: CurrentUser, session: SessionToken, db: Db
) -> Response:
    """Keeps a password and signs every other browser out; what is wrong with it is said on the form."""
    try:
        async with db.begin_nested():
            if form.new != form.again:
                raise PasswordsDiffer
            await account.set_password(
                db, principal, form.new, session_token=session, current=form.current, email=form.email
            )
    except DomainError as problem:
        return await refused(request, principal, session, db, problem, next_path=form.next, email=form.email)
    return render.redirect(render.local_path(form.next))


@router.post("/sessions/end-others")
async def end_others(principal: CurrentUser, session: SessionToken, db: Db) -> Response:
    """Signs every browser out but this one."""
    await account.end_other_sessions(db, principal, session_token=session)
    return render.redirect("/account?said=ended")


@router.post("/sessions/{session_id}/end")
async def end_session(session_id: Annotated[int, Path(ge=1, le=2**63 - 1)], principal: CurrentUser, db: Db) -> Response:
    """Signs one of one's own browsers out. Raises NotFound for anybody else's."""
    await account.end_session(db, principal, session_id)
    return render.redirect("/account?said=ended")


class PasswordsDiffer(DomainError):
    """You typed two different passwords."""

    status = 422


async def account_page(
    request: Request,
    principal: Principal,
    session: str,
    db: AsyncSession,
    *,
    problem: DomainError | None = None,
    typed: AboutMe | None = None,
) -> Response:
    """The whole page, with what is wrong and what was typed."""
    user = await db.get_one(User, principal.user_id, populate_existing=True)
    response = render.page(
        request,
        "account/show.html",
        status_code=problem.status if problem else 200,
        user=user,
        typed=typed or AboutMe(name=user.name, email=user.email or ""),
        problem=translated(problem) if problem else None,
        said=request.query_params.get("said"),
        sessions=list(await db.scalars(account.sessions(principal))),
        passkeys=await passkeys.of(db, principal),
        is_proved=await accounts.is_proved(db, session),
        party=party_of(request),
        device=device_name(device_of(request)),
        here=digest(session),
        device_name=device_name,
        tokens=len(await accounts.list_api_tokens(db, principal.user_id)),
    )
    return errors.saying_when(response, problem)


async def refused(
    request: Request,
    principal: Principal,
    session: str,
    db: AsyncSession,
    problem: DomainError,
    *,
    next_path: str,
    email: str = "",
) -> Response:
    """The page whose form asked for a new way in, with what is wrong: the account's, or that which welcomes people."""
    if next_path.startswith("/account"):
        return await account_page(request, principal, session, db, problem=problem)
    return await welcome_page(request, principal, db, next_path=next_path, problem=problem, email=email)


async def welcome_page(
    request: Request,
    principal: Principal,
    db: AsyncSession,
    *,
    next_path: str,
    problem: DomainError | None = None,
    email: str = "",
) -> Response:
    """The page that asks for a way in of one's own; who has one goes on to where they were going."""
    user = await db.get_one(User, principal.user_id, populate_existing=True)
    if await accounts.has_way_in(db, user.id):
        return render.redirect(render.local_path(next_path))
    return render.page(
        request,
        "account/welcome.html",
        status_code=problem.status if problem else 200,
        user=user,
        email=email,
        next=render.local_path(next_path),
        party=party_of(request),
        device=device_name(device_of(request)),
        problem=translated(problem) if problem else None,
    )
