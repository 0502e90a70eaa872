"""Passkeys in the browser: signing in by one, and one's own on the page of the account.

Each form asks its `…/options` first, has the device answer, and is then sent like any other: `static/js/passkeys.js`.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from app.db.base import Json
from app.errors import Conflict, DomainError, Forbidden, NotSignedIn, TooMany
from app.security import new_token
from app.services.people import account, passkeys
from app.services.people.ceremonies import LONGEST_ANSWER
from app.settings import Settings
from app.web.pages.account import Password, account_page, refused
from app.web.pages.auth import sign_in_page
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, SessionToken, settings_of
from app.web.serving.signing_in import Party, address_of, device_of, party_of, signed_in

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Answer = Annotated[str, Field(max_length=LONGEST_ANSWER)]
Name = Annotated[str, Field(max_length=200)]


class SignInByPasskey(BaseModel):
    credential: Answer
    next: str = "/"


class NewPasskey(BaseModel):
    credential: Answer
    name: Name
    next: str = "/account?said=passkey"


class NewName(BaseModel):
    name: Name


class Proof(BaseModel):
    """Either of both."""

    credential: Answer = ""
    password: Password = ""


@router.post("/sign-in/passkey/options")
async def ask_to_sign_in(request: Request, party: Party, db: Db) -> Response:
    """What any passkey of this site is to sign, for this browser alone, which a cookie makes known again."""
    settings = settings_of(request)
    browser = request.cookies.get(_browser_cookie(settings)) or new_token()
    response = _options(await passkeys.ask_to_sign_in(db, party, browser=browser))
    name, secure = _browser_cookie(settings), settings.has_secure_cookies
    response.set_cookie(name, browser, path="/", secure=secure, httponly=True, samesite="strict")
    return response


@router.post("/sign-in/passkey")
async def sign_in(request: Request, form: Annotated[SignInByPasskey, Form()], party: Party, db: Db) -> Response:
    """Begins a session and leads on to the page that was wanted; a refusal is said on the form."""
    browser = request.cookies.get(_browser_cookie(settings_of(request)), "")
    try:
        token = await passkeys.sign_in(
            db, party, form.credential, browser=browser, address=address_of(request), device=device_of(request)
        )
    except (NotSignedIn, TooMany) as refusal:
        return sign_in_page(request, next_path=form.next, refusal=refusal)
    return signed_in(request, token, render.local_path(form.next))


@router.post("/account/passkeys/options")
async def ask_for_new(principal: CurrentUser, session: SessionToken, party: Party, db: Db) -> Response:
    """What the browser is to make a passkey of."""
    return _options(await passkeys.ask_for_new(db, principal, party, session_token=session))


@router.post("/account/passkeys")
async def add(
    request: Request,
    form: Annotated[NewPasskey, Form()],
    principal: CurrentUser,
    session: SessionToken,
    party: Party,
    db: Db,
) -> Response:
    """Keeps a passkey; what is wrong with it is said on the page."""
    try:
        async with db.begin_nested():
            await passkeys.add(db, principal, party, form.credential, name=form.name, session_token=session)
    except DomainError as problem:
        return await refused(request, principal, session, db, problem, next_path=form.next)
    return render.redirect(render.local_path(form.next))


@router.post("/account/passkeys/{passkey_id}/rename")
async def rename(passkey_id: Id, form: Annotated[NewName, Form()], principal: CurrentUser, db: Db) -> Response:
    """Calls one of one's own passkeys something else. Raises NotFound for anybody else's."""
    await passkeys.rename(db, principal, passkey_id, form.name)
    return render.redirect("/account?said=saved")


@router.post("/account/passkeys/{passkey_id}/remove")
async def remove(request: Request, passkey_id: Id, principal: CurrentUser, session: SessionToken, db: Db) -> Response:
    """Has one of one's own passkeys open nothing any more; why it can't be is said on the page."""
    try:
        await passkeys.remove(db, principal, passkey_id, session_token=session)
    except (Conflict, Forbidden) as problem:
        return await account_page(request, principal, session, db, problem=problem)
    return render.redirect("/account?said=removed")


@router.post("/account/proof/options")
async def ask_for_proof(principal: CurrentUser, session: SessionToken, party: Party, db: Db) -> Response:
    """What a passkey of one's own is to sign, to show that it is oneself who sits there."""
    return _options(await passkeys.ask_for_proof(db, principal, party, session_token=session))


@router.post("/account/proof")
async def prove(
    request: Request, form: Annotated[Proof, Form()], principal: CurrentUser, session: SessionToken, db: Db
) -> Response:
    """Notes that it is the person themself who sits there, as their password or a passkey of theirs shows."""
    try:
        async with db.begin_nested():
            party = party_of(request)
            if form.credential and party:
                await passkeys.prove(db, principal, party, form.credential, session_token=session)
            else:
                await account.prove_by_password(db, principal, form.password, session_token=session)
    except DomainError as problem:
        return await account_page(request, principal, session, db, problem=problem)
    return render.redirect("/account?said=proved#passkeys")


def _options(options: Json) -> Response:
    return JSONResponse(options, headers={"Cache-Control": "no-store"})


def _browser_cookie(settings: Settings) -> str:
    return "__Host-passkey" if settings.has_secure_cookies else "passkey"
