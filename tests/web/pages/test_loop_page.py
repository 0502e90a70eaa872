"""The loop as one screen: before the first round, after refusals and in the middle of one, and the same as JSON."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import ModelVersion, Project, Round, Task
from app.services.projects import projects
from app.services.reports import loop, reports
from app.settings import settings
from tests.browser.seed import Seeded
from tests.browser.seed.read import make_read
from tests.seeded import seeded, seeded_template, site
from tests.web.conftest import app, sign_in
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, words

__all__ = ["app", "database_url", "doors", "seeded", "seeded_template", "seeded_url", "sign_in", "site"]

LOOP = f"{PROJECT}/loop"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this process, as of a worker's, in which reports find what models have read."""
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path))
    settings.cache_clear()
    return tmp_path


async def write(sessions: SessionFactory, project_id: int) -> None:
    async with transaction(sessions) as own:
        await reports.write(own, project_id, "loop")


async def test_rounds_whose_reward_models_were_measured_on_too_little_are_told_without_a_figure(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await db.execute(update(ModelVersion).where(ModelVersion.kind == "reward").values(figures={}))
    await db.commit()
    page = words(await read(doors["reviewer"], LOOP))
    assert "Round 3 is labelling." in page
    assert "held-out judgements" not in page


async def test_before_anything_was_read_rounds_are_told_as_they_turned_out(
    doors: dict[str, Door], db: AsyncSession, sessions: SessionFactory, seeded: Seeded, home: Path
) -> None:
    first = words(await read(doors["reviewer"], LOOP))
    assert "Round 3 is labelling. Reward model of round 2: right about 76% of held-out judgements." in first
    assert "Being computed." in first
    await write(sessions, seeded.project.id)
    page = words(await read(doors["reviewer"], LOOP))
    assert "What judgements are worth is told once a model has read the responses." in page
    assert "What round 3 asks" in page
    assert "It waits for 400 new judgements." in page
    assert "Its reward model prefers policy 3 to policy 1 in 71% of responses. 66%–76% It is 5 nats away." in page
    assert "Responses are 1.84 times as long as the reference's; at most 1.5 is allowed." in page, "a gate's figure"
    assert page.index("Round 3 active") < page.index("Round 2 refused by a gate") < page.index("Round 1 finished")
    ended = {"status": "finished", "step": "done", "finished_at": func.now(), "trigger": "schedule"}
    figures = {"trigger_figure": 14, "trigger_bound": 14}
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(**ended, **figures))
    await db.commit()
    page = words(await read(doors["reviewer"], LOOP))
    assert "3 rounds have turned." in page
    assert "What the next round will ask" in page
    assert "It started by schedule: 14 days had passed." in page
    assert "It started by schedule: 14 days had passed." in words(await read(doors["reviewer"], f"{PROJECT}/rounds/3"))


async def test_what_labels_taught_and_policies_gained_are_drawn_and_given_to_programs(
    doors: dict[str, Door], sessions: SessionFactory, db: AsyncSession, seeded: Seeded, home: Path
) -> None:
    await make_read(db, seeded.project, [seeded.annotator], home, seeded.policies, labels=220)
    await db.commit()
    await read(doors["reviewer"], LOOP)
    await write(sessions, seeded.project.id)
    html = await read(doors["reviewer"], LOOP)
    assert html.count("data-chart=") == 2
    assert "more judgements would be worth about" in words(html)
    assert "It is least sure of: " in words(html)
    reader = doors["reviewer"]
    labels = (await reader.send("GET", f"{PROJECT}/figures/loop-labels.json")).json()["rows"]
    assert [row["labels"] for row in labels] == sorted({row["labels"] for row in labels})
    assert [row["reward_model"] for row in labels if row["reward_model"]] == [0.731, 0.756]
    assert max(row["labels"] for row in labels if row["random"]) == 812, "random alone is told for as many as there are"
    assert all(row["random_low"] <= row["random"] <= row["random_high"] for row in labels if row["random"])
    measured = [row["as_asked"] for row in labels if row["as_asked"] is not None]
    assert measured[-1] > max(measured[0], 0.7)
    policies = (await reader.send("GET", f"{PROJECT}/figures/loop-policies.json")).json()["rows"]
    assert [row["name"] for row in policies] == ["2", "3", "4", "#2", "#3"], "by distance from the first policy"
    best = [row["best_of"] for row in policies[:3]]
    assert 0.55 < best[0] < best[1] < best[2] < 1, "the best of more is better"
    assert policies[3]["policy"] > 0.6, "it writes what people like more"
    assert policies[4]["policy"] is None, "nothing of the refused one was read"
    topics = (await reader.send("GET", f"{PROJECT}/figures/loop-topics.json")).json()["rows"]
    assert {row["topic"] for row in topics} == {"cooking", "money", "refusals", "travel"}
    rounds = (await reader.send("GET", f"{PROJECT}/figures/loop-rounds.json")).json()["rows"]
    assert [(row["round"], row["policy_gate"]) for row in rounds] == [(3, None), (2, "refused"), (1, "passed")]
    assert (await doors["owner"].send("POST", f"{PROJECT}/rounds/3/cancel", {})).status_code == 303
    assert "From 812 judgements in all." in words(await read(doors["reviewer"], LOOP))
    page = words(await read(doors["owner"], PROJECT))
    assert "more judgements would be worth about" in page, "whoever starts a round is told, too"


async def test_a_project_without_a_round_says_what_comes_first(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, sessions: SessionFactory
) -> None:
    await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    await db.commit()
    page = words(await read(doors["owner"], "/projects/bare/loop"))
    assert "No round yet." in page
    assert "The first one can start once there is a policy." in page
    assert "It waits for 100 new judgements." in page


async def test_what_starts_the_next_round_is_chosen_in_a_form_and_told_with_how_far_it_is(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    form = f"{PROJECT}/round-settings/triggers"
    assert "By new judgements" in words(await read(doors["owner"], form))
    wanted = {
        "on_labels": "true",
        "labels": "30",
        "on_drift": "true",
        "drift": "5",
        "outlying_share": "0.05",
        "days": "7",
    }
    assert (await doors["owner"].send("POST", form, wanted)).status_code == 303
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    assert project.round_settings["triggers"] == {
        "at_once": False,
        "on_labels": True,
        "labels": 30,
        "on_drift": True,
        "days": 7,
    }
    page = words(await read(doors["reviewer"], LOOP))
    assert "New judgements: 7 of 30 are there." in page
    assert "Drift, once ten random judgements are there" in page
    assert "The schedule: 7 days after the last start." in page
    assert "the next one opens at once" not in page
    refused = await doors["owner"].send("POST", form, {**wanted, "days": "0"})
    assert refused.status_code == 422


async def test_an_override_stays_with_the_refusal_that_it_overrode(doors: dict[str, Door], seeded: Seeded) -> None:
    assert (await doors["owner"].send("POST", f"{PROJECT}/rounds/3/cancel", {})).status_code == 303
    said = {"reason": "We read them: they are no worse."}
    assert (await doors["owner"].send("POST", f"{PROJECT}/rounds/2/override", said)).status_code == 303
    page = words(await read(doors["reviewer"], LOOP))
    assert "Ines Okafor went on from this refusal: We read them: they are no worse." in page


async def test_pairs_are_told_by_how_they_were_chosen(doors: dict[str, Door], db: AsyncSession, seeded: Seeded) -> None:
    await db.execute(
        update(Task)
        .where(Task.round_id == seeded.label_round.id)
        .values(selection={"rule": "uniform", "slice": "random", "propensity": 0.5})
    )
    await db.commit()
    assert "13 pairs drawn at random, to measure by" in words(await read(doors["reviewer"], LOOP))
    await db.execute(update(Task).values(round_id=None))
    await db.commit()
    assert "Nothing of its own: it learnt from what was there." in words(await read(doors["reviewer"], LOOP))


async def test_what_models_have_read_and_is_gone_is_no_error(
    doors: dict[str, Door], sessions: SessionFactory, db: AsyncSession, seeded: Seeded, home: Path
) -> None:
    await make_read(db, seeded.project, [seeded.annotator], home, seeded.policies, labels=12)
    await db.commit()
    await read(doors["reviewer"], LOOP)
    await write(sessions, seeded.project.id)
    page = words(await read(doors["reviewer"], LOOP))
    assert "Too few judgements to say what more would be worth: about" in page
    shutil.rmtree(home / "runs")
    async with transaction(sessions) as own:
        latest = await reports.fresh(own, seeded.project, loop.LOOP)
    assert latest.content is not None
    assert not latest.content.is_read
