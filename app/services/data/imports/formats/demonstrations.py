"""TRL's schemas of responses to imitate: {"prompt", "completion"}, each a text or messages, or {"messages"} whose last
is the response. A file may hold both. Our own exports of demonstrations are of the first."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, about
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.preferences import PROMPT
from app.services.data.imports.formats.values import (
    as_dict,
    list_of,
    prompt_of,
    text_of,
    turn_of,
    turns_of,
    value_in,
    whole_prompt,
)
from app.services.data.imports.rows import Demonstration, ImportedRow, Raw, RowError, Turn

MESSAGES = Field("messages", phrase("Messages"), "messages", others=("conversation",))
COMPLETION = Field("completion", phrase("Response"), "completion", others=("response", "output", "answer"))


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    messages = value_in(raw, columns, "messages")
    if messages is not None:
        name = columns["messages"]
        turns = turns_of(messages, name)
    else:
        name = columns.get("completion", "completion")
        said = prompt_of(value_in(raw, columns, "prompt"), columns.get("prompt", "prompt"))
        turns = (*said, *_completion(value_in(raw, columns, "completion"), name))
    return (about(demonstrated(turns, name, line), raw, columns),)


def demonstrated(turns: Sequence[Turn], name: str, line: int) -> ImportedRow:
    """The last turn as the response to imitate, the others as its prompt. Raises RowError."""
    if not turns or turns[-1][0] != "assistant":
        raise RowError(name, "does not end with a response of the assistant")
    *before, (_, response) = turns
    if not response.strip():
        raise RowError(name, "has an empty turn")
    return ImportedRow(line, whole_prompt(before, name), demonstrations=(Demonstration(response),))


def claims(raw: Raw, columns: Columns) -> bool:
    messages = value_in(raw, columns, "messages")
    if messages is not None:
        return ends_with_the_assistant(messages)
    return value_in(raw, columns, "prompt") is not None and value_in(raw, columns, "completion") is not None


def ends_with_the_assistant(messages: object) -> bool:
    """Whether the last of the messages is a response, whatever its content is."""
    try:
        last = as_dict(list_of(messages, "")[-1])
        return turn_of({**last, "content": ""}, "")[0] == "assistant"
    except (RowError, IndexError):
        return False


def _completion(value: object, name: str) -> Sequence[Turn]:
    if isinstance(value, list):
        return turns_of(value, name)
    if value is None:
        raise RowError(name, f"has neither a text nor messages under {name!r}")
    return [("assistant", text_of(value, name))]


FORMAT = Format(
    name="demonstrations",
    called=phrase("Responses to imitate: prompt and completion, or messages (TRL, OpenRLHF)"),
    kind="demonstrations",
    fields=(MESSAGES, PROMPT, COMPLETION, *ABOUT),
    claims=claims,
    parse=parse,
    loses=phrase(
        "Names, weights and thoughts of messages. Of several responses in a conversation, only the last is imitated."
    ),
)
