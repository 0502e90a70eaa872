"""Clients that call the API of a seeded site as one person each."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from tests.browser.seed import Seeded
from tests.factories import make_member, make_project
from tests.seeded import seeded, seeded_template, seeded_url, site

__all__ = ["seeded", "seeded_template", "seeded_url", "site"]

Client = httpx.AsyncClient
As = Callable[[str], Client]


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
async def tokens(db: AsyncSession, seeded: Seeded) -> dict[str, str]:
    """An API token of each person of the project, and of one who owns another project only."""
    outsider = await make_member(db, await make_project(db, "elsewhere"), "owner")
    people = {
        "owner": seeded.owner.id,
        "reviewer": seeded.reviewer.id,
        "annotator": seeded.annotator.id,
        "outsider": outsider.user_id,
    }
    made = {role: await accounts.create_api_token(db, user_id, name="test") for role, user_id in people.items()}
    await db.commit()
    return made


@pytest.fixture
async def calling(site: FastAPI, tokens: dict[str, str]) -> AsyncIterator[As]:
    """`calling("owner")` is a client with the owner's token, `calling("nobody")` one without any."""
    clients: dict[str, Client] = {}

    def client(role: str) -> Client:
        if role not in clients:
            # Edits change what they find: tests/api/test_edits.py is about those that meet.
            headers = {"If-Match": "*"} | ({"Authorization": f"Bearer {tokens[role]}"} if role in tokens else {})
            transport = httpx.ASGITransport(site)
            clients[role] = Client(transport=transport, base_url="http://test", headers=headers)
        return clients[role]

    yield client
    for opened in clients.values():
        await opened.aclose()
