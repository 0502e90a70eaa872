"""The page of a project's figures: nothing at first, then what a worker has written, and each figure as a file."""

import csv
import re
from html import unescape

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import User, WrittenReport
from app.services.reports import reports
from app.services.reports.registry import FIGURES
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

HOME = "/projects/everyday-help/figures"


async def read(door: Door, address: str = HOME) -> str:
    """The words of a page."""
    answer = await door.send("GET", address)
    assert answer.status_code == 200, address
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


@pytest.fixture
def reader(doors: dict[str, Door]) -> Door:
    return doors["reviewer"]


async def test_figures_are_on_their_way_then_there_and_say_what_went_wrong(
    reader: Door, sessions: SessionFactory, db: AsyncSession, seeded: Seeded
) -> None:
    first = await read(reader)
    assert "The figures are on their way." in first
    assert "Being computed." in first
    assert (await reader.send("GET", f"{HOME}/judgements-by-person.csv")).status_code == 409
    # A name that a spreadsheet would compute.
    await db.execute(update(User).where(User.id == seeded.annotator.id).values(name="=1+1"))
    await db.commit()
    async with transaction(sessions) as own:
        await reports.write(own, seeded.project.id, "dashboard")
    page = await read(reader)
    assert "6 judgements are left to give." in page
    assert re.search(r"As of \d+ \w+ \d{4}, \d\d:\d\d UTC\.", page)
    for name in ("Judgements by day", "Judgements by person", "Coverage by split", "Models by round"):
        assert name in page
    assert "=1+1" in page
    html = (await reader.send("GET", f"{HOME}/state")).text
    assert html.count("data-chart=") == 2
    for name in re.findall(rf'href="{HOME}/([a-z-]+)\.csv"', html):
        rows = list(csv.DictReader((await reader.send("GET", f"{HOME}/{name}.csv")).text.splitlines()))
        document = (await reader.send("GET", f"{HOME}/{name}.json")).json()
        assert len(rows) == len(document["rows"]) > 0
        assert document["as_of"] is not None
        assert document["is_awaited"] is False
    by_person = (await reader.send("GET", f"{HOME}/judgements-by-person.csv")).text
    assert ",'=1+1," in by_person
    assert (await reader.send("GET", f"{HOME}/nothing.csv")).status_code == 404
    assert set(re.findall(rf'href="{HOME}/([a-z-]+)\.csv"', html)) <= set(FIGURES)

    await db.execute(update(WrittenReport).values(problem=reports.FAILED))
    await db.commit()
    assert "This could not be computed. The worker’s log says why. What you see is older." in await read(reader)
