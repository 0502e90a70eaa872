"""Every setting of every stage: at its bounds, beyond them, of another kind; and what a path in it means."""

import dataclasses
import json
import math
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pytest

from training.config import MODEL_KEYS, ConfigError, StageConfig, config_to_json, read_config
from training.config.by_model import ByModel, ModelFacts, chosen, settled
from training.config.values import Range
from training.stages.registry import STAGES

WITH: dict[tuple[str, str], dict[str, object]] = {
    ("reward", "variance_penalty"): {"heads": 2, "read_out": "conservative"},
    ("reward", "read_out"): {"heads": 2},
    ("reward", "normalise_over"): {"demonstrations": "d.jsonl"},
    ("reward", "demonstrations"): {"normalise_over": "demonstrations"},
    ("cost", "normalise_over"): {"demonstrations": "d.jsonl"},
    ("cost", "demonstrations"): {"normalise_over": "demonstrations"},
    ("ppo", "algorithm"): {"samples_per_prompt": 4, "critic_warmup_iterations": 3},
    ("ppo", "imitated"): {
        "algorithm": "expert_iteration",
        "samples_per_prompt": 256,
        "batch_size": 256,
        "critic_warmup_iterations": 3,
    },
    ("ppo", "minibatch_size"): {"batch_size": 1 << 31},
    ("ppo", "batch_size"): {"minibatch_size": 1},
    ("ppo", "kl_penalty"): {"kl_estimator": "k2"},
    ("ppo", "ptx_coefficient"): {"demonstrations": "d.jsonl"},
    ("ppo", "publish"): {"held_out_prompts": "q.jsonl"},
    ("ppo", "on_alarm"): {"kl_roll_backs": 1},
    ("ppo", "multiplier_start"): {"cost": "c", "multiplier_max": 1e9},
    ("ppo", "multiplier_max"): {"cost": "c", "multiplier_start": 1e-12},
    **{("ppo", name): {"cost": "c"} for name in ("cost_limit", "multiplier_learning_rate", "cost_window")},
    ("dpo", "loss"): {"label_noise": 0.1},
    ("evaluate", "preferences"): {"reward": "r"},
    ("evaluate", "demonstrations"): {"reference": "r"},
    ("embed", "reward"): {"policy": None},
}
"""What else a setting asks for."""


@dataclasses.dataclass(frozen=True)
class Setting:
    stage: str
    parent: str
    name: str
    hint: Any
    left_to_the_model: bool = False

    @property
    def plain(self) -> Any:
        """Without null and without bounds."""
        return unwrapped(self.hint)[0]

    @property
    def bounds(self) -> Range:
        bounds = unwrapped(self.hint)[1]
        assert bounds is not None
        return bounds

    @property
    def key(self) -> str:
        """By which a refusal names it."""
        return f"{self.parent}.{self.name}" if self.parent else self.name

    def __str__(self) -> str:
        return f"{self.stage}-{self.key}"


def unwrapped(hint: Any) -> tuple[Any, Range | None]:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (option for option in get_args(hint) if option is not types.NoneType)
        return unwrapped(hint)
    if get_origin(hint) is Annotated:
        plain, bounds = get_args(hint)
        return plain, bounds
    return hint, None


def settings_of(stage: str, kind: type, parent: str = "") -> Iterator[Setting]:
    """Those within others, too."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from settings_of(stage, cast(type, hint), name)
        yield Setting(stage, parent, name, hint, isinstance(getattr(kind, name, None), ByModel))


def needed_by(stage: str) -> dict[str, object]:
    """What a stage can't do without."""
    no_default = [
        field.name
        for field in dataclasses.fields(STAGES[stage])
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    either = {"evaluate": ["policy", "prompts"], "embed": ["policy"], "ppo": ["reward"]}.get(stage, [])
    return {name: 0 if name == "seed" else "x" for name in (*no_default, *either)}


OF_NO_USE = {("cost", "previous_reward"), ("cost", "read_out"), ("cost", "variance_penalty")}
SETTINGS = [
    one for stage, kind in STAGES.items() for one in settings_of(stage, kind) if (one.stage, one.name) not in OF_NO_USE
]
BOUND = [one for one in SETTINGS if unwrapped(one.hint)[1] is not None]
CHOICES = [one for one in SETTINGS if get_origin(one.plain) is Literal]
MODELS = [one for one in SETTINGS if one.name in MODEL_KEYS]
FILES = [one for one in SETTINGS if one.plain is Path]
NUMBERS = [one for one in SETTINGS if one.plain in (int, float)]
LEFT_TO_THE_MODEL = [one for one in SETTINGS if one.left_to_the_model]
NEVER_NULL = [one for one in SETTINGS if types.NoneType not in get_args(one.hint) and one not in LEFT_TO_THE_MODEL]


def read(stage: str, folder: Path, **values: object) -> StageConfig:
    path = folder / "run.json"
    path.write_text(json.dumps(needed_by(stage) | values))
    return read_config(path, STAGES[stage])


def read_with(setting: Setting, folder: Path, value: object) -> object:
    """What becomes of one setting, given whatever else that one asks for."""
    given: dict[str, object] = {setting.name: value}
    others = {} if value == "samples" else WITH.get((setting.stage, setting.name), {})  # of no setting but this one
    found = read(setting.stage, folder, **others | ({setting.parent: given} if setting.parent else given))
    return getattr(getattr(found, setting.parent) if setting.parent else found, setting.name)


def step_of(setting: Setting, value: float) -> float:
    """To the next number that the setting could have."""
    return 1 if setting.plain is int else max(abs(value), 1.0) * 1e-9


def within(setting: Setting) -> list[float]:
    bounds = setting.bounds
    ends = [end for end in (bounds.minimum, bounds.maximum) if math.isfinite(end)]
    if math.isfinite(bounds.above):
        ends.append(bounds.above + step_of(setting, bounds.above))
    return [setting.plain(end) for end in ends]


def beyond(setting: Setting) -> list[float]:
    bounds = setting.bounds
    below = bounds.minimum - step_of(setting, bounds.minimum)
    over = bounds.maximum + step_of(setting, bounds.maximum)
    return [setting.plain(end) for end in (below, over, bounds.above) if math.isfinite(end)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_needs_what_has_no_default_and_nothing_else(stage: str, tmp_path: Path) -> None:
    read(stage, tmp_path)
    for name in needed_by(stage):
        values = {key: value for key, value in needed_by(stage).items() if key != name}
        (tmp_path / "lacking.json").write_text(json.dumps(values))
        with pytest.raises(ConfigError, match=name):
            read_config(tmp_path / "lacking.json", STAGES[stage])


@pytest.mark.parametrize("setting", BOUND, ids=str)
def test_a_bound_is_part_of_what_is_allowed_and_nothing_beyond_it(setting: Setting, tmp_path: Path) -> None:
    for value in within(setting):
        assert read_with(setting, tmp_path, value) == value
    assert beyond(setting)
    for value in beyond(setting):
        with pytest.raises(ConfigError, match=f"^{setting.key}: must (be above|be at least|lie in)"):
            read_with(setting, tmp_path, value)


@pytest.mark.parametrize("setting", CHOICES, ids=str)
def test_each_choice_is_allowed_and_another_one_is_refused_with_the_choices(setting: Setting, tmp_path: Path) -> None:
    for choice in get_args(setting.plain):
        assert read_with(setting, tmp_path, choice) == choice
    for other in ("Other", 1, True):
        with pytest.raises(ConfigError, match=f"^{setting.key}: must be one of .+, not {other!r}$"):
            read_with(setting, tmp_path, other)


@pytest.mark.parametrize("stage", STAGES)
def test_null_is_refused_by_name_where_it_means_nothing(stage: str, tmp_path: Path) -> None:
    for setting in (one for one in NEVER_NULL if one.stage == stage):
        with pytest.raises(ConfigError, match=f"^{setting.key}: must be"):
            read_with(setting, tmp_path, None)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_left_to_the_model_is_null_or_not_there_and_chosen_once_it_is_known(stage: str, tmp_path: Path) -> None:
    names = [one.name for one in LEFT_TO_THE_MODEL if one.stage == stage]
    given, left = read(stage, tmp_path, **dict.fromkeys(names)), read(stage, tmp_path)
    assert config_to_json(given) == config_to_json(left) == config_to_json(left) | dict.fromkeys(names)
    choice = chosen(vars(left), ModelFacts(parameters=135_000_000))
    assert list(choice) == [name for name in vars(left) if name in names]
    assert config_to_json(settled(left, choice)) == config_to_json(left) | choice
    for name in names:
        with pytest.raises(TypeError, match="before it was settled"):
            assert getattr(left, name)
        assert getattr(read(stage, tmp_path, **{name: choice[name]}), name) == choice[name]


@pytest.mark.parametrize("setting", NUMBERS, ids=str)
def test_what_is_no_number_is_refused_by_name(setting: Setting, tmp_path: Path) -> None:
    for value in (True, "1", [1], {}, math.nan, math.inf, 10**400, *((1.5,) if setting.plain is int else ())):
        with pytest.raises(ConfigError, match=f"^{setting.key}: must be a (whole|finite) number, not "):
            read_with(setting, tmp_path, value)


@pytest.mark.parametrize("setting", FILES, ids=str)
def test_a_file_is_looked_for_beside_the_configuration(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    found = read_with(setting, tmp_path / "deeper", "../data/x.jsonl")
    assert cast(Path, found).resolve() == (tmp_path / "data" / "x.jsonl").resolve()
    assert read_with(setting, tmp_path, "/data/x.jsonl") == Path("/data/x.jsonl")


@pytest.mark.parametrize("setting", MODELS, ids=str)
def test_a_model_is_a_folder_beside_the_configuration_or_a_name(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for value, expected in (
        ("mine", str(tmp_path / "mine")),
        ("somebody/model", "somebody/model"),
        ("/not/here", "/not/here"),
    ):
        assert read_with(setting, tmp_path, value) == expected


def test_every_setting_that_names_a_model_is_known_as_one() -> None:
    """Text that is no choice names a model, but for what rules look for: it must be found beside the configuration."""
    assert {one.name for one in SETTINGS if one.plain is str and one.parent != "rules"} == MODEL_KEYS


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_written_down_as_json_and_tell_runs_apart(stage: str, tmp_path: Path) -> None:
    first, again, other = read(stage, tmp_path), read(stage, tmp_path), read(stage, tmp_path, seed=1)
    written = config_to_json(first)
    assert written == json.loads(json.dumps(written))
    assert written == config_to_json(again) != config_to_json(other)
    assert written.keys() == {field.name for field in dataclasses.fields(STAGES[stage])}


def test_a_table_of_settings_within_settings_is_read_by_its_full_name(tmp_path: Path) -> None:
    found: Any = read("ppo", tmp_path, alarms={"outliers": 0.2, "kl": None})
    assert (found.alarms.outliers, found.alarms.kl, found.alarms.divergence) == (0.2, None, 1.0)
    for value, word in (
        ({"outliers": True}, "alarms.outliers: must be a finite number, not True"),
        ({"negative_kl": -1}, "alarms.negative_kl: must be at least 0"),
        ({"negative_kl": -1e-9}, "alarms.negative_kl: must be at least 0, not -1e-09"),
        ({"mood": 1}, "alarms.mood: unknown setting"),
        ([], "alarms: must be a JSON object"),
    ):
        with pytest.raises(ConfigError, match=word):
            read("ppo", tmp_path, alarms=value)


def test_weights_of_criteria_are_numbers_by_name(tmp_path: Path) -> None:
    found: Any = read("reward", tmp_path, learn_criteria=True, criteria_weights={"overall": 1, "brief": -0.5})
    assert found.criteria_weights == {"overall": 1.0, "brief": -0.5}
    for value, word in (
        ({"brief": "much"}, "criteria_weights.brief: must be a finite number, not 'much'"),
        (["brief"], "criteria_weights: must be a JSON object"),
        ({"brief": 0, "overall": 0.0}, "criteria_weights: must not all be zero"),
    ):
        with pytest.raises(ConfigError, match=word):
            read("reward", tmp_path, learn_criteria=True, criteria_weights=value)


def test_a_list_of_detectors_is_read_in_order(tmp_path: Path) -> None:
    found: Any = read("ppo", tmp_path, acting_alarms=["entropy", "divergence"])
    assert found.acting_alarms == ("entropy", "divergence")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read .*run\.json|config: must be a JSON object"):
        read_config(tmp_path / "run.json", STAGES["sft"])


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.json"):
        read_config(tmp_path / "none.json", STAGES["sft"])


REFUSED_TOGETHER: list[tuple[str, Mapping[str, object], str]] = [
    ("sft", {"architecture": {"heads": 0}}, "architecture.heads: must be at least 1, not 0"),
    ("sft", {"architecture": {"hidden_size": 12, "heads": 4}}, "architecture.hidden_size: must be a multiple"),
    ("reward", {"normalise_over": "demonstrations"}, "demonstrations: needed to normalise over them"),
    ("reward", {"demonstrations": "d"}, "demonstrations: only normalise_over demonstrations uses this"),
    ("reward", {"read_out": "worst"}, "read_out: worst needs more than one of heads"),
    ("reward", {"variance_penalty": 1.0}, "variance_penalty: only the read_out conservative uses this"),
    ("reward", {"criteria_weights": {"brief": 1}}, "criteria_weights: needs learn_criteria"),
    ("cost", {"heads": 2}, "heads, learn_criteria: a cost model has one head"),
    ("cost", {"learn_criteria": True}, "heads, learn_criteria: a cost model has one head"),
    ("cost", {"centering": 0.1}, "centering: the zero of a cost"),
    ("cost", {"previous_reward": "r"}, "previous_reward: a cost model is not compared"),
    ("cost", {"method": "distil"}, "method: must be one of finetune, not 'distil'"),
    ("ppo", {"batch_size": 64, "samples_per_prompt": 3}, "batch_size: must be a multiple of samples_per_prompt"),
    ("ppo", {"algorithm": "rloo"}, "samples_per_prompt: RLOO compares at least 2 responses"),
    ("ppo", {"multiplier_start": 2.0}, "multiplier_start: there is no cost model"),
    ("ppo", {"cost_window": 64, "cost_limit": 1.0}, "cost_limit, cost_window: there is no cost model"),
    ("dpo", {"loss": "robust"}, "label_noise: must be above 0 for the robust loss"),
    ("evaluate", {"prompts": None}, "prompts: needed to evaluate a policy"),
    ("evaluate", {"policy": None, "prompts": None, "cost": "c"}, "policy: needed to say what its responses cost"),
    ("evaluate", {"preferences": "j"}, "reward: needed to evaluate on preferences"),
    ("evaluate", {"policy": None, "prompts": None}, "policy, preferences: one of them is needed"),
    ("embed", {"reward": "r"}, "reward, policy: exactly one of them is needed"),
    ("embed", {"policy": None}, "reward, policy: exactly one of them is needed"),
]


@pytest.mark.parametrize(("stage", "values", "word"), REFUSED_TOGETHER)
def test_settings_that_contradict_each_other_are_refused(
    stage: str, values: Mapping[str, object], word: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"^{word}"):
        read(stage, tmp_path, **values)
