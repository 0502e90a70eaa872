"""A program that follows judgements ends with what a dataset version cut now would hold, whatever came meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Completion, Judgement, JudgementChange, Project, Prompt, Task, TaskCompletion
from app.errors import Conflict, Invalid
from app.security import Principal
from app.services.data import datasets, following
from app.services.data.following import BeginAgain
from app.services.judging import assignments, judgements, reviews
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects.question import Question
from tests.exporting import held_by_a_cut
from tests.factories import make_member, make_project, make_prompt, make_task


class Follower:
    """Does what the call's description says: keep rows by judgement, drop what is gone."""

    def __init__(self, sessions: SessionFactory, project: Project, *, most: int = 3) -> None:
        self.sessions, self.project, self.most = sessions, project, most
        self.cursor: str | None = None
        self.rows: dict[int, dict[str, Any]] = {}
        self.calls = 0

    async def once(self) -> bool:
        async with transaction(self.sessions) as db:
            news = await following.follow(db, self.project, self.cursor, most=self.most)
        assert len(news.rows) + len(news.gone) <= self.most
        self.rows |= {row["judgement_id"]: row for row in news.rows}
        for judgement_id in news.gone:
            self.rows.pop(judgement_id, None)
        self.cursor, self.calls = news.cursor, self.calls + 1
        return news.is_up_to_date

    async def catch_up(self) -> "Follower":
        while not await self.once():
            assert self.calls < 200
        return self


async def answer(db: AsyncSession, actor: Principal, project: Project, said: Answer | None = None) -> Judgement:
    lease = await assignments.lease_next(db, actor, project)
    assert lease is not None
    is_swapped = said is None and lease.shown_order[0] != 0
    submission = Submission(said or Answer(6 if is_swapped else 2), f"key {lease.id}")
    return (await judgements.submit(db, actor, lease.id, submission)).judgement


async def change(db: AsyncSession, actor: Principal, judgement: Judgement, choice: int) -> Judgement:
    assert judgement.assignment_id is not None
    sent = Submission(Answer(choice), f"changed {judgement.id}")
    return (await judgements.submit(db, actor, judgement.assignment_id, sent)).judgement


async def make_judged(db: AsyncSession, count: int = 4) -> tuple[Project, Principal, list[Judgement]]:
    project = await make_project(db, overlap=2)
    ada = await make_member(db, project)
    for _ in range(count):
        await make_task(db, project)
    said = [await answer(db, ada, project) for _ in range(count)]
    await db.commit()
    return project, ada, said


async def test_one_that_commits_late_with_the_smaller_id_is_not_skipped(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project, _, _ = await make_judged(db, 2)
    follower = await Follower(sessions, project).catch_up()
    bea, cleo = await make_member(db, project), await make_member(db, project)
    await db.commit()
    async with sessions() as slow, sessions() as quick:
        late = await answer(slow, bea, project)
        early = await answer(quick, cleo, project)
        assert late.id < early.id
        await quick.commit()
        await follower.catch_up()
        assert not {late.id, early.id} & set(follower.rows), "what might be overtaken waits for the one before it"
        await slow.commit()
    await follower.catch_up()
    assert {late.id, early.id} <= set(follower.rows)
    assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


async def test_one_that_commits_behind_the_first_reading_is_read_after_it(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db, overlap=2)
    bea, cleo = await make_member(db, project), await make_member(db, project)
    for _ in range(3):
        await make_task(db, project)
    await db.commit()
    follower = Follower(sessions, project, most=1)
    async with sessions() as slow:
        late = await answer(slow, bea, project)
        async with transaction(sessions) as quick:
            others = [await answer(quick, cleo, project) for _ in range(2)]
        await follower.once()
        await follower.once()
        assert set(follower.rows) == {judgement.id for judgement in others}
        await slow.commit()
    await follower.catch_up()
    assert late.id < others[0].id
    assert late.id in follower.rows
    assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


async def test_what_was_read_can_still_be_changed_and_the_change_comes(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project, ada, said = await make_judged(db)
    follower = await Follower(sessions, project).catch_up()
    changed = await change(db, ada, said[0], 7)
    await db.commit()
    await follower.catch_up()
    assert said[0].id not in follower.rows
    assert follower.rows[changed.id]["choice"] == 7
    assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


Act = Callable[[AsyncSession, Project, list[Judgement]], Awaitable[None]]


async def exclude(db: AsyncSession, project: Project, said: list[Judgement]) -> None:
    await db.execute(update(Prompt).where(Prompt.id == await prompt_of(db, said[0])).values(excluded=True))


async def hold_out(db: AsyncSession, project: Project, said: list[Judgement]) -> None:
    await db.execute(update(Prompt).where(Prompt.id == await prompt_of(db, said[0])).values(split="held_out"))


async def decide(db: AsyncSession, project: Project, said: list[Judgement]) -> None:
    """Somebody is undecided everywhere, and a reviewer decides."""
    other, reviewer = await make_member(db, project), await make_member(db, project, "reviewer")
    for _ in said:
        await answer(db, other, project, Answer(4))
    while (claimed := await reviews.claim(db, reviewer, project)) is not None:
        await judgements.submit(db, reviewer, claimed, Submission(Answer(1), f"verdict {claimed}"))


async def erase_one_response(db: AsyncSession, project: Project, said: list[Judgement]) -> None:
    of_task = select(TaskCompletion.completion_id).where(TaskCompletion.task_id == said[0].task_id)
    of_task = of_task.join(Completion).where(Completion.erased_at.is_(None)).limit(1)
    gone = update(Completion).where(Completion.id.in_(of_task)).values(text="", erased_at=text("now()"))
    await db.execute(gone)


async def erase_the_prompt(db: AsyncSession, project: Project, said: list[Judgement]) -> None:
    nothing = [{"role": "user", "content": ""}]
    of_it = update(Prompt).where(Prompt.id == await prompt_of(db, said[0]))
    await db.execute(of_it.values(messages=nothing, erased_at=text("now()")))


async def prompt_of(db: AsyncSession, judgement: Judgement) -> int:
    return (await db.scalars(select(Task.prompt_id).where(Task.id == judgement.task_id))).one()


@pytest.mark.parametrize("act", [exclude, hold_out, decide, erase_one_response, erase_the_prompt])
async def test_what_counts_no_more_goes(db: AsyncSession, sessions: SessionFactory, tmp_path: Path, act: Act) -> None:
    project, _, said = await make_judged(db)
    follower = await Follower(sessions, project).catch_up()
    assert set(follower.rows) == {judgement.id for judgement in said}
    await act(db, project, said)
    await db.commit()
    await follower.catch_up()
    assert said[0].id not in follower.rows
    assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


async def test_what_is_let_in_again_comes_back(db: AsyncSession, sessions: SessionFactory, tmp_path: Path) -> None:
    project, _, said = await make_judged(db)
    await exclude(db, project, said)
    await db.commit()
    follower = await Follower(sessions, project).catch_up()
    assert said[0].id not in follower.rows
    await db.execute(update(Prompt).where(Prompt.id == await prompt_of(db, said[0])).values(excluded=False))
    await db.commit()
    await follower.catch_up()
    assert said[0].id in follower.rows
    assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


async def test_of_rankings_what_a_version_learns_from_is_followed(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db)
    project.question = Question(answer_type="ranking", size=3).to_json()
    ada = await make_member(db, project)
    for _ in range(2):
        await make_task(db, project, "One.", "Two.", "Three.")
    ranked = [await answer(db, ada, project, Answer(None, "ranking", (1, 2, 3))) for _ in range(2)]
    await db.commit()
    follower = await Follower(sessions, project).catch_up()
    assert set(follower.rows) == {judgement.id for judgement in ranked}
    for left in (2, 1):
        await erase_one_response(db, project, ranked[:1])
        await db.commit()
        await follower.catch_up()
        is_there = ranked[0].id in follower.rows
        assert is_there == (left == 2), "of one response alone nothing is learnt"
        assert not is_there or follower.rows[ranked[0].id]["responses"].count("") == 1
        assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


async def test_many_people_at_once_and_a_follower_beside_them(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db, overlap=4)
    people = [await make_member(db, project) for _ in range(4)]
    for _ in range(5):
        await make_task(db, project)
    await db.commit()
    follower = Follower(sessions, project)

    async def work(person: Principal) -> None:
        for _ in range(5):
            async with transaction(sessions) as own:
                said = await answer(own, person, project)
            async with transaction(sessions) as own:
                await change(own, person, said, 6)

    working = asyncio.gather(*map(work, people))
    while not working.done():
        await follower.once()
    await working
    await follower.catch_up()
    assert len(follower.rows) == 20
    assert follower.rows == await held_by_a_cut(sessions, project, tmp_path)


async def test_a_cursor_that_can_not_be_gone_on_from_says_so(
    db: AsyncSession, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _, _ = await make_judged(db)
    cursor = (await Follower(sessions, project).catch_up()).cursor
    for nonsense in ("nonsense", "WzFd", "é", ""):
        with pytest.raises(Invalid, match="`after` must be"):
            await following.follow(db, project, nonsense)
    project.review = {"prefers_verdicts": False}
    with pytest.raises(BeginAgain, match="Begin again"):
        await following.follow(db, project, cursor)
    project.review = {}
    assert (await following.follow(db, project, cursor)).is_up_to_date
    monkeypatch.setattr(following, "KEPT_SECONDS", -1)
    with pytest.raises(BeginAgain):
        await following.follow(db, project, cursor)


async def test_changes_are_forgotten_when_no_cursor_needs_them_any_more(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, ada, said = await make_judged(db)
    await db.execute(update(JudgementChange).values(at=text("now() - interval '32 days'")))
    await change(db, ada, said[0], 6)
    await db.commit()
    await following.forget_old_changes(db)
    await db.commit()
    left = list(await db.scalars(select(JudgementChange.judgement_id)))
    assert said[0].id in left
    assert len(left) == 2, "the one that was changed and the one that took its place"
    assert len((await Follower(sessions, project).catch_up()).rows) == 4


async def test_nothing_is_followed_of_nothing(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    await make_prompt(db, project)
    await db.commit()
    follower = await Follower(sessions, project).catch_up()
    assert follower.rows == {}
    with pytest.raises(Conflict, match="no judgement yet"):
        await datasets.require_judgements(db, project)
