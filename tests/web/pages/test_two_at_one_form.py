"""Two owners at one form: whoever saves second is told, loses nothing that they typed, and may have the last word."""

import re
from html import unescape

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Project, ServedModel, Webhook
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_questions import RANKING

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

SERVED = {"name": "One", "address": "https://models.example/v1", "model": "m", "key": "a-new-key"}
FORMS = [
    ("question", RANKING, {"guidelines": "Be brief."}),
    ("settings", {"name": "Bread", "description": "Be kind.", "licence": "MIT"}, {"description": "Be brief."}),
    ("quality", {"qualification_size": "3", "gold_percent": "5"}, {"qualification_size": "7"}),
    ("round-settings/policy_gate", {"kl": "20"}, {"kl": "30"}),
    ("served-models/{served}", SERVED, {"name": "Another", "key": "a-newer-key"}),
    ("datasets/1?kind=demonstrations", {"note": "First.", "tags": "old"}, {"note": "Second."}),
    ("webhooks/{webhook}", {"address": "https://a.example/in", "events": "run.ended"}, {"pause_seconds": "77"}),
]


def seen_in(page: str) -> str:
    return re.findall(r'name="seen" value="([0-9a-f]{16})"', page)[-1]


@pytest.mark.parametrize(("place", "first", "second"), FORMS, ids=[place for place, _, _ in FORMS])
async def test_the_second_is_told_of_the_first_and_keeps_what_they_typed(
    place: str, first: dict[str, str], second: dict[str, str], doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    hook = Webhook(project_id=seeded.project.id, address="https://b.example", events=["run.ended"], secret_sealed=b"-")
    db.add(hook)
    await db.commit()
    place = place.format(served=seeded.served.id, webhook=hook.id)
    page, owner = f"/projects/{seeded.project.slug}/{place}", doors["owner"]
    opened = (await owner.send("GET", page)).text
    if place.startswith("round"):  # its other fields have to be sent, too
        first = _typed(opened) | first
    seen = {"seen": seen_in(opened)}
    page = page.replace("?", "/notes?")
    assert (await owner.send("POST", page, first | seen)).status_code == 303
    late = first | second
    told = await owner.send("POST", page, late | seen)
    assert told.status_code == 409
    assert "Somebody has changed this since you opened the page." in told.text
    assert next(iter(second.values())) in told.text
    before = await _state(db, seeded)
    assert (await owner.send("POST", page, late | {"seen": seen_in(told.text)})).status_code == 303
    assert await _state(db, seeded) != before


async def test_a_form_that_nobody_else_has_touched_is_saved_again_and_again(
    doors: dict[str, Door], seeded: Seeded
) -> None:
    page, owner = f"/projects/{seeded.project.slug}/question", doors["owner"]
    for _ in range(2):
        seen = seen_in((await owner.send("GET", page)).text)
        assert (await owner.send("POST", page, RANKING | {"seen": seen})).status_code == 303


def _typed(page: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)" type="number"', page)}


async def _state(db: AsyncSession, seeded: Seeded) -> tuple[object, ...]:
    await db.rollback()
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    served = await db.get_one(ServedModel, seeded.served.id, populate_existing=True)
    pause = await db.scalar(select(Webhook.pause_seconds))
    of_project = project.guidelines, project.description, project.checks, project.round_settings
    note = await db.scalar(select(DatasetVersion.note).where(DatasetVersion.kind == "demonstrations"))
    return *of_project, served.name, served.key_sealed, pause, note
