"""What is found of simulated people, beside what they are; and how a loop says it."""

import json
import random
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import starter
from app.db.tables import Round, Task
from app.services.judging.answers import Answer
from app.simulation.found import Found, found_of
from app.simulation.kinds import Kind, answers_of, reliability_of
from app.simulation.loop import LoopSettings, RoundRefusedError, RoundReport, share
from app.simulation.page import SeenTask
from tests.command_line import Plumbline, runner, usage_error
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.services.judging.test_quality import answer

KINDS: tuple[Kind, ...] = ("noisy", "noisy", "noisy", "noisy", "lazy", "adversarial", "different")
TASKS = 60


@pytest.fixture
def plumbline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Plumbline:
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    return runner(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("kind", "truth"), [("noisy", 0.9), ("lazy", 0.5), ("adversarial", 0.1), ("sided", 0.798), ("different", None)]
)
def test_each_kind_knows_how_reliable_it_is(kind: Kind, truth: float | None) -> None:
    assert reliability_of(kind, 0.1) == (None if truth is None else pytest.approx(truth, abs=1e-3))


def test_without_noise_nobody_is_beyond_certain() -> None:
    assert reliability_of("noisy", 0.0) == pytest.approx(1)
    assert reliability_of("adversarial", 0.0) == 0


async def test_everybody_is_found_to_be_what_they_are(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db, overlap=len(KINDS))
    people = [await make_member(db, project) for _ in KINDS]
    ways = [answers_of(kind, noise=0.1, seed=0, annotator=place) for place, kind in enumerate(KINDS)]
    for number, (asked, one, other) in enumerate(starter.comparisons(0, TASKS)):
        prompt = await make_prompt(db, project, asked.text)
        task = await make_task(db, project, one.text, other.text, prompt=prompt)
        order = [1, 0] if number % 2 else [0, 1]
        shown = [(one.text, other.text)[position] for position in order]
        for person, way in zip(people, ways, strict=True):
            said = way(SeenTask(asked.text, tuple(shown), "/", {}))
            await answer(db, person, task, order, Answer(int(said["choice"])))
    named = {
        person.user_id: (f"Simulated {place}", kind)
        for place, (person, kind) in enumerate(zip(people, KINDS, strict=True))
    }
    found = await found_of(db, project, tmp_path, named, noise=0.1)
    assert [(one.name, one.kind, one.votes) for one in found] == [(*named[id_], TASKS) for id_ in named]
    by_kind = {one.kind: one for one in found}
    assert {one.kind for one in found if one.verdict == "reliable"} >= {"noisy"}
    assert by_kind["adversarial"].high < 0.5 < by_kind["noisy"].low
    assert by_kind["lazy"].side > 0.9
    assert sum(one.is_covered is True for one in found) >= 5
    assert by_kind["different"].is_covered is None
    for one in found:
        assert one.by_gold is not None
        if one.kind in ("noisy", "adversarial"):
            assert one.by_gold == pytest.approx(reliability_of(one.kind, 0.1), abs=0.12)


async def test_who_has_said_nothing_is_not_reported(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    person = await make_member(db, project)
    assert await found_of(db, project, tmp_path, {person.user_id: ("Simulated 0", "noisy")}, noise=0.1) == ()


async def test_a_share_of_the_pairs_is_given_to_several_people_and_the_others_to_one(db: AsyncSession) -> None:
    project = await make_project(db)
    round_ = Round(project_id=project.id, number=1, label_target=9, step="label")
    db.add(round_)
    await db.flush()

    async def made(count: int) -> list[int]:
        for _ in range(count):
            (await make_task(db, project, "Yes.", "No.")).round_id = round_.id
        await db.flush()
        quota = await db.scalars(select(Task.quota).where(Task.round_id == round_.id).order_by(Task.id))
        return list(quota)

    draw, seen = random.Random(0), 0
    for _ in range(2):  # as batches are made while people judge
        await made(20)
        seen = await share(db, round_.id, after=seen, votes=3, share_=0.3, draw=draw)
    quota = await made(1)
    assert set(quota) == {1, 3}
    assert 6 <= quota.count(3) <= 18
    assert quota[-1] == 1, "nobody has looked at it yet"
    assert await share(db, round_.id, after=seen + 1, votes=3, share_=1, draw=draw) == seen + 1, "none is new"


def test_a_loop_with_mixed_people_says_what_was_found_of_each(
    plumbline: Plumbline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[LoopSettings] = []

    def turned(settings: LoopSettings, _tell: object) -> list[RoundReport]:
        asked.append(settings)
        people = (
            Found("Simulated 0", "noisy", 31, "reliable", 0.91, 0.83, 0.95, 0.9, 0.88, 0.5),
            Found("Simulated 1", "different", 29, "unexplained", 0.4, 0.3, 0.55, None, None, 0.5),
        )
        return [report_of(people)]

    monkeypatch.setattr("app.cli.simulation.run_loop", turned)
    file = tmp_path / "loop.json"
    several = ("--votes", "3", "--shared", "0.25", "--weigh", "never")
    done = plumbline("loop", "--people", "mixed", *several, "--json", str(file))
    assert done.code == 0
    (settings,) = asked
    assert (settings.annotators, settings.votes, settings.shared, settings.weigh) == (13, 3, 0.25, "never")
    assert "Simulated 0    noisy        31     reliable      0.910 [0.830, 0.950]   0.90    0.88" in done.out
    assert "0.400 [0.300, 0.550]   –       –" in done.out, "who has another truth is measured against none"
    (round_,) = json.loads(file.read_text())["rounds"]
    assert (round_["weighs"], round_["pairs"]) == (True, 90)
    assert [(one["kind"], one["reliability"], one["truth"]) for one in round_["people"]] == [
        ("noisy", 0.91, 0.9),
        ("different", 0.4, None),
    ]


def test_a_loop_whose_round_was_refused_says_so_and_what_was_found_of_people(
    plumbline: Plumbline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    people = (Found("Simulated 0", "lazy", 31, "unreliable", 0.5, 0.4, 0.6, 0.5, 0.48, 0.98),)

    def refused(_settings: LoopSettings, _tell: object) -> list[RoundReport]:
        raise RoundRefusedError(1, "Not better than a coin.", people)

    monkeypatch.setattr("app.cli.simulation.run_loop", refused)
    file = tmp_path / "loop.json"
    done = plumbline("loop", "--people", "mixed", "--json", str(file))
    assert done.refusal == "round 1 ended without a policy: Not better than a coin."
    assert "lazy         31     unreliable    0.500 [0.400, 0.600]   0.50    0.48        0.98" in done.out
    told = json.loads(file.read_text())
    assert told["refused"] == done.refusal
    assert [one["verdict"] for one in told["people"]] == ["unreliable"]


def report_of(people: tuple[Found, ...]) -> RoundReport:
    return RoundReport(
        round=1, labels=120, pairs=90, reward_accuracy=0.7, reward_accuracy_ci=(0.6, 0.8), gold_win_rate=0.7,
        gold_win_rate_ci=(0.6, 0.8), win_rate_by_length_tercile=(0.7, 0.7, 0.7), win_rate_on_unseen_topics=0.6,
        win_rate_on_unseen_topics_ci=(0.5, 0.7), kl=3.0, length_ratio=1.0, eos_rate=1.0, promoted=True, reason=None,
        seconds={}, weighs=True, people=people,
    )  # fmt: skip


def test_more_votes_than_people_or_a_share_above_one_are_refused(plumbline: Plumbline) -> None:
    assert "'--votes'" in usage_error(plumbline("loop", "--votes", "14"))
    assert "'--shared'" in usage_error(plumbline("loop", "--shared", "1.5"))
    assert "'--weigh'" in usage_error(plumbline("loop", "--weigh", "sometimes"))
