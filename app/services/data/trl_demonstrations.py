"""Demonstrations from elsewhere, in TRL's schemas, as our own are exported: lines of {"prompt", "completion"}, each a
text or a list of messages, or of {"messages"} whose last is the response."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.services.data.files import BadRow, RowError, json_object, read_rows, text_of

ROLES = ("system", "user", "assistant")

Turn = tuple[str, str]


@dataclass(frozen=True)
class Shown:
    """A conversation that ends with the user, and the response to imitate."""

    prompt: tuple[Turn, ...]
    response: str


def read_demonstrations(file: Path) -> Iterator[Shown | BadRow]:
    """Every row of the file. Raises Invalid when it can't be read to its end."""
    return read_rows(file, parse_demonstration)


def parse_demonstration(content: bytes) -> Shown:
    """Raises RowError with the reason when the row can't be used."""
    row = json_object(content)
    if "messages" in row:
        turns = _turns(row["messages"], "messages")
    else:
        turns = [*_said(row.get("prompt"), "prompt", "user"), *_said(row.get("completion"), "completion", "assistant")]
    *prompt, (role, response) = turns
    if role != "assistant":
        raise RowError("does not end with a response of the assistant")
    if not prompt or prompt[-1][0] != "user":
        raise RowError("has no turn of the user right before the response")
    if not all(text for _, text in turns):
        raise RowError("has an empty turn")
    return Shown(tuple(prompt), response)


def _said(value: object, name: str, role: str) -> Sequence[Turn]:
    return [(role, text_of(value, name).strip())] if isinstance(value, str) else _turns(value, name)


def _turns(value: object, name: str) -> Sequence[Turn]:
    if not isinstance(value, list) or not value:
        raise RowError(f"has neither a text nor messages under {name!r}")
    turns = []
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise RowError(f"has a message in {name!r} that no {', '.join(ROLES[:-1])} or {ROLES[-1]} says")
        turns.append((str(message["role"]), text_of(message.get("content"), name).strip()))
    return turns
