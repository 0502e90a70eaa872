"""What pages tell of a project that is too large to be counted whenever somebody looks."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from app.db.session import SessionFactory, transaction
from app.db.tables import WrittenReport
from app.services.data import differences
from app.services.projects import standing
from app.services.reports import counted, reports
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

AS_OF = re.compile(r"As of \d+ \w+ \d{4}, \d\d:\d\d UTC\.")


async def facts(door: Door) -> tuple[str, str]:
    """The words of what the project's page counts, and those of its page of datasets."""
    project, datasets = [await read(door, address) for address in (PROJECT, f"{PROJECT}/datasets")]
    (of_project,) = re.findall(r'<dl class="counts">(.*?)<(?:section|/div>\s*</div>)', project, re.DOTALL)
    (of_datasets,) = re.findall(r'<header class="question">(.*?)</header>', datasets, re.DOTALL)
    return words(of_project), words(of_datasets)


async def test_a_large_project_is_counted_by_a_worker_and_pages_and_programs_hear_as_of_when(
    doors: dict[str, Door], sessions: SessionFactory, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = doors["owner"]
    small = await facts(owner)
    assert not any("As of" in told for told in small)

    monkeypatch.setattr(counted, "MOST", 2)
    for told in await facts(owner):
        assert "Being computed. This page shows it as soon as it is there." in told
    async with transaction(sessions) as db:
        await reports.write(db, seeded.project.id, "overview")
    for told, before in zip(await facts(owner), small, strict=True):
        assert AS_OF.search(told)
        assert re.sub(r" +", " ", AS_OF.sub("", told)).strip() == before


async def test_people_of_a_large_project_have_the_figures_that_a_worker_counted(
    doors: dict[str, Door], sessions: SessionFactory, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def people() -> str:
        html = await read(doors["owner"], f"{PROJECT}/quality")
        return words(html.partition("</header>")[2].partition("</table>")[0])

    small = await people()
    monkeypatch.setattr(counted, "MOST", 2)
    assert "Being computed." in await people()
    async with transaction(sessions) as db:
        await reports.write(db, seeded.project.id, "overview")
    async with transaction(sessions) as db:
        await reports.write(db, seeded.project.id, "conduct")
    large = await people()
    assert AS_OF.search(large)
    assert AS_OF.sub("", large).split() == small.split()


async def test_large_versions_are_compared_once_by_a_worker(
    doors: dict[str, Door], sessions: SessionFactory, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewer, compare = doors["reviewer"], f"{PROJECT}/datasets/compare?change=added"
    small = words(await read(reviewer, compare))
    monkeypatch.setattr(counted, "MOST", 2)
    waiting = await read(reviewer, compare)
    assert "What preferences 1 and 2 differ by is being found." in words(waiting)
    assert 'hx-select="#comparison"' in waiting
    async with transaction(sessions) as db:
        (name,) = await db.scalars(select(WrittenReport.name).where(WrittenReport.name.startswith("comparison:")))
    async with transaction(sessions) as db:
        await reports.write(db, seeded.project.id, name)
    large = await read(reviewer, compare)
    assert "hx-select" not in large
    assert AS_OF.sub("", words(large)).split() == small.split()

    async with transaction(sessions) as db:
        long_ago = datetime.now(UTC) - timedelta(days=1)
        await db.execute(update(WrittenReport).values(up_to=None, up_to_change=None, tried_at=long_ago))
    assert "Being" not in words(await read(reviewer, compare)), "what versions hold doesn't change"


async def test_a_comparison_that_failed_is_not_said_to_be_under_way(
    doors: dict[str, Door], sessions: SessionFactory, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def finds_nothing(*_: object) -> None:
        raise RuntimeError

    reviewer, compare = doors["reviewer"], f"{PROJECT}/datasets/compare"
    monkeypatch.setattr(counted, "MOST", 2)
    await read(reviewer, compare)
    monkeypatch.setattr(differences, "find", finds_nothing)
    async with transaction(sessions) as db:
        (name,) = await db.scalars(select(WrittenReport.name).where(WrittenReport.name.startswith("comparison:")))
    async with transaction(sessions) as db:
        await reports.write(db, seeded.project.id, name)
    told = words(await read(reviewer, compare))
    assert "There are no figures." in told
    assert "is being found" not in told


async def test_what_goes_with_a_project_is_counted_as_far_as_it_takes_to_know_that_it_is_much(
    doors: dict[str, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing.Holdings, "MOST", 3)
    told = words(await read(doors["owner"], f"{PROJECT}/settings"))
    assert re.search(r"3\+ prompts, 3\+ responses", told)


async def test_who_has_more_tasks_than_anybody_counts_is_told_so_and_hears_nothing_of_hidden_checks(
    doors: dict[str, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing.Progress, "MOST", 2)
    told = words(await read(doors["annotator"], f"{PROJECT}/annotate/recent"))
    assert "2+ tasks are open to you." in told
