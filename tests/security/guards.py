"""Every route, asked by everybody, with one of its guards taken away at a time.

A guard is what refuses: that somebody is signed in, belongs to the project, has a role in it, is an admin of the site,
comes with a token that is for the call.
One is taken away from one route only, as somebody would who forgot it there.
"""

import asyncio
import functools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from starlette.routing import BaseRoute
from starlette.types import Message, Scope

from app.db.session import SessionFactory
from app.db.tables import Project
from app.security import Principal
from app.services import accounts, audit
from app.services.judging import judgements, reviews
from app.services.people import trust
from app.services.projects import projects
from app.web.api import access as api_access
from app.web.api import errands
from app.web.pages import access as page_access
from app.web.serving import deps, log_files

Guard = Literal["signed in", "member", "role", "owner alone", "admin", "scope"]
GUARDS: tuple[Guard, ...] = ("signed in", "member", "role", "owner alone", "admin", "scope")
MISTAKEN = "mistaken"
"""An admin who owns the project, by a token that is for something else than the call; asks no pages."""
PEOPLE = ("nobody", "outsider", "annotator", "reviewer", MISTAKEN)
API = "/api/v1/"
STREAM_SECONDS = 5.0
"""How long an answer may go on once it began: streams have no end."""


@dataclass(frozen=True, order=True)
class Route:
    method: str
    path: str
    """The template."""


@dataclass(frozen=True, order=True)
class Mutant:
    guard: Guard
    route: Route


@dataclass
class Guards:
    """Which guard is gone, and which were asked: on the way in nothing else is known of a route."""

    stand_in: Principal
    gone: Mutant | None = None
    at: Route | None = None
    asked: set[Mutant] = field(default_factory=set)

    def is_gone(self, guard: Guard) -> bool:
        assert self.at is not None
        asked = Mutant(guard, self.at)
        self.asked.add(asked)
        return asked == self.gone

    @contextmanager
    def in_place(self, app: FastAPI) -> Iterator[None]:
        """The application's guards ask here first."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(projects, "get", self._found(projects.get))
            patch.setattr(projects, "get_even_archived", self._found(projects.get_even_archived))
            for module in (deps, api_access, audit, log_files, errands):
                patch.setattr(module, "look_up", _plainly)
            patch.setattr(api_access, "scopes_of", self._scopes(api_access.scopes_of))
            for module in (projects, judgements, reviews):
                patch.setattr(module, "require_role", self._roles(module.require_role))
            patch.setattr(trust, "hold_rights", self._rights(trust.hold_rights))
            for guard, door in (
                ("signed in", deps.require_principal),
                ("signed in", api_access.token_principal),
                ("admin", page_access.require_admin),
                ("admin", api_access.require_admin),
            ):
                patch.setitem(app.dependency_overrides, door, self._passing(guard, door))  # type: ignore[arg-type]
            yield

    def _found(self, get: Callable[..., Awaitable[Project]]) -> Callable[..., Awaitable[Project]]:
        async def found(db: AsyncSession, actor: Principal, slug: str) -> Project:
            if self.is_gone("member"):
                project = await db.scalar(select(Project).where(Project.slug == slug))
                if project is not None:
                    return project
            return await get(db, actor, slug)

        return found

    def _roles(self, require_role: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
        async def role(db: AsyncSession, actor: Principal, project: Project, *roles: str) -> str:
            if self.is_gone("role"):
                return "owner"
            if roles == ("owner",) and self.is_gone("owner alone"):
                roles = ("owner", "reviewer")
            return await require_role(db, actor, project, *roles)

        return role

    def _rights(self, hold_rights: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def hold(*given: Any) -> None:
            """Asked after the guards, by what they let through: it is none, and stands in for none."""
            if self.gone is None or self.gone.route != self.at:
                await hold_rights(*given)

        return hold

    def _scopes(self, scopes_of: Callable[[str, str], frozenset[accounts.Scope]]) -> Callable[..., frozenset[str]]:
        def scopes(call: str, method: str) -> frozenset[str]:
            return frozenset(accounts.SCOPES) if self.is_gone("scope") else scopes_of(call, method)

        return scopes

    def _passing(self, guard: Guard, door: Callable[..., Awaitable[Principal]]) -> Callable[..., Awaitable[Principal]]:
        @functools.wraps(door)  # FastAPI reads from its signature what to hand over
        async def passing(**given: Any) -> Principal:
            if self.is_gone(guard):
                return given.get("principal") or given.get("caller") or self.stand_in
            return await door(**given)

        return passing


@asynccontextmanager
async def _plainly(sessions: SessionFactory) -> AsyncIterator[AsyncSession]:
    """A look-up within the transaction that is taken back, in place of one without any."""
    async with sessions() as session:
        yield session


@dataclass(frozen=True)
class Everybody:
    """Asks the application for routes, as one person each; whatever an answer changed is taken back."""

    app: FastAPI
    engine: AsyncEngine
    guards: Guards
    values: dict[str, object]
    sessions: dict[str, str]
    tokens: dict[str, str]
    """By person, and those of the mistaken by what each is for."""
    bodies: dict[Route, dict[str, Any]]
    """What is sent where nothing is refused for being empty."""

    async def answers(self, route: Route, people: Iterable[str] = PEOPLE) -> dict[str, int]:
        """Person → status of the answer; the way to the sign-in page counts as 401."""
        return {person: await self.ask(route, person) for person in people}

    async def ask(self, route: Route, person: str, **values: object) -> int:
        """The status of the answer; `values` are for parts of the address, in place of the usual ones."""
        if person == MISTAKEN:
            if not route.path.startswith(API):
                return 200
            # Reading takes no token for managing, and changing none for reading.
            person = "manage" if route.method == "GET" else "read"
        path = route.path.format(**{name: (self.values | values).get(name, 1) for name in names_in(route.path)})
        headers = {"host": "test", "sec-fetch-site": "same-origin", "idempotency-key": f"{person}-{id(route)}"}
        body = b""
        if path.startswith(API):
            if person in self.tokens:
                headers["authorization"] = f"Bearer {self.tokens[person]}"
            headers["if-match"] = "*"
            body, headers["content-type"] = json.dumps(self.bodies.get(route, {})).encode(), "application/json"
        else:
            if person in self.sessions:
                headers["cookie"] = f"session={self.sessions[person]}"
            form = {"x": "1"} | self.bodies.get(route, {})
            body, headers["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        self.guards.at = route
        async with self._taken_back():
            return await self._status(route.method, path, headers, body if route.method != "GET" else b"")

    @asynccontextmanager
    async def _taken_back(self) -> AsyncIterator[None]:
        before = self.app.state.sessions
        async with self.engine.connect() as connection:
            outer = await connection.begin()
            self.app.state.sessions = async_sessionmaker(
                connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
            )
            try:
                yield
            finally:
                self.app.state.sessions = before
                await outer.rollback()

    async def _status(self, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
        answer: dict[str, Any] = {}
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.update(message)

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": raw,
            "client": ("127.0.0.1", 1), "server": ("test", 80),
        }  # fmt: skip
        asked = asyncio.ensure_future(self.app(scope, receive, send))
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                await asked
        except TimeoutError:
            pass
        to_sign_in = any(
            name == b"location" and value.startswith(b"/sign-in") for name, value in answer.get("headers", ())
        )
        return 401 if to_sign_in else int(answer["status"])


def routes_of(app: FastAPI) -> list[Route]:
    """All of them, changes last and what removes after that."""
    order = ("GET", "POST", "PUT", "PATCH", "DELETE")
    found = {Route(method, path) for method, path in _endpoints(app.routes)}
    return sorted(found, key=lambda route: (order.index(route.method), route.path))


def _endpoints(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        branches = getattr(route, "effective_candidates", None)
        if branches is not None:
            yield from _endpoints(branches())
        elif methods := getattr(route, "methods", None):
            for method in methods - {"HEAD", "OPTIONS"}:
                yield method, route.path  # type: ignore[attr-defined]


def names_in(path: str) -> list[str]:
    """Those of the parts of an address that a route leaves open."""
    return re.findall(r"\{(\w+)", path)
