"""vLLM in this process, with a copy of the weights.

Imported by whoever chose it and by nobody else, and `vllm` itself when an engine is made: it comes with torch and
transformers of its own, so that stages which sample with it run in its environment. Tried with vLLM 0.32.
"""

import copy
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from models.backbone import NEVER, LanguageModel, first_line
from models.generation import Response
from models.holding import is_quantised
from training.config import InputError
from training.config.values import Precision
from training.engines.engine import Sampling
from training.engines.weights import whole_weights
from training.runtime.device import device
from training.runtime.seeds import derived_seed

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process, so that weights are handed over as they lie in memory
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # bound and spinning threads take ten times as long beside other work
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
_BLOCK_TOKENS = 128
"""Room for keys and values is given out by so many tokens at most."""
_CACHE_BYTES = 4 << 30
"""Of keys and values at most; with less than all rows need they take turns."""
_DEVICES = ("cpu", "cuda")


class VllmEngine:
    """An empty model of the language model's shape, which `load` gives weights to."""

    copies = True

    def __init__(self, language_model: LanguageModel, *, longest: int, rows: int, precision: Precision) -> None:
        """For prompts and responses of `longest` tokens together at most, `rows` of them at once. Raises `InputError`
        where vLLM can't sample from such a model, or not here."""
        _require(language_model)
        self.exact = precision == "float32"
        self.version: int | None = None
        self._eos_ids = language_model.eos_ids
        self._folder = tempfile.TemporaryDirectory(prefix="plumbline-vllm-")
        config = _written_config(language_model.model, Path(self._folder.name))
        try:
            self._engine = _engine(config, language_model, longest, rows, precision, Path(self._folder.name))
        except Exception as error:  # the library's validators and loaders raise whatever they like
            raise InputError(f"engine: vLLM can't open a {config.model_type} model: {first_line(error)}") from error

    def load(self, language_model: LanguageModel, version: int) -> None:
        """Take the weights over, and forget keys and values of earlier ones. Raises `InputError`."""
        self.version = None
        weights: Iterable[tuple[str, Tensor]] = whole_weights(language_model.model)
        try:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            forgotten = self._engine.reset_prefix_cache()
        except Exception as error:  # as above
            raise InputError(f"engine: vLLM can't take the weights over: {first_line(error)}") from error
        if not forgotten:
            raise InputError("engine: vLLM keeps what earlier weights said of prompts")
        self.version = version

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int) -> list[Response]:
        """Each by a seed of its own, so that what stands beside it makes no difference but rounding."""
        from vllm import SamplingParams  # type: ignore[import-not-found]

        parameters = [
            SamplingParams(
                temperature=sampling.temperature,
                top_k=sampling.filters.top_k,
                top_p=sampling.filters.top_p,
                min_p=sampling.filters.min_p,
                max_tokens=sampling.max_new_tokens,
                ignore_eos=True,
                stop_token_ids=list(self._eos_ids),
                logprobs=0,  # of the drawn token alone
                detokenize=False,
                seed=derived_seed(seed, "request", row),
            )
            for row in range(len(prompts))
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        written = self._engine.generate(asked, parameters, use_tqdm=False)
        return [self._response(one.outputs[0]) for one in written]

    def _response(self, output: Any) -> Response:
        ids = tuple(int(token) for token in output.token_ids)
        told = tuple(
            float(by_token[token].logprob) for token, by_token in zip(ids, cast(Any, output.logprobs), strict=True)
        )
        return Response(ids, told, ids[-1] in self._eos_ids)


def _require(language_model: LanguageModel) -> None:
    if device().type not in _DEVICES:
        raise InputError(f"engine: vLLM samples on a processor or a GPU with CUDA, and this is {device().type}")
    if device().index:
        raise InputError("engine: vLLM takes the first GPU that it sees; choose another by CUDA_VISIBLE_DEVICES")
    # It starts a group of its own, of one, where there is none.
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise InputError("engine: vLLM samples in one process, and this run has several; choose own")
    if is_quantised(language_model.model):
        raise InputError("engine: vLLM takes no weights in 8 or 4 bits over; choose own, or other weights")


def _written_config(model: "PreTrainedModel", folder: Path) -> "PreTrainedConfig":
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    return config


def _engine(
    config: "PreTrainedConfig",
    language_model: LanguageModel,
    longest: int,
    rows: int,
    precision: Precision,
    folder: Path,
) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    settings: dict[str, Any] = {"enforce_eager": True}
    if device().type == "cpu":
        # It compiles what ranks tokens at the first request, which takes a minute in every process.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    else:
        free, total = torch.cuda.mem_get_info(device())
        settings = {"gpu_memory_utilization": 0.9 * free / total}
    from vllm import LLM

    return LLM(
        model=str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        generation_config="vllm",
        dtype=precision,
        max_model_len=longest,
        max_num_seqs=rows,
        kv_cache_memory_bytes=_cache_bytes(config, longest, rows, precision),
        logprobs_mode="processed_logprobs",  # of the distribution that is drawn from
        logits_processors=[_without(unwritten)] if (unwritten := _unwritten(language_model)) else None,
        seed=0,
        **settings,
    )


def _unwritten(language_model: LanguageModel) -> list[int]:
    return list(getattr(language_model.model.generation_config, "suppress_tokens", None) or [])


def _without(token_ids: list[int]) -> type:
    """What takes tokens without a text out of what vLLM draws from, as `models.backbone.without_unwritten` does."""
    from vllm.v1.sample.logits_processor import LogitsProcessor  # type: ignore[import-not-found]

    class Unwritten(LogitsProcessor):  # type: ignore[misc]
        def __init__(self, _: object, device: torch.device, __: bool) -> None:
            self._ids = torch.tensor(token_ids, device=device)

        def apply(self, logits: Tensor) -> Tensor:
            return logits.index_fill_(1, self._ids, NEVER)

        def is_argmax_invariant(self) -> bool:
            return False

        def update_state(self, _: object) -> None:
            """The same of every request."""

    return Unwritten


def _cache_bytes(config: "PreTrainedConfig", longest: int, rows: int, precision: Precision) -> int:
    """Keys and values of all rows at their longest, or as much as there may be; of one row in any case."""
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    keys = int(getattr(config, "num_key_value_heads", None) or heads)
    tokens = (-(-longest // _BLOCK_TOKENS) + 1) * _BLOCK_TOKENS
    row = 2 * int(config.num_hidden_layers) * keys * width * tokens * (4 if precision == "float32" else 2)
    return max(row, min(row * rows, _CACHE_BYTES))
