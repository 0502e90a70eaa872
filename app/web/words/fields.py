"""A form's fields, made from what can be set: how each is shown, and what stands in it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from app.services.loop.settings.settable import Choice, group_named
from app.web.locales import gettext
from app.web.words.figures import Figure
from app.web.words.hacking_report import detectors
from training.stages.settings import Setting


@dataclass(frozen=True)
class Field:
    """One field of a form. `typed` is what stands in it, or is ticked; `meaning` has code in it.

    `titles` say what a choice is, where it has words. `default` is what holds if nobody chooses, None where that is
    what stands there; `by_model` says who chooses if this stays empty, and what.
    """

    name: str
    kind: str
    title: str | None
    meaning: str
    cost: str
    typed: tuple[str, ...]
    choices: tuple[str, ...]
    titles: Mapping[str, str]
    minimum: str
    maximum: str
    default: str | None
    by_model: str | None
    is_usual: bool

    @property
    def text(self) -> str:
        """What stands in a field that is typed in."""
        return self.typed[-1] if self.typed else ""


def fields_of(choices: Sequence[Choice], typed: Mapping[str, Sequence[str]] | None = None) -> list[Field]:
    """With what holds in them; with `typed`, which was refused, as it was typed."""
    return [_field(choice, None if typed is None else typed.get(choice.setting.name, ())) for choice in choices]


def decided(stage: str, chosen: Mapping[str, float]) -> tuple[Figure, ...]:
    """What a run's model decided of its settings; those that have no title by their names."""
    usual = {entry.name: gettext(entry.title) for entry in group_named(stage).usual} if chosen else {}
    return tuple(
        Figure(name, usual.get(name) or name.replace("_", " ").capitalize(), f"{value:g}", "")
        for name, value in chosen.items()
    )


def _field(choice: Choice, typed: Sequence[str] | None) -> Field:
    setting = choice.setting
    return Field(
        name=setting.name,
        kind=setting.kind,
        title=gettext(choice.usual.title) if choice.usual else None,
        meaning=gettext(setting.meaning) if setting.meaning else "",
        cost=gettext(choice.usual.cost) if choice.usual and choice.usual.cost else "",
        typed=tuple(typed) if typed is not None else _typed(setting, choice.value),
        choices=setting.choices,
        titles=detectors() if set(setting.choices) & detectors().keys() else {},
        minimum=_bound(max(setting.range.minimum, setting.range.above)),
        maximum=_bound(setting.range.maximum),
        default=", ".join(_typed(setting, choice.default)) or gettext("nothing") if choice.is_changed else None,
        by_model=_by_model(choice),
        is_usual=choice.usual is not None,
    )


def _by_model(choice: Choice) -> str | None:
    if choice.setting.by_model is None:
        return None
    if choice.by_model is None:
        return gettext("Empty: the model decides.")
    return gettext("Empty: the model decides; the policy in use: %(value)s.") % {"value": f"{choice.by_model:g}"}


def _typed(setting: Setting, value: object) -> tuple[str, ...]:
    """As somebody would type it."""
    if setting.kind == "choices":
        return tuple(cast(Sequence[str], value))
    if setting.kind == "weights":
        return ("\n".join(f"{name} = {weight:g}" for name, weight in cast(Mapping[str, float], value).items()),)
    if setting.kind == "values":
        values = cast(Mapping[str, object], value)
        return ("\n".join(f"{name} = {json.dumps(given)}" for name, given in values.items()),)
    if setting.kind == "texts":
        return ("\n".join(json.dumps(text, ensure_ascii=False) for text in cast(Sequence[str], value)),)
    if setting.kind == "switch":
        return ("true",) if value else ()
    return ("" if value is None else str(value),)


def _bound(bound: float) -> str:
    return f"{bound:.16g}" if math.isfinite(bound) else ""
