"""The seeded site as several people's browsers see it, without script: plain requests and form posts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.embedded import EmbeddedPostgres
from app.services import accounts
from tests.browser.seed import Seeded
from tests.databases import Copies
from tests.factories import make_member, make_project
from tests.seeded import SEEDED, filled_once

DOORS = "doors"
FORMS = {
    "start_run": {"stage": "generate"},
    "change_role": {"role": "reviewer"},
    "change": {"change": "retire"},
    "try_served_model": {"prompt": "Hello"},
    "ask_served_model": {"prompts": "1"},
    "invite": {"people": "New", "key": "of-this-very-form"},
    "pause": {"paused": "false"},
}


@dataclass(frozen=True)
class Door:
    """The site, as one person's browser sees it. `get` and `post` follow nothing."""

    site: FastAPI
    session: str | None

    async def open(self, route: APIRoute, values: dict[str, object]) -> httpx.Response:
        (method,) = route.methods or {""}
        path = route.path.format(**{name: values[name] for name in route.param_convertors})
        return await self.send(method, path, FORMS.get(route.name, {}))

    async def send(
        self, method: str, path: str, form: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        cookies = {"session": self.session} if self.session else {}
        transport = httpx.ASGITransport(self.site)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as client:
            return await client.request(method, path, data=form if method == "POST" else None, headers=headers)


@pytest.fixture
def seeded_url(copies: Copies, postgres: EmbeddedPostgres, seeded_template: Seeded) -> Iterator[str]:
    """URL of a seeded database to which people are signed in, the test's own."""
    _sessions(postgres, seeded_template)
    with copies.of(DOORS) as url:
        yield url


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
def doors(site: FastAPI, postgres: EmbeddedPostgres, seeded_template: Seeded) -> dict[str, Door]:
    sessions = _sessions(postgres, seeded_template)
    return {"nobody": Door(site, None)} | {role: Door(site, session) for role, session in sessions.items()}


def _sessions(server: EmbeddedPostgres, seeded: Seeded) -> dict[str, str]:
    """By role: they sign in once, and every test has a copy of that."""

    async def sign_in(db: AsyncSession) -> dict[str, str]:
        outsider = await make_member(db, await make_project(db, "elsewhere"), "owner")
        people = {
            "owner": seeded.owner.id,
            "reviewer": seeded.reviewer.id,
            "annotator": seeded.annotator.id,
            "outsider": outsider.user_id,
        }
        links = {role: await accounts.create_sign_in_link(db, user_id) for role, user_id in people.items()}
        return {role: await accounts.use_sign_in_link(db, link) for role, link in links.items()}

    return filled_once(server, DOORS, SEEDED, sign_in)
