"""Causal language models from any Hugging Face directory or hub id, and log-probabilities of responses.

Models stay in evaluation mode for good: dropout is off in rollout, scoring and training alike, so that the
same tokens always get the same log-probabilities.
"""

# B = batch, T = prompt and response tokens, N = response tokens of the whole batch, V = vocabulary, D = hidden size

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from models.adapter_files import add_saved_adapters, base_of, is_adapter
from models.architecture import Architecture
from models.holding import open_held
from models.placement import HOST, moved
from models.recomputation import recomputed
from models.tokenization import (
    Conversation,
    PromptError,
    TokenizerError,
    encode_prompts,
    encode_responses,
    prepare_tokenizer,
    try_prompts,
    unused_rows,
)

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


LOGIT_BYTES = 1 << 26
"""Of logits in float32 that are held at once: 64 MiB are all of a batch in a small vocabulary, and 341 tokens of one
of 49,152."""

NEVER = -1e9
"""A logit whose probability is 0 at any temperature, and finite, so that nothing times it is 0."""

ResultT = TypeVar("ResultT")


class ModelError(ValueError):
    """A model that cannot be used: missing files, a type that is not allowed, weights that do not fit."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal model with its tokenizer and every id that ends a response."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    eos_ids: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    """Of the weights in its file, and so of those in whatever is published of it; in memory they are in float32."""

    @property
    def pad_id(self) -> int:
        return cast(int, self.tokenizer.pad_token_id)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def width(self) -> int:
        """The size D of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def max_positions(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 20))

    def encode_prompts(self, prompts: Iterable[Conversation]) -> list[tuple[int, ...]]:
        return encode_prompts(self.tokenizer, prompts)

    def try_prompts(self, prompts: Iterable[Conversation]) -> list[tuple[int, ...] | PromptError]:
        return try_prompts(self.tokenizer, prompts)

    def encode_responses(self, responses: Sequence[str]) -> list[tuple[int, ...]]:
        return encode_responses(self.tokenizer, responses)


def build_language_model(
    architecture: Architecture, tokenizer: "PreTrainedTokenizerBase", *, seed: int
) -> LanguageModel:
    """A randomly initialised Llama with tied embeddings that fits the tokenizer."""
    config = LlamaConfig(
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.heads,
        intermediate_size=architecture.intermediate_size,
        vocab_size=len(tokenizer),
        max_position_embeddings=architecture.max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return _prepared(model, tokenizer)


def load_language_model(location: str | Path, *, held: bool = False) -> LanguageModel:
    """Load a directory or hub id: safetensors only, no code from the repository, decoders only. Of adapters it is the
    model that they make of their base.

    Where it is `held`, linear layers of its trunk that are in bfloat16 in a directory's files stay so and say the same
    (`models.holding`); all else is in float32. Raises `ModelError` in one line for whatever is wrong with it.
    """
    if is_adapter(location):
        return _with_saved_adapters(location)
    config = read_model_config(location)
    require_decoder(config, location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(location), trust_remote_code=False)
        model, info = cast(
            "tuple[PreTrainedModel, Mapping[str, Collection[Any]]]",
            read_weights(
                cast("type[PreTrainedModel]", MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]),
                location,
                held=held,
                ignore_mismatched_sizes=True,  # which are then in `info`, and told by name
            ),
        )
    except Exception as error:  # the libraries' parsers raise whatever they like, bare exceptions too
        raise ModelError(f"cannot load a language model from {location}: {first_line(error)}") from error
    if info["missing_keys"]:
        raise ModelError(f"{location} lacks the weights of {sorted(info['missing_keys'])[0]}")
    require_shapes(info["mismatched_keys"], location)
    require_whole(model, info["unexpected_keys"], location)
    require_numbers(model, location)
    try:
        return replace(_prepared(model, tokenizer), dtype=stored_dtype(config))
    except TokenizerError as error:
        raise ModelError(f"cannot use {location}: {error}") from error


def read_weights(kind: "type[PreTrainedModel]", location: str | Path, *, held: bool, **settings: object) -> Any:
    """A model of this class with the weights of a directory or hub id, and what of them was not found."""
    settings |= {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    if held and Path(location).is_dir():
        return open_held(kind, Path(location), **settings)
    return cast(Any, kind).from_pretrained(str(location), trust_remote_code=False, **settings)


def _with_saved_adapters(location: str | Path) -> LanguageModel:
    try:
        base = load_language_model(base_of(location))
        add_saved_adapters(base.model, location, base.dtype)
    except ValueError as error:
        raise ModelError(f"cannot load {location}: {error}") from error
    return base


def read_model_config(location: str | Path) -> "PreTrainedConfig":
    """The configuration at `location`. Raises `ModelError`."""
    if Path(location).is_absolute() and not Path(location).is_dir():
        raise ModelError(f"there is no model at {location}")
    try:
        return cast("PreTrainedConfig", AutoConfig.from_pretrained(str(location), trust_remote_code=False))
    except Exception as error:  # as above: validators have types of their own
        raise ModelError(f"cannot read a model configuration at {location}: {first_line(error)}") from error


def require_decoder(config: "PreTrainedConfig", location: str | Path) -> None:
    """Raises `ModelError` for what the configuration alone shows not to be a plain decoder: at each load, since it
    costs nothing. Whether the forward pass is right is asked once, by `models.probe`."""
    kind = config.model_type
    of_type = f"model type {kind!r} of {location}"
    if config.is_encoder_decoder or (
        kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    ):
        raise ModelError(f"{of_type} is an encoder's, and what writes is a decoder")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{of_type} is none that the library writes with")
    if config.get_text_config() is not config:
        raise ModelError(f"{of_type} reads more than text; a model of its text part alone can be used")
    if getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], "_is_stateful", False):
        raise ModelError(f"{of_type} carries a state from token to token, and what is trained here has keys and values")


def require_shapes(mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]], location: str | Path) -> None:
    """Raises `ModelError` where loading found weights of another shape than the configuration says."""
    for name, found, expected in mismatched:
        raise ModelError(f"{location}: {name} has shape {list(found)}, and its configuration asks for {list(expected)}")


def require_whole(model: nn.Module, unexpected: Collection[str], location: str | Path) -> None:
    """Raises `ModelError` where files hold more layers than the configuration tells of: what is loaded then is a part
    of a model. Other weights that it doesn't need are no trouble."""
    known = {_without_numbers(name) for name in model.state_dict()}
    for name in sorted(unexpected):
        if _without_numbers(name) in known:
            raise ModelError(f"{location} holds {name}, and its configuration tells of fewer layers")


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def require_numbers(model: nn.Module, location: str | Path) -> None:
    """Raises `ModelError` for weights that would make every text garbage and every score meaningless."""
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ModelError(f"{location}: {name} holds what is not a number, or infinite")


def stored_dtype(config: "PreTrainedConfig") -> torch.dtype:
    """What the weights beside a configuration are in: a half where it says so, else float32."""
    told = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(told, torch.float32)


def first_line(error: Exception) -> str:
    """An error's first line, or its first two where the one only announces the other."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])


def freeze(model: nn.Module) -> None:
    """Take a model out of training: a reference or a reward model."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device = HOST) -> Tensor:
    """(B, T) ids, on the device of the model that reads them. Under causal attention no real token sees padding on its
    right, so no mask is needed."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [[*sequence, *[pad_id] * (longest - len(sequence))] for sequence in sequences]
    return moved(torch.tensor(rows, dtype=torch.long), device)


def hidden_states(model: "PreTrainedModel", ids_BT: Tensor) -> Tensor:
    """(B, T, D) last hidden states of right-padded ids; those of padding are meaningless."""
    output = model.base_model(input_ids=ids_BT, use_cache=False)
    return cast(Tensor, output.last_hidden_state)


def middle_and_last_hidden_states(model: "PreTrainedModel", ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, D) hidden states half-way up the trunk and at its end, of right-padded ids."""
    output = model.base_model(input_ids=ids_BT, use_cache=False, output_hidden_states=True)
    layers = output.hidden_states
    return cast(Tensor, layers[len(layers) // 2]), cast(Tensor, output.last_hidden_state)


def project(model: "PreTrainedModel", hidden_ND: Tensor) -> Tensor:
    """(N, V) logits of hidden states, so that the vocabulary is only met where a token is predicted."""
    config = model.config
    logits_NV = cast(nn.Module, model.get_output_embeddings())(hidden_ND)
    # Granite's families divide, Cohere's multiply, Gemma's squeeze.
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    if scale != 1:
        logits_NV = logits_NV * scale
    cap = getattr(config, "final_logit_softcapping", None)
    if cap is not None:
        logits_NV = torch.tanh(logits_NV / cap) * cap
    return without_unwritten(model, cast(Tensor, logits_NV))


def without_unwritten(model: "PreTrainedModel", logits_NV: Tensor) -> Tensor:
    """Logits without those of padding and other ids without a text, in place: their probability is 0 in sampling, and
    so in training."""
    unwritten = getattr(model.generation_config, "suppress_tokens", None)
    if unwritten:
        logits_NV[..., unwritten] = NEVER
    return logits_NV


def response_hidden_states(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int
) -> tuple[Tensor, Tensor]:
    """(N, D) last hidden states of the positions before each response token, and the (N,) tokens."""
    sequences = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    ids_BT = pad_right(sequences, pad_id, model.device)
    hidden_BTD = hidden_states(model, ids_BT)
    rows, columns = response_positions(prompts, responses, model.device)
    return hidden_BTD[rows, columns], ids_BT[rows, columns + 1]


def response_positions(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], device: torch.device = HOST
) -> tuple[Tensor, Tensor]:
    """Row and column of the states that predict the response tokens: from the prompt's last token to the
    response's last but one."""
    lengths = torch.tensor([len(response) for response in responses])
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts])
    rows = torch.repeat_interleave(torch.arange(len(prompts)), lengths)
    offsets = torch.arange(len(rows)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    return moved(rows, device), moved(starts[rows] + offsets, device)


def response_log_probabilities(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int,
    temperature: float,
) -> Tensor:
    """(N,) log-probabilities of the response tokens under softmax(logits / temperature)."""
    return token_log_probabilities(model, *response_hidden_states(model, prompts, responses, pad_id), temperature)


def token_log_probabilities(
    model: "PreTrainedModel", hidden_ND: Tensor, tokens_N: Tensor, temperature: float
) -> Tensor:
    """(N,) log-probabilities like `response_log_probabilities`, from the (N, D) states before the tokens."""

    def of_chunk(hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        return _of_tokens(_log_probabilities(model, hidden_ND, temperature), tokens_N)

    return _joined(_in_chunks(model, of_chunk, hidden_ND, tokens_N))


def token_log_probabilities_and_entropies(
    model: "PreTrainedModel", hidden_ND: Tensor, tokens_N: Tensor, temperature: float, *, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities as `token_log_probabilities` has them, and the (N,) entropies of what the tokens were
    drawn from, for a third more of the time that the vocabulary takes."""

    def of_chunk(hidden_ND: Tensor, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
        log_probability_NV = _log_probabilities(model, hidden_ND, temperature)
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            entropy_N = -(log_probability_NV.exp() * log_probability_NV).sum(-1)
        return _of_tokens(log_probability_NV, tokens_N), entropy_N

    log_probabilities, entropies = zip(*_in_chunks(model, of_chunk, hidden_ND, tokens_N), strict=True)
    return _joined(log_probabilities), _joined(entropies)


def _log_probabilities(model: "PreTrainedModel", hidden_ND: Tensor, temperature: float) -> Tensor:
    """(N, V). The temperature is the one that tokens were sampled at: rollout, reference and training must agree on it,
    which is why all of them come here."""
    return torch.log_softmax(at_least_float32(project(model, hidden_ND)) / temperature, dim=-1)


def _of_tokens(log_probability_NV: Tensor, tokens_N: Tensor) -> Tensor:
    return log_probability_NV.gather(-1, tokens_N[:, None]).squeeze(-1)


def cross_entropy(model: "PreTrainedModel", hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
    """Summed nats of the tokens, given the (N, D) states before them, at temperature 1."""

    def of_chunk(hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
        logits_NV = at_least_float32(project(model, hidden_ND))
        return torch.nn.functional.cross_entropy(logits_NV, tokens_N, reduction="sum")

    first, *others = _in_chunks(model, of_chunk, hidden_ND, tokens_N)
    return torch.stack([first, *others]).sum() if others else first


def _in_chunks(
    model: "PreTrainedModel", function: Callable[[Tensor, Tensor], ResultT], hidden_ND: Tensor, tokens_N: Tensor
) -> list[ResultT]:
    """Results of as many states at once as have `LOGIT_BYTES` of logits; where that is not all, logits are computed
    again on the way back instead of kept."""
    rows = max(1, LOGIT_BYTES // (4 * int(model.config.vocab_size)))
    if len(tokens_N) <= rows:
        return [function(hidden_ND, tokens_N)]
    chunks = zip(hidden_ND.split(rows), tokens_N.split(rows), strict=True)
    return [recomputed(function, *chunk) for chunk in chunks]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision widened, because a softmax over a vocabulary loses its tail in it; float64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _prepared(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> LanguageModel:
    rows = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    brought = tokenizer.pad_token_id
    needed = prepare_tokenizer(tokenizer, rows, _listed_ends(model, tokenizer))
    if needed > rows:
        _add_rows(model, needed)
    model.config.pad_token_id = tokenizer.pad_token_id
    ends = tuple(sorted({*_listed_ends(model, tokenizer), cast(int, tokenizer.eos_token_id)}))
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        # Read by `transformers.generate` too, so that whoever opens what is published writes and stops alike.
        model.generation_config.eos_token_id = list(ends) if len(ends) > 1 else ends[0]
        # Padding that a model brings it has learnt not to write; what is chosen for it nobody has trained.
        spare = {cast(int, tokenizer.pad_token_id)} - {brought}
        listed = [one for one in model.generation_config.suppress_tokens or [] if one < needed]
        unwritten = {*listed, *spare, *unused_rows(tokenizer, needed)}
        model.generation_config.suppress_tokens = sorted(unwritten) or None
        model.generation_config = _savable(model.generation_config)
    model.eval()
    return LanguageModel(model, tokenizer, ends)


def _add_rows(model: "PreTrainedModel", needed: int) -> None:
    """Room for padding. A logit of the mean of all rows is their mean, so that no tool writes it more than anything
    else; with weights of its own it would stand far above the others where a model puts all of them far below zero, as
    GPT-2 does."""
    rows = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(needed, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            for weight in cast(nn.Module, layer).parameters():  # a head may have a bias
                weight[rows:] = weight[:rows].mean(0)


def _savable(generation: "GenerationConfig") -> "GenerationConfig":
    """A file may hold what can be read, and once changed not be written: a temperature without asking for sampling,
    which is then asked for, and what no sampling mends, of which the ids are kept."""
    for tried in (generation, type(generation)(**{**generation.to_diff_dict(), "do_sample": True})):
        try:
            tried.validate(strict=True)
        except ValueError:
            continue
        return tried
    ids = {name: getattr(generation, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return type(generation)(**ids)


def _listed_ends(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Every id that ends a response by the model's own files: some list several (Llama 3.1 does). Raises
    `TokenizerError`."""
    ids = {tokenizer.eos_token_id} - {None}
    rows = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    for config in (model.config, model.generation_config):
        listed = getattr(config, "eos_token_id", None)
        each = listed if isinstance(listed, list | tuple) else [] if listed is None else [listed]
        if not all(isinstance(one, int) for one in each):
            raise TokenizerError(f"eos_token_id is {listed!r}, and no number of a token")
        # One that there is no token of, -1 or beyond the vocabulary, is never written.
        ids.update(one for one in each if 0 <= one < rows)
    return cast(set[int], ids)
