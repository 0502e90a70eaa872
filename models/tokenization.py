"""Tokenizers: training one, and giving every model a padding token and a chat template."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from jinja2 import TemplateError
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

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


def prepare_tokenizer(tokenizer: "PreTrainedTokenizerBase", embedding_rows: int) -> int:
    """Give the tokenizer a padding token other than EOS and a chat template; return the rows that it needs.

    A padding id that equals EOS hides the end of a response from every "last real token". The order of
    preference keeps the embedding matrix as it is: a spare special token, then an unused row of the matrix,
    and only then one more row (the result is `embedding_rows + 1`).
    """
    if tokenizer.eos_token_id is None:
        raise TokenizerError("the tokenizer has no end-of-sequence token")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in taken:
        return max(embedding_rows, cast(int, tokenizer.pad_token_id) + 1)
    spare = _spare_special_token(tokenizer)
    if spare is not None:
        tokenizer.pad_token = spare
    else:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    return max(embedding_rows, cast(int, tokenizer.pad_token_id) + 1)


def encode_prompts(tokenizer: "PreTrainedTokenizerBase", prompts: Iterable[Conversation]) -> list[tuple[int, ...]]:
    """Token ids of conversations, each up to where the assistant begins to speak; equal ones are rendered once."""
    known: dict[Conversation, tuple[int, ...]] = {}
    encoded: list[tuple[int, ...]] = []
    for prompt in prompts:
        if prompt not in known:
            known[prompt] = _encode_prompt(tokenizer, prompt)
        encoded.append(known[prompt])
    return encoded


def encode_responses(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of complete responses; the last one of each is EOS, always."""
    eos_id = cast(int, tokenizer.eos_token_id)
    return [(*body, eos_id) for body in encode_response_texts(tokenizer, responses)]


def encode_response_texts(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[str]) -> list[list[int]]:
    """Token ids of responses without any special token."""
    separator = " " if tokenizer.chat_template == PLAIN_TEMPLATE else ""
    specials = tokenizer.all_special_tokens
    texts = [separator + _neutral(response, specials) for response in responses]
    return cast(list[list[int]], tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])


def decode_response(tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int]) -> str:
    """The text of a response, without special tokens."""
    text = cast(str, tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return text.removeprefix(" ") if tokenizer.chat_template == PLAIN_TEMPLATE else text


def same_tokenizer(one: "PreTrainedTokenizerBase", other: "PreTrainedTokenizerBase") -> bool:
    """Whether token ids of one can be given to a model of the other."""
    return one.get_vocab() == other.get_vocab() and one.chat_template == other.chat_template


def _spare_special_token(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """A special token that no text or template uses: named as padding or reserved, or the unknown token."""
    in_use = {tokenizer.eos_token, tokenizer.bos_token}
    specials = [str(token) for token in tokenizer.all_special_tokens]
    specials += [str(token) for token in tokenizer.get_added_vocab()]
    for token in specials:
        if re.search(r"pad|reserved|unused", token, re.IGNORECASE) and token not in in_use:
            return token
    unknown = tokenizer.unk_token
    return str(unknown) if unknown is not None and unknown not in in_use else None


def _encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: Conversation) -> tuple[int, ...]:
    specials = tokenizer.all_special_tokens
    messages = [{"role": message.role, "content": _neutral(message.content, specials)} for message in prompt]
    try:
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:  # some templates refuse a system's turn, or two of one role
        raise TokenizerError(f"the tokenizer's chat template cannot render a prompt: {error}") from error
    return tuple(cast(list[int], tokenizer.encode(cast(str, rendered), add_special_tokens=False)))


def _neutral(text: str, specials: Sequence[str]) -> str:
    """Break up special tokens typed by a person, which would otherwise end or open a turn."""
    for token in specials:
        if token in text:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text
