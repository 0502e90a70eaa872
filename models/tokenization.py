"""Tokenizers: training one, and giving every model a padding token and a chat template."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from models.control_tokens import ControlTokens
from models.turns import ResponseForm, assistant_spans, end_of_turn, leaves_out_what_is_said, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD_TOKEN = "<|pad|>"  # noqa: S105  not a secret
EOS_TOKEN = "<|end|>"  # noqa: S105  not a secret
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

# One special token opens a turn and EOS closes it, so no text of a user can imitate the structure.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# For tokenizers that bring no template: words that every pre-trained model has seen, and no special tokens.
PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


class Message(Protocol):
    """A turn of a conversation, of whatever class."""

    @property
    def role(self) -> str: ...

    @property
    def content(self) -> str: ...


Conversation = tuple[Message, ...]


class TokenizerError(ValueError):
    """A tokenizer that cannot be used, in one line."""


class PromptError(TokenizerError):
    """A conversation that the tokenizer's template refuses: a system's turn, two turns of one role."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with our chat template; every text can be encoded, and decoding gives it back."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKEN, EOS_TOKEN, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        extra_special_tokens=list(ROLE_TOKENS),
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def prepare_tokenizer(tokenizer: "PreTrainedTokenizerBase", embedding_rows: int, ends: Collection[int] = ()) -> int:
    """Give the tokenizer a chat template, the end of a turn that it writes, and a padding token that ends nothing;
    return the rows that it needs. `ends` are the model's own ids that end a response.

    Padding that is an end hides the end of a response from every "last real token". The order of preference keeps the
    embedding matrix as it is: a spare special token, then an unused row of the matrix, and only then one more row (the
    result is `embedding_rows + 1`). Raises `TokenizerError`.
    """
    _require_rows(tokenizer, embedding_rows)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    _require_template(tokenizer)
    end = end_of_turn(tokenizer, ends)
    if end is not None and end != tokenizer.eos_token_id:
        # Special, so that no text shows it: those of some families are only added.
        token = cast(str, tokenizer.convert_ids_to_tokens(end))
        tokenizer.add_special_tokens({"eos_token": AddedToken(token, special=True, normalized=False)})
    if tokenizer.eos_token_id is None:
        raise TokenizerError("the tokenizer has no end-of-sequence token")
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id, *ends}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in taken:
        spare = _spare_special_token(tokenizer, taken)
        if spare is not None:
            tokenizer.pad_token = spare
        else:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    return max(embedding_rows, cast(int, tokenizer.pad_token_id) + 1)


def unused_rows(tokenizer: "PreTrainedTokenizerBase", rows: int) -> set[int]:
    """Ids of an embedding matrix that the tokenizer has no token for."""
    return set(range(rows)) - set(tokenizer.get_vocab().values())


def encode_prompts(tokenizer: "PreTrainedTokenizerBase", prompts: Iterable[Conversation]) -> list[tuple[int, ...]]:
    """Token ids of conversations, each up to where the assistant begins to speak. Raises `PromptError`."""
    encoded: list[tuple[int, ...]] = []
    for ids in try_prompts(tokenizer, prompts):
        if isinstance(ids, PromptError):
            raise ids
        encoded.append(ids)
    return encoded


def try_prompts(
    tokenizer: "PreTrainedTokenizerBase", prompts: Iterable[Conversation]
) -> "list[tuple[int, ...] | PromptError]":
    """Token ids like those of `encode_prompts`, or why the template refuses; equal prompts are rendered once."""
    control = ControlTokens(tokenizer)
    known: dict[Conversation, tuple[int, ...] | PromptError] = {}
    tried: list[tuple[int, ...] | PromptError] = []
    for prompt in prompts:
        if prompt not in known:
            known[prompt] = _try_prompt(tokenizer, prompt, control)
        tried.append(known[prompt])
    return tried


def taught_spans(
    tokenizer: "PreTrainedTokenizerBase", prompt: Conversation, token_ids: Sequence[int]
) -> list[tuple[int, int] | None]:
    """`assistant_spans` of a conversation that was encoded to these ids."""
    return assistant_spans(tokenizer, _messages(prompt, ControlTokens(tokenizer)), token_ids)


def encode_responses(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of complete responses; the last one of each is EOS, always: the end that the template writes."""
    eos_id = cast(int, tokenizer.eos_token_id)
    return [(*body, eos_id) for body in encode_response_texts(tokenizer, responses)]


def encode_response_texts(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[str]) -> list[list[int]]:
    """Token ids of responses without any special token, those that continue a prompt."""
    return ResponseForm.of(tokenizer).encoded(tokenizer, _broken_up(tokenizer, responses))


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts that nothing precedes, without any special token."""
    return ResponseForm("").encoded(tokenizer, _broken_up(tokenizer, texts))


def decode_response(tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int]) -> str:
    """The text of a response, without special tokens."""
    return ResponseForm.of(tokenizer).decoded(tokenizer, token_ids)


def same_tokenizer(one: "PreTrainedTokenizerBase", other: "PreTrainedTokenizerBase") -> bool:
    """Whether token ids of one can be given to a model of the other."""
    return one.get_vocab() == other.get_vocab() and one.chat_template == other.chat_template


def _broken_up(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[str]:
    control = ControlTokens(tokenizer)
    return [control.broken_up(text) for text in texts]


def _require_rows(tokenizer: "PreTrainedTokenizerBase", embedding_rows: int) -> None:
    """Raises `TokenizerError` where ordinary text could become a token that the model has no row for."""
    added = set(tokenizer.get_added_vocab().values())
    beyond = [number for number in tokenizer.get_vocab().values() if number >= embedding_rows and number not in added]
    if beyond:
        raise TokenizerError(
            f"the tokenizer has {max(beyond) + 1} tokens and the model {embedding_rows} rows: they are not of one model"
        )


def _require_template(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raises `TokenizerError` for what can't be a template of conversations."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            named = ", ".join(sorted(template))
            raise TokenizerError(f"of the tokenizer's chat templates ({named}) none is the default")
    elif not isinstance(template, str):
        raise TokenizerError(f"the tokenizer's chat template is {template!r}, and no text")
    if leaves_out_what_is_said(tokenizer):
        raise TokenizerError("the tokenizer's chat template leaves out what people say")


def _spare_special_token(tokenizer: "PreTrainedTokenizerBase", taken: Collection[int | None]) -> str | None:
    """A special token that no text or template uses: named as padding or reserved, or the unknown token of a tokenizer
    that knows every text."""
    template = str(tokenizer.chat_template)
    specials = [str(token) for token in tokenizer.all_special_tokens]
    specials += [str(token) for token in tokenizer.get_added_vocab()]
    for token in specials:
        is_free = tokenizer.convert_tokens_to_ids(token) not in taken and token not in template
        if is_free and re.search(r"pad|reserved|unused", token, re.IGNORECASE):
            return token
    unknown = tokenizer.unk_token_id
    is_spare = unknown is not None and unknown not in taken and unknown not in _ids_of_the_unknown(tokenizer)
    return str(tokenizer.unk_token) if is_spare else None


def _ids_of_the_unknown(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Of characters that no vocabulary has: bytes, or the unknown token."""
    return cast(list[int], tokenizer.encode("\ue000 \U000f0000", add_special_tokens=False))


def _try_prompt(
    tokenizer: "PreTrainedTokenizerBase", prompt: Conversation, control: ControlTokens
) -> tuple[int, ...] | PromptError:
    try:
        rendered = render(tokenizer, _messages(prompt, control))
    except TemplateError as error:  # some templates refuse a system's turn, or two of one role
        return PromptError(f"the tokenizer's chat template cannot render a prompt: {error}")
    return tuple(cast(list[int], tokenizer.encode(rendered, add_special_tokens=False)))


def _messages(prompt: Conversation, control: ControlTokens) -> list[dict[str, str]]:
    return [{"role": message.role, "content": control.broken_up(message.content)} for message in prompt]
