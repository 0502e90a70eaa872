"""The loop in words: where each step of a round stands, how long things still take, what detectors saw."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Metric, Round, Run
from app.services.loop.gates.hacking_report import REPORT
from app.web.rendering.render import environment
from app.web.words import hacking_report, pace
from app.web.words.pace import Progress
from tests.browser.seed import Seeded
from tests.browser.seed.runs import make_run
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import OVER, PROJECT, read, sentence, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

STEPS = [
    "Select",
    "Label",
    "Snapshot",
    "Reward model",
    "Reward gate",
    "PPO",
    "Evaluate",
    "Policy gate",
    "Promote",
    "Generate",
]


def standing(html: str) -> dict[str, str]:
    """The state of each step by its name, in order."""
    found = re.findall(r'<li class="step is-(\w+)">.*?<h2>(.*?)</h2>', html, re.DOTALL)
    return {words(name): state for state, name in found}


def states(current: int, at: str, after: str) -> dict[str, str]:
    return dict(zip(STEPS, ["done"] * current + [at] + [after] * (len(STEPS) - current - 1), strict=True))


async def test_each_step_of_a_round_says_where_it_stands_however_the_round_ended(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    run = await make_run(db, seeded.project, "reward", hours=0.5, minutes=1, round_=seeded.label_round, step="reward")
    over = {"finished_at": func.now()}
    for of_round, of_run, expected in (
        ({"step": "reward"}, {"state": "succeeded", **OVER}, states(3, "current", "ahead")),
        ({"step": "reward"}, {"state": "queued", "finished_at": None}, states(3, "current", "ahead")),
        ({"step": "reward"}, {"state": "failed", **OVER}, states(3, "failed", "ahead")),
        ({"step": "reward"}, {"state": "cancelled", **OVER}, states(3, "failed", "ahead")),
        ({"step": "label"}, {}, states(1, "current", "ahead")),
        ({"step": "reward_gate", "status": "stopped", **over}, {}, states(4, "refused", "left_out")),
        ({"step": "evaluate", "status": "cancelled", **over}, {}, states(6, "cancelled", "left_out")),
        ({"step": "ppo", "status": "failed", **over}, {}, states(5, "failed", "left_out")),
        ({"step": "promote", "status": "finished", **over}, {}, states(8, "done", "left_out")),
        ({"step": "done", "status": "finished", **over}, {}, dict.fromkeys(STEPS, "done")),
    ):
        await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(of_round))
        if of_run:
            await db.execute(update(Run).where(Run.id == run.id).values(of_run))
        await db.commit()
        assert standing(await read(doors["reviewer"], f"{PROJECT}/rounds/3")) == expected, of_round
        ring = re.findall(r'class="ring-step is-(\w+)"', await read(doors["reviewer"], PROJECT))
        assert ring == list(expected.values()), of_round


async def test_of_several_runs_of_a_step_the_newest_counts(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    of = {"round_": seeded.label_round, "step": "reward"}
    await make_run(db, seeded.project, "reward", hours=0.5, minutes=1, state="failed", error="Then.", **of)
    await make_run(db, seeded.project, "reward", hours=0.4, minutes=1, state="failed", error="Now.", **of)
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(step="reward"))
    await db.commit()
    html = await read(doors["owner"], f"{PROJECT}/rounds/3")
    assert sentence(html) == "Round 3 stands still: Reward model failed."
    assert ("Now." in html, "Then." in html) == (True, False)
    assert "Round 3 stands still at: Reward model." in words(await read(doors["owner"], "/projects"))
    await db.execute(update(Run).where(Run.error == "Now.").values(state="cancelled"))
    await db.commit()
    assert sentence(await read(doors["owner"], PROJECT)) == "Round 3 stands still: Reward model was cancelled."


async def test_labels_are_estimated_by_the_last_half_hour_of_people_here_and_of_nobody_else(
    db: AsyncSession, seeded: Seeded
) -> None:
    project_id = seeded.project.id
    # What was said is append-only to everybody but to whoever owns the table.
    await db.execute(text("ALTER TABLE judgements DISABLE TRIGGER USER"))
    now = func.now()
    await db.execute(update(Judgement).values(submitted_at=now - timedelta(minutes=10)))
    found = await pace.of_labelling(db, project_id, done=7, target=21)
    assert (found.done, found.total, found.seconds_left) == (7, 21, pytest.approx(14 * 600 / 7))
    for done, target in ((7, 7), (8, 7)):
        assert await pace.of_labelling(db, project_id, done=done, target=target) == Progress(done, target)
    assert (await pace.of_labelling(db, project_id + 1, done=0, target=9)).seconds_left is None
    three = "id IN (SELECT id FROM judgements ORDER BY id LIMIT 3)"
    await db.execute(text(f"UPDATE judgements SET submitted_at = now() - interval '31 minutes' WHERE {three}"))  # noqa: S608
    assert (await pace.of_labelling(db, project_id, done=7, target=21)).seconds_left is None, "four are no pace"


async def test_a_run_is_estimated_by_its_last_twenty_measured_steps_while_it_runs(
    db: AsyncSession, seeded: Seeded
) -> None:
    run = await make_run(db, seeded.project, "ppo", hours=1, minutes=None, state="running", total_steps=100)
    assert await pace.of_run(db, run) == Progress(0, 100)

    async def measure(*steps: int, seconds: float) -> None:
        for step in steps:
            db.add(
                Metric(
                    run_id=run.id,
                    phase="ppo",
                    step=step,
                    figures={},
                    recorded_at=run.started_at + timedelta(seconds=seconds * step),  # type: ignore[operator]
                )
            )
        run.step = max(steps)
        await db.flush()

    await measure(1, 2, 3, seconds=4)
    assert (await pace.of_run(db, run)).seconds_left is None, "two steps apart are no pace"
    await measure(4, seconds=4)
    assert (await pace.of_run(db, run)).seconds_left == pytest.approx(96 * 4)
    # The first ones, which load and compile, are forgotten.
    await measure(*range(31, 51), seconds=10)
    assert (await pace.of_run(db, run)).seconds_left == pytest.approx(50 * 10)
    for total in (50, 40):
        run.total_steps = total
        assert await pace.of_run(db, run) == Progress(50, total), "nobody knows what a stage does after its last step"
    run.state, run.lease_expires_at = "queued", None
    assert await pace.of_run(db, run) == Progress(50, 40)


@pytest.mark.parametrize(("done", "total", "share"), [(0, 0, 0.0), (3, 0, 0.0), (1, 4, 0.25), (4, 4, 1.0), (9, 4, 1.0)])
def test_a_progress_is_a_share_that_is_never_more_than_all(done: int, total: int, share: float) -> None:
    assert Progress(done, total).share == share


EVALUATION = {"reward_gain": 0.4, "held_out_gain": 0.1, "gold_gain": None, "figures": {}}


def evaluation(iteration: int, sqrt_kl: float, *alarms: tuple[str, str], **figures: Any) -> dict[str, Any]:
    raised = [{"detector": name, "value": iteration, "bound": 1.0, "detail": detail} for name, detail in alarms]
    return {**EVALUATION, "iteration": iteration, "sqrt_kl": sqrt_kl, "alarms": raised, **figures}


def test_signs_come_in_the_order_in_which_they_were_first_raised_with_what_was_seen_last() -> None:
    raw = {
        "evaluations": [
            evaluation(0, 0.0),
            evaluation(5, 0.5, ("style", "lists")),
            evaluation(10, 1.0, ("kl", ""), ("style", "emoji")),
            evaluation(15, 1.5, ("kl", "")),
            evaluation(20, 2.0, ("brand_new", "unheard of")),
        ]
    }
    found = hacking_report.report(raw)
    assert found is not None
    assert [(sign.title, sign.first, sign.last, sign.value) for sign in found.signs] == [
        ("A style has spread: emoji", 5, 10, 10.0),
        ("KL to the reference is beyond its bound", 10, 15, 15.0),
        ("brand_new", 20, 20, 20.0),
    ]
    assert [line.title for line in found.lines] == ["Reward model"]
    assert (found.audited_iteration, found.audits) == (0, ())
    assert hacking_report.report(None) is None


def test_the_frontier_runs_from_left_to_right_and_leaves_out_what_was_not_measured() -> None:
    raw = {
        "held_out": True,
        "gold": True,
        "evaluations": [
            evaluation(0, 1.5, gold_gain=0.3),
            evaluation(5, 0.5, held_out_gain=None, gold_gain="none"),
            evaluation(10, 1.0, reward_gain=float("nan")),
        ],
    }
    found = hacking_report.report(raw)
    assert found is not None
    assert found.curve == {"x": [0.5, 1.0, 1.5], "lines": [[0.4, None, 0.4], [None, 0.1, 0.1], [None, None, 0.3]]}
    assert "NaN" not in environment().from_string("{{ curve|tojson }}").render(curve=found.curve)


async def test_a_report_of_one_evaluation_draws_no_curve_and_tells_what_it_saw_in_the_readers_language(
    doors: dict[str, Door], seeded: Seeded
) -> None:
    folder = doors["owner"].site.state.settings.home / "runs" / str(seeded.ppo.id)
    folder.mkdir(parents=True)
    response = '"reward": 2.5, "held_out": null, "prompt": "How <so>?", "response": "**So**."'
    (folder / REPORT).write_text(
        '{"held_out": true, "evaluations": [{"iteration": 5, "sqrt_kl": 0.5, "reward_gain": 0.1, "alarms": '
        '[{"detector": "edits", "value": 0.4, "bound": 0.2, "detail": "praise"}]}], '
        f'"audited_iteration": 5, "audit": {{"reward": [{{{response}}}], "beyond_held_out": []}}}}'
    )
    html = await read(doors["reviewer"], f"{PROJECT}/runs/{seeded.ppo.id}")
    assert "data-chart" not in html
    said = words(html)
    assert "One detector raised an alarm." in said
    assert "The reward model is taken in by small changes: praise 5 0.4 0.2" in said
    assert "Highest reward: one response to judge by eye How &lt;so&gt;? Reward 2.50 So." in said
    assert "Highest above" not in said
    german = await doors["reviewer"].send("GET", f"{PROJECT}/runs/{seeded.ppo.id}", headers={"Accept-Language": "de"})
    assert "small changes" not in german.text
    assert "0,4 0,2" in words(german.text)
