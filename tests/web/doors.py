"""The seeded site as several people's browsers see it, without script: plain requests and form posts."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from tests.browser.seed import Seeded
from tests.factories import make_member, make_project

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
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
async def doors(site: FastAPI, db: AsyncSession, seeded: Seeded) -> dict[str, Door]:
    outsider = await make_member(db, await make_project(db, "elsewhere"), "owner")
    people = {
        "owner": seeded.owner.id,
        "reviewer": seeded.reviewer.id,
        "annotator": seeded.annotator.id,
        "outsider": outsider.user_id,
    }
    doors = {"nobody": Door(site, None)}
    for role, user_id in people.items():
        link = await accounts.create_sign_in_link(db, user_id)
        doors[role] = Door(site, await accounts.use_sign_in_link(db, link))
    await db.commit()
    return doors
