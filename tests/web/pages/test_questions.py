"""The page on which an owner says what annotators are asked."""

import re
from html import escape, unescape

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.projects.question import Question, question_of
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

RANKING = {
    "answer_type": "ranking",
    "size": "4",
    "flags": "Makes facts up\r\n\r\n  Violent content ",
    "asks_acceptable": "true",
    "rationale": "sampled",
    "rationale_percent": "12.5",
    "skip_policy": "retire",
    "retire_after": "2",
    "fastest_words_per_minute": "900",
    "break_minutes": "30",
    "guidelines": "Be kind.",
    "overlap": "3",
    "lease_minutes": "20",
}


async def test_what_is_typed_is_what_is_asked(doors: dict[str, Door], seeded: Seeded, db: AsyncSession) -> None:
    page = f"/projects/{seeded.project.slug}/question"
    before = (await db.get_one(Project, seeded.project.id)).guidelines_version
    answer = await doors["owner"].send("POST", page, RANKING)
    assert answer.status_code == 303
    saved = await doors["owner"].send("GET", answer.headers["location"])
    assert 'role="status"' in saved.text
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    assert question_of(project) == Question(
        answer_type="ranking",
        size=4,
        flags=("Makes facts up", "Violent content"),
        asks_acceptable=True,
        rationale="sampled",
        rationale_share=0.125,
        skip_policy="retire",
        retire_after=2,
        fastest_words_per_minute=900,
        break_minutes=30,
    )
    assert (project.guidelines, project.guidelines_version) == ("Be kind.", before + 1)
    assert (project.overlap, project.lease_seconds) == (3, 1200)
    (log,) = re.findall(r'href="([^"]+/log\?[^"]+)"', saved.text)
    earlier = await doors["owner"].send("GET", unescape(log))
    assert f"<bdi>{escape(seeded.project.guidelines[:100])}" in earlier.text, "what the version before said"


async def test_what_a_form_shows_rounded_stays_as_it_is_until_somebody_types_something_else(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    page = f"/projects/{seeded.project.slug}/question"
    project = await db.get_one(Project, seeded.project.id)
    project.lease_seconds = 90
    project.question = {"rationale": "sampled", "rationale_share": 0.12345}
    await db.commit()
    form = {**RANKING, "rationale_percent": "12.3", "lease_minutes": "1"}
    assert (await doors["owner"].send("POST", page, form)).status_code == 303
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    assert (project.lease_seconds, question_of(project).rationale_share) == (90, 0.12345)


async def test_the_same_guidelines_are_no_new_version(doors: dict[str, Door], seeded: Seeded, db: AsyncSession) -> None:
    for _ in range(2):
        await doors["owner"].send("POST", f"/projects/{seeded.project.slug}/question", RANKING)
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    assert project.guidelines_version == seeded.project.guidelines_version + 1


async def test_what_can_not_be_asked_is_said_and_everything_typed_is_kept(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    for wrong, said in (
        ({"size": "2"}, "three to nine"),
        ({"flags": "Violent\nviolent"}, "twice"),
        ({"overlap": "0"}, "1 to 100 people"),
        ({"lease_minutes": "0"}, "a minute at least"),
        ({"rationale_percent": "120"}, "rationale_share"),
    ):
        answer = await doors["owner"].send("POST", f"/projects/{seeded.project.slug}/question", {**RANKING, **wrong})
        assert answer.status_code == 422
        assert said in answer.text
        assert "Be kind." in answer.text
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    assert project.question == {}
    assert project.guidelines != "Be kind."


async def test_harm_is_asked_of_pairs_where_somebody_ticks_it(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    page = f"/projects/{seeded.project.slug}/question"
    refused = await doors["owner"].send("POST", page, {**RANKING, "asks_harm": "true"})
    assert refused.status_code == 422
    assert "harm is asked of pairs only" in refused.text
    form = {**RANKING, "answer_type": "seven", "asks_harm": "true"}
    assert (await doors["owner"].send("POST", page, form)).status_code == 303
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    assert question_of(project).asks_harm
    assert 'name="asks_harm" value="true" checked' in (await doors["owner"].send("GET", page)).text


async def test_criteria_are_of_pairs_and_a_pair_is_two(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    form = {**RANKING, "answer_type": "six", "size": "7", "criteria": "helpful\nharmless"}
    assert (await doors["owner"].send("POST", f"/projects/{seeded.project.slug}/question", form)).status_code == 303
    question = question_of(await db.get_one(Project, seeded.project.id, populate_existing=True))
    assert (question.answer_type, question.size, question.criteria) == ("six", 2, ("helpful", "harmless"))


async def test_criteria_are_said_and_kept_where_a_ranking_asks_for_none(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    page = f"/projects/{seeded.project.slug}/question"
    answer = await doors["owner"].send("POST", page, {**RANKING, "criteria": "helpful\nharmless"})
    saved = await doors["owner"].send("GET", answer.headers["location"])
    assert "The criteria are kept, and not asked" in saved.text
    assert ">helpful\nharmless</textarea>" in saved.text
    question = question_of(await db.get_one(Project, seeded.project.id, populate_existing=True))
    assert question.criteria == ("helpful", "harmless")
    assert (question.criteria_of(2), question.criteria_of(4)) == (("helpful", "harmless"), ())
