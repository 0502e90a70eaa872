"""Models of this machine that a policy can start from, looked at without loading them: the files' headers say enough.

Nothing here runs code of a model, and nothing reads its weights. What a machine needs for them is estimated by the
formula in docs/training.md.
"""

import asyncio
import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.errors import Invalid
from app.phrases import phrase
from app.security import Principal
from app.settings import Settings

# Those of `models.backbone`, which a test holds against these.
MODEL_TYPES = frozenset(
    {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3"}
)
MAX_JSON_BYTES = 64 << 20  # an index or tokenizer of the largest models, and no more
README_BYTES = 65_536
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")

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
    hidden_size: int
    layers: int
    vocabulary: int
    licence: str | None
    has_chat_template: bool


@dataclass(frozen=True)
class Need:
    """The memory that a stage takes with a model, in bytes, by estimate."""

    stage: str
    with_adapters: bool
    memory_bytes: int


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
    return CheckedModel(card, needs(card), machine_memory_bytes())


def look_at(location: str, *, home: Path, folders: tuple[Path, ...] | None) -> ModelCard:
    """The card of a directory, or of a hub id in this machine's cache.

    `folders` are those from which directories may come, None: from anywhere but `home`. Raises Invalid, for what isn't
    allowed in the same words whether it exists or not.
    """
    folder = _folder_of(location.strip(), home=home, folders=folders)
    config = _json(folder / "config.json")
    model_type = str(config.get("model_type"))
    _require_usable(folder, config, model_type)
    headers = [_header(path) for path in _weights(folder)]
    tensors = [tensor for header in headers for tensor in header.values()]
    dtypes = tuple(sorted({str(tensor["dtype"]) for tensor in tensors}))
    if not set(dtypes) <= FLOATS or "quantization_config" in config:
        raise Invalid(
            "Its weights are quantised, and a policy can't learn in those. Use the model before quantisation."
        )
    width = config.get("hidden_size") or config.get("n_embd") or 0
    return ModelCard(
        location=location.strip(),
        model_type=model_type,
        parameters=sum(prod(tensor["shape"]) for tensor in tensors),
        size_bytes=sum(path.stat().st_size for path in _weights(folder)),
        dtypes=dtypes,
        context=config.get("max_position_embeddings") or config.get("n_positions"),
        hidden_size=int(width),
        layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 0),
        vocabulary=int(config.get("vocab_size") or 0),
        licence=_licence(folder),
        has_chat_template=_has_chat_template(folder),
    )


# Tokens that a stage holds at once by its defaults: one optimiser step, or a batch of responses that are written.
_STAGES = (("generate", False, 4, 8_192), ("sft", False, 16, 768), ("reward", False, 16, 1_024),
           ("ppo", False, 40, 4_096), ("ppo", True, 28, 4_096))  # fmt: skip
_PROCESS_BYTES = 600_000_000  # Python, torch and its libraries


def needs(card: ModelCard) -> tuple[Need, ...]:
    """What each stage takes by its defaults: state by parameters, and what lies in between by tokens."""
    per_token = 68 * card.layers * card.hidden_size + 12 * card.vocabulary
    written = 8 * card.layers * card.hidden_size
    return tuple(
        Need(
            stage,
            adapters,
            _PROCESS_BYTES + of_state * card.parameters + tokens * (written if stage == "generate" else per_token),
        )
        for stage, adapters, of_state, tokens in _STAGES
    )


def machine_memory_bytes() -> int:
    """The memory of the machine that this runs on."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _folder_of(location: str, *, home: Path, folders: tuple[Path, ...] | None) -> Path:
    if not location or not location.isprintable():
        raise Invalid("Name a directory, or a model of the Hugging Face hub as owner/name.")
    if not location.startswith(("/", "~")) and HUB_ID.fullmatch(location):
        return _cached(location)
    folder = Path(os.path.realpath(location))
    is_allowed = folders is None or any(folder.is_relative_to(os.path.realpath(allowed)) for allowed in folders)
    if not location.startswith("/") or not is_allowed or folder.is_relative_to(os.path.realpath(home)):
        raise Invalid(NOT_ALLOWED)
    if not (folder / "config.json").is_file():
        raise Invalid("There is no model at %(location)s: no config.json.", location=location)
    return folder


def _cached(hub_id: str) -> Path:
    """The folder of the hub's cache that holds the newest snapshot of a model."""
    root = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE") or root / "hub").expanduser()
    model = cache / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (model / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        revision = ""
    folder = model / "snapshots" / revision
    if not re.fullmatch(r"[0-9a-f]{7,64}", revision) or not (folder / "config.json").is_file():
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
    if architectures and not any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise Invalid("It was made for something else than writing: %(name)s.", name=str(architectures[0]))
    manifest = folder / "manifest.json"
    if manifest.is_file() and _json(manifest).get("kind") in ("reward", "cost"):
        raise Invalid("It is a model that judges responses; a policy has to write them.")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise Invalid("It has no tokenizer.json.")


def _weights(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    if not found and any(path.suffix in PICKLED for path in folder.iterdir()):
        raise Invalid("Its weights are pickled, and opening those can run anything. Convert them to safetensors.")
    if not found:
        raise Invalid("It has no weights: no .safetensors file.")
    return found


def _header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file by name: each with dtype and shape."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_JSON_BYTES:
                raise ValueError(length)
            header = json.loads(file.read(length))
        return {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, ValueError, AttributeError, struct.error) as error:
        raise Invalid("%(file)s is not a whole safetensors file.", file=path.name) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(path)
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid("Its %(file)s can't be read.", file=path.name) from error
    if not isinstance(found, dict):
        raise Invalid("Its %(file)s can't be read.", file=path.name)
    return found


def _licence(folder: Path) -> str | None:
    """What the front matter of its README says."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(README_BYTES)
    except OSError:
        return None
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    named = re.search(r"^license:[ \t]*([\w.+-]+)", front[1], flags=re.MULTILINE) if front else None
    return named[1] if named else None


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(_json(settings).get("chat_template"))
