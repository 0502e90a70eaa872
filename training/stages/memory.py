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
from training.memory.fitting import Fit, fit
from training.memory.room import MEMORY_BYTES, free_bytes
from training.memory.shape import folder_of, read_shape
from training.runtime.device import device

LOOKED_AT = 500
"""Records of a file that say how long its texts are."""
LETTERS_OF_A_TOKEN = 4
"""Some more in English, fewer elsewhere: texts are rather thought too short than too long."""


def require_room(stage: str, config: StageConfig, *, threads: int) -> None:
    """Raises `InputError` where a stage certainly takes more memory than there is, with the nearest settings that fit;
    where it may, that is told on stderr."""
    if device().type != "cpu":  # whose memory the formula doesn't know
        return
    location = getattr(config, "policy", None) or getattr(config, "model", None)
    folder = folder_of(str(location))
    shape = read_shape(folder) if folder is not None else None
    free = free_bytes()
    if shape is None or free is None:
        return
    settings = dataclasses.asdict(settled(config, chosen(vars(config), ModelFacts(shape.parameters))))
    found = fit(stage, shape, settings, free=free, texts=texts_of(settings), threads=threads)
    if found is None or found.fits:
        return
    if found.is_refused:
        raise InputError(sentence(found))
    sys.stderr.write(f"{sentence(found)}; it is tried all the same\n")


def sentence(found: Fit) -> str:
    """What a stage takes, what there is, and what would fit."""
    said = f"{found.stage} needs some {_size(found.bytes)} of memory with this model, and {_size(found.free)} are free"
    if found.changes is None:
        return f"{said}: no setting makes it fit ({MEMORY_BYTES} says how much it may take)"
    changed = " and ".join(f"{name} {value}" for name, value in found.changes.items())
    return f"{said}: with {changed} it would take {_size(found.changed_bytes)}"


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


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB"
