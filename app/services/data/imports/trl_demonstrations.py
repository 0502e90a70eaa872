"""Demonstrations from elsewhere, in TRL's schemas, as our own are exported: lines of {"prompt", "completion"}, each a
text or a list of messages, or of {"messages"} whose last is the response."""

from collections.abc import Sequence

from app.services.data.imports.demonstrations import DEMONSTRATIONS
from app.services.data.imports.files import RowError, json_object, text_of
from app.services.data.imports.format import ImportFormat
from app.services.data.imports.rows import DemonstrationRow, Turn

ROLES = ("system", "user", "assistant")


def parse(content: bytes) -> DemonstrationRow:
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
    return DemonstrationRow(tuple(prompt), response)


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


FORMAT = ImportFormat(
    "demonstrations", "a prompt and its completion, or messages, as TRL has them", DEMONSTRATIONS, parse
)
