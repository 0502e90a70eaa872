"""What can be chosen about each stage, for whoever shows or changes it: kind, default, bounds and meaning.

Free of torch and of anything but the settings themselves, so that the application reads it, too.
"""

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from training.config.by_model import ByModel, ModelFacts, chosen
from training.config.reading import MODEL_KEYS, config_from
from training.config.values import ConfigError, Range
from training.stages.registry import STAGES

UNBOUNDED = Range()

Kind = Literal["switch", "choice", "choices", "whole", "number", "text", "texts", "weights", "values"]

# Whoever starts a run says what it works on; `base` alone is a matter of choice.
_GIVEN = MODEL_KEYS - {"base"} | {"seed"}
KINDS: Mapping[object, Kind] = {bool: "switch", int: "whole", float: "number", str: "text"}
"""How a setting of a plain type is chosen."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One thing that can be chosen. `name` has a dot where it lies within another.

    A `choice` is one of `choices`, `choices` are any of them; `texts` are any texts, `weights` numbers by name and
    `values` anything by name. With `by_model` null is the model's choice.
    """

    name: str
    kind: Kind
    default: object
    meaning: str = ""
    choices: tuple[str, ...] = ()
    range: Range = UNBOUNDED
    may_be_null: bool = False
    by_model: ByModel | None = None


@cache
def settings_of(stage: str) -> tuple[Setting, ...]:
    """All that can be chosen about a stage, in the order of its configuration. What it works on is not among it."""
    return tuple(_settings(STAGES[stage], ""))


def usual_settings(stage: str, parameters: int, values: Mapping[str, object]) -> dict[str, object]:
    """All settings of a stage with a model of so many parameters that was trained before: `values`, the rest by
    default."""
    found = {setting.name: values.get(setting.name, setting.default) for setting in settings_of(stage)}
    rules = {setting.name: setting.by_model for setting in settings_of(stage) if found[setting.name] is None}
    decided = {name: rule for name, rule in rules.items() if rule is not None}
    return found | chosen({**found, **decided}, ModelFacts(parameters))


def refusal(stage: str, values: Mapping[str, object]) -> ConfigError | None:
    """Why the stage would refuse these settings, None where it would take them.

    What a run is given beside them is taken to be there.
    """
    kind = STAGES[stage]
    given: dict[str, object] = {
        field.name: 0 if field.name == "seed" else "given" for field in dataclasses.fields(kind) if _is_required(field)
    }
    hints = _hints(kind)
    optional = {field.name for field in dataclasses.fields(kind) if _is_given(field.name, hints[field.name])}
    given |= {"cost": "given"} if "cost" in optional else {}  # for a limit of it, which no run without one is told
    while True:
        try:
            config_from({**given, **values}, kind, Path())
        except ConfigError as error:
            lacking = error.settings.partition(",")[0]
            if lacking in given or lacking in values or lacking not in optional:
                return error
            given[lacking] = "given"
        else:
            return None


def _settings(kind: type, parent: str) -> Iterator[Setting]:
    meanings, hints = _meanings(kind), _hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _settings(hint, f"{field.name}.")
        elif not _is_required(field) and (parent or not _is_given(field.name, hint)):
            yield _setting(field, hint, parent, meanings.get(field.name, ""))


def _setting(field: "dataclasses.Field[object]", hint: Any, parent: str, meaning: str) -> Setting:
    plain, bounds, may_be_null = _plain(hint)
    origin = get_origin(plain)
    kind: Kind
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    choices: tuple[str, ...] = ()
    if origin is Literal:
        kind, choices = "choice", get_args(plain)
    elif origin is tuple:
        choices = get_args(get_args(plain)[0])
        kind = "choices" if choices else "texts"
    elif origin is Mapping:
        kind = "values" if get_args(plain)[1] is object else "weights"
    else:
        kind = KINDS[plain]
    name = f"{parent}{field.name}"
    if isinstance(default, ByModel):
        return Setting(name, kind, None, meaning, choices, bounds, may_be_null=True, by_model=default)
    return Setting(name, kind, default, meaning, choices, bounds, may_be_null)


def _plain(hint: Any) -> tuple[Any, Range, bool]:
    """A type without bounds and null, its bounds, and whether null is allowed."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (option for option in get_args(hint) if option is not types.NoneType)
        plain, bounds, _ = _plain(inner)
        return plain, bounds, True
    if origin is Annotated:
        plain, bounds = get_args(hint)
        return plain, bounds, False
    return hint, UNBOUNDED, False


def _is_required(field: "dataclasses.Field[object]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_given(name: str, hint: Any) -> bool:
    return name in _GIVEN or _plain(hint)[0] is Path


def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _meanings(kind: type) -> dict[str, str]:
    """What stands below each field in the source, of its own class or of one that it extends."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        if dataclasses.is_dataclass(part):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
            assert isinstance(body, ast.ClassDef)
            for field, below in zip(body.body, body.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    text = _text(below)
                    if text:
                        found[field.target.id] = " ".join(text.split())
    return found


def _text(statement: ast.stmt) -> str | None:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
