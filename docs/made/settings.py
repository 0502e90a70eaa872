"""The page of a project's settings, made from the table that pages, REST and `plumbline settings` offer."""

import json
from collections.abc import Iterator
from math import inf

from app.services.loop.settings import settable
from app.services.loop.stages.registry import TRAINING
from docs.made.markdown import entries, page
from training.stages.settings import Setting

LEAD = (
    "What owners choose about rounds, gates and stages: on the project's page *Settings*, over REST and by "
    "`plumbline settings`. A change holds from the next round or run on. Symbols are those of "
    "[training](../training.md) and [method](../method.md); *by the model* is "
    "[decided by its size](../training.md#what-the-model-decides)."
)


def markdown() -> str:
    return page("Settings of a project", LEAD, _lines())


def _lines() -> Iterator[str]:
    groups = settable.groups()
    stages = [group for group in groups if group.name in TRAINING]
    shared = set.intersection(*({setting.name for setting in group.settings} for group in stages))
    for group in groups:
        if group is stages[0]:
            yield from _section("Every stage", "", [one for one in group.settings if one.name in shared])
        own = [one for one in group.settings if one.name not in shared or group not in stages]
        yield from _section(group.title, group.name, own)


def _section(title: str, name: str, settings: list[Setting]) -> list[str]:
    called = f"`plumbline settings show {name} -p PROJECT`" if name else ""
    rows = [(f"`{setting.name}`", _default(setting), _meaning(setting)) for setting in settings]
    anchor = f" {{ #{name} }}" if name else ""
    return [f"## {title}{anchor}", "", called, "", *entries(("setting", "default", ""), rows)]


def _default(setting: Setting) -> str:
    if setting.by_model is not None:
        return f"by the model: {setting.by_model}"
    return f"`{json.dumps(setting.default, ensure_ascii=False)}`"


def _meaning(setting: Setting) -> str:
    choices = f"One of {', '.join(f'`{choice}`' for choice in setting.choices)}." if setting.choices else ""
    return " ".join(part for part in (setting.meaning, choices, _bounds(setting)) if part)


def _bounds(setting: Setting) -> str:
    allowed = setting.range
    said = [
        f"from {allowed.minimum:g}" if allowed.minimum > -inf else "",
        f"above {allowed.above:g}" if allowed.above > -inf else "",
        f"to {allowed.maximum:g}" if allowed.maximum < inf else "",
    ]
    words = " ".join(word for word in said if word)
    return f"{words[0].upper()}{words[1:]}." if words else ""
