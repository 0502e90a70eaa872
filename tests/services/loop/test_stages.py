"""The registry of stages: whole, and in step with everything that can't read it."""

from typing import get_args

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Run
from app.db.tables.runs import RoundStep, StageName
from app.services.loop.rounds.round_steps import STAGE_OF_STEP
from app.services.loop.settings.round_settings import RoundSettings
from app.services.loop.stages.figures import SHARED
from app.services.loop.stages.registry import FIGURES, STAGES, STARTABLE, TRAINING, queue_of
from tests.factories import make_project
from training.stages.registry import STAGES as TRAINED


def test_the_database_knows_the_stages_of_the_registry_and_no_others() -> None:
    assert set(get_args(StageName)) == set(STAGES)


async def test_a_run_of_a_stage_that_is_in_no_registry_is_refused_by_the_database(db: AsyncSession) -> None:
    project = await make_project(db)
    db.add(Run(project_id=project.id, stage="distil"))
    with pytest.raises(IntegrityError, match="stage_known"):
        await db.flush()


def test_every_training_stage_is_one_of_the_command_line_and_none_is_forgotten() -> None:
    assert set(TRAINING) == set(TRAINED)


def test_every_step_of_a_round_but_waiting_and_the_end_is_a_stage() -> None:
    assert set(get_args(RoundStep)) - set(STAGE_OF_STEP) == {"label", "vote", "done"}
    assert set(STAGE_OF_STEP.values()) <= set(STAGES)


def test_a_round_has_settings_for_every_training_stage_and_refuses_those_of_others() -> None:
    settings = RoundSettings()
    assert {name for name in STAGES if name in RoundSettings.model_fields} == set(TRAINING)
    assert settings.of_stage("evaluate") == {"samples_per_prompt": 4}
    assert settings.of_stage("sft") == {}


def test_the_defaults_of_one_round_are_not_those_of_another() -> None:
    RoundSettings().of_stage("evaluate")["samples_per_prompt"] = 1
    assert RoundSettings().of_stage("evaluate") == {"samples_per_prompt": 4}


def test_what_an_owner_starts_by_hand_can_say_what_it_works_on() -> None:
    assert all(stage.by_hand is not None for stage in STARTABLE.values())


def test_every_figure_of_a_stage_has_words_and_every_word_is_of_some_stages_figure() -> None:
    assert {name for stage in STAGES.values() for name in stage.figures} == set(SHARED)


def test_what_one_stage_alone_has_is_no_other_stages_and_none_that_they_share() -> None:
    own = [name for stage in STAGES.values() for name in stage.own_figures]
    assert len(set(own)) == len(own)
    assert list(FIGURES) == [*own, *SHARED], "and is told first"
    assert not set(own) & set(SHARED)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_no_stage_draws_a_figure_twice(name: str) -> None:
    drawn = [chart.figure for chart in STAGES[name].charts]
    assert len(drawn) == len(set(drawn))


@pytest.mark.parametrize(("stage", "queue"), [("ppo", "training"), ("generate", "training"), ("gate", "steps")])
def test_what_takes_the_machine_waits_in_a_queue_of_its_own(stage: str, queue: str) -> None:
    assert queue_of(stage) == queue
