"""What can be chosen about rounds, gates and stages: all of it has words, is kept as a difference, and is checked."""

import dataclasses
from typing import Any

import pytest

from app.db.tables import Project
from app.errors import Invalid, NotFound
from app.services.loop.settings import settable
from app.services.loop.settings.round_settings import settings_of
from app.services.loop.settings.settable import Choice, Group, group_named
from app.services.loop.stages.registry import TRAINING
from app.web.words.fields import fields_of
from training.config.by_model import ModelFacts
from training.stages.registry import STAGES

EVERY = [(group, setting) for group in settable.groups() for setting in group.settings]


@pytest.fixture
def project() -> Project:
    return Project(slug="p", name="P", question={}, round_settings={})


def changed(project: Project) -> dict[str, object]:
    return {
        f"{group.name}.{choice.setting.name}": choice.value
        for group in settable.groups()
        for choice in settable.choices_of(project, group)
        if choice.is_changed
    }


def test_every_stage_and_gate_has_a_group_and_its_first_settings_are_settings() -> None:
    names = {group.name for group in settable.groups()}
    gates = ("first_policy_gate", "reward_gate", "policy_gate", "vote_gate")
    assert names == {"round", "triggers", "selection", "people", "judges", *gates, *TRAINING}
    for group in settable.groups():
        assert group.settings
        assert {usual.name for usual in group.usual} <= {setting.name for setting in group.settings}, group.name


def test_what_a_run_is_given_is_no_matter_of_choice() -> None:
    offered = {(group.name, setting.name) for group, setting in EVERY}
    for stage in TRAINING:
        for name in ("policy", "reference", "reward", "prompts", "preferences", "demonstrations", "seed", "model"):
            assert (stage, name) not in offered
    everything = {field.name for stage in TRAINING for field in dataclasses.fields(STAGES[stage])}
    assert {"learning_rate", "kl_target", "beta", "alarms", "architecture"} <= everything
    assert {("ppo", "kl_target"), ("ppo", "alarms.kl"), ("sft", "architecture.layers"), ("reward", "base")} <= offered


@pytest.mark.parametrize(("group", "setting"), EVERY, ids=lambda part: getattr(part, "name", ""))
def test_what_holds_is_typed_and_read_back_as_itself(group: Group, setting: Any, project: Project) -> None:
    (choice,) = (one for one in settable.choices_of(project, group) if one.setting == setting)
    (field,) = fields_of([choice])
    read = settable.read(setting, field.typed)
    assert read == (list(choice.value) if isinstance(choice.value, tuple) else choice.value)
    settable.change(project, group, {setting.name: read})
    assert project.round_settings == {}, "nothing that is so by default is stored"


def test_a_difference_is_stored_and_holds_for_the_next_round(project: Project) -> None:
    settable.change(project, group_named("ppo"), {"iterations": 5, "alarms.kl": 3.0})
    settable.change(project, group_named("round"), {"label_target": 40, "seed": 0})
    settable.change(project, group_named("policy_gate"), {"kl": 20.0})
    settable.change(project, group_named("evaluate"), {"samples_per_prompt": 2})
    assert project.round_settings == {
        "label_target": 40,
        "ppo": {"iterations": 5, "alarms": {"kl": 3.0}},
        "policy_gate": {"kl": 20.0},
        "evaluate": {"samples_per_prompt": 2},
    }
    holds = settings_of(project)
    assert (holds.label_target, holds.ppo["iterations"], holds.policy_gate.kl) == (40, 5, 20.0)
    settable.reset(project, group_named("ppo"), "alarms.kl")
    settable.reset(project, group_named("round"))
    settable.change(project, group_named("evaluate"), {"samples_per_prompt": 4})
    assert changed(project) == {"ppo.iterations": 5, "policy_gate.kl": 20.0}


@pytest.mark.parametrize(
    ("group", "values", "said"),
    [
        ("ppo", {"iterations": 0}, "iterations: must be at least 1, not 0."),
        ("ppo", {"algorithm": "rloo"}, "samples_per_prompt: RLOO compares at least 2 responses to a prompt."),
        ("ppo", {"iterations": 3, "alarms.outliers": 2.0}, r"alarms.outliers: must lie in \[0, 1\], not 2."),
        ("dpo", {"loss": "robust"}, "label_noise: must be above 0 for the robust loss"),
        ("reward", {"variance_penalty": 0.1}, "variance_penalty: only the read_out conservative uses this."),
        ("policy_gate", {"kl": -1}, "Round setting policy_gate.kl: "),
        ("round", {"samples_per_prompt": 1}, "Round setting samples_per_prompt: "),
        ("policy_gate", {"kl": float("inf")}, "kl: neither NUL nor infinity can be stored."),
        ("reward", {"base": "a\0b"}, "base: neither NUL nor infinity can be stored."),
    ],
)
def test_what_would_be_refused_is_refused_at_once_and_nothing_changes(
    group: str, values: dict[str, object], said: str, project: Project
) -> None:
    project.round_settings = {"ppo": {"batch_size": 32}}
    with pytest.raises(Invalid, match=f"^{said}"):
        settable.change(project, group_named(group), values)
    assert project.round_settings == {"ppo": {"batch_size": 32}}


def test_what_a_run_is_given_beside_the_settings_is_taken_to_be_there(project: Project) -> None:
    for group, values in (
        ("reward", {"normalise_over": "demonstrations"}),
        ("ppo", {"publish": "best", "ptx_coefficient": 0.5, "cost_limit": 0.25}),
    ):
        settable.change(project, group_named(group), values)
    assert settings_of(project).reward == {"normalise_over": "demonstrations"}


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("iterations", ["many"], "iterations: type a whole number."),
        ("iterations", ["1.5"], "iterations: type a whole number."),
        ("kl_target", [""], "kl_target: type a number."),
    ],
)
def test_what_is_no_number_is_told_by_the_name_of_the_setting(name: str, typed: list[str], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        settable.read(group_named("ppo").named(name), typed)


def test_what_is_left_to_the_model_is_told_beside_the_setting(project: Project) -> None:
    large = ModelFacts(1_000_000_000)
    assert told(project, large)["learning_rate"] == "Empty: the model decides; the policy in use: 5e-06."
    assert told(project, None)["learning_rate"] == "Empty: the model decides."
    settable.change(project, group_named("dpo"), {"lora_rank": 0, "max_length": 256})
    assert told(project, large)["learning_rate"] == "Empty: the model decides; the policy in use: 5e-07."
    assert told(project, large)["max_length"] == "Empty: the model decides."
    settable.change(project, group_named("dpo"), {"lora_rank": None, "max_length": None})
    assert project.round_settings == {}


def told(project: Project, facts: ModelFacts | None) -> dict[str, str | None]:
    """By setting of DPO, who decides what if its field stays empty."""
    fields = fields_of(settable.choices_of(project, group_named("dpo"), facts))
    return {field.name: field.by_model for field in fields}


def test_there_is_no_group_and_no_setting_of_another_name(project: Project) -> None:
    with pytest.raises(NotFound):
        group_named("snapshot")
    for change in (settable.change, lambda *wanted: settable.reset(wanted[0], wanted[1], "nothing")):
        with pytest.raises(NotFound):
            change(project, group_named("ppo"), {"nothing": 1})


def test_a_stage_shows_first_what_owners_usually_look_at(project: Project) -> None:
    shown: list[Choice] = settable.choices_of(project, group_named("ppo"))
    usual = [choice.setting.name for choice in shown if choice.usual]
    assert usual == [entry.name for entry in TRAINING["ppo"].usual]
    assert [choice.setting.name for choice in shown[: len(usual)]] == usual


def test_texts_and_values_are_typed_a_line_each_and_shown_as_they_were_meant(project: Project) -> None:
    group = group_named("generate")
    typed = {"stop": ['###\n"a\\nb"\n'], "chat_template_kwargs": ["enable_thinking = false\neffort=low\n"]}
    read = {name: settable.read(group.named(name), lines) for name, lines in typed.items()}
    assert read == {"stop": ["###", "a\nb"], "chat_template_kwargs": {"enable_thinking": False, "effort": "low"}}
    settable.change(project, group, read)
    shown = {field.name: field.typed for field in fields_of(settable.choices_of(project, group))}
    assert shown["stop"] == ('"###"\n"a\\nb"',)
    assert shown["chat_template_kwargs"] == ('enable_thinking = false\neffort = "low"',)
    with pytest.raises(Invalid, match=r"^chat_template_kwargs: effort stands there twice\.$"):
        settable.read(group.named("chat_template_kwargs"), ["effort=low\neffort = high"])
    with pytest.raises(Invalid, match=r"^chat_template_kwargs: write a name, = and a value on each line\.$"):
        settable.read(group.named("chat_template_kwargs"), ["thinking off"])
