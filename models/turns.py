"""How a chat template writes a turn of the assistant: what stands before its text, and the token that ends it.

Asked of the template itself by rendering a conversation, so that what is learnt is what the template would have written
and what a policy writes after a prompt.
"""

import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self, cast

from jinja2 import TemplateError

from models.control_tokens import ControlTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DIRECTIVES = (*"aAbBdjmyYHIMSpFTDRxXcZ", "-d", "-m", "-H", "-I")
CLOCK = datetime(2024, 7, 26)  # noqa: DTZ001  a date, wherever
"""What a template that asks for the time is told, so that a conversation is the same tokens tomorrow: the day that
Llama 3.1's own template takes where there is no clock."""

# A function can't be handed to a template; one of its own goes before the library's.
_TELLING_CLOCK = "".join(
    [
        "{% macro strftime_now(format) %}{{ format",
        *(f" | replace('%{letter}', '{CLOCK.strftime('%' + letter)}')" for letter in _DIRECTIVES),
        " }}{% endmacro %}",
    ]
)
_ASKED = {"role": "user", "content": "Hello"}
_TEXT = "I am"


def render(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True
) -> str:
    """A conversation as the chat template writes it, a function of the conversation alone. Raises `TemplateError` for
    whatever the template does wrong."""
    try:
        template = tokenizer.get_chat_template()
        rendered = tokenizer.apply_chat_template(
            list(messages),
            chat_template=_TELLING_CLOCK + template if "strftime_now" in template else template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise TemplateError(said) from error
    return cast(str, rendered)


def leaves_out_what_is_said(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether all prompts are one to the template, as to one that is empty, or of another kind of messages."""
    try:
        one, other = (render(tokenizer, [{**_ASKED, "content": text}]) for text in ("Hello", "Goodbye"))
    except TemplateError:  # some want a system's turn first
        return False
    return one == other


def end_of_turn(tokenizer: "PreTrainedTokenizerBase", ends: Collection[int]) -> int | None:
    """The token that the template writes after an assistant's text, None where it writes none.

    It is one of the model's own `ends`, or it stands there whatever follows: what opens the next turn does not.
    """
    answered = [_ASKED, {"role": "assistant", "content": _TEXT}]
    control = ControlTokens(tokenizer)
    found = []
    for turns in (answered, [*answered, _ASKED]):
        try:
            rendered = render(tokenizer, turns, add_generation_prompt=False)
        except TemplateError:  # some refuse such turns; then the tokenizer's word is all there is
            return None
        _, told, after = rendered.partition(_TEXT)
        found.append(control.at_start_of(after.lstrip()) if told else None)
    last, between = found
    if last is None:
        return None
    end = cast(int, tokenizer.convert_tokens_to_ids(last))
    return end if end in ends or last == between else None


def assistant_spans(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], token_ids: Sequence[int]
) -> "list[tuple[int, int] | None]":
    """Where each turn of the assistant stands in a rendered prompt's ids, its end included: from where the
    conversation before it, rendered alone, would have it begin. None for a turn that the template writes otherwise
    than it would have then, or doesn't end.
    """
    spans: list[tuple[int, int] | None] = []
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            spans.append(_span(tokenizer, messages[:place], message["content"], tuple(token_ids)))
    return spans


def _span(
    tokenizer: "PreTrainedTokenizerBase", before: Sequence[dict[str, str]], said: str, token_ids: tuple[int, ...]
) -> tuple[int, int] | None:
    try:
        (lead,) = _ids(tokenizer, [render(tokenizer, before)])
    except TemplateError:
        return None
    start, end = len(lead), tokenizer.eos_token_id
    if token_ids[:start] != tuple(lead) or end not in token_ids[start:]:
        return None
    stop = token_ids.index(end, start) + 1
    rendered = ResponseForm.of(tokenizer).decoded(tokenizer, token_ids[start:stop])
    return (start, stop) if rendered.strip() == said.strip() else None


@dataclass(frozen=True, slots=True)
class ResponseForm:
    """How the text of a response becomes the ids that continue a prompt.

    It is encoded after `lead`, the ids of which (`skipped`) are dropped: tokenizers of SentencePiece's form begin every
    text with a blank of their own, which stands between a prompt and its response only sometimes.
    """

    lead: str
    skipped: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> Self:
        """The form of the tokenizer and its template, found once for both."""
        template = str(tokenizer.chat_template)
        known = _FORMS.get(tokenizer)
        if known is None or known[0] != template:
            known = _FORMS[tokenizer] = (template, _found(tokenizer))
        return cast(Self, known[1])

    def encoded(self, tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
        """Ids of responses, without any special token."""
        whole = _ids(tokenizer, [self.lead + text for text in texts])
        if not self.skipped:
            return whole
        length = len(self.skipped)
        joined = [place for place, ids in enumerate(whole) if tuple(ids[:length]) != self.skipped]
        # A text that melts into what stands before it, a line's end after a line's end, has ids of its own only alone.
        alone = dict(zip(joined, _ids(tokenizer, [texts[place] for place in joined]), strict=True))
        return [alone.get(place, ids[length:]) for place, ids in enumerate(whole)]

    def decoded(self, tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int]) -> str:
        """The text of a response's ids, without special tokens."""
        if not self.skipped:
            return _text(tokenizer, token_ids).removeprefix(self.lead)
        return _text(tokenizer, [*self.skipped, *token_ids]).removeprefix(_text(tokenizer, self.skipped))


_FORMS: "weakref.WeakKeyDictionary[PreTrainedTokenizerBase, tuple[str, ResponseForm]]" = weakref.WeakKeyDictionary()


def _found(tokenizer: "PreTrainedTokenizerBase") -> ResponseForm:
    try:
        prompt = render(tokenizer, [_ASKED])
        answered = render(tokenizer, [_ASKED, {"role": "assistant", "content": _TEXT}], add_generation_prompt=False)
    except TemplateError:
        return ResponseForm("")
    between = answered.removeprefix(prompt).partition(_TEXT)[0] if answered.startswith(prompt) else ""
    if between.strip():  # a thought that the template writes itself: a policy that is asked writes its own
        between = ""
    before, whole = _ids(tokenizer, [prompt, prompt + between + _TEXT])
    for lead in dict.fromkeys(("", between)):
        (alone,) = _ids(tokenizer, [lead + _TEXT])
        if whole == [*before, *alone]:
            return ResponseForm(lead)
    said = _text(tokenizer, whole[len(before) :]).strip()
    if whole[: len(before)] == before and said and said == _text(tokenizer, alone).strip():
        return ResponseForm(prompt + between, tuple(before))
    return ResponseForm("")  # words run into each other, or are unknown: no ids continue the prompt's


def _ids(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    return cast(list[list[int]], tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else [])


def _text(tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int]) -> str:
    decoded = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return cast(str, decoded)
