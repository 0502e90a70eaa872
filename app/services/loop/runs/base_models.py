"""Models of this machine that a policy can start from, looked at without loading them: the files' headers say enough.

Nothing here runs code of a model, and nothing reads its weights.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import Invalid
from app.phrases import phrase
from app.security import Principal
from app.services.loop.runs import needs
from app.services.loop.runs.needs import Need
from app.settings import Settings
from training.memory.room import total_bytes
from training.memory.shape import (
    HUB_ID,
    MAX_JSON_BYTES,
    ModelShape,
    folder_of,
    licence_of,
    read_header,
    shape_of,
    weight_files,
)

# Those of `models.backbone`, which a test holds against these.
MODEL_TYPES = frozenset(
    {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3"}
)
CONFIG = "config.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})

NOT_ALLOWED = phrase(
    "This site doesn't take models from there. An admin can allow a folder by PLUMBLINE_MODEL_FOLDERS, or choose the "
    "model for you."
)


@dataclass(frozen=True)
class ModelCard:
    """What a model's own files say of it. `licence` is None where its README names none."""

    location: str
    model_type: str
    parameters: int
    size_bytes: int
    dtypes: tuple[str, ...]
    context: int | None
    licence: str | None
    has_chat_template: bool
    shape: ModelShape


@dataclass(frozen=True)
class CheckedModel:
    """A model that can be used, and what that takes beside what this machine has."""

    card: ModelCard
    needs: tuple[Need, ...]
    machine_memory_bytes: int


async def check(settings: Settings, actor: Principal, location: str) -> CheckedModel:
    """What there is to know of a model that `actor` names. Raises Invalid, also for a place that they may not name."""
    folders = None if actor.is_admin else tuple(map(Path, settings.allowed_model_folders))
    return await asyncio.to_thread(checked, settings, location, folders=folders)


def checked(settings: Settings, location: str, *, folders: tuple[Path, ...] | None) -> CheckedModel:
    """What there is to know of a model from one of `folders`, None: from anywhere but the home. Raises Invalid."""
    card = look_at(location, home=settings.home, folders=folders)
    memory_bytes = total_bytes()
    return CheckedModel(card, needs.shown(card.shape, memory_bytes=memory_bytes), memory_bytes)


def look_at(location: str, *, home: Path, folders: tuple[Path, ...] | None) -> ModelCard:
    """The card of a directory, or of a hub id in this machine's cache.

    `folders` are those from which directories may come, None: from anywhere but `home`. Raises Invalid, for what isn't
    allowed in the same words whether it exists or not.
    """
    folder = _folder_of(location.strip(), home=home, folders=folders)
    config = _json(folder / CONFIG)
    model_type = str(config.get("model_type"))
    _require_usable(folder, config, model_type)
    weights = _weights(folder)
    headers = [_header(path) for path in weights]
    shape = _shape(config, headers, sum(path.stat().st_size for path in weights))
    dtypes = tuple(sorted({str(tensor.get("dtype")) for header in headers for tensor in header.values()}))
    if not set(dtypes) <= FLOATS or "quantization_config" in config:
        raise Invalid(
            "Its weights are quantised, and a policy can't learn in those. Use the model before quantisation."
        )
    return ModelCard(
        location=location.strip(),
        model_type=model_type,
        parameters=shape.parameters,
        size_bytes=shape.file_bytes,
        dtypes=dtypes,
        context=_count(config.get("max_position_embeddings")) or _count(config.get("n_positions")),
        licence=licence_of(folder),
        has_chat_template=_has_chat_template(folder),
        shape=shape,
    )


def _folder_of(location: str, *, home: Path, folders: tuple[Path, ...] | None) -> Path:
    if not location or not location.isprintable():
        raise Invalid("Name a directory, or a model of the Hugging Face hub as owner/name.")
    if not location.startswith(("/", "~")) and HUB_ID.fullmatch(location):
        return _cached(location)
    folder = Path(os.path.realpath(location))
    is_allowed = folders is None or any(folder.is_relative_to(os.path.realpath(allowed)) for allowed in folders)
    if not location.startswith("/") or not is_allowed or folder.is_relative_to(os.path.realpath(home)):
        raise Invalid(NOT_ALLOWED)
    if not (folder / CONFIG).is_file():
        raise Invalid("There is no model at %(location)s: no config.json.", location=location)
    return folder


def _cached(hub_id: str) -> Path:
    """The folder of the hub's cache that holds the newest snapshot of a model."""
    folder = folder_of(hub_id)
    if folder is None:
        raise Invalid(
            "%(model)s is not on this machine. Fetch it first: huggingface-cli download %(model)s", model=hub_id
        )
    return folder


def _require_usable(folder: Path, config: Mapping[str, Any], model_type: str) -> None:
    """Raises Invalid for what could not be trained here, and for what would have to run code of its own."""
    if model_type not in MODEL_TYPES:
        raise Invalid(
            "Its type is %(type)s; usable are %(types)s.", type=model_type, types=", ".join(sorted(MODEL_TYPES))
        )
    if "auto_map" in config:
        raise Invalid("It needs code of its own, which is never run here.")
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list):
        raise Invalid("Its %(file)s can't be read.", file=CONFIG)
    if architectures and not any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise Invalid("It was made for something else than writing: %(name)s.", name=str(architectures[0]))
    manifest = folder / "manifest.json"
    if manifest.is_file() and _json(manifest).get("kind") in ("reward", "cost"):
        raise Invalid("It is a model that judges responses; a policy has to write them.")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise Invalid("It has no tokenizer.json.")


def _weights(folder: Path) -> list[Path]:
    found = weight_files(folder)
    if not found and any(path.suffix in PICKLED for path in folder.iterdir()):
        raise Invalid("Its weights are pickled, and opening those can run anything. Convert them to safetensors.")
    if not found:
        raise Invalid("It has no weights: no .safetensors file.")
    return found


def _header(path: Path) -> dict[str, Any]:
    try:
        return read_header(path)
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid("%(file)s is not a whole safetensors file.", file=path.name) from error


def _shape(config: Mapping[str, Any], headers: Sequence[Mapping[str, Any]], file_bytes: int) -> ModelShape:
    """Raises Invalid where sizes are no sizes: the formulae count on them."""
    try:
        return shape_of(config, headers, file_bytes)
    except ValueError as error:
        raise Invalid("Its %(file)s can't be read.", file=CONFIG) from error


def _count(number: object) -> int | None:
    return number if isinstance(number, int) and 0 < number < 2**31 else None


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(path)
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid("Its %(file)s can't be read.", file=path.name) from error
    if not isinstance(found, dict):
        raise Invalid("Its %(file)s can't be read.", file=path.name)
    return found


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(_json(settings).get("chat_template"))
