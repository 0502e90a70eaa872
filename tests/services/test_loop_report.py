"""The report on the loop where what people said, or what they were asked, says nothing: a clear state, and no NaN."""

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Round
from app.services.loop.asking.features import Features
from app.services.loop.models import models
from app.services.loop.settings.round_settings import settings_of
from app.services.reports.loop import LOOP, told
from app.services.reports.loop_evidence import Evidence, Samples
from app.services.reports.turns import Turn, turns
from app.services.reports.versions import versions_of
from app.services.selection.posterior import Judged
from tests.factories import make_project

PROMPTS, SAMPLES, FEATURES = 60, 3, 6


def evidence(kind: str) -> Evidence:
    """Sixty pairs of the first policy's, of which two policies have written three responses each."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((2 * PROMPTS * SAMPLES, FEATURES))
    if kind == "identical responses":
        rows[:] = rows[0]
    prompts = np.ones(PROMPTS, dtype=np.int64) if kind == "one prompt" else np.arange(PROMPTS)
    count = {"nobody judged": 0, "a few": 5}.get(kind, PROMPTS)
    first = np.arange(PROMPTS) * SAMPLES
    preference = np.full(PROMPTS, 0.5) if kind == "all ties" else (rng.random(PROMPTS) < 0.5).astype(float)
    drawn = np.zeros(PROMPTS, dtype=bool) if kind == "no random slice" else np.ones(PROMPTS, dtype=bool)
    judged = Judged(rows[first] - rows[first + 1], preference, np.ones(PROMPTS), prompts, drawn).only(np.arange(count))
    by_prompt = {place: [SAMPLES * place + sample for sample in range(SAMPLES)] for place in range(PROMPTS)}
    later = {place: [row + PROMPTS * SAMPLES for row in of_prompt] for place, of_prompt in by_prompt.items()}
    return Evidence(
        features=Features({row: row for row in range(len(rows))}, rows),
        judged=judged,
        judgement_P=np.arange(PROMPTS)[::-1][:count],
        reward_id=1,
        learnt_up_to=30,
        samples={
            1: Samples({} if kind == "empty pool" else by_prompt),
            2: Samples({} if kind == "empty pool" else later),
        },
        first=1,
        in_use=2,
        topics={} if kind == "empty pool" else dict.fromkeys(range(PROMPTS), "home"),
    )


@pytest.mark.parametrize(
    "kind",
    ["one prompt", "all ties", "identical responses", "no random slice", "nobody judged", "a few", "empty pool"],
)
def test_what_says_nothing_is_told_as_that(kind: str) -> None:
    document = LOOP.to_json(told((), evidence(kind), {}, seed=1))
    json.dumps(document, allow_nan=False)
    assert document["is_read"]
    assert document["worth"]["verdict"] == "too_few"
    assert document["worth"]["more"] > 0


def test_features_that_are_no_numbers_tell_nothing() -> None:
    found = evidence("broken")
    found.judged.difference_PF[3, 1] = np.nan
    document = LOOP.to_json(told((), found, {}, seed=1))
    json.dumps(document, allow_nan=False)
    assert (document["worth"], document["learned"]) == (None, [])


def test_before_any_model_has_read_anything_nothing_is_told() -> None:
    document = LOOP.to_json(told((), None, {}, seed=1))
    assert (document["is_read"], document["worth"], document["learned"], document["gains"]) == (False, None, [], [])


def test_of_two_reward_models_that_learnt_from_as_many_judgements_the_newer_one_is_told() -> None:
    none: dict[str, Any] = dict.fromkeys(field.name for field in fields(Turn))
    newest_first = [Turn(**{**none, "judgements": 200, "accuracy": accuracy}) for accuracy in (0.7, 0.6)]
    (row,) = told(tuple(newest_first), None, {}, seed=1).learned
    assert (row.labels, row.reward_model) == (200, 0.7)


async def test_a_reward_model_is_told_by_the_pairs_that_its_gate_goes_by(db: AsyncSession) -> None:
    project = await make_project(db)
    project.round_settings = {"reward_gate": {"min_pairs": 100}}
    figures = {
        "validation_pairs": 50, "accuracy": 0.72, "accuracy_low": 0.6, "accuracy_high": 0.8,
        "cross_validated_pairs": 400, "cross_validated_accuracy": 0.61,
        "cross_validated_accuracy_low": 0.56, "cross_validated_accuracy_high": 0.66,
    }  # fmt: skip
    version = await models.register(
        db, project_id=project.id, kind="reward", run_id=None, folder="f", manifest_sha256="0" * 64, figures=figures
    )
    settings = settings_of(project).to_json()
    db.add(Round(project_id=project.id, number=1, label_target=0, settings=settings, reward_id=version.id))
    await db.flush()
    (turn,), (listed,) = await turns(db, project.id), await versions_of(db, project)
    assert (turn.accuracy, turn.pairs) == (listed.accuracy, listed.pairs) == (0.61, 400)
