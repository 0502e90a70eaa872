"""The dashboard's figures: each is what its formula says, of rows that were written by hand."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Completion, Gate, Judgement, ModelVersion, Project, Prompt, Task, User
from app.services.reports import agreement, dashboard
from app.services.reports.dashboard import Coverage, Day, pace_of
from app.services.reports.dashboard_figures import DASHBOARD_FIGURES
from app.services.reports.versions import Version
from tests.factories import make_project, make_prompt, make_task, make_user

keys = count(1)
TODAY = datetime.now(UTC).date()


def noon(days_ago: int) -> datetime:
    return datetime.combine(TODAY - timedelta(days=days_ago), time(12), UTC)


async def say(
    db: AsyncSession,
    task: Task,
    user: User | None,
    choice: int | list[int | None],
    *,
    days_ago: int = 1,
    active_ms: int | None = 60_000,
) -> Judgement:
    """A label as it is stored, a choice of the scale or ranks; without a user an imported one."""
    assignment = None
    order = list(range(len(choice))) if isinstance(choice, list) else [0, 1]
    said: dict[str, Any] = (
        {"ranks": choice, "answer_type": "ranking"}
        if isinstance(choice, list)
        else {"choice": choice, "preference": 4 - choice}
    )
    if user is not None:
        assignment = Assignment(
            project_id=task.project_id,
            task_id=task.id,
            annotator_id=user.id,
            state="submitted",
            shown_order=order,
            guidelines_version=1,
            lease_expires_at=noon(days_ago),
        )
        db.add(assignment)
        await db.flush()
    judgement = Judgement(
        project_id=task.project_id,
        task_id=task.id,
        assignment_id=assignment.id if assignment else None,
        annotator_id=user.id if user else None,
        kind="imported" if user is None else "simulated" if user.is_simulated else "human",
        is_check=task.purpose != "label",
        **said,
        shown_order=order,
        guidelines_version=1,
        idempotency_key=f"k{next(keys)}" if user else None,
        active_ms=active_ms if user else None,
        submitted_at=noon(days_ago),
    )
    task.taken = task.judged = task.judged + 1
    await db.flush()  # first, as an answer does: the database then says how far the task divides people
    db.add(judgement)
    await db.flush()
    return judgement


@pytest.fixture
async def project(db: AsyncSession) -> Project:
    return await make_project(db, overlap=3)


async def test_labels_are_counted_by_day_and_person_without_imports_checks_and_what_was_changed(
    db: AsyncSession, project: Project
) -> None:
    kim, machine = await make_user(db, "Kim"), await make_user(db, "Machine", is_simulated=True)
    first, second = await make_task(db, project), await make_task(db, project)
    await say(db, first, kim, 1, days_ago=2, active_ms=60_000)
    changed = await say(db, second, kim, 2, days_ago=2)
    changed.superseded_by = await db.scalar(text("SELECT nextval(pg_get_serial_sequence('judgements', 'id'))"))
    await db.flush()
    mind = {"id": changed.superseded_by, "idempotency_key": "again", "submitted_at": noon(1), "active_ms": 180_000}
    db.add(Judgement(**_row(changed), **mind))
    await db.flush()
    await say(db, first, machine, 1, days_ago=1, active_ms=None)
    await say(db, first, None, 1)
    check = await make_task(db, project)
    check.purpose = "gold"
    await say(db, check, kim, 1, active_ms=3_600_000)
    seen = await dashboard.compute(db, project)
    assert seen.cost == dashboard.Cost(3, 1, pytest.approx(4 / 60), 1.0, 2.0)
    assert seen.days == (
        Day(TODAY - timedelta(days=2), 1, 0, 1, 1.0, pytest.approx(1 / 60)),
        Day(TODAY - timedelta(days=1), 1, 1, 2, 3.0, pytest.approx(3 / 60)),
    )
    yesterday = TODAY - timedelta(days=1)
    assert [(worker.person_id, worker.is_simulated, worker.judgements) for worker in seen.workers] == [
        (kim.id, False, 2),
        (machine.id, True, 1),
    ]
    assert (seen.workers[0].active_days, seen.workers[0].last_day) == (2, yesterday)
    assert (seen.workers[0].median_minutes, seen.workers[1].median_minutes) == (2.0, None)
    assert [(day.day, day.person_id, day.judgements) for day in seen.worker_days] == [
        (TODAY - timedelta(days=2), kim.id, 1),
        (yesterday, kim.id, 1),
        (yesterday, machine.id, 1),
    ]
    by_person = next(figure for figure in DASHBOARD_FIGURES if figure.name == "judgements-by-person")
    assert [(row["person_id"], row["person"]) for row in await by_person.read(db, seen)] == [
        (kim.id, "Kim"),
        (machine.id, "Machine"),
    ]


@pytest.mark.parametrize(
    ("days", "pace"),
    [
        ([], None),
        ([(3, 40)], None),
        ([(0, 40), (1, 40)], None),
        ([(2, 4), (1, 5)], None),
        ([(2, 4), (1, 8)], (2, 6, 6)),
        ([(5, 10), (4, 20)], (2, 15, 6)),
        ([(20, 900), *((n, 10) for n in range(14, 0, -2)), (0, 999)], (7, 10, 5)),
    ],
)
def test_the_pace_is_of_the_last_seven_days_with_judgements_and_of_no_fewer_than_two(
    days: Sequence[tuple[int, int]], pace: tuple[int, float, float] | None
) -> None:
    today = date(2026, 11, 29)
    found = pace_of([Day(today - timedelta(days=ago), done, 0, 1, None, 0.0) for ago, done in days], today)
    assert (found and (len(found[0]), *found[1:])) == pace


async def test_what_is_left_is_what_open_tasks_ask_for_and_ends_when_the_pace_says(
    db: AsyncSession, project: Project
) -> None:
    people = [await make_user(db) for _ in range(3)]
    for number in range(10):
        task = await make_task(db, project, quota=2)
        await say(db, task, people[0], 1, days_ago=1 + number % 2)
    retired = await make_task(db, project)
    retired.state = "retired"
    await make_task(db, project, quota=3)
    left = (await dashboard.compute(db, project)).remaining
    # Five a day: thirteen take three days.
    assert (left.tasks, left.judgements, left.active_days, left.judgements_a_day) == (11, 13, 2, 5.0)
    assert (left.since, left.finish_on) == (TODAY - timedelta(days=2), TODAY + timedelta(days=3))


async def test_agreement_is_of_all_pairs_on_a_task_and_no_share_is_told_of_few(
    db: AsyncSession, project: Project
) -> None:
    people = [await make_user(db) for _ in range(4)]
    # Three of four say the same side, however strongly: three of six pairs agree.
    for _ in range(2):
        task = await make_task(db, project, quota=4)
        for user, choice in zip(people, (1, 3, 2, 6), strict=True):
            await say(db, task, user, choice, days_ago=8)
    tied = await make_task(db, project)
    for user in people[:2]:
        await say(db, tied, user, 4, days_ago=0)
    weeks = (await dashboard.compute(db, project)).weeks
    assert [(week.pairs, week.agreement) for week in weeks] == [(12, 0.5), (1, None)]
    assert all(week.week.weekday() == 0 for week in weeks)


async def test_the_agreement_of_a_week_is_that_of_the_report_on_agreement(db: AsyncSession, project: Project) -> None:
    people = [await make_user(db) for _ in range(4)]
    for choices in ((1, 2, 6, 7), (1, 4, 4), (3, 5), (6, 7, 7)):
        task = await make_task(db, project, quota=4)
        for user, choice in zip(people, choices, strict=False):
            await say(db, task, user, choice)
    ranking = await make_task(db, project, "One.", "Two.", "Three.", quota=3)
    for user, ranks in zip(people, ([1, 2, 3], [1, 3, 2], [2, 1, None]), strict=False):
        await say(db, ranking, user, ranks)
    (week,) = (await dashboard.compute(db, project)).weeks
    per_cent = (await agreement.compute(db, project)).named("per_cent")
    assert per_cent is not None
    assert per_cent.value is not None
    assert week.agreement == pytest.approx(per_cent.value)
    # 6 + 3 + 1 + 3 of the pairs, and 3 + 1 + 1 of what was ranked.
    assert week.pairs == 18


async def test_coverage_counts_prompts_that_have_tasks_and_labels_by_split_and_tag(
    db: AsyncSession, project: Project
) -> None:
    kim = await make_user(db)

    async def prompt(split: str, *tags: str) -> Prompt:
        made = await make_prompt(db, project, split=split)  # type: ignore[arg-type]
        made.tags = list(tags)
        return made

    judged, asked, retired = await prompt("train", "a", "b"), await prompt("train", "a"), await prompt("train")
    await prompt("held_out")
    await say(db, await make_task(db, project, prompt=judged), kim, 1)
    await make_task(db, project, prompt=judged)
    await make_task(db, project, prompt=asked)
    (await make_task(db, project, prompt=retired)).state = "retired"
    seen = await dashboard.compute(db, project)
    assert seen.splits == (Coverage("train", 3, 2, 1), Coverage("held_out", 1, 0, 0))
    assert seen.tags == (Coverage("a", 2, 2, 1), Coverage(None, 2, 0, 0), Coverage("b", 1, 1, 1))


async def test_models_are_told_with_the_figures_that_their_gate_went_by(db: AsyncSession, project: Project) -> None:
    def version(kind: str, number: int, **figures: float) -> ModelVersion:
        return ModelVersion(
            project_id=project.id, kind=kind, number=number, folder="x", manifest_sha256="0" * 64, figures=figures
        )

    few_pairs = {"accuracy": 1.0, "accuracy_low": 0.4, "accuracy_high": 1.0, "validation_pairs": 4}
    few = version("reward", 1, **few_pairs)
    folds = {"cross_validated_accuracy": 0.6, "cross_validated_accuracy_low": 0.5, "cross_validated_accuracy_high": 0.7}
    crossed = version("reward", 2, **few_pairs, cross_validated_pairs=80, **folds)
    policy = version("policy", 1, proxy_win_rate=0.7)
    db.add_all([few, crossed, policy])
    await db.flush()
    db.add(Gate(project_id=project.id, model_version_id=policy.id, passed=False, rules=[]))
    judged, open_, check = [await make_task(db, project) for _ in range(3)]
    check.purpose = "gold"
    wrote = {"source": "policy", "model_version_id": policy.id}
    await db.execute(
        update(Completion).where(Completion.prompt_id.in_([judged.prompt_id, open_.prompt_id])).values(wrote)
    )
    await db.execute(update(Completion).where(Completion.prompt_id == check.prompt_id).values(wrote))
    await say(db, judged, await make_user(db), 1)
    await say(db, judged, await make_user(db), 1)
    await say(db, check, await make_user(db), 1)
    seen = (await dashboard.compute(db, project)).versions
    assert seen[0] == Version(None, "policy", 1, "candidate", "refused", None, None, 0.7, None, 1)
    assert [(each.number, each.accuracy, each.pairs) for each in seen[1:]] == [(2, 0.6, 80), (1, None, 4)]


async def test_an_empty_project_has_empty_figures(db: AsyncSession, project: Project) -> None:
    seen = await dashboard.compute(db, project)
    assert seen.remaining == dashboard.Remaining(0, 0, 0, None, None, None)
    assert seen.cost == dashboard.Cost(0, 0, 0.0, 0.0, None)
    for figure in DASHBOARD_FIGURES:
        assert await figure.read(db, seen) == []


def _row(judgement: Judgement) -> dict[str, object]:
    own = {"id", "idempotency_key", "submitted_at", "active_ms", "superseded_by"}
    return {column.key: getattr(judgement, column.key) for column in Judgement.__table__.c if column.key not in own}
