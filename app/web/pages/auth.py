"""Signing in by link or password, and out again; `app.web.pages.passkeys` has the third way in."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.errors import DomainError, NotSignedIn, TooMany
from app.services import accounts, signing_in
from app.services.people.oidc import provider_name
from app.web.locales import translated
from app.web.rendering import render
from app.web.serving import errors
from app.web.serving.deps import Db, MaybeUser, session_cookie, settings_of
from app.web.serving.signing_in import address_of, device_of, known_browser, party_of, signed_in

router = APIRouter(include_in_schema=False)


class SignInForm(BaseModel):
    email: Annotated[str, Field(max_length=320)]
    password: Annotated[str, Field(max_length=200)]
    next: str = "/"


@router.get("/sign-in")
async def show_sign_in(request: Request, principal: MaybeUser, next: str = "/") -> Response:  # noqa: A002 - the URL's word
    """Asks for e-mail address and password; who is signed in goes straight on to `next`."""
    if principal is not None:
        return render.redirect(render.local_path(next))
    return sign_in_page(request, next_path=next)


@router.post("/sign-in")
async def sign_in(request: Request, form: Annotated[SignInForm, Form()], db: Db) -> Response:
    """Begins a session and leads on to the page that was wanted; a refusal is said on the form."""
    try:
        token = await signing_in.by_password(
            db,
            email=form.email,
            password=form.password,
            address=address_of(request),
            device=device_of(request),
            known_browser=known_browser(request),
        )
    except (NotSignedIn, TooMany) as refusal:
        return sign_in_page(request, next_path=form.next, email=form.email, refusal=refusal)
    return signed_in(request, token, render.local_path(form.next))


@router.get("/sign-in/link/{token}")
async def show_link(request: Request, token: str, db: Db) -> Response:
    """Only shows a button: mail scanners and link previews open links, and must not use this one up."""
    return render.page(request, "auth/link.html", token=token, name=await accounts.sign_in_link_name(db, token))


@router.post("/sign-in/link/{token}")
async def use_link(request: Request, token: str, db: Db) -> Response:
    """Uses the link up and signs its person in; who has no other way in is asked for one."""
    session = await accounts.use_sign_in_link(db, token, device=device_of(request))
    user_id = (await accounts.session_of(db, session)).user_id
    return signed_in(request, session, "/" if await accounts.has_way_in(db, user_id) else "/account/welcome")


@router.post("/sign-out")
async def sign_out(request: Request, db: Db) -> Response:
    """Ends the session in the database, too: a copy of its cookie opens nothing any more."""
    settings = settings_of(request)
    name = session_cookie(settings)
    if token := request.cookies.get(name):
        await accounts.sign_out(db, token)
    response = render.redirect("/sign-in")
    response.delete_cookie(name, path="/", secure=settings.has_secure_cookies, httponly=True, samesite="lax")
    return response


def sign_in_page(request: Request, *, next_path: str, email: str = "", refusal: DomainError | None = None) -> Response:
    """The form, with what was typed and why it was refused."""
    response = render.page(
        request,
        "auth/sign_in.html",
        status_code=refusal.status if refusal else 200,
        next=render.local_path(next_path),
        email=email,
        party=party_of(request),
        provider=provider_name(settings_of(request)),
        failure=translated(refusal) if refusal else None,
    )
    return errors.saying_when(response, refusal)
