"""The table of stages leads to files that take its settings."""

from typing import get_type_hints

import pytest

from training.stages.registry import STAGES, runner_of


@pytest.mark.parametrize("stage", STAGES)
def test_the_file_of_a_stage_takes_the_settings_of_its_row(stage: str) -> None:
    assert issubclass(STAGES[stage], get_type_hints(runner_of(stage))["config"])
