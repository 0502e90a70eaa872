"""A real site with one project, and clients of the people in it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from plumbline_client import Client

from app.db.session import create_engine, session_factory, transaction
from app.services import accounts
from tests.client.served import ServedSite, served
from tests.factories import make_member, make_project, make_task

PROJECT = "tea"


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[ServedSite]:
    """With three open tasks in `tea`, and a token of its owner and of an annotator."""
    tokens = asyncio.run(_fill(database_url))
    with served(database_url, tmp_path / "home") as site:
        site.tokens = tokens
        yield site


@pytest.fixture
def owner(site: ServedSite) -> Iterator[Client]:
    with Client(site.url, site.tokens["owner"]) as client:
        yield client


@pytest.fixture
def annotator(site: ServedSite) -> Iterator[Client]:
    with Client(site.url, site.tokens["annotator"]) as client:
        yield client


async def _fill(database_url: str) -> dict[str, str]:
    engine = create_engine(database_url)
    async with transaction(session_factory(engine)) as db:
        project = await make_project(db, PROJECT)
        people = {"owner": await make_member(db, project, "owner"), "annotator": await make_member(db, project)}
        for number in range(3):
            await make_task(db, project, f"A good cup, number {number}.", f"Cup {number}?")
        tokens = {
            role: await accounts.create_api_token(db, person.user_id, name="test") for role, person in people.items()
        }
    await engine.dispose()
    return tokens
