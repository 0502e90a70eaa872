"""Conversations as lists of {"role", "content"}, as TRL's conversational schemas have them."""

from app.db.base import Json
from training.records import Message


def turns(prompt: tuple[Message, ...]) -> list[Json]:
    return [message.to_json() for message in prompt]


def reply(text: str) -> list[Json]:
    """A response, which is a conversation of one turn."""
    return [{"role": "assistant", "content": text}]
