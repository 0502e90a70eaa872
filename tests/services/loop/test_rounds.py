"""Rounds as people start, wait for, push and cancel them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Project, Round
from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.security import Principal
from app.services import dispatch
from app.services.data import datasets
from app.services.judging import assignments, judgements, labels, recent_judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop import round_rows
from app.services.loop.rounds import rounds
from app.services.loop.settings.round_settings import RoundSettings, settings_of
from tests.factories import make_member, make_project, make_task
from tests.waiting import somebody_waits_for_a_lock


async def judge(db: AsyncSession, annotator: Principal, project: Project, count: int = 1) -> None:
    for _ in range(count):
        await make_task(db, project)
        leased = await assignments.lease_next(db, annotator, project)
        assert leased is not None
        await judgements.submit(db, annotator, leased.id, Submission(Answer(2), idempotency_key=f"key {leased.id}"))


async def at_label(db: AsyncSession, project: Project, *, target: int) -> Round:
    """A round that waits for labels."""
    round_ = await rounds.start(db, None, project, label_target=target)
    round_.step = "label"
    await db.flush()
    return round_


async def test_a_round_starts_at_select_and_has_a_job(db: AsyncSession) -> None:
    round_ = await rounds.start(db, None, await make_project(db), label_target=7)
    assert (round_.number, round_.step, round_.status, round_.label_target) == (1, "select", "active", 7)
    assert await dispatch.waiting_jobs(db) == {f"round:{round_.id}"}


async def test_a_second_round_is_refused_while_one_is_active(db: AsyncSession) -> None:
    project = await make_project(db)
    first = await rounds.start(db, None, project)
    with pytest.raises(Conflict, match="under way"):
        await rounds.start(db, None, project)
    await rounds.cancel(db, None, first)
    assert (await rounds.start(db, None, project)).number == 2


async def test_of_two_admins_who_start_a_round_at_once_one_is_told(sessions: SessionFactory, db: AsyncSession) -> None:
    async with transaction(sessions) as setup:
        project = await make_project(setup)

    async def second_admin() -> None:
        async with transaction(sessions) as other:
            await rounds.start(other, None, project)

    async with transaction(sessions) as one:
        await rounds.start(one, None, project)
        late = asyncio.create_task(second_admin())
        await somebody_waits_for_a_lock(db)
    with pytest.raises(Conflict, match="under way"):
        await late
    assert len(await round_rows.list_rounds(db, project.id)) == 1


async def test_what_a_round_was_started_with_stays_with_it(db: AsyncSession) -> None:
    project = await make_project(db)
    project.round_settings = {"ppo": {"iterations": 5, "epochs": 1}, "seed": 3}
    round_ = await rounds.start(db, None, project, settings={"ppo": {"epochs": 2}, "policy_gate": {"kl": 8}})
    project.round_settings = {"seed": 4}
    kept = RoundSettings.model_validate(round_.settings)
    assert (kept.seed, kept.ppo, kept.policy_gate.kl) == (3, {"iterations": 5, "epochs": 2}, 8)
    assert kept.policy_gate.eos_rate == RoundSettings().policy_gate.eos_rate


@pytest.mark.parametrize(
    ("settings", "place"),
    [({"sed": 1}, "sed"), ({"label_target": -1}, "label_target"), ({"policy_gate": {"kl": 0}}, "policy_gate.kl")],
)
async def test_settings_that_mean_nothing_are_refused_by_name(
    db: AsyncSession, settings: dict[str, Any], place: str
) -> None:
    with pytest.raises(Invalid, match=place):
        await rounds.start(db, None, await make_project(db), settings=settings)


def test_a_round_asks_for_a_fifth_more_pairs_than_it_needs_because_people_skip() -> None:
    settings = RoundSettings(label_target=100)
    assert settings.pairs_wanted(overlap=1) == 120
    assert settings.pairs_wanted(overlap=3) == 40
    assert RoundSettings(label_target=0).pairs_wanted(overlap=1) == 1
    assert RoundSettings(pairs_per_round=9).pairs_wanted(overlap=3) == 9


async def test_labels_at_hand_are_those_by_people_since_the_last_snapshot(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    annotator = await make_member(db, project)
    await judge(db, annotator, project, 2)
    assert await labels.labels_at_hand(db, project.id) == 2
    await datasets.cut_preferences(db, project, home=tmp_path)
    assert await labels.labels_at_hand(db, project.id) == 0
    await judge(db, annotator, project, 3)
    assert await labels.labels_at_hand(db, project.id) == 3


async def test_a_changed_judgement_is_one_label(db: AsyncSession) -> None:
    project = await make_project(db)
    annotator = await make_member(db, project)
    await judge(db, annotator, project)
    (recent,) = await recent_judgements.of_person(db, annotator, project)
    await judgements.submit(db, annotator, recent.assignment_id, Submission(Answer(6), idempotency_key="on reflection"))
    assert await labels.labels_at_hand(db, project.id) == 1


async def test_the_label_that_completes_the_target_wakes_the_round_and_no_other_does(db: AsyncSession) -> None:
    project = await make_project(db)
    annotator = await make_member(db, project)
    round_ = await at_label(db, project, target=2)
    await db.execute(text("DELETE FROM procrastinate_jobs"))  # the one of its start
    await judge(db, annotator, project)
    assert await dispatch.waiting_jobs(db) == set()
    await judge(db, annotator, project)
    assert await dispatch.waiting_jobs(db) == {f"round:{round_.id}"}


async def test_a_round_can_go_on_with_the_labels_at_hand(db: AsyncSession) -> None:
    project = await make_project(db)
    await judge(db, await make_member(db, project), project)
    round_ = await at_label(db, project, target=1000)
    await rounds.continue_now(db, None, round_)
    assert round_.step == "snapshot"
    with pytest.raises(Conflict, match="isn't waiting"):
        await rounds.continue_now(db, None, round_)


async def test_a_round_cannot_go_on_without_any_label(db: AsyncSession) -> None:
    round_ = await at_label(db, await make_project(db), target=1)
    with pytest.raises(Conflict, match="no judgement"):
        await rounds.continue_now(db, None, round_)


async def test_a_round_that_is_over_cannot_be_cancelled(db: AsyncSession) -> None:
    round_ = await rounds.start(db, None, await make_project(db))
    await rounds.cancel(db, None, round_)
    assert round_.finished_at is not None
    with pytest.raises(Conflict, match="cancelled"):
        await rounds.cancel(db, None, round_)


async def test_only_owners_steer_rounds_and_only_members_see_them(db: AsyncSession) -> None:
    project = await make_project(db)
    round_ = await at_label(db, project, target=1)
    annotator = await make_member(db, project)
    stranger = await make_member(db, await make_project(db), "owner")
    for steer in (rounds.cancel, rounds.continue_now):
        with pytest.raises(Forbidden):
            await steer(db, annotator, round_)
    with pytest.raises(NotFound):
        await round_rows.get(db, stranger, round_.id)
    assert (await round_rows.get(db, annotator, round_.id)).id == round_.id


async def test_a_project_without_settings_has_the_defaults(db: AsyncSession) -> None:
    assert settings_of(await make_project(db)) == RoundSettings()
