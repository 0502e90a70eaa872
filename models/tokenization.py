"""Tokenizers: training one, and giving every model a padding token and a chat template."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from jinja2 import TemplateError
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from models.control_tokens import ControlTokens

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

    def __init__(self, message: str, prompt: Conversation) -> None:
        super().__init__(message)
        self.prompt = prompt


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
    _require_rows(tokenizer, embedding_rows)
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
    control = ControlTokens(tokenizer)
    known: dict[Conversation, tuple[int, ...]] = {}
    encoded: list[tuple[int, ...]] = []
    for prompt in prompts:
        if prompt not in known:
            known[prompt] = _encode_prompt(tokenizer, prompt, control)
        encoded.append(known[prompt])
    return encoded


def encode_responses(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of complete responses; the last one of each is EOS, always: the end that the template writes."""
    eos_id = cast(int, tokenizer.eos_token_id)
    return [(*body, eos_id) for body in encode_response_texts(tokenizer, responses)]


def encode_response_texts(tokenizer: "PreTrainedTokenizerBase", responses: Sequence[str]) -> list[list[int]]:
    """Token ids of responses without any special token."""
    separator = _separator(tokenizer)
    control = ControlTokens(tokenizer)
    texts = [separator + control.broken_up(response) for response in responses]
    return cast(list[list[int]], tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])


def decode_response(tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int]) -> str:
    """The text of a response, without special tokens."""
    text = cast(str, tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return text.removeprefix(_separator(tokenizer))


def same_tokenizer(one: "PreTrainedTokenizerBase", other: "PreTrainedTokenizerBase") -> bool:
    """Whether token ids of one can be given to a model of the other."""
    return one.get_vocab() == other.get_vocab() and one.chat_template == other.chat_template


def end_turns(tokenizer: "PreTrainedTokenizerBase", ends: Collection[int]) -> None:
    """Make the end that the chat template writes after an assistant's turn the tokenizer's own, if it is one of `ends`,
    the ids that end a response: Gemma's and Phi-3's tokenizers name another one, which no turn ends with.
    """
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
    try:
        rendered = [
            cast(str, tokenizer.apply_chat_template(told, add_generation_prompt=False, tokenize=False))
            for told in (turns[:1], turns)
        ]
    except TemplateError:  # some templates refuse such turns; then the tokenizer's word is all there is
        return
    ids = cast(list[int], tokenizer.encode(rendered[1].removeprefix(rendered[0]), add_special_tokens=False))
    found = [token for token in ids if token in ends]
    if found and tokenizer.eos_token_id not in found:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(found[-1])


def _require_rows(tokenizer: "PreTrainedTokenizerBase", embedding_rows: int) -> None:
    """Raises `TokenizerError` where ordinary text could become a token that the model has no row for."""
    added = set(tokenizer.get_added_vocab().values())
    beyond = [number for number in tokenizer.get_vocab().values() if number >= embedding_rows and number not in added]
    if beyond:
        raise TokenizerError(
            f"the tokenizer has {max(beyond) + 1} tokens and the model {embedding_rows} rows: they are not of one model"
        )


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


def _separator(tokenizer: "PreTrainedTokenizerBase") -> str:
    """What stands between the plain template and a response that is encoded by itself: nothing where the tokenizer
    begins every text with a blank of its own, as Llama 2's does."""
    if tokenizer.chat_template != PLAIN_TEMPLATE:
        return ""
    before, whole, alone = (
        cast(list[int], tokenizer.encode(text, add_special_tokens=False))
        for text in ("Assistant:", "Assistant: I", "I")
    )
    return "" if whole == [*before, *alone] else " "


def _encode_prompt(
    tokenizer: "PreTrainedTokenizerBase", prompt: Conversation, control: ControlTokens
) -> tuple[int, ...]:
    messages = [{"role": message.role, "content": control.broken_up(message.content)} for message in prompt]
    try:
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:  # some templates refuse a system's turn, or two of one role
        raise PromptError(f"the tokenizer's chat template cannot render a prompt: {error}", prompt) from error
    return tuple(cast(list[int], tokenizer.encode(cast(str, rendered), add_special_tokens=False)))
