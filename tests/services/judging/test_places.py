"""Places under every order of leases, answers, changes, skips, expiry and cuts: the counters are always true."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import case, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db.session import create_engine, session_factory
from app.db.tables import Assignment, Judgement, Member, Project
from app.db.tables.judging import LEASE_SLOTS
from app.errors import Conflict, LeaseExpired
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, check_tasks, gold, judgements
from app.services.judging.answers import Answer
from app.services.judging.gold import Known
from app.services.judging.judgements import Submission
from app.services.projects import checks, question
from tests.factories import make_member, make_project, make_task

T = TypeVar("T")

PEOPLE = 4
TASKS = 5
person = st.integers(0, PEOPLE - 1)
choice = st.integers(1, 7)

# Of each task: places taken, judged and skipped by its counters, and by its assignments.
COUNTED = """
SELECT t.id, t.state, t.quota, t.taken, t.judged, t.skipped,
       count(a.id) FILTER (WHERE a.state IN ('leased', 'submitted') OR a.keeps_place) AS places,
       count(a.id) FILTER (WHERE a.state = 'submitted') AS submitted,
       count(a.id) FILTER (WHERE a.keeps_place) AS kept
FROM tasks t LEFT JOIN assignments a ON a.task_id = t.id WHERE t.project_id = :project_id GROUP BY t.id
"""


class Places(RuleBasedStateMachine):
    """People of one project who do whatever they like, each step a transaction of its own."""

    def __init__(self, database_url: str, home: Path) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._home = home
        self._engine = self._runner.run(_engine(database_url))
        self._sessions = session_factory(self._engine)
        self._keys = 0

    def teardown(self) -> None:
        self._runner.run(self._engine.dispose())
        self._runner.close()

    @initialize(
        overlap=st.integers(1, 3), policy=st.sampled_from(["requeue", "count", "retire"]), is_checked=st.booleans()
    )
    def begin(self, overlap: int, policy: str, is_checked: bool) -> None:
        async def arrange(db: AsyncSession) -> tuple[int, list[Principal]]:
            project = await make_project(db, overlap=overlap)
            project.question = question.checked({"skip_policy": policy, "retire_after": 2}).to_json()
            for _ in range(TASKS):
                await make_task(db, project)
            if is_checked:
                project.checks = checks.checked({"gold_percent": 25, "repeat_percent": 25}).to_json()
                owner = await make_member(db, project, "owner")
                for number in range(2):
                    await gold.write(db, owner, project, f"Gold {number}?", ["Well.", "Badly."], Known("gold", 0, ""))
            return project.id, [await make_member(db, project) for _ in range(PEOPLE)]

        self._project_id, self._people = self._do(arrange)

    @rule(who=person, ahead=st.booleans())
    def ask(self, who: int, ahead: bool) -> None:
        known = self._given(who)

        async def lease(db: AsyncSession) -> assignments.Desk:
            return await assignments.lease(db, self._people[who], self._project_id, ahead=ahead, known=known)

        desk = self._do(lease)
        again = self._do(lease)
        assert desk.current == again.current or (desk.current and again.current and desk.current.id == again.current.id)

    @rule(who=person, pressed=choice, place=st.integers(0, 3))
    def answer_or_change(self, who: int, pressed: int, place: int) -> None:
        """Any of the person's tasks, whatever became of its lease; sent twice, as a bad line does."""
        given = self._given(who)
        if not given:
            return
        self._keys += 1
        submission = Submission(Answer(pressed), f"key {self._keys}")
        for _ in range(2):
            try:
                self._do(lambda db: judgements.submit(db, self._people[who], given[place % len(given)], submission))
            except (LeaseExpired, Conflict):
                return

    @rule(who=person, place=st.integers(0, 3))
    def skip(self, who: int, place: int) -> None:
        given = self._given(who)
        if not given:
            return
        with suppress(Conflict):
            self._do(lambda db: assignments.skip(db, self._people[who], given[place % len(given)], reason="unclear"))

    @rule()
    def all_leases_run_out(self) -> None:
        second_ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
        self._do(lambda db: db.execute(update(Assignment).values(lease_expires_at=second_ago)))

    @rule()
    def reclaim(self) -> None:
        self._do(lambda db: assignments.reclaim_expired(db))

    @precondition(lambda self: self._keys > 0)
    @rule()
    def cut(self) -> None:
        async def cut(db: AsyncSession) -> None:
            await datasets.cut_preferences(db, await self._project(db), home=self._home)

        with suppress(Conflict):
            self._do(cut)

    @invariant()
    def counters_tell_the_truth(self) -> None:
        if not hasattr(self, "_project_id"):
            return
        for row in self._do(lambda db: db.execute(text(COUNTED), {"project_id": self._project_id})):
            assert (row.taken, row.judged, row.skipped) == (row.places, row.submitted, row.kept)
            assert row.taken <= row.quota
            if row.state != "retired":
                assert (row.state == "closed") == (row.judged + row.skipped == row.quota)

    @invariant()
    def everybody_has_five_leases_at_most_and_fair_sides(self) -> None:
        if not hasattr(self, "_project_id"):
            return
        of_project = Assignment.project_id == self._project_id
        leases = select(Assignment.annotator_id, func.count()).where(of_project, Assignment.state == "leased")
        for _, count in self._do(lambda db: db.execute(leases.group_by(Assignment.annotator_id))):
            assert count <= LEASE_SLOTS
        lean = func.sum(case((Assignment.shown_order[1] == 0, 1), else_=-1))
        shown = select(Assignment.annotator_id, lean).where(of_project).group_by(Assignment.annotator_id)
        leans = {annotator: int(value) for annotator, value in self._do(lambda db: db.execute(shown))}
        members = select(Member.user_id, Member.side_balance).where(Member.project_id == self._project_id)
        for user_id, balance in self._do(lambda db: db.execute(members)):
            assert leans.get(user_id, 0) == balance
            assert abs(balance) <= assignments.BALANCE_BOUND

    @invariant()
    def an_answered_task_has_one_answer(self) -> None:
        if not hasattr(self, "_project_id"):
            return
        current = (
            select(func.count(Judgement.id), func.count(Judgement.assignment_id.distinct()))
            .join(Assignment, Assignment.id == Judgement.assignment_id)
            .where(Judgement.project_id == self._project_id, Judgement.superseded_by.is_(None))
        )
        answered = select(func.count()).where(
            Assignment.project_id == self._project_id, Assignment.state == "submitted"
        )
        rows, distinct = self._do(lambda db: db.execute(current)).one()
        assert rows == distinct == self._do(lambda db: db.scalar(answered))

    async def _project(self, db: AsyncSession) -> Project:
        return await db.get_one(Project, self._project_id)

    def _given(self, who: int) -> list[int]:
        mine = select(Assignment.id).where(
            Assignment.project_id == self._project_id, Assignment.annotator_id == self._people[who].user_id
        )
        return list(self._do(lambda db: db.scalars(mine.order_by(Assignment.id.desc()))))

    def _do(self, step: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async def work() -> T:
            async with self._sessions() as db, db.begin():
                return await step(db)

        return self._runner.run(work())


async def _engine(database_url: str) -> AsyncEngine:
    """Made on the loop that will use it."""
    return create_engine(database_url)


@pytest.mark.parametrize("histories", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_places_are_counted_right_whatever_people_do(
    histories: int, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_tasks, "REPEAT_DISTANCE", 1)
    run_state_machine_as_test(
        lambda: Places(database_url, tmp_path),
        settings=settings(
            max_examples=histories, stateful_step_count=25, deadline=None, derandomize=True, database=None,
            suppress_health_check=[HealthCheck.too_slow],  # every step goes to the database
        ),
    )  # fmt: skip
