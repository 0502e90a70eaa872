"""Reward models: a decoder's trunk with a scalar head, read at the last token of the response; or an encoder with the
classifier of its family.

Several heads (an ensemble, criteria) are rows of that head in memory. In a directory the head is the one row that any
other tool expects, the heads averaged, and the rows lie beside it.
"""

# B = batch, T = tokens, D = hidden size, H = heads, R = responses

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer

from models import encoder
from models.adapter_files import add_saved_adapters, base_of, is_adapter
from models.backbone import (
    LanguageModel,
    ModelError,
    first_line,
    hidden_states,
    load_language_model,
    pad_right,
    read_model_config,
    read_weights,
    require_decoder,
    require_numbers,
    require_shapes,
    require_whole,
    stored_dtype,
)
from models.branches import Branches, branch_hidden_states, last_positions, prompts_can_be_shared
from models.classifier import classifier_class
from models.encoder import ENCODER_TYPES, TURNS_TEMPLATE, PairFormat
from models.placement import moved
from models.read_out import ReadOut
from models.saving import save_weights
from models.tokenization import (
    Conversation,
    PromptError,
    TokenizerError,
    encode_prompts,
    encode_responses,
    encode_texts,
    prepare_tokenizer,
    same_tokenizer,
    try_prompts,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


HEADS = "heads.safetensors"
CARD = "README.md"
_ONE_LABEL = {"num_labels": 1, "id2label": {0: "score"}, "label2id": {"score": 0}}
_MEAN_LABEL = {"id2label": {0: "mean of heads, not the score"}, "label2id": {"mean of heads, not the score": 0}}
_CARD = f"""\
The heads are the rows of `{HEADS}`. `config.json` has how they are read (`read_out`: `kind`, `centres`, `deviation`,
`variance_penalty`) and what the score is normalised by (`score_mean`, `score_std`). The head in `model.safetensors` is
the mean of the rows.
"""


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A sequence classifier with one label, and the scores' mean and deviation over responses for reference.

    The statistics live in the model's configuration (`score_mean`, `score_std`), so that whoever opens the
    artifact can normalise as PPO does.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    pairs: PairFormat | None = None
    """How prompt and response are put together for an encoder; None of a decoder."""
    dtype: torch.dtype = torch.float32
    """As a policy's, of all but the heads, which are always saved in float32."""

    @property
    def pad_id(self) -> int:
        return cast(int, self.tokenizer.pad_token_id)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def end_id(self) -> int:
        """A decoder's: the token that it has learnt to be asked at."""
        return cast(int, self.tokenizer.eos_token_id)

    @property
    def width(self) -> int:
        """The size D of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def is_encoder(self) -> bool:
        return self.pairs is not None

    @property
    def max_positions(self) -> int:
        if self.is_encoder:
            return encoder.max_positions(self.model.config)
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 20))

    def shares_prompts(self) -> bool:
        """Whether responses may be computed in one row with their prompt. An encoder's prompt sees its response."""
        return not self.is_encoder and prompts_can_be_shared(self.model)

    def reads_ids_of(self, policy: LanguageModel) -> bool:
        """Whether the token ids that the policy reads and writes can be scored as they are."""
        return not self.is_encoder and same_tokenizer(self.tokenizer, policy.tokenizer)

    def encode_prompts(self, prompts: Iterable[Conversation]) -> list[tuple[int, ...]]:
        """Token ids of all that precedes a response."""
        bodies = encode_prompts(self.tokenizer, prompts)
        return bodies if self.pairs is None else [self.pairs.prompt(body) for body in bodies]

    def try_prompts(self, prompts: Iterable[Conversation]) -> list[tuple[int, ...] | PromptError]:
        """Encode prompts as `encode_prompts` does, or say why the template refuses one."""
        tried = try_prompts(self.tokenizer, prompts)
        if self.pairs is None:
            return tried
        return [one if isinstance(one, PromptError) else self.pairs.prompt(one) for one in tried]

    def encode_responses(self, responses: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of complete responses."""
        if self.pairs is None:
            return encode_responses(self.tokenizer, responses)
        return [self.pairs.response(body) for body in encode_texts(self.tokenizer, responses)]

    def encode_samples(
        self, prompts: Iterable[Conversation], texts: Sequence[str], ended: Sequence[bool]
    ) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Prompt and response of samples, a decoder's with EOS where they ended. An encoder has no such token."""
        encoded = zip(self.encode_prompts(prompts), self.encode_responses(texts), ended, strict=True)
        return [
            (prompt, ids if whole or self.is_encoder or len(ids) == 1 else ids[:-1]) for prompt, ids, whole in encoded
        ]

    @property
    def score_mean(self) -> float:
        return float(getattr(self.model.config, "score_mean", 0.0))

    @property
    def score_std(self) -> float:
        return float(getattr(self.model.config, "score_std", 1.0))

    @property
    def head(self) -> nn.Linear:
        """All heads, a row each: the last layer."""
        return cast(nn.Linear, self.model.get_submodule(self.head_name))

    @property
    def head_name(self) -> str:
        return encoder.head_name(self.model) if self.is_encoder else "score"

    @property
    def read_out(self) -> ReadOut:
        told = getattr(self.model.config, "read_out", None)
        return ReadOut() if told is None else ReadOut.from_json(told)

    @property
    def linear_head(self) -> Tensor:
        """(1, D): the one head that scores alike if the read-out is linear, else as the mean would."""
        if self.read_out.heads == 1:
            return self.head.weight
        return self.read_out.linear_weights().to(self.head.weight)[None] @ self.head.weight

    def set_read_out(self, read_out: ReadOut) -> None:
        self.model.config.read_out = read_out.to_json()

    def set_statistics(self, mean: float, std: float) -> None:
        self.model.config.score_mean = mean
        self.model.config.score_std = std


def reward_model_from_policy(
    policy: LanguageModel, *, seed: int, read_out: ReadOut | None = None, trunk: nn.Module | None = None
) -> RewardModel:
    """The policy's trunk, a copy if none is given, under new heads with weights from N(0, 1/(D+1)) and no bias.

    The deviation 1/sqrt(D+1) is that of Stiennon et al. 2020: scores start with variance near one whatever
    the width.
    """
    config = type(policy.model.config).from_dict({**policy.model.config.to_dict(), **_ONE_LABEL})
    with torch.device("meta"):  # what it has of its own is replaced
        model = cast("PreTrainedModel", classifier_class(config)._from_config(config, dtype=torch.float32))
    if trunk is None:
        trunk = copy.deepcopy(policy.model.base_model).requires_grad_(True)
    model.set_submodule(model.base_model_prefix, trunk)
    model.score = nn.Linear(cast(nn.Linear, model.score).in_features, 1, bias=False, device=policy.device)
    reward_model = RewardModel(model.eval(), policy.tokenizer, dtype=policy.dtype)
    give_heads(reward_model, read_out or ReadOut(), seed=seed)
    return reward_model


def reward_model_from_encoder(location: str | Path, *, seed: int, read_out: ReadOut | None = None) -> RewardModel:
    """An encoder under new heads. What its classifier has before them stays where the checkpoint holds it (ModernBERT)
    and starts anew where it doesn't (BERT's pooler, the dense layer of RoBERTa). Raises `ModelError`."""
    if not is_encoder(location):
        raise ModelError(f"model type {read_model_config(location).model_type!r} of {location} is a decoder's")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, tokenizer, info = _load(location, "an encoder", held=False, **_ONE_LABEL, ignore_mismatched_sizes=True)
    trunk = f"{model.base_model_prefix}."
    fresh = [*info["missing_keys"], *(mismatched[0] for mismatched in info["mismatched_keys"])]
    if lacking := [key for key in sorted(fresh) if key.startswith(trunk) and ".pooler." not in key]:
        raise ModelError(f"{location} lacks the weights of {lacking[0]}")
    require_numbers(model, location)
    pairs, dtype = _pair_format(model, tokenizer, location), stored_dtype(read_model_config(location))
    reward_model = RewardModel(model.eval(), tokenizer, pairs, dtype)
    give_heads(reward_model, read_out or ReadOut(), seed=seed)
    return reward_model


def give_heads(reward_model: RewardModel, read_out: ReadOut, *, seed: int) -> None:
    """New heads in the place of what the model has, weights from N(0, 1/(D+1))."""
    if read_out.heads > 1 or reward_model.read_out.heads > 1:  # a base may be a reward model itself
        reward_model.set_read_out(read_out)
        _widen(reward_model)
    head = reward_model.head
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) / (head.in_features + 1) ** 0.5)
        if reward_model.is_encoder:
            head.bias.zero_()


def is_encoder(location: str | Path) -> bool:
    """Whether the model is an encoder. Raises `ModelError` if it is neither one of a known form nor a decoder."""
    config = read_model_config(location)
    if config.model_type in ENCODER_TYPES:
        return True
    require_decoder(config, location)
    return False


def load_reward_model(location: str | Path, *, held: bool = False) -> RewardModel:
    """Load an `AutoModelForSequenceClassification` with one label, `held` as `load_language_model` does. Raises
    `ModelError`."""
    if is_adapter(location):
        return _with_saved_adapters(location)
    reads_pairs = is_encoder(location)
    model, tokenizer, info = _load(location, "a reward model", held=held, ignore_mismatched_sizes=True)
    if info["missing_keys"]:
        raise ModelError(f"{location} is not a reward model: it lacks {sorted(info['missing_keys'])[0]}")
    if model.config.num_labels != 1:
        raise ModelError(f"{location} has {model.config.num_labels} labels; a reward model has one")
    require_shapes(info["mismatched_keys"], location)
    require_whole(model, info["unexpected_keys"], location)
    require_numbers(model, location)
    if not reads_pairs:
        try:
            prepare_tokenizer(tokenizer, cast(nn.Embedding, model.get_input_embeddings()).num_embeddings, _ends(model))
        except TokenizerError as error:
            raise ModelError(f"cannot use {location}: {error}") from error
    pairs = _pair_format(model, tokenizer, location) if reads_pairs else None
    reward_model = RewardModel(model.eval(), tokenizer, pairs, stored_dtype(read_model_config(location)))
    if reward_model.read_out.heads > 1:
        _load_heads(reward_model, Path(location) / HEADS)
    return reward_model


def _with_saved_adapters(location: str | Path) -> RewardModel:
    told = read_model_config(location)
    try:
        base = load_language_model(base_of(location))
        reward_model = reward_model_from_policy(base, seed=0, trunk=base.model.base_model)
        add_saved_adapters(reward_model.model, location, reward_model.dtype)
    except ValueError as error:
        raise ModelError(f"cannot load {location}: {error}") from error
    reward_model.set_statistics(float(getattr(told, "score_mean", 0.0)), float(getattr(told, "score_std", 1.0)))
    return reward_model


def save_reward_model(reward_model: RewardModel, folder: Path) -> None:
    """Write a directory that `AutoModelForSequenceClassification` opens and scores alike, or, where the read-out isn't
    linear, as the mean of the heads would; then its label and its model card say so."""
    if not reward_model.is_encoder:
        reward_model.model.config.pad_token_id = reward_model.pad_id  # the reader finds the last token by it
    weights = reward_model.model.state_dict()
    heads = {name: tensor.detach() for name, tensor in reward_model.head.named_parameters()}
    if reward_model.read_out.heads > 1:
        share_1H = reward_model.read_out.linear_weights()[None]
        weights |= {f"{reward_model.head_name}.{name}": share_1H.to(tensor) @ tensor for name, tensor in heads.items()}
    elsewhere = reward_model.read_out.elsewhere
    if elsewhere is not None:
        reward_model.model.config.update(_MEAN_LABEL)
    in_full = [name for name in weights if name.startswith(f"{reward_model.head_name}.")]
    save_weights(reward_model.model, folder, reward_model.dtype, weights, in_full=in_full)
    if elsewhere is not None:
        (folder / CARD).write_text(f"# Reward model\n\nOf this model, {elsewhere}.\n\n{_CARD}", encoding="utf-8")
    if reward_model.read_out.heads > 1:
        save_file(heads, folder / HEADS)
    reward_model.tokenizer.save_pretrained(folder)


def scores(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B,) raw scores of prompt and response ids, read at the last token of each."""
    return reward_model.read_out.of(scores_by_head(reward_model, sequences))


def branch_scores(reward_model: RewardModel, rows: Sequence[Branches]) -> Tensor:
    """(R,) raw scores of the responses of all rows in turn, read at the last token of each."""
    return reward_model.read_out.of(branch_scores_by_head(reward_model, rows))


def branch_scores_by_head(reward_model: RewardModel, rows: Sequence[Branches]) -> Tensor:
    """(R, H): what each head says."""
    if reward_model.is_encoder:
        return scores_by_head(reward_model, [one.token_ids for row in rows for one in row.apart])
    hidden_BTD = branch_hidden_states(reward_model.model, rows, reward_model.pad_id)
    return cast(Tensor, reward_model.head(hidden_BTD[last_positions(rows, reward_model.device)]))


def scores_by_head(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, H): what each head says."""
    if reward_model.pairs is not None:
        return cast(Tensor, reward_model.model(**_pair_inputs(reward_model, reward_model.pairs, sequences)).logits)
    return cast(Tensor, reward_model.head(latents(reward_model, sequences)))


def latents(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, D), what the heads read: of a decoder the last hidden state of the last token."""
    if reward_model.pairs is not None:
        return encoder.read_by_head(reward_model.model, _pair_inputs(reward_model, reward_model.pairs, sequences))
    hidden_BTD = hidden_states(reward_model.model, pad_right(sequences, reward_model.pad_id, reward_model.device))
    last_B = moved(torch.tensor([len(sequence) - 1 for sequence in sequences]), reward_model.device)
    return hidden_BTD[torch.arange(len(sequences), device=reward_model.device), last_B]


def prefix_scores_by_head(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, T, H) raw scores of every prefix, each as if the sequence ended there; those of padding are meaningless.
    A decoder's alone: an encoder would have to read each prefix by itself."""
    assert not reward_model.is_encoder
    hidden_BTD = hidden_states(reward_model.model, pad_right(sequences, reward_model.pad_id, reward_model.device))
    return cast(Tensor, reward_model.head(hidden_BTD))


def _load(
    location: str | Path, what: str, *, held: bool, **settings: Any
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase", Mapping[str, Collection[Any]]]:
    """A sequence classifier, its tokenizer, and what of it was not found. Raises `ModelError`."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(location), trust_remote_code=False)
        config = read_model_config(location)
        model, info = read_weights(classifier_class(config), location, held=held, **settings)
    except Exception as error:  # the libraries' parsers raise whatever they like, bare exceptions too
        raise ModelError(f"cannot load {what} from {location}: {first_line(error)}") from error
    return model, tokenizer, info


def _ends(model: "PreTrainedModel") -> list[int]:
    listed = getattr(model.config, "eos_token_id", None)
    return [listed] if isinstance(listed, int) else listed or []


def _pair_format(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", location: str | Path) -> PairFormat:
    """Of an encoder's tokenizer, which gets a template if it has none. Raises `ModelError`."""
    if len(tokenizer) > cast(nn.Embedding, model.get_input_embeddings()).num_embeddings:
        raise ModelError(f"the tokenizer of {location} has more tokens than the model")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = TURNS_TEMPLATE
    return PairFormat.of(tokenizer)


def _pair_inputs(reward_model: RewardModel, pairs: PairFormat, sequences: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    positions = reward_model.max_positions
    cut = [pairs.within(sequence, positions) for sequence in sequences]
    return pairs.inputs(cut, reward_model.pad_id, reward_model.device)


def _widen(reward_model: RewardModel) -> None:
    """As many rows as the read-out has heads."""
    head = nn.Linear(reward_model.head.in_features, reward_model.read_out.heads, bias=reward_model.is_encoder)
    reward_model.model.set_submodule(reward_model.head_name, head.to(reward_model.device))


def _load_heads(reward_model: RewardModel, path: Path) -> None:
    """Put the heads of a directory in the place of their mean. Raises `ModelError`."""
    _widen(reward_model)
    expected = {name: tuple(tensor.shape) for name, tensor in reward_model.head.named_parameters()}
    try:
        heads = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the heads of a reward model from {path}: {error}") from error
    if (found := {name: tuple(tensor.shape) for name, tensor in heads.items()}) != expected:
        raise ModelError(f"{path} holds heads of shape {found}, not {expected}")
    reward_model.head.load_state_dict(heads)
