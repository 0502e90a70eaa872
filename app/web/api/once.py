"""Every POST can be sent again: with the header `Idempotency-Key` it is carried out once and answered the same."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.services import kept_answers
from app.services.kept_answers import Answer, Key
from app.web.api.access import Caller, Credentials
from app.web.serving.deps import Db

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# These have a mechanism of their own, stronger than an answer that is kept for a day; or nothing comes of them.
OTHERWISE = {
    "submit_judgement": "its key is kept with the judgement for ever",
    "invite": "the links follow from the key",
    "upload": "the body is a file of any size; nothing is stored of it in the project until it is loaded",
    "send_project_file": "the body is a file of any size, of which one project is made at most",
    "try_served_model": "nothing is stored",
    **dict.fromkeys(
        ("generate", "score", "ask_writers"), "nothing is changed: a question that is sent again is asked again"
    ),
}
REPLAYED = "Idempotency-Replayed"

ChosenKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="A new random value for every call, the same one when you send it again: for a day it is then"
        " carried out once and answered the same, with `Idempotency-Replayed: true`; 422 with another body.",
    ),
]


class Replayed(Exception):
    """The call was carried out before, and answered so."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


async def _claim(request: Request, caller: Caller, credentials: Credentials, db: Db, chosen: ChosenKey = None) -> None:
    if chosen is None or credentials is None:
        return
    key = Key(credentials.credentials, chosen)
    earlier = await kept_answers.claim(db, key, await _digest(request))
    if earlier is not None:
        raise Replayed(earlier)
    request.state.to_keep = (db, key)


async def _digest(request: Request) -> bytes:
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(asked + await request.body()).digest()


def make_repeatable(route: APIRoute) -> None:
    """Have a route that changes something be carried out once for each key."""
    if "POST" not in (route.methods or ()) or route.name in OTHERWISE:
        return
    made = route.get_route_handler
    route.dependencies.append(Depends(_claim))
    # Every inclusion of a router makes its handlers from this.
    route.get_route_handler = lambda: _keeping(made())  # type: ignore[method-assign]


def _keeping(handle: Handler) -> Handler:  # the transaction of the call is still open when it returns
    async def handler(request: Request) -> Response:
        try:
            response = await handle(request)
        except Replayed as replayed:
            return _told_again(replayed.answer)
        if hasattr(request.state, "to_keep"):
            db, key = request.state.to_keep
            media_type = response.headers.get("content-type", "")
            await kept_answers.keep(db, key, Answer(response.status_code, media_type, bytes(response.body)))
        return response

    return handler


def _told_again(answer: Answer) -> Response:
    headers = {REPLAYED: "true"} | ({"Content-Type": answer.media_type} if answer.media_type else {})
    return Response(answer.body, answer.status, headers=headers)
