"""The application in this process, its real database behind it, and clients that speak HTTP to it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy.ext.asyncio import AsyncSession

from app import security
from app.security import Principal
from app.settings import Settings
from tests.browser.people import session_token
from tests.sites import site_of

HOST = "plumbline.test"
SITE = f"http://{HOST}"

QUICK = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
"""To compare a password with a site's own takes as long as a short test: there are tests that do it thirty times."""

SignIn = Callable[[Principal], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def app(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:
    monkeypatch.setattr(security, "_hasher", lambda: QUICK)
    app = site_of(Settings(database_url=database_url, trusted_hosts=HOST))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that nobody has signed in with."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def sign_in(app: FastAPI, db: AsyncSession) -> AsyncIterator[SignIn]:
    """Makes a client that is signed in as somebody; each call is another browser. Commits `db`."""
    clients: list[httpx.AsyncClient] = []

    async def signed_in(person: Principal) -> httpx.AsyncClient:
        client = client_of(app)
        client.cookies.set("session", await session_token(db, person), domain=HOST)
        clients.append(client)
        return client

    yield signed_in
    for client in clients:
        await client.aclose()


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Errors that escape the application are answered and logged there, so none is raised here."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=SITE, headers={"Sec-Fetch-Site": "same-origin"})
