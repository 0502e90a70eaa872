"""Settings of a round: what the project says over the defaults, what the round says over that, and what is refused."""

import math
from typing import Any

import pytest

from app.db.tables import Project
from app.errors import Invalid
from app.services.loop.settings import round_settings
from app.services.loop.settings.round_settings import RoundSettings, settings_of


def project(question: dict[str, Any] | None = None, **settings: Any) -> Project:
    return Project(slug="p", name="P", question=question or {}, round_settings=settings)


def test_what_is_said_lies_over_the_defaults_key_by_key() -> None:
    found = settings_of(
        project(
            seed=3,
            sft={"epochs": 2},
            evaluate={"temperature": 0.5},
            reward_gate={"min_pairs": 5},
            policy_gate={"kl": 20.0},
        )
    )
    assert (found.seed, found.label_target) == (3, 100)
    assert found.sft == {"epochs": 2}
    assert found.evaluate == {"samples_per_prompt": 4, "temperature": 0.5}, "what wasn't named stays"
    assert (found.reward_gate.min_pairs, found.reward_gate.accuracy_low) == (5, 0.5)
    assert (found.policy_gate.kl, found.policy_gate.eos_rate) == (20.0, 0.95)


def test_a_round_lies_over_its_project_and_leaves_it_as_it_was() -> None:
    of_project = settings_of(project(ppo={"iterations": 30, "kl_coefficient": 0.1}, seed=1))
    of_round = of_project.overridden({"ppo": {"iterations": 5}, "label_target": 7, "policy_gate": {"cost": 0.2}})
    assert of_round.ppo == {"iterations": 5, "kl_coefficient": 0.1}
    assert (of_round.seed, of_round.label_target, of_round.policy_gate.cost) == (1, 7, 0.2)
    assert of_project.ppo == {"iterations": 30, "kl_coefficient": 0.1}
    assert of_project.overridden({}) == of_project
    assert RoundSettings.model_validate(of_round.to_json()) == of_round, "as it is kept with the round"


def test_a_setting_deep_inside_of_a_stage_is_merged_too() -> None:
    found = settings_of(project(reward={"lora": {"rank": 8, "alpha": 16}}))
    assert found.overridden({"reward": {"lora": {"rank": 4}}}).reward == {"lora": {"rank": 4, "alpha": 16}}
    assert found.overridden({"reward": {"lora": None}}).reward == {"lora": None}, "and can be taken back whole"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sed": 1}, "Round setting sed: Extra inputs are not permitted."),
        ({"seed": -1}, "Round setting seed: "),
        ({"seed": 2**31}, "Round setting seed: "),
        ({"label_target": -1}, "Round setting label_target: "),
        ({"pairs_per_round": 0}, "Round setting pairs_per_round: "),
        ({"samples_per_prompt": 1}, "Round setting samples_per_prompt: "),
        ({"samples_per_prompt": 65}, "Round setting samples_per_prompt: "),
        ({"generate_prompts": 0}, "Round setting generate_prompts: "),
        ({"evaluate_prompts": "many"}, "Round setting evaluate_prompts: "),
        ({"reward_gate": {"min_pairs": -3}}, "Round setting reward_gate.min_pairs: "),
        ({"policy_gate": {"kl": 0}}, "Round setting policy_gate.kl: "),
        ({"policy_gate": {"kill": 1}}, "Round setting policy_gate.kill: Extra inputs are not permitted."),
        ({"ppo": 3}, "Round setting ppo: "),
        ({"sft": [1]}, "Round setting sft: "),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line_that_names_the_place(values: dict[str, Any], said: str) -> None:
    for refuse in (lambda: settings_of(project(**values)), lambda: RoundSettings().overridden(values)):
        with pytest.raises(Invalid) as refused:
            refuse()
        assert refused.value.message.startswith(said)
        assert len(refused.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "overlap", "pairs"),
    [(0, 1, 1), (1, 1, 2), (5, 1, 6), (100, 1, 120), (100, 3, 40), (101, 3, 41), (2, 100, 1)],
)
def test_a_round_asks_for_a_fifth_more_than_it_waits_for(target: int, overlap: int, pairs: int) -> None:
    wanted = RoundSettings(label_target=target).pairs_wanted(overlap)
    assert wanted == pairs
    assert wanted * overlap >= target * 1.2
    assert wanted == max(1, math.ceil(math.ceil(target * 1.2 - 1e-9) / overlap))


def test_a_number_of_pairs_that_is_said_counts_whatever_the_overlap() -> None:
    assert RoundSettings(label_target=100, pairs_per_round=7).pairs_wanted(3) == 7


def test_harmlessness_follows_the_question_unless_somebody_says_otherwise() -> None:
    asked = {"asks_harm": True}
    assert not settings_of(project()).harmlessness
    assert settings_of(project(asked)).harmlessness
    assert not settings_of(project(asked, harmlessness=False)).harmlessness
    assert settings_of(project(harmlessness=True)).harmlessness


def test_a_limit_of_cost_is_a_setting_of_ppo_and_0_is_none() -> None:
    owned = project(ppo={"iterations": 30})
    round_settings.limit_cost(owned, 0.4)
    assert owned.round_settings == {"ppo": {"iterations": 30, "cost_limit": 0.4}}
    assert settings_of(owned).cost_limit == 0.4
    round_settings.limit_cost(owned, -1.5)
    assert settings_of(owned).cost_limit == -1.5
    round_settings.limit_cost(owned, 0)
    assert owned.round_settings == {"ppo": {"iterations": 30}}
    assert settings_of(owned).cost_limit == 0.0


def test_a_project_that_was_limited_to_nothing_before_is_left_alone() -> None:
    bare = project(seed=4)
    round_settings.limit_cost(bare, 0)
    assert bare.round_settings == {"seed": 4}
