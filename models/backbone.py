"""Causal language models from any Hugging Face directory or hub id, and the two things done with them:
log-probabilities of responses, and saving.

Models stay in evaluation mode for good: dropout is off in rollout, scoring and training alike, so that the
same tokens always get the same log-probabilities.
"""

# B = batch, T = prompt and response tokens, N = response tokens of the whole batch, V = vocabulary, D = hidden size

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from models.architecture import Architecture
from models.tokenization import (
    Conversation,
    TokenizerError,
    encode_prompts,
    encode_responses,
    end_turns,
    prepare_tokenizer,
)

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Decoders whose logits are a linear map of the last hidden state (see `project`) and whose sequence
# classifier reads the last real token through a bias-free `score`.
MODEL_TYPES = frozenset(
    {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3"}
)


class ModelError(ValueError):
    """A model that cannot be used: missing files, a type that is not allowed, weights that do not fit."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal model with its tokenizer and every id that ends a response."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    eos_ids: tuple[int, ...]

    @property
    def pad_id(self) -> int:
        return cast(int, self.tokenizer.pad_token_id)

    @property
    def width(self) -> int:
        """The size D of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def max_positions(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 20))

    def encode_prompts(self, prompts: Iterable[Conversation]) -> list[tuple[int, ...]]:
        return encode_prompts(self.tokenizer, prompts)

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


def load_language_model(location: str | Path) -> LanguageModel:
    """Load a directory or hub id: safetensors only, no code from the repository, listed model types only.

    Raises `ModelError` in one line for whatever is wrong with it.
    """
    check_model_type(location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(location), trust_remote_code=False)
        model, info = cast(
            "tuple[PreTrainedModel, Mapping[str, Collection[Any]]]",
            AutoModelForCausalLM.from_pretrained(
                str(location),
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # which are then in `info`, and told by name
            ),
        )
    except Exception as error:  # the libraries' parsers raise whatever they like, bare exceptions too
        raise ModelError(f"cannot load a language model from {location}: {first_line(error)}") from error
    if info["missing_keys"]:
        raise ModelError(f"{location} lacks the weights of {sorted(info['missing_keys'])[0]}")
    require_shapes(info["mismatched_keys"], location)
    require_numbers(model, location)
    try:
        return _prepared(model, tokenizer)
    except TokenizerError as error:
        raise ModelError(f"cannot use {location}: {error}") from error


def check_model_type(location: str | Path, types: Collection[str] = MODEL_TYPES) -> "PreTrainedConfig":
    """The configuration at `location`, if its type is one of `types`, which we can train. Raises `ModelError`."""
    if Path(location).is_absolute() and not Path(location).is_dir():
        raise ModelError(f"there is no model at {location}")
    try:
        config = AutoConfig.from_pretrained(str(location), trust_remote_code=False)
    except Exception as error:  # as above: validators have types of their own
        raise ModelError(f"cannot read a model configuration at {location}: {first_line(error)}") from error
    if config.model_type not in types:
        raise ModelError(f"model type {config.model_type!r} of {location} is not one of {', '.join(sorted(types))}")
    return cast("PreTrainedConfig", config)


def require_shapes(mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]], location: str | Path) -> None:
    """Raises `ModelError` where loading found weights of another shape than the configuration says."""
    for name, found, expected in mismatched:
        raise ModelError(f"{location}: {name} has shape {list(found)}, and its configuration asks for {list(expected)}")


def require_numbers(model: nn.Module, location: str | Path) -> None:
    """Raises `ModelError` for weights that would make every text garbage and every score meaningless."""
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ModelError(f"{location}: {name} holds what is not a number, or infinite")


def save_language_model(language_model: LanguageModel, folder: Path) -> None:
    """Write a directory that `AutoModelForCausalLM` and `AutoTokenizer` open."""
    language_model.model.save_pretrained(folder, safe_serialization=True)
    language_model.tokenizer.save_pretrained(folder)


def first_line(error: Exception) -> str:
    """An error's first line, or its first two where the one only announces the other."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])


def freeze(model: nn.Module) -> None:
    """Take a model out of training: a reference or a reward model."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """(B, T) ids. Under causal attention no real token sees padding on its right, so no mask is needed."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [[*sequence, *[pad_id] * (longest - len(sequence))] for sequence in sequences]
    return torch.tensor(rows, dtype=torch.long)


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
    logits_NV = cast(nn.Module, model.get_output_embeddings())(hidden_ND)
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap is not None:
        logits_NV = torch.tanh(logits_NV / cap) * cap
    return cast(Tensor, logits_NV)


def response_logits(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int
) -> tuple[Tensor, Tensor]:
    """(N, V) logits that predict each response token, and the (N,) tokens, all rows one after the other."""
    hidden_ND, tokens_N = response_hidden_states(model, prompts, responses, pad_id)
    return project(model, hidden_ND), tokens_N


def response_hidden_states(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int
) -> tuple[Tensor, Tensor]:
    """(N, D) last hidden states of the positions before each response token, and the (N,) tokens."""
    ids_BT = pad_right([[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)], pad_id)
    hidden_BTD = hidden_states(model, ids_BT)
    rows, columns = response_positions(prompts, responses)
    return hidden_BTD[rows, columns], ids_BT[rows, columns + 1]


def response_positions(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Row and column of the states that predict the response tokens: from the prompt's last token to the
    response's last but one."""
    lengths = torch.tensor([len(response) for response in responses])
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts])
    rows = torch.repeat_interleave(torch.arange(len(prompts)), lengths)
    offsets = torch.arange(len(rows)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    return rows, starts[rows] + offsets


def response_log_probabilities(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int,
    temperature: float,
    *,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities of the response tokens under softmax(logits / temperature), and the (N,) entropies."""
    hidden_ND, tokens_N = response_hidden_states(model, prompts, responses, pad_id)
    return token_log_probabilities(model, hidden_ND, tokens_N, temperature, entropy_gradient=entropy_gradient)


def token_log_probabilities(
    model: "PreTrainedModel", hidden_ND: Tensor, tokens_N: Tensor, temperature: float, *, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities and (N,) entropies like `response_log_probabilities`, from the (N, D) states before the
    tokens.

    The temperature is the one that the tokens were sampled at; rollout, reference and training must agree on it, which
    is why this is the only function that they use.
    """
    log_probabilities_NV = torch.log_softmax(at_least_float32(project(model, hidden_ND)) / temperature, dim=-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy_N = -(log_probabilities_NV.exp() * log_probabilities_NV).sum(-1)
    return log_probabilities_NV.gather(-1, tokens_N[:, None]).squeeze(-1), entropy_N


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision widened, because a softmax over a vocabulary loses its tail in it; float64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _prepared(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> LanguageModel:
    rows = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    needed = prepare_tokenizer(tokenizer, rows)
    if needed > rows:
        _add_rows(model, needed)
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.generation_config = _savable(model.generation_config)
    model.eval()
    ends = _eos_ids(model, tokenizer)
    end_turns(tokenizer, ends)
    return LanguageModel(model, tokenizer, ends)


def _add_rows(model: "PreTrainedModel", needed: int) -> None:
    """Room for padding. A logit of the mean of all rows is their mean, so that no padding is ever written; with weights
    of its own it would stand far above the others where a model puts all of them far below zero, as GPT-2 does."""
    rows = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(needed, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            weight_VD = cast(Tensor, cast(nn.Module, layer).weight)
            weight_VD[rows:] = weight_VD[:rows].mean(0)


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


def _eos_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Every id that ends a response: some models list several (Llama 3.1 does)."""
    ids = {cast(int, tokenizer.eos_token_id)}
    for config in (model.config, model.generation_config):
        listed = getattr(config, "eos_token_id", None)
        ids.update([listed] if isinstance(listed, int) else listed or [])
    return tuple(sorted(ids))
