"""A judge that is a model, measured on what people said: what it weighs, what is learnt of it, what it is given."""

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, DatasetVersion, Judge, Judgement, Project, Prompt, Run, TaskCompletion
from app.errors import Conflict
from app.services.data import datasets
from app.services.judging.agreement.intervals import wilson
from app.services.judging.machines import calibration, judges
from app.services.judging.machines.calibration import Calibration, Told
from app.services.judging.machines.settings import JudgeSettings
from app.services.loop.chores import cutting as cutting_runs
from app.services.reports.judges import JUDGES
from app.services.reports.judges_figures import JUDGES_FIGURES
from app.services.selection.label_worth import Worth
from app.services.selection.posterior import Judged
from tests.exporting import exported
from tests.factories import make_prompt, make_task
from tests.jobs.judging import BAD, GOOD, Judging, consistent, judging, side_biased
from tests.jobs.loop import Loop, result_of
from tests.served_endpoint import ServedEndpoint, endpoint, loopback_allowed
from training.records import PreferenceRecord, read_records

__all__ = ["endpoint", "loopback_allowed"]

pytestmark = pytest.mark.usefixtures("loopback_allowed")

ALL = {"off_share": 0.0, "open_share": 1.0, "shared_pairs": 20}


@pytest.fixture
def bench(loop: Loop, home: Path) -> Judging:
    return Judging(loop, home)


class Cutting:
    """Dataset versions of a project, and what is in them."""

    def __init__(self, loop: Loop, home: Path) -> None:
        self._loop, self.home = loop, home

    async def cut(self, project: Project, *, takes_machines: bool | None = None) -> DatasetVersion:
        async def cut(db: AsyncSession) -> DatasetVersion:
            here = await db.get_one(Project, project.id)
            return await datasets.cut_preferences(db, here, home=self.home, takes_machines=takes_machines)

        return await self._loop.do(cut)

    def machines(self, version: DatasetVersion) -> list[PreferenceRecord]:
        return [row for row in read_records(self.home / version.path, PreferenceRecord) if "machine:" in row.source]


@pytest.fixture
def cutting(loop: Loop, home: Path) -> Cutting:
    return Cutting(loop, home)


async def test_a_judge_counts_in_training_once_it_is_measured_on_enough_pairs_that_people_judged(
    bench: Judging, loop: Loop, endpoint: ServedEndpoint, cutting: Cutting
) -> None:
    endpoint.reply = judging(consistent)
    project = await bench.project(20, judges=ALL)
    judge = await bench.add(project, endpoint)
    await bench.people_judge(project, 19, wrong=2)
    await bench.judge(judge, pairs=0)
    assert await measured(loop, judge) == (19, False)
    assert cutting.machines(await cutting.cut(project)) == []

    await bench.add_pairs(project, 4)
    await bench.people_judge(project, 1)
    validation = await loop.do(lambda db: a_validation_pair(db, project))
    await bench.judge(judge, pairs=3)
    assert await measured(loop, judge) == (20, True)
    version = await cutting.cut(project)
    learnt = cutting.machines(version)
    low = 2 * wilson(18 / 20, 20)[0] - 1
    assert {row.weight for row in learnt} == {round(low, 4)}
    assert len(learnt) == 20 + 3, "what people judged, too, and the open ones"
    assert all(row.preference == float(row.response_a == GOOD) for row in learnt)
    assert {row.split for row in learnt} == {"train"}
    assert validation not in {int(row.prompt_id) for row in learnt}
    assert version.settings["machines"] == [{"name": "Vicuña", "weight": round(low, 4)}]
    assert version.counts["machine"] == 23
    assert cutting.machines(await cutting.cut(project, takes_machines=False)) == []

    async def said_in_it(db: AsyncSession) -> list[tuple[str, str]]:
        rows = await exported(db, version, cutting.home, schema="judgements")
        return [(row["annotator"], row["kind"]) for row in rows]

    said = await loop.do(said_in_it)
    assert {kind for name, kind in said if name.startswith("machine-")} == {"machine"}
    assert {name for name, kind in said if kind == "human"} == {"annotator-1", "annotator-2"}

    await loop.do(lambda db: stop(db, judge))
    assert cutting.machines(await cutting.cut(project)) == []


async def measured(loop: Loop, judge: Judge) -> tuple[int, bool]:
    found = await loop.do(lambda db: calibration.measure(db, judge, JudgeSettings(shared_pairs=20)))
    return found.shared, found.is_calibrated


async def stop(db: AsyncSession, judge: Judge) -> None:
    await judges.stop(db, await db.get_one(Judge, judge.id))


async def a_validation_pair(db: AsyncSession, project: Project) -> int:
    prompt = await make_prompt(db, project, split="validation")
    await make_task(db, project, GOOD, BAD, prompt=prompt)
    return prompt.id


async def test_a_project_in_which_only_a_machine_has_spoken_has_nothing_to_learn_from(
    bench: Judging, endpoint: ServedEndpoint, cutting: Cutting
) -> None:
    endpoint.reply = judging(consistent)
    project = await bench.project(3, judges=ALL)
    await bench.judge(await bench.add(project, endpoint))
    with pytest.raises(Conflict, match="no judgement yet"):
        await cutting.cut(project)


async def test_what_a_calibrated_judge_said_is_shown_to_people_after_everything_else_and_stays_open(
    bench: Judging, loop: Loop, endpoint: ServedEndpoint
) -> None:
    endpoint.reply = judging(consistent)
    project = await bench.project(20, judges=ALL)
    judge = await bench.add(project, endpoint)
    await bench.people_judge(project, 20)
    await bench.judge(judge, pairs=0)
    await bench.add_pairs(project, 6)
    await bench.judge(judge, pairs=2)
    spared = {answer.task_id for answer in await bench.answers(judge) if answer.chosen_as != "shared"}
    still_open = [task for task in await bench.tasks(project) if task.state == "open"]
    assert len(still_open) == 6
    assert {task.id for task in sorted(still_open, key=lambda task: task.priority)[:2]} == spared


async def test_a_machine_is_given_the_pairs_of_which_the_head_is_surest(
    bench: Judging, loop: Loop, endpoint: ServedEndpoint, home: Path
) -> None:
    endpoint.reply = judging(consistent)
    project = await bench.project(40, judges={**ALL, "open_share": 0.5})
    await bench.people_judge(project, 30)
    # One feature, by which the good response is better; of five open pairs both responses are nearly alike in it.
    alike = {task.id for task in (await bench.tasks(project))[-5:]}
    await loop.do(lambda db: leave_features(db, project, home, alike))
    judge = await bench.add(project, endpoint)
    await bench.judge(judge)
    sure = [answer for answer in await bench.answers(judge) if answer.chosen_as == "sure"]
    assert len(sure) == 5
    assert not {answer.task_id for answer in sure} & alike
    for answer in sure:
        assert answer.probability is not None
        assert (answer.probability > 0.5) == (answer.outcome == "first")
    assert (await loop.do(lambda db: calibration.measure(db, judge, JudgeSettings()))).shared == 30


async def leave_features(db: AsyncSession, project: Project, home: Path, alike: set[int]) -> None:
    """What a run of embed leaves."""
    rows = (
        await db.execute(
            select(Completion.id, Completion.text, TaskCompletion.task_id)
            .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
            .join(Prompt, Prompt.id == Completion.prompt_id)
            .where(Prompt.project_id == project.id)
        )
    ).all()
    run = Run(project_id=project.id, stage="embed", state="succeeded", folder="runs/features")
    db.add(run)
    run.finished_at = run.started_at = project.created_at
    folder = home / "runs/features"
    folder.mkdir(parents=True)
    values = [(4.0 if text == GOOD else -4.0) * (0.01 if task_id in alike else 1) for _, text, task_id in rows]
    content = struct.pack(f"<{len(values)}f", *values)
    told = {"features": {"dtype": "F32", "shape": [len(values), 1], "data_offsets": [0, len(content)]}}
    header = json.dumps(told).encode()
    (folder / "features.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content)
    (folder / "rows.json").write_text(json.dumps([completion_id for completion_id, *_ in rows]))


def told(outcome: str, people: int | None, times: int = 1, chosen_as: str = "shared") -> list[Told]:
    saids = {"flip": ("A", "A"), "tie": ("tie", "tie"), "abstained": ("A", None)}.get(outcome, ("A", "B"))
    return [Told(outcome, chosen_as, saids, people)] * times


def figures(*answers: Sequence[Told]) -> Calibration:
    return calibration.calibrated([one for some in answers for one in some], JudgeSettings(), 0)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        told("abstained", 1),
        told("first", None),
        told("first", 0, 50),  # people tie
        told("flip", 1, 50),
        told("tie", 1, 50),
        told("second", 1, 50),
    ],
)
def test_where_there_is_little_to_measure_by_a_judge_weighs_nothing_and_no_figure_is_out_of_its_range(
    answers: list[Told],
) -> None:
    found = figures(answers)
    assert (found.weight, found.is_calibrated, found.temperature) == (0.0, False, None)
    for share in (found.agreement, found.flips, found.first_side):
        assert share is None or 0 <= share.low <= share.share <= share.high <= 1
    assert found.log_loss is None or found.log_loss >= math.log(2) - 1e-9


def test_the_loss_after_a_fitted_temperature_is_that_of_how_often_it_is_right() -> None:
    found = figures(told("first", 2, 45), told("second", 1, 5), told("flip", 1, 10), told("first", 1, 40, "sure"))
    assert (found.answered, found.shared, found.is_calibrated) == (100, 60, True)
    assert found.agreement is not None
    assert found.agreement.share == 0.9
    assert found.temperature == pytest.approx(1 / math.log(0.9 / 0.1), rel=0.05)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found.log_loss == pytest.approx((50 * entropy + 10 * math.log(2)) / 60, rel=0.05)
    assert found.first_side is not None
    assert (found.first_side.share, found.first_side.low > 0.5) == (0.55, True)


def test_every_judge_is_a_row_of_the_figure_and_half_known_ones_too() -> None:
    (figure,) = JUDGES_FIGURES
    content = JUDGES.holds(())
    assert list(figure.rows(content)) == []


async def test_what_a_side_biased_judge_says_is_never_learnt_from(
    bench: Judging, loop: Loop, endpoint: ServedEndpoint, cutting: Cutting
) -> None:
    endpoint.reply = judging(side_biased)
    project = await bench.project(24, judges=ALL)
    judge = await bench.add(project, endpoint)
    await bench.people_judge(project, 22)
    run = await bench.judge(judge)
    assert result_of(run)["pairs_flipped"] == 24
    assert await measured(loop, judge) == (22, False)
    assert cutting.machines(await cutting.cut(project)) == []


async def test_the_raw_votes_of_a_judge_are_judgements_like_any_with_who_and_which_side(
    bench: Judging, loop: Loop, endpoint: ServedEndpoint
) -> None:
    endpoint.reply = judging(consistent)
    project = await bench.project(2, judges=ALL)
    judge = await bench.add(project, endpoint)
    await bench.judge(judge)

    async def read(db: AsyncSession) -> list[tuple[int | None, list[int], list[int | None] | None]]:
        rows = await db.scalars(select(Judgement).where(Judgement.project_id == project.id))
        return [(one.annotator_id, sorted(one.shown_order), one.ranks) for one in rows]

    assert {(who, tuple(order)) for who, order, _ in await loop.do(read)} == {(judge.user_id, (0, 1))}


async def test_a_version_says_what_its_machines_are_worth_in_labels_of_people_or_why_not(
    bench: Judging, loop: Loop, endpoint: ServedEndpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.reply = judging(consistent)
    project = await bench.project(30, judges=ALL)
    judge = await bench.add(project, endpoint)
    await bench.people_judge(project, 30)
    assert "labels_saved_unknown" not in await cut_by_hand(loop, project), "before there is a judge to speak of"
    await bench.judge(judge)
    assert (await cut_by_hand(loop, project))["labels_saved_unknown"].startswith("The pairs haven’t been read")
    await bench.add_pairs(project, 1)
    await bench.people_judge(project, 1)
    await loop.do(lambda db: leave_features(db, project, home, set()))
    assert (await cut_by_hand(loop, project))["labels_saved_unknown"].startswith("Too few pairs that chance drew")
    seen: list[tuple[int, int, set[float]]] = []

    def worth_of(people: Judged, machines: Judged, _rng: object) -> Worth:
        seen.append((len(people), len(machines), set(np.round(machines.weight_P, 3))))
        return Worth(12.4, -3.2, 40.1, 0.8, 0.75, 60, 31)

    monkeypatch.setattr("app.services.loop.asking.judge_worth.label_worth.worth_of", worth_of)
    await bench.add_pairs(project, 1)
    await bench.people_judge(project, 1)
    told = await cut_by_hand(loop, project)
    assert (told["labels_saved"], told["labels_saved_low"], told["labels_saved_high"]) == (12, -3, 40)
    assert (told["accuracy_with_machines"], told["accuracy_without_machines"]) == (0.8, 0.75)
    weight = 2 * wilson(1.0, 30)[0] - 1
    assert seen == [(31, 30, {round(weight, 3)})], "of what has features"


async def cut_by_hand(loop: Loop, project: Project) -> dict[str, Any]:
    async def start(db: AsyncSession) -> Run:
        return await cutting_runs.start(db, None, await db.get_one(Project, project.id), prefers_verdicts=None)

    done = await loop.execute(await loop.do(start))
    return result_of(done)
