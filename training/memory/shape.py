"""A model's shape, by its configuration and the headers of its weights; nothing of them is loaded."""

import json
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from models.choices import AdapterTargets

README_BYTES = 65_536
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
MAX_JSON_BYTES = 64 << 20  # an index, or the header of the largest models, and no more
_LARGEST = 1 << 40  # of a number that says how large something is: past it, it is no model's
_MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides how much a model takes. Widths are numbers of elements."""

    parameters: int
    file_bytes: int
    """Of its weights as they lie on disk."""
    layers: int
    hidden: int
    intermediate: int
    attention: int
    """Of all heads of queries together."""
    key_value: int
    """Of all heads of keys together, and of values likewise."""
    vocabulary: int
    gated: bool
    """The feed-forward layers have a gate, and so a third matrix."""
    tied: bool
    """The head is the embedding."""
    in_bfloat16: bool = False
    """Its configuration says so of its weights."""

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of a head of its own likewise."""
        return self.vocabulary * self.hidden

    @property
    def trunk(self) -> int:
        """Parameters of the layers."""
        return max(0, self.parameters - self.embedding * (1 if self.tied else 2))

    def adapters(self, rank: int, targets: AdapterTargets = "all") -> int:
        """Parameters of adapters of this rank on every linear layer, or on those of attention."""
        inputs_and_outputs = 2 * (self.hidden + self.attention) + 2 * (self.hidden + self.key_value)
        if targets == "all":
            inputs_and_outputs += (3 if self.gated else 2) * (self.hidden + self.intermediate)
        return self.layers * rank * inputs_and_outputs


def shape_of(config: Mapping[str, Any], headers: Sequence[Mapping[str, Any]], file_bytes: int) -> ModelShape:
    """The shape by `config.json` and by the headers of all files. Raises ValueError where they don't say it."""

    def told(*names: str, default: int = 0) -> int:
        return next((_size(config[name]) for name in names if config.get(name)), default)

    tensors = [(name, tensor) for header in headers for name, tensor in header.items()]
    hidden, heads = told("hidden_size", "n_embd"), told("num_attention_heads", "n_head", default=1)
    head = told("head_dim", default=hidden // heads)
    return ModelShape(
        parameters=_size(sum(_elements(tensor) for _, tensor in tensors)),
        file_bytes=file_bytes,
        layers=told("num_hidden_layers", "n_layer"),
        hidden=hidden,
        intermediate=told("intermediate_size", "n_inner", default=4 * hidden),
        attention=heads * head,
        key_value=told("num_key_value_heads", default=heads) * head,
        vocabulary=told("vocab_size"),
        gated=any("gate" in name for name, _ in tensors),
        tied=not any(name.startswith(("lm_head.", "embed_out.")) for name, _ in tensors),
        in_bfloat16=(config.get("dtype") or config.get("torch_dtype")) == "bfloat16",
    )


def _elements(tensor: object) -> int:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("a tensor without a shape")
    return prod(_size(length) for length in shape)


def _size(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number <= _LARGEST:
        raise ValueError("no size of anything")
    return number


def read_shape(folder: Path) -> ModelShape | None:
    """The shape of a model in a directory; None where it isn't one, which whoever opens it will say better."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        files = weight_files(folder)
        shape = shape_of(config, [read_header(path) for path in files], sum(path.stat().st_size for path in files))
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return shape if shape.parameters else None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a directory."""
    return sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")


def read_header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file by name, each with `dtype` and `shape`. Raises ValueError and OSError."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError(f"{path.name} is cut short")
        (length,) = struct.unpack("<Q", start)
        if length > MAX_JSON_BYTES:
            raise ValueError(f"{path.name} has no header")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} has no header")
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def folder_of(location: str) -> Path | None:
    """The directory, or for a hub id the newest snapshot in the hub's cache; None where there is none."""
    folder = Path(location)
    if not folder.is_dir():
        root = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
        cache = Path(os.environ.get("HF_HUB_CACHE") or root / "hub").expanduser()
        model = cache / f"models--{location.replace('/', '--')}"
        try:
            revision = (model / "refs" / "main").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        if not re.fullmatch(r"[0-9a-f]{7,64}", revision):
            return None
        folder = model / "snapshots" / revision
    return folder if (folder / "config.json").is_file() else None


def licence_of(folder: Path) -> str | None:
    """What the front matter of its README says."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(README_BYTES)
    except OSError:
        return None
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    named = re.search(r"^license:[ \t]*([\w.+-]+)", front[1], flags=re.MULTILINE) if front else None
    return named[1] if named else None
