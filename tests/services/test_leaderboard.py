"""The leaderboard: strengths as others compute them, ranks that are shared in doubt, and what length pays taken out."""

import random

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ModelVersion, Project, Round
from app.security import Principal
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.comparisons import duels, strengths
from app.services.loop.comparisons.strengths import Votes
from app.services.loop.comparisons.writers import Writer
from app.services.loop.gates.gate_bounds import VoteBounds
from app.services.reports import loop_evidence, reports
from app.services.reports.leaderboard import LEADERBOARD, Leaderboard, board
from tests.factories import make_member, make_project, make_prompt
from training.records import DuelRecord

# Of 60 votes among 4 writers (first, second, score of the first) by the generator below, what
# `evalica.bradley_terry` 0.4.2 (tie_weight 0.5, tolerance 1e-12) gives, scaled to the sum 1.
EVALICA = (0.257758582615, 0.370447807399, 0.219760566513, 0.152033043473)


def some_votes(count: int = 60, seed: int = 7) -> list[tuple[int, int, float]]:
    rng = random.Random(seed)
    votes = []
    for _ in range(count):
        first, second = rng.sample(range(4), 2)
        votes.append((first, second, rng.choice((1.0, 1.0, 0.5, 0.0) if first < second else (1.0, 0.5, 0.0, 0.0))))
    return votes


def as_votes(rows: list[tuple[int, int, float]]) -> Votes:
    first, second, score = (np.array(column) for column in zip(*rows, strict=True))
    alone = np.arange(len(rows))
    return Votes(first, second, score.astype(float), alone, np.zeros_like(alone), np.empty((len(rows), 0)))


def shares(strength: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> list[float]:
    exponential = np.exp(strength)
    return list(exponential / exponential.sum())


def by_minorisation(rows: list[tuple[int, int, float]]) -> list[float]:
    """Zermelo 1929, as Hunter 2004 writes it: another way to the same strengths."""
    wins = np.zeros((4, 4))
    for first, second, score in rows:
        wins[first, second] += score
        wins[second, first] += 1 - score
    strength = np.ones(4)
    for _ in range(2_000):
        against = (wins + wins.T) / (strength[:, None] + strength[None])
        strength = wins.sum(axis=1) / against.sum(axis=1)
        strength /= strength.sum()
    return list(strength)


def test_strengths_are_those_of_another_optimiser_and_of_evalica() -> None:
    rows = some_votes()
    found = shares(strengths.fit(as_votes(rows)).strength)
    assert found == pytest.approx(by_minorisation(rows), abs=1e-9)
    assert found == pytest.approx(EVALICA, abs=1e-6)


def test_who_always_wins_is_not_infinitely_strong() -> None:
    rows = [(0, 1, 1.0)] * 20 + [(1, 2, 1.0), (2, 1, 1.0)]
    fitted = strengths.fit(as_votes(rows))
    assert np.isfinite(fitted.strength).all()
    assert 2 < fitted.strength[0] - fitted.strength[1] < 6


# What the statement gives of a vote: two writers (policies by their ids), score, prompt, person, side, length, marks.
def row(first: int, second: int, score: float, prompt: int, person: int = 1, **beside: float) -> tuple[object, ...]:
    marks = (0, 0, beside.get("lists", 0), 0, 0, 0)
    return (first, None, second, None, score, prompt, person, beside.get("side", 1), beside.get("length", 0.0), *marks)


def named(*policies: int) -> dict[Writer, str]:
    return {Writer("policy", policy): str(policy) for policy in policies}


def test_writers_that_cannot_be_told_apart_share_a_rank_and_a_clearly_better_one_stands_alone() -> None:
    rng = random.Random(3)
    rows = [row(1, 2, float(rng.random() < 0.5), prompt, prompt % 5) for prompt in range(80)]
    rows += [row(3, other, float(rng.random() < 0.85), prompt, prompt % 5) for prompt in range(80) for other in (1, 2)]
    found = board(rows, named(1, 2, 3), seed=1)
    best, *rest = found.entries
    assert (best.name, best.rank) == ("3", 1)
    assert [entry.rank for entry in rest] == [2, 2]
    assert (best.votes, best.prompts, found.people) == (160, 80, 5)
    assert best.low is not None
    assert best.low > 1000
    assert sum(entry.rating for entry in found.entries) == pytest.approx(3000)


def test_what_is_liked_for_its_length_alone_leads_until_length_is_taken_out() -> None:
    rng = random.Random(5)
    rows = []
    for prompt in range(400):
        length = rng.gauss(0.8, 0.7)  # of writer 1 over writer 2, in doublings
        chance = 1 / (1 + np.exp(-1.5 * length))
        rows.append(
            row(1, 2, float(rng.random() < chance), prompt, prompt % 4, length=length, side=rng.choice((1, -1)))
        )
    found = {entry.name: entry for entry in board(rows, named(1, 2), seed=1).entries}
    assert (found["1"].rank, found["2"].rank) == (1, 2)
    assert (found["1"].controlled_rank, found["2"].controlled_rank) == (1, 1)
    weights = {weight.name: weight for weight in board(rows, named(1, 2), seed=1).weights}
    assert weights["length"].low is not None
    assert weights["length"].low > 100
    assert weights["first_side"].low is not None
    assert weights["first_side"].high is not None
    assert weights["first_side"].low < 0 < weights["first_side"].high


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(1, 2, 0.5, 1)],
        [row(1, 2, 0.5, prompt) for prompt in range(30)],
        [row(1, 2, 1.0, 1, person) for person in range(30)],
        [row(1, 2, 1.0, prompt, lists=9) for prompt in range(30)],
        [row(1, 2, 1.0, prompt) for prompt in range(12)] + [row(3, 4, 1.0, 1)],
    ],
)
def test_too_little_gives_a_board_without_intervals_or_with_wide_ones_and_no_nonsense(
    rows: list[tuple[object, ...]],
) -> None:
    found = board(rows, named(1, 2, 3, 4), seed=1)
    document = LEADERBOARD.to_json(found)
    assert LEADERBOARD.read(document) == found
    numbers = [value for entry in document["entries"] for value in entry.values() if isinstance(value, float)]
    assert all(np.isfinite(numbers))
    assert found.unconnected == (2 if len(rows) == 13 else 0)


async def test_votes_of_duels_make_the_board_and_tasks_that_were_picked_do_not(db: AsyncSession) -> None:
    project = await make_project(db)
    policies = [
        ModelVersion(project_id=project.id, kind="policy", number=n, folder="f", manifest_sha256="0" * 64)
        for n in (1, 2)
    ]
    db.add_all(policies)
    await db.flush()
    round_ = Round(project_id=project.id, number=1, label_target=0, step="vote", policy_id=policies[1].id)
    db.add(round_)
    await db.flush()
    prompt = await make_prompt(db, project, split="validation")
    written = [
        DuelRecord(str(prompt.id), 0, f"New {n}", f"Old {n}", 1, 1, True, True, 0.0, 0.0, 1.0) for n in range(12)
    ]
    await duels.make_tasks(
        db, project, round_, written, VoteBounds(votes=12, companions=0),
        policies=(policies[1].id, policies[0].id), run_id=None, propensity=1.0, rng=random.Random(1),
    )  # fmt: skip
    assert (await told(db, project)).entries == ()
    annotator = await make_member(db, project)
    for _ in range(12):
        await prefer(db, project, annotator, "New")
    found = await told(db, project)
    assert [(entry.kind, entry.name, entry.votes) for entry in found.entries] == [
        ("policy", "2", 12),
        ("policy", "1", 12),
    ]
    assert (found.votes, found.prompts, found.people) == (12, 1, 1)
    assert found.first_side is not None
    over = await loop_evidence.votes_over(db, project.id, policies[0].id)
    assert over == {policies[1].id: [1.0] * 12}, "what the page Rounds tells of the new policy"


async def told(db: AsyncSession, project: Project) -> Leaderboard:
    content = (await reports.fresh(db, project, LEADERBOARD)).content
    assert content is not None
    return content


async def prefer(db: AsyncSession, project: Project, annotator: Principal, begins: str) -> None:
    leased = await assignments.lease_next(db, annotator, project)
    assert leased is not None
    view = await assignments.view(db, annotator, leased.id)
    choice = 1 if view.panes[0][1].startswith(begins) else 7
    await judgements.submit(db, annotator, leased.id, Submission(Answer(choice), f"{leased.id}"))
