"""The OpenAI-compatible protocol: what is sent, what comes back, and what endpoints say when they refuse.

Real ones differ from the description: content may be null or a list of parts, `usage` may be missing, an error may be
an object, a text or a page of HTML, with any status, 200 included.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from app.db.base import Json
from app.db.tables.served import Protocol
from app.errors import DomainError
from app.phrases import phrase
from app.services.served.settings import Sampling
from training.records import Message

PATHS: dict[Protocol, str] = {"chat": "/chat/completions", "completions": "/completions"}
SAID_CHARACTERS = 300
MOST_SAID_CHARACTERS = 12_000  # that are looked at for them, mark-up included
# Where an endpoint doesn't count: of English, some four characters are a token.
CHARACTERS_PER_TOKEN = 4
NEXT_TURN = "\n\nUser:"
# Some endpoints show a part of the key that they refuse: sk-abc***xyz.
MASKED = "**"
TAGS = re.compile(r"<(style|script|title)\b.*?</\1>|<[^<>]*>", flags=re.DOTALL | re.IGNORECASE)


class NoAnswer(DomainError):
    """The served model gave no usable response."""


class Again(NoAnswer):
    """The endpoint gave no response now and may give one later."""

    def __init__(self, template: str, *, after_seconds: float | None = None, **named: object) -> None:
        super().__init__(template, **named)
        self.after_seconds = after_seconds


class Refused(NoAnswer):
    """The endpoint refuses every request: it would be no use to send another."""


@dataclass(frozen=True)
class Answer:
    """A response. Tokens are the endpoint's count; `counted` is False where it gave none and they are estimated."""

    text: str
    finish_reason: str | None
    answered_by: str | None
    prompt_tokens: int
    completion_tokens: int
    counted: bool

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def ended_by_itself(self) -> bool | None:
        """None where the endpoint didn't say how the response ended."""
        return None if self.finish_reason is None else self.finish_reason in ("stop", "eos", "eos_token")


def body_of(protocol: Protocol, model: str, sampling: Sampling, prompt: Sequence[Message], *, limit: str) -> Json:
    """One request for one response. `limit` is what the endpoint calls the most tokens that it may write."""
    body: Json = {"model": model, limit: sampling.max_tokens}
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    body |= {name: value for name, value in drawn.items() if value is not None}
    turns = _turns(prompt, sampling.system)
    if protocol == "chat":
        stop = list(sampling.stop)
        body["messages"] = turns
    else:
        stop = [NEXT_TURN, *sampling.stop][: len(sampling.stop) + 1]
        body["prompt"] = _transcript(turns)
    return body | ({"stop": stop} if stop else {})


def answer_in(content: bytes, protocol: Protocol, *, key: str | None, asked_characters: int) -> Answer:
    """The response in the body of a 200. Raises Again for a body that isn't whole, NoAnswer for one without text."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise Again("The endpoint's answer isn't JSON: “%(said)s”.", said=said_in(content, key=key)) from None
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is None:
        raise Again("The endpoint's answer holds no response: “%(said)s”.", said=said_in(content, key=key))
    text = _text(choice, protocol)
    reason = choice.get("finish_reason")
    if text is None or not text.strip():
        raise NoAnswer(_why_empty(choice, reason))
    prompt_tokens, completion_tokens, counted = _usage(body.get("usage"), asked_characters, len(text))
    return Answer(
        text=text,
        finish_reason=str(reason)[:50] if reason is not None else None,
        answered_by=str(body["model"])[:300] if isinstance(body.get("model"), str) else None,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        counted=counted,
    )


def said_in(content: bytes, *, key: str | None) -> str:
    """What an endpoint said of an error, in one bounded line that never holds the key."""
    text = content[:MOST_SAID_CHARACTERS].decode(errors="replace")
    try:
        text = (_message(json.loads(content)) or text)[:MOST_SAID_CHARACTERS]
    except (ValueError, RecursionError):
        text = TAGS.sub(" ", text)
    if key:
        text = text.replace(key, "…")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = " ".join("…" if MASKED in word else word for word in text.split())
    if not text:
        return "–"
    return text if len(text) <= SAID_CHARACTERS else text[: SAID_CHARACTERS - 1] + "…"


def _turns(prompt: Sequence[Message], system: str) -> list[dict[str, str]]:
    """The conversation; the system message is for those that begin without one."""
    turns = [{"role": message.role, "content": message.content} for message in prompt]
    if system and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    return turns


def _transcript(turns: Sequence[dict[str, str]]) -> str:
    """The conversation as a text that an assistant's turn goes on from, for models that know no chat."""
    return "\n\n".join(_speaker(turn["role"]) + turn["content"] for turn in turns) + "\n\nAssistant:"


def _speaker(role: str) -> str:
    return "" if role == "system" else f"{role.capitalize()}: "


def _text(choice: Json, protocol: Protocol) -> str | None:
    if protocol == "completions":
        text = choice.get("text")
        return text.removeprefix(" ") if isinstance(text, str) else None
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else None


def _why_empty(choice: Json, reason: object) -> str:
    if reason == "length":
        return phrase("The response is empty: its most tokens were used up before the first word. Allow more.")
    if reason == "content_filter":
        return phrase("The endpoint's filter held the response back.")
    message = choice.get("message")
    if isinstance(message, dict) and message.get("tool_calls"):
        return phrase("The model called a tool instead of writing.")
    return phrase("The response is empty.")


def _usage(usage: object, asked_characters: int, written_characters: int) -> tuple[int, int, bool]:
    if isinstance(usage, dict):
        asked, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if _is_count(asked) and _is_count(written):
            return asked, written, True
    return _tokens_of(asked_characters), _tokens_of(written_characters), False


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _tokens_of(characters: int) -> int:
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def _message(body: object) -> str | None:
    """The sentence in an error's body, which OpenAI, vLLM, FastAPI and llama.cpp keep in different places."""
    if isinstance(body, str):
        return body
    if isinstance(body, list) and body:
        return _message(body[0])
    if not isinstance(body, dict):
        return None
    found = (_message(body[name]) for name in ("error", "message", "detail", "msg") if body.get(name))
    return next((message for message in found if message), None)
