"""docs/training.md has every setting with its default, and names every source that it cites."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from models.architecture import Architecture
from models.encoder import ENCODER_TYPES
from tests.models.directories import FAMILIES
from training.config import AlarmBounds, CostConfig, RewardConfig, RewardRules, StageConfig
from training.config.by_model import ByModel
from training.stages.registry import STAGES

PAGE = (Path(__file__).parents[3] / "docs/training.md").read_text()
TABLES: dict[str, type] = {
    "Every stage": StageConfig,
    "`architecture`": Architecture,
    "`alarms`": AlarmBounds,
    "`rules`": RewardRules,
} | {f"`{stage}`": kind for stage, kind in STAGES.items()}
REQUIRED = "required"
OF_ITS_OWN = "below"
AUTHOR = r"[A-Z][\w-]+(?: and [A-Z]\w+)?(?: et al\.)?"


@pytest.mark.parametrize("title", TABLES)
def test_the_table_holds_the_settings_in_code_with_their_defaults(title: str) -> None:
    kind = TABLES[title]
    expected = defaults_of(kind)
    if kind is not StageConfig:
        expected = {name: value for name, value in expected.items() if name not in defaults_of(StageConfig)}
    if kind is CostConfig:
        reward = defaults_of(RewardConfig)
        expected = {name: value for name, value in expected.items() if value != reward[name]}
    assert documented(title) == expected


def documented(title: str) -> dict[str, object]:
    """By setting, the default as JSON."""
    (section,) = re.findall(rf"^### {re.escape(title)}\n(.*?)(?=^##)", PAGE, flags=re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.+?)`|(\w[^|]*)) \| .+ \|$", section, flags=re.MULTILINE)
    return {name: json.loads(shown) if shown else word for name, shown, word in rows}


def defaults_of(kind: type) -> dict[str, object]:
    return {setting.name: default_of(setting) for setting in dataclasses.fields(kind)}


def default_of(setting: "dataclasses.Field[object]") -> object:
    if setting.default_factory is not dataclasses.MISSING:
        made = setting.default_factory()
        return OF_ITS_OWN if dataclasses.is_dataclass(made) else made
    if setting.default is dataclasses.MISSING:
        return REQUIRED
    if isinstance(setting.default, ByModel):
        return f"by the model: {setting.default}"
    return list(setting.default) if isinstance(setting.default, tuple) else setting.default


def test_every_family_of_models_that_can_be_brought_is_named() -> None:
    assert [family for family in sorted({*FAMILIES, *ENCODER_TYPES}) if f"`{family}`" not in PAGE] == []


def test_every_source_is_named_and_every_named_one_is_cited() -> None:
    body, _, sources = PAGE.partition("## Sources\n")
    assert set(re.findall(rf"(?<![\w-]){AUTHOR} (?:19|20)\d\d(?!\d)", body)) == set(
        re.findall(rf"(?<![\w-]){AUTHOR} (?:19|20)\d\d(?=[,. ])", sources)
    )
