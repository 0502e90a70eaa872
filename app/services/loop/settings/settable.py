"""What an owner can choose about a project's rounds, gates and stages: in groups, with defaults."""

import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.db.base import Json
from app.db.tables import Project
from app.errors import Invalid, NotFound
from app.phrases import phrase
from app.services.loop.settings.round_settings import RoundSettings, settings_of
from app.services.loop.stages.registry import TRAINING
from app.services.loop.stages.stage import PEOPLE, TIME, Usual
from app.services.loop.storable import storable
from training.config.by_model import ModelFacts, chosen
from training.config.values import Range
from training.stages.settings import KINDS, Setting, refusal
from training.stages.settings import settings_of as settings_of_stage

ROUND = "round"


@dataclass(frozen=True)
class Group:
    """Settings that are changed together: those of the round, of a gate, or of a stage. `name` is their key in
    `round_settings`, for the round itself `round`."""

    name: str
    title: str
    settings: tuple[Setting, ...]
    usual: tuple[Usual, ...] = ()

    def named(self, setting: str) -> Setting:
        """Raises NotFound."""
        for known in self.settings:
            if known.name == setting:
                return known
        raise NotFound(f"There is no setting {setting} here.")


@dataclass(frozen=True)
class Choice:
    """A setting with what holds for a project, and what would hold if nobody had chosen. `by_model` is what the policy
    in use would decide, where it is left to it and there is one."""

    setting: Setting
    value: object
    default: object
    usual: Usual | None
    by_model: float | None = None

    @property
    def is_changed(self) -> bool:
        return self.value != self.default


def groups() -> tuple[Group, ...]:
    """The round first, then gates, then stages in the order in which a round runs them."""
    return _GROUPS


def group_named(name: str) -> Group:
    """Raises NotFound."""
    for group in _GROUPS:
        if group.name == name:
            return group
    raise NotFound(f"There is no group of settings {name}.")


def choices_of(project: Project, group: Group, facts: ModelFacts | None = None) -> list[Choice]:
    """What holds for the project's next round or run; `facts` are those of the policy in use."""
    return _choices(group, settings_of(project), _unchosen(project), facts)


def every_choice(project: Project, facts: ModelFacts | None = None) -> list[tuple[Group, list[Choice]]]:
    """What holds for the next round or run, of all groups, whose settings are put together once."""
    given, unchosen = settings_of(project), _unchosen(project)
    return [(group, _choices(group, given, unchosen, facts)) for group in _GROUPS]


def change(project: Project, group: Group, values: Mapping[str, object]) -> None:
    """Let these settings hold from the next round or run on; of a group, those that aren't named stay.

    Raises Invalid with the sentence of whoever would refuse them, NotFound for a setting that there isn't.
    """
    unchosen = _values(_unchosen(project), group)
    own = _own(project, group)
    for name, value in values.items():
        setting = group.named(name)
        if value != storable(value):
            raise Invalid("%(name)s: neither NUL nor infinity can be stored.", name=name)
        if value == _at(unchosen, name, setting.default):
            _drop(own, name)
        else:
            _put(own, name, value)
    _store(project, group, own)


def reset(project: Project, group: Group, setting: str | None = None) -> None:
    """Take back what was chosen, of the whole group or of one setting. Raises NotFound."""
    own = _own(project, group)
    for known in group.settings if setting is None else (group.named(setting),):
        _drop(own, known.name)
    _store(project, group, own)


def read(setting: Setting, typed: Sequence[str]) -> object:
    """What was typed for a setting, as the setting's own kind. Raises Invalid that names it."""
    if setting.kind == "choices":
        return [choice for choice in setting.choices if choice in typed]
    text = (typed[-1] if typed else "").strip()
    if setting.kind == "switch":
        return text == "true"
    if setting.kind == "weights":
        return _each_once(setting, _weights(setting, text))
    if setting.kind == "values":
        return _each_once(setting, _values_by_name(setting, text))
    if setting.kind == "texts":
        return [str(_json(line)) if line.startswith('"') else line for line in text.splitlines() if line]
    if not text and setting.may_be_null:
        return None
    if setting.kind in ("whole", "number"):
        return _number(setting, text)
    return text


def _choices(group: Group, given: RoundSettings, unchosen: RoundSettings, facts: ModelFacts | None) -> list[Choice]:
    """Those that are usually looked at first, in their own order."""
    usual = {entry.name: entry for entry in group.usual}
    holds, by_default = _values(given, group), _values(unchosen, group)
    decided = _decided(group, holds, facts) if facts is not None else {}
    choices = [
        Choice(
            setting,
            _at(holds, setting.name, setting.default),
            _at(by_default, setting.name, setting.default),
            usual.get(setting.name),
            decided.get(setting.name),
        )
        for setting in group.settings
    ]
    order = list(usual)
    return sorted(choices, key=lambda choice: order.index(choice.setting.name) if choice.usual else len(order))


def _decided(group: Group, holds: Json, facts: ModelFacts) -> dict[str, float]:
    """What such a model decides of those settings that nobody has chosen."""
    rules = {known.name: known.by_model for known in group.settings if holds.get(known.name) is None}
    return chosen({**holds, **rules}, facts)


def _number(setting: Setting, text: str) -> float:
    try:
        return int(text) if setting.kind == "whole" else float(text)
    except ValueError:
        if setting.kind == "whole":
            raise Invalid("%(name)s: type a whole number.", name=setting.name) from None
        raise Invalid("%(name)s: type a number.", name=setting.name) from None


def _weights(setting: Setting, text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        name, _, weight = line.rpartition("=")
        if line.strip():
            try:
                yield name.strip(), float(weight)
            except ValueError:
                raise Invalid("%(name)s: write a name, = and a number on each line.", name=setting.name) from None


def _values_by_name(setting: Setting, text: str) -> Iterator[tuple[str, object]]:
    for line in text.splitlines():
        name, is_there, value = line.partition("=")
        if not line.strip():
            continue
        if not is_there:
            raise Invalid("%(name)s: write a name, = and a value on each line.", name=setting.name)
        yield name.strip(), _json(value.strip())


def _each_once(setting: Setting, entries: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in entries:
        if name in found:
            raise Invalid("%(name)s: %(entry)s stands there twice.", name=setting.name, entry=name)
        found[name] = value
    return found


def _json(text: str) -> object:
    """What JSON says; what is none is text as it stands."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _store(project: Project, group: Group, own: Json) -> None:
    kept = {name: value for name, value in project.round_settings.items() if name != group.name}
    if group.name == ROUND:
        kept = {name: value for name, value in kept.items() if name not in {known.name for known in group.settings}}
        kept |= own
    elif own:
        kept[group.name] = own
    changed = _unchosen(project).overridden(kept)
    if group.name in TRAINING:
        refused = refusal(group.name, changed.of_stage(group.name))
        if refused is not None:
            raise Invalid(f"{refused.template}.", **refused.named)
    project.round_settings = kept


def _unchosen(project: Project) -> RoundSettings:
    """What would hold if nobody had chosen anything."""
    return settings_of(Project(question=project.question, round_settings={}))


def _values(settings: RoundSettings, group: Group) -> Json:
    everything = settings.to_json()
    return everything if group.name == ROUND else cast(Json, everything[group.name])


def _own(project: Project, group: Group) -> Json:
    """A copy of what was chosen of a group."""
    chosen: Json = json.loads(json.dumps(project.round_settings))
    if group.name != ROUND:
        return cast(Json, chosen.get(group.name, {}))
    names = {setting.name for setting in group.settings}
    return {name: value for name, value in chosen.items() if name in names}


def _at(values: Mapping[str, Any], name: str, default: object) -> object:
    outer, _, inner = name.partition(".")
    value = values.get(outer, {} if inner else default)
    value = value.get(inner, default) if inner else value
    return list(value) if isinstance(value, tuple) else value


def _put(values: Json, name: str, value: object) -> None:
    outer, _, inner = name.partition(".")
    if inner:
        values.setdefault(outer, {})[inner] = value
    else:
        values[outer] = value


def _drop(values: Json, name: str) -> None:
    outer, _, inner = name.partition(".")
    if inner and outer in values:
        values[outer].pop(inner, None)
        if not values[outer]:
            del values[outer]
    elif not inner:
        values.pop(outer, None)


def _of_model(model: type[BaseModel]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        parts = get_args(field.annotation) if isinstance(field.annotation, types.UnionType) else (field.annotation,)
        may_be_null = type(None) in parts
        choices = get_args(parts[0]) if get_origin(parts[0]) is Literal else ()
        kind = "choice" if choices else KINDS.get(parts[0])
        if kind is not None:
            meaning, bounds = field.description or "", _range(field)
            yield Setting(name, kind, field.default, meaning, choices, bounds, may_be_null)


def _range(field: FieldInfo) -> Range:
    bounds: dict[str, float] = {}
    for part in field.metadata:
        for theirs, ours in (("ge", "minimum"), ("le", "maximum"), ("gt", "above")):
            if getattr(part, theirs, None) is not None:
                bounds[ours] = getattr(part, theirs)
    return Range(**bounds)


def _of_rounds() -> Iterator[Group]:
    for name, field in RoundSettings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            own = field.annotation
            titled = tuple(Usual(one, found.title) for one, found in own.model_fields.items() if found.title)
            yield Group(name, field.title or name, tuple(_of_model(own)), titled)


def _groups() -> Iterator[Group]:
    yield Group(
        ROUND,
        phrase("The round"),
        tuple(_of_model(RoundSettings)),
        (
            Usual("label_target", phrase("New judgements that a round waits for"), PEOPLE),
            Usual("generate_prompts", phrase("Prompts that the policy answers for the next round"), TIME),
            Usual("samples_per_prompt", phrase("Responses that it writes to each"), TIME),
            Usual("evaluate_prompts", phrase("Prompts on which a new policy is measured"), TIME),
        ),
    )
    yield from _of_rounds()
    for stage in TRAINING.values():
        yield Group(stage.name, stage.title, settings_of_stage(stage.name), stage.usual)


_GROUPS = tuple(_groups())
