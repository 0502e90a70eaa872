"""What a project asks: bounds of what can be asked, what a task is asked that was made before, and who is let in."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Member, Project
from app.errors import Invalid, NotFound
from app.services.judging import assignments
from app.services.projects import checks, membership, projects, question
from app.services.projects.checks import Checks
from app.services.projects.question import Question
from tests.factories import make_member, make_project, make_task, make_user, principal
from tests.waiting import somebody_waits_for_a_lock


def asking(guidelines: str = "Be kind.", **asked: Any) -> Project:
    project = Project(slug="p", name="P", guidelines="Be kind.", guidelines_version=3, overlap=1, lease_seconds=600)
    projects.ask(project, Question(), guidelines, **{"overlap": 1, "lease_seconds": 600, **asked})
    return project


@pytest.mark.parametrize(
    ("asked", "is_good"),
    [
        ({"overlap": 1}, True),
        ({"overlap": 100}, True),
        ({"overlap": 0}, False),
        ({"overlap": 101}, False),
        ({"lease_seconds": 60}, True),
        ({"lease_seconds": 604_800}, True),
        ({"lease_seconds": 59}, False),
        ({"lease_seconds": 604_801}, False),
    ],
)
def test_overlap_and_reservation_have_bounds(asked: dict[str, int], is_good: bool) -> None:
    if is_good:
        assert {name: getattr(asking(**asked), name) for name in asked} == asked
    else:
        with pytest.raises(Invalid):
            asking(**asked)


@pytest.mark.parametrize(
    ("guidelines", "kept", "version"),
    [
        ("Be kind.", "Be kind.", 3),
        ("  Be kind.\n", "Be kind.", 3),
        ("Be kind.\r\nAlways.", "Be kind.\nAlways.", 4),
        ("Be\0 kinder.", "Be kinder.", 4),
        ("", "", 4),
    ],
)
def test_guidelines_are_a_new_version_only_when_their_words_change(guidelines: str, kept: str, version: int) -> None:
    project = asking(guidelines)
    assert (project.guidelines, project.guidelines_version) == (kept, version)


def test_lines_that_a_browser_ends_in_its_own_way_are_the_same_words() -> None:
    project = Project(slug="p", name="P", guidelines="Be kind.\nAlways.\n", guidelines_version=3)
    projects.ask(project, Question(), "Be kind.\r\nAlways.\r\n\0", overlap=1, lease_seconds=600)
    assert (project.guidelines.strip(), project.guidelines_version) == ("Be kind.\nAlways.", 3)


@pytest.mark.parametrize(
    ("asked", "size", "answered"),
    [
        ("six", 2, "six"),
        ("eight", 2, "eight"),
        ("seven", 4, "ranking"),
        ("six", 9, "ranking"),
        ("ranking", 4, "ranking"),
        ("best", 3, "best"),
        ("ranking", 2, "seven"),
        ("best", 2, "seven"),
    ],
)
def test_a_task_that_was_made_before_the_question_changed_is_answered_as_its_size_allows(
    asked: Any, size: int, answered: str
) -> None:
    several = {} if asked in question.PAIRWISE else {"size": 4}
    assert Question(answer_type=asked, **several).answer_type_for(size) == answered


def test_a_question_is_kept_by_what_differs_from_the_usual_one() -> None:
    assert Question().to_json() == {}
    asked = question.checked({"flags": ["  Made up  "], "rationale_share": 0.5, "break_minutes": 0})
    assert asked.to_json() == {"flags": ["Made up"], "rationale_share": 0.5, "break_minutes": 0}
    assert question.checked(asked.to_json()) == asked


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"flags": ["Made up", " made UP "]}, "Question flags: a name stands there twice."),
        ({"criteria": ["a"] * 13}, "Question criteria: "),
        ({"flags": [str(number) for number in range(25)]}, "Question flags: "),
        ({"criteria": [" "]}, "Question criteria.0: "),
        ({"criteria": ["a" * 81]}, "Question criteria.0: "),
        ({"flags": ["a\0b"]}, "Question flags.0: "),
        ({"size": 10}, "Question size: "),
        ({"answer_type": "ranking", "size": 2}, "Question: a ranking or a choice"),
        ({"size": 3}, "Question: a scale from A to B compares two responses."),
        ({"answer_type": "best", "size": 3, "asks_harm": True}, "Question: harm is asked of pairs only."),
        ({"rationale_share": 1.01}, "Question rationale_share: "),
        ({"retire_after": 0}, "Question retire_after: "),
        ({"fastest_words_per_minute": -1}, "Question fastest_words_per_minute: "),
        ({"break_minutes": 1441}, "Question break_minutes: "),
        ({"colour": "blue"}, "Question colour: Extra inputs are not permitted."),
    ],
)
def test_what_can_not_be_asked_is_refused_in_one_line_that_names_the_place(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        question.checked(asked)
    assert refused.value.message.startswith(said)
    assert len(refused.value.message.splitlines()) == 1


def test_a_rationale_is_sampled_from_nobody_at_0_and_from_everybody_at_1() -> None:
    for share, wanted in ((0.0, 0), (1.0, 1000)):
        asked = Question(rationale="sampled", rationale_share=share)
        assert sum(asked.wants_rationale(number) for number in range(1000)) == wanted
    assert not any(Question(rationale="strong", rationale_share=1.0).wants_rationale(number) for number in range(1000))


def test_checks_are_told_in_the_round_always_and_of_gold_where_the_project_says_so() -> None:
    for tells_gold in (False, True):
        checked = Checks(tells_gold=tells_gold)
        told = [checked.shows_verdict(purpose) for purpose in ("qualification", "gold", "repeat", "label")]
        assert told == [True, tells_gold, False, False]
    assert checks.checked({"gold_percent": 25, "repeat_percent": 25}).to_json() == {
        "gold_percent": 25,
        "repeat_percent": 25,
    }
    with pytest.raises(Invalid, match=r"^Checks: at most half of the tasks can be checks\.$"):
        checks.checked({"gold_percent": 25.5, "repeat_percent": 25})


async def test_a_project_that_was_put_away_is_not_there_for_anybody(db: AsyncSession) -> None:
    project = await make_project(db, "put-away")
    ada, admin = await make_member(db, project), principal(await make_user(db, is_admin=True))
    await make_task(db, project)
    project.archived_at = func.now()
    await db.flush()
    for actor in (ada, admin):
        with pytest.raises(NotFound):
            await projects.get(db, actor, "put-away")
        assert list(await db.scalars(projects.visible_to(actor))) == []
        with pytest.raises(NotFound):
            await assignments.lease_next(db, actor, project)
    assert (await projects.named(db, "put-away")).id == project.id, "whoever has the database still finds it"
    with pytest.raises(Invalid, match="A role is one of owner, reviewer, annotator, not 'king'"):
        await projects.add_member(db, project, ada.user_id, "king")  # type: ignore[arg-type]


async def test_of_two_requests_of_one_person_the_second_waits_and_an_admin_joins_once(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, admin = await make_project(db), principal(await make_user(db, is_admin=True))
    await db.commit()

    async def join() -> membership.Membership:
        async with sessions() as own, own.begin():
            return await membership.locked(own, admin, project.id)

    async with sessions() as first, first.begin():
        seen = await membership.locked(first, admin, project.id)
        late = asyncio.create_task(join())
        await somebody_waits_for_a_lock(db)
    assert (seen.role, (await late).role) == ("owner", "owner")
    assert await db.scalar(select(func.count()).select_from(Member)) == 1
