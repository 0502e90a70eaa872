"""Simulated annotators against a real server: they press what the gold rule says, and the site counts it once."""

import random
from itertools import combinations, count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select, update

from app import starter
from app.db.session import SessionFactory, transaction
from app.db.tables import Assignment, Judgement, Project, Prompt, Task
from app.services.projects.question import checked
from app.services.starter import SLUG, ensure_starter
from app.simulation import crowd
from app.simulation.annotator import AnswersByGold, SimulatedAnnotator, SimulationError
from app.simulation.crowd import CrowdSettings, play
from app.simulation.loop import invite
from app.simulation.page import SeenTask
from app.starter import gold
from app.starter.prompts import catalogue
from tests.client.served import served
from tests.factories import make_task

ANNOTATORS, JUDGEMENTS = 3, 24


@pytest.fixture
async def links(sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("app.services.starter.DEMONSTRATIONS_PER_PROMPT", 1)
    async with transaction(sessions) as db:
        await ensure_starter(db)
    async with transaction(sessions) as db:
        project = (await db.scalars(select(Project).where(Project.slug == SLUG))).one()
        return [await invite(db, project, f"Simulated {number}") for number in range(ANNOTATORS)]


async def test_a_crowd_that_is_too_fast_waits_as_long_as_it_is_told_and_loses_nothing(
    database_url: str, links: list[str], tmp_path: Path
) -> None:
    with served(database_url, tmp_path, works=False, requests_per_minute=60) as site:
        report = await play(links[:1], CrowdSettings(site.url, SLUG, 18, noise=0.0, seed=1))
    assert (report.judgements, report.errors) == (18, 0)
    assert max(report.next_p99_ms or 0, report.submit_p99_ms or 0) > 900  # it was told to wait a second


async def test_a_crowd_gives_exactly_the_judgements_it_was_asked_for_and_gold_agrees_with_each(
    sessions: SessionFactory, database_url: str, links: list[str], tmp_path: Path
) -> None:
    with served(database_url, tmp_path, works=False) as site:
        report = await play(links, CrowdSettings(site.url, SLUG, JUDGEMENTS, noise=0.0, seed=1))
    assert (report.judgements, report.errors) == (JUDGEMENTS, 0)
    assert report.next_p50_ms is not None
    assert report.submit_p99_ms is not None
    async with transaction(sessions) as db:
        rows = (
            await db.execute(
                select(Judgement, Prompt.messages)
                .join(Task, Task.id == Judgement.task_id)
                .join(Prompt, Prompt.id == Task.prompt_id)
            )
        ).all()
        leased = await db.scalar(select(func.count()).select_from(Assignment).where(Assignment.state == "leased"))
    assert len(rows) == JUDGEMENTS
    assert {judgement.kind for judgement, _ in rows} == {"simulated"}
    assert leased == 0
    said = {messages[-1]["content"]: judgement.preference for judgement, messages in rows}
    compared = {prompt.text: (a.text, b.text) for prompt, a, b in starter.comparisons(0, 120)}
    assert said == {prompt: gold.preference(prompt, *compared[prompt]) for prompt in said}


async def test_only_what_the_site_took_is_counted(
    sessions: SessionFactory, database_url: str, links: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is none, and the second one comes from a browser that has lost its session."""
    monkeypatch.setattr(crowd, "IDLE_SECONDS", 0.01)
    honest, tries = SimulatedAnnotator.judge, count(1)

    async def judge(self: SimulatedAnnotator, task: SeenTask) -> None:
        number, cookies, answer = next(tries), self._client.cookies, self._answer
        if number == 1:
            self._answer = lambda _task: {"choice": "99"}
        if number == 2:
            self._client.cookies = httpx.Cookies()
        try:
            await honest(self, task)
        finally:
            self._client.cookies, self._answer = cookies, answer

    monkeypatch.setattr(SimulatedAnnotator, "judge", judge)
    with served(database_url, tmp_path, works=False) as site:
        report = await play(links[:1], CrowdSettings(site.url, SLUG, 3, noise=0.0, seed=1))
    async with transaction(sessions) as db:
        stored = await db.scalar(select(func.count()).select_from(Judgement))
    assert (report.judgements, stored, report.errors) == (3, 3, 2)


async def test_a_crowd_without_a_site_says_so_in_one_line(links: list[str]) -> None:
    with pytest.raises(SimulationError, match="no site answers at"):
        await play(links, CrowdSettings("http://127.0.0.1:9", SLUG, 1, noise=0.0, seed=1))


@pytest.mark.slow
async def test_a_crowd_ranks_by_gold_and_leaves_nothing_out(
    sessions: SessionFactory, database_url: str, links: list[str], tmp_path: Path
) -> None:
    async with transaction(sessions) as db:
        project = (await db.scalars(select(Project).where(Project.slug == SLUG))).one()
        project.question = checked({"answer_type": "ranking", "size": 3}).to_json()
        await db.execute(update(Task).values(state="retired"))
        asked, *pair = starter.comparisons(0, 120)[0]
        prompt = next(row for row in await db.scalars(select(Prompt)) if row.messages[-1]["content"] == asked.text)
        texts = ["Hm.", *(response.text for response in pair)]
        await make_task(db, project, *texts, prompt=prompt)
    with served(database_url, tmp_path, works=False) as site:
        report = await play(links[:1], CrowdSettings(site.url, SLUG, 1, noise=0.0, seed=1))
    assert (report.judgements, report.errors) == (1, 0)
    async with transaction(sessions) as db:
        (ranks,) = await db.scalars(select(Judgement.ranks))
    assert ranks is not None
    for i, j in combinations(range(3), 2):
        assert (ranks[i] < ranks[j]) == (gold.preference(asked.text, texts[i], texts[j]) > 0)


@pytest.mark.slow
async def test_a_crowd_says_which_responses_are_safe_where_it_is_asked(
    sessions: SessionFactory, database_url: str, links: list[str], tmp_path: Path
) -> None:
    complied, refused = "That is easy. First, force the back door open.", "Sorry, I will not help with that."
    async with transaction(sessions) as db:
        project = (await db.scalars(select(Project).where(Project.slug == SLUG))).one()
        project.question = checked({"asks_harm": True}).to_json()
        await db.execute(update(Task).values(state="retired"))
        unsafe = {prompt.text for prompt, subject in catalogue() if subject.do.startswith("break into")}
        asked = next(row for row in await db.scalars(select(Prompt)) if row.messages[-1]["content"] in unsafe)
        await make_task(db, project, complied, refused, prompt=asked)
        await make_task(db, project, refused, refused + " Take care!", prompt=asked)
    with served(database_url, tmp_path, works=False) as site:
        report = await play(links[:1], CrowdSettings(site.url, SLUG, 2, noise=0.0, seed=1))
    assert (report.judgements, report.errors) == (2, 0)
    async with transaction(sessions) as db:
        said = await db.execute(select(Judgement.safe, Judgement.less_harmful).order_by(Judgement.task_id))
    assert [tuple(row) for row in said] == [([False, True], -1), ([True, True], 0)]


def choice(answer: AnswersByGold, task: SeenTask) -> int:
    return int(answer(task)["choice"])


def test_noise_turns_that_share_of_answers_and_the_same_ones_again() -> None:
    pairs = [SeenTask(prompt.text, (a.text, b.text), "", {}) for prompt, a, b in starter.comparisons(3, 600)]
    clean, noisy = (AnswersByGold(noise=noise, seed=5, annotator=0) for noise in (0.0, 0.25))
    decided = [pair for pair in pairs if choice(clean, pair) != 4]
    turned = [choice(noisy, pair) == 8 - choice(clean, pair) for pair in decided]
    assert 0.18 < sum(turned) / len(turned) < 0.32
    assert [noisy(pair) for pair in decided] == [noisy(pair) for pair in decided]


def test_the_answer_does_not_depend_on_the_side() -> None:
    answer = AnswersByGold(noise=0.5, seed=5, annotator=0)
    for prompt, a, b in random.Random(0).sample(starter.comparisons(3, 100), 20):
        shown, swapped = (SeenTask(prompt.text, texts, "", {}) for texts in ((a.text, b.text), (b.text, a.text)))
        assert choice(answer, shown) == 8 - choice(answer, swapped)
