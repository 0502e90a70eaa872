"""A stage's settings from JSON: an unknown key or a bad value is refused before any work."""

import dataclasses
import json
import math
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from training.config.by_model import ByModel
from training.config.stage import StageConfig
from training.config.values import ConfigError, Range

ConfigT = TypeVar("ConfigT", bound=StageConfig)

# Settings that name a model: a directory (absolute, or relative to the config file) or a hub id.
MODEL_KEYS = frozenset(
    {"model", "policy", "reference", "reward", "cost", "held_out_reward", "averaged", "previous_reward", "base"}
)

PROCESS_KEYS = frozenset({"processes", "process_wait_seconds"})


def read_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """The stage's configuration. Raises `ConfigError`."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError("config", "cannot read %(path)s: %(error)s", path=path, error=error) from error
    return config_from(values, kind, path.absolute().parent)


def config_from(values: object, kind: type[ConfigT], folder: Path) -> ConfigT:
    """The stage's configuration from JSON values, whose paths start at `folder`. Raises `ConfigError`."""
    return cast(ConfigT, _dataclass_from(values, kind, folder, prefix=""))


def config_to_json(config: StageConfig) -> dict[str, object]:
    """The configuration as JSON values, for manifests and for telling runs apart."""
    return cast(dict[str, object], json.loads(json.dumps(dataclasses.asdict(config), default=_to_json)))


def without_places(config: StageConfig) -> dict[str, object]:
    """The configuration as JSON values but for where models and files lie, and how many processes share the work, which
    may change while a run goes on."""
    written = config_to_json(config)
    return {
        name: written[name]
        for name, value in vars(config).items()
        if name not in MODEL_KEYS | PROCESS_KEYS and not isinstance(value, Path)
    }


def _dataclass_from(values: object, kind: type, base: Path, prefix: str) -> object:
    if not isinstance(values, Mapping):
        raise ConfigError(prefix.rstrip(".") or "config", "must be a JSON object")
    hints = get_type_hints(kind, include_extras=True)
    fields = {setting.name: setting for setting in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise ConfigError(f"{prefix}{key}", "unknown setting")
    for name, setting in fields.items():
        no_default = setting.default is dataclasses.MISSING and setting.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise ConfigError(f"{prefix}{name}", "missing")
    given = {key: value for key, value in values.items() if not _is_left_to_the_model(value, fields[key])}
    read = {key: _value(value, hints[key], base, f"{prefix}{key}") for key, value in given.items()}
    return kind(**{key: _located(key, value, base) for key, value in read.items()})


def _to_json(value: object) -> str | None:
    return None if isinstance(value, ByModel) else str(value)


def _is_left_to_the_model(value: object, setting: "dataclasses.Field[object]") -> bool:
    return value is None and isinstance(setting.default, ByModel)


def _value(value: object, hint: object, base: Path, key: str) -> object:
    origin = get_origin(hint)
    if hint is object:  # whatever JSON holds
        return value
    if origin is Annotated:
        plain, bounds = get_args(hint)
        return _bounded(_value(value, plain, base, key), bounds, key)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (inner,) = (option for option in get_args(hint) if option is not types.NoneType)
        return _value(value, inner, base, key)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(key, "must be a list, not %(value)s", value=repr(value))
        return tuple(_value(entry, get_args(hint)[0], base, key) for entry in value)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise ConfigError(key, "must be a JSON object")
        return {name: _value(entry, get_args(hint)[1], base, f"{key}.{name}") for name, entry in value.items()}
    if origin is Literal:
        if value not in get_args(hint):
            choices = ", ".join(get_args(hint))
            raise ConfigError(key, "must be one of %(choices)s, not %(value)s", choices=choices, value=repr(value))
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_from(value, hint, base, f"{key}.")
    return _scalar(value, cast(type, hint), base, key)


def _scalar(value: object, kind: type, base: Path, key: str) -> object:
    if kind is Path and isinstance(value, str):
        return _below(base, value)
    # Compared and not converted: a whole number may be larger than any float. What is no number is not below either.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        if kind is float:
            return float(value)
        if kind is int and isinstance(value, int):
            return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    said = repr(value)
    if kind is float:
        raise ConfigError(key, "must be a finite number, not %(value)s", value=said)
    if kind is int:
        raise ConfigError(key, "must be a whole number, not %(value)s", value=said)
    if kind is bool:
        raise ConfigError(key, "must be true or false, not %(value)s", value=said)
    raise ConfigError(key, "must be %(kind)s, not %(value)s", kind="a path" if kind is Path else "text", value=said)


def _bounded(value: object, bounds: Range, key: str) -> object:
    number = cast(float, value)
    said = _digits(number)
    if number <= bounds.above:
        raise ConfigError(key, "must be above %(bound)s, not %(value)s", bound=_digits(bounds.above), value=said)
    if number < bounds.minimum and bounds.maximum == math.inf:
        least = _digits(bounds.minimum)
        raise ConfigError(key, "must be at least %(minimum)s, not %(value)s", minimum=least, value=said)
    if not bounds.minimum <= number <= bounds.maximum:
        low, high = _digits(bounds.minimum), _digits(bounds.maximum)
        raise ConfigError(key, "must lie in [%(low)s, %(high)s], not %(value)s", low=low, high=high, value=said)
    return value


def _digits(number: float) -> str:
    """All of them: a number that is refused never looks like its bound."""
    return f"{number:.15g}"


def _located(key: str, value: object, base: Path) -> object:
    if key in MODEL_KEYS and isinstance(value, str) and _below(base, value).is_dir():
        return str(_below(base, value))
    return value


def _below(base: Path, value: str) -> Path:
    """Without the steps back, so that a file has one name from wherever it is named."""
    return Path(os.path.normpath(base / value))
