"""A stage that can't fit is refused before its models are loaded."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

from training.config import InputError, StageConfig
from training.config.by_model import ModelFacts, chosen, settled
from training.memory.estimate import Texts
from training.memory.fitting import CERTAIN, Fit, fit
from training.memory.room import MEMORY_BYTES, free_bytes, told_bytes
from training.memory.shape import folder_of, read_shape
from training.runtime.device import device
from training.runtime.ranks import by_environment

LOOKED_AT = 500
"""Records of a file that say how long its texts are."""
LETTERS_OF_A_TOKEN = 4
"""Some more in English, fewer elsewhere: texts are rather thought too short than too long."""


def require_room(stage: str, config: StageConfig, *, threads: int, processes: int = 1) -> None:
    """Raises `InputError` where a stage certainly takes more memory than there is for each of its processes here, with
    the nearest settings that fit; where it may, that is told on stderr."""
    free = free_bytes()
    free = free // processes if free is not None else None
    found = _fitted(stage, config, free=free, threads=threads) if free is not None else None
    if found is None or found.fits:
        return
    if found.is_refused:
        raise InputError(sentence(found))
    sys.stderr.write(f"{sentence(found)}; it is tried all the same\n")


def what_takes_less(stage: str, config: StageConfig, *, threads: int) -> str:
    """One line that says of a stage that it took more than there was, whatever the formula said, and what to change."""
    told = told_bytes()
    had = f"the {_size(told)} that it may have ({MEMORY_BYTES})" if told is not None else "what was free"
    said = f"{stage} took more than {had}. "
    found = _fitted(stage, config, free=told or free_bytes() or 0, threads=threads)
    # With a margin where settings give one: the formula was wrong about these once.
    wanted = [int(share * min(found.bytes, found.free)) - 1 for share in (CERTAIN, 1)] if found else []
    fits = (_fitted(stage, config, free=free, threads=threads) for free in wanted)
    less = next((each for each in fits if each and each.changes), None)
    if less is None or less.changes is None:
        return f"{said}Smaller batches or responses take less, and so does a smaller model."
    return f"{said}Try {_changed(less.changes)}, with which it takes some {_size(less.changed_bytes)} by the formula."


def _fitted(stage: str, config: StageConfig, *, free: int, threads: int) -> Fit | None:
    if device().type != "cpu":  # whose memory the formula doesn't know
        return None
    location = getattr(config, "policy", None) or getattr(config, "model", None)
    folder = folder_of(str(location))
    shape = read_shape(folder) if folder is not None else None
    if shape is None:
        return None
    settings = dataclasses.asdict(settled(config, chosen(vars(config), ModelFacts(shape.parameters))))
    settings["processes"] = by_environment().count
    return fit(stage, shape, settings, free=free, texts=texts_of(settings), threads=threads)


def sentence(found: Fit) -> str:
    """What a stage takes, what there is, and what would fit."""
    needed, free = _sizes(found.bytes, found.free)
    said = f"{found.stage} needs some {needed} of memory with this model, and {free} are free"
    if found.changes is None:
        return f"{said}: no setting makes it fit ({MEMORY_BYTES} says how much it may take)"
    return f"{said}: with {_changed(found.changes)} it would take {_size(found.changed_bytes)}"


def _changed(changes: Mapping[str, object]) -> str:
    return " and ".join(f"{name} {value}" for name, value in changes.items())


def texts_of(settings: Mapping[str, object]) -> Texts:
    """How long the texts are that a stage is given, by the beginning of its file."""
    path = next(
        (settings[name] for name in ("preferences", "responses", "prompts", "demonstrations") if settings.get(name)),
        None,
    )
    if not isinstance(path, Path):
        return Texts()
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line for _, line in zip(range(LOOKED_AT), file, strict=False)]
            rows = len(lines) + sum(1 for _ in file)
        records = [json.loads(line) for line in lines]
        prompts = [_letters(message["content"] for message in record["prompt"]) for record in records]
        responses = [
            _letters([record[name]]) for record in records for name in _RESPONSES if isinstance(record.get(name), str)
        ]
    except (OSError, ValueError, KeyError, TypeError):  # whoever reads the file says it better
        return Texts()
    if not records:
        return Texts()
    usual = Texts()
    return Texts(
        prompt_tokens=fmean(prompts) / LETTERS_OF_A_TOKEN,
        response_tokens=fmean(responses) / LETTERS_OF_A_TOKEN if responses else usual.response_tokens,
        rows=rows,
    )


_RESPONSES = ("response", "response_a", "response_b")


def _letters(texts: Iterable[object]) -> int:
    return sum(len(str(text)) for text in texts)


def _size(number: float, decimals: int = 1) -> str:
    return f"{number / 1e9:.{decimals}f} GB"


def _sizes(one: float, other: float) -> tuple[str, str]:
    """With as many decimals as it takes to tell them apart."""
    decimals = next((places for places in range(1, 9) if _size(one, places) != _size(other, places)), 9)
    return _size(one, decimals), _size(other, decimals)
