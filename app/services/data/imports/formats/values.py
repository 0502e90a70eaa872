"""Values of a row as texts, turns, numbers and truths; everything here raises RowError for what is none.

Texts stay as they are, to the byte: nothing is stripped, and ends of lines are not changed.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeGuard, cast

from app.db.tables.content import Split
from app.services.data.imports.formats.format import Columns
from app.services.data.imports.rows import Raw, RowError, Turn

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "held_out",
    "held_out": "held_out",
    "held-out": "held_out",
    "holdout": "held_out",
}
TRUTHS = {
    **dict.fromkeys(("true", "yes", "1", "1.0", "+1", "good", "up", "desirable", "chosen"), True),
    **dict.fromkeys(("false", "no", "0", "0.0", "-1", "-1.0", "bad", "down", "undesirable", "rejected"), False),
}
LONGEST_NAME = 200


def text_of(value: object, name: str) -> str:
    """A text that a database can hold; `name` is the column to be told."""
    if type(value) is not str:
        raise RowError(name, f"has no text under {name!r}")
    if "\0" in value:
        raise RowError(name, f"has a NUL character in {name!r}, which no database text can hold")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowError(name, f"has half a surrogate pair in {name!r}, which is no text") from None
    return value


def response_of(value: object, name: str) -> str:
    """The text of a response: itself, a message, or a list of the one message of the assistant."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        role, text = turn_of(value, name)
        if role != "assistant":
            raise RowError(name, f"has a response in {name!r} that is not the assistant's")
    else:
        text = text_of(value, name)
    if not text or text.isspace():
        raise RowError(name, f"has an empty response in {name!r}")
    return text


def prompt_of(value: object, name: str) -> tuple[Turn, ...]:
    """A text that the user says, or a list of messages."""
    if type(value) is str:
        turns: tuple[Turn, ...] = (("user", text_of(value, name)),)
    elif isinstance(value, list) and value:
        turns = turns_of(value, name)
    else:
        raise RowError(name, f"has neither a text nor messages under {name!r}")
    return whole_prompt(turns, name)


def whole_prompt(turns: Sequence[Turn], name: str) -> tuple[Turn, ...]:
    """The turns, of which none is empty, and one at least is of somebody whom the assistant answers."""
    is_asked = False
    for role, text in turns:
        if not text or text.isspace():
            raise RowError(name, f"has an empty turn in {name!r}")
        is_asked = is_asked or role != "assistant"
    if not is_asked:
        raise RowError(name, f"has no prompt in {name!r}")
    return tuple(turns)


def turns_of(value: object, name: str) -> tuple[Turn, ...]:
    """A list of messages, but for instructions that are empty, which say nothing."""
    turns = [turn_of(message, name) for message in list_of(value, name)]
    return tuple([turn for turn in turns if turn[1] or turn[0] not in ("system", "developer")])


def turn_of(message: object, name: str) -> Turn:
    """One message: {"role", "content"} or {"from", "value"}."""
    if not isinstance(message, dict):
        raise RowError(name, f"has something in {name!r} that is no message")
    given = message.get("role") or message.get("from")
    role = ROLES.get(given) or ROLES.get(given.lower()) if type(given) is str else None
    if role is None:
        raise RowError(name, f"has a message in {name!r} that no system, developer, user, assistant or tool says")
    content = message["content"] if "content" in message else message.get("value")
    if type(content) is str and not _calls(message):
        return role, text_of(content, name)
    return role, _of_parts(message, content, name)


def _of_parts(message: Mapping[str, object], content: object, name: str) -> str:
    """A message in parts, and the calls of tools that it makes, as JSON."""
    texts: list[str] = []
    if isinstance(content, str):
        texts.append(text_of(content, name))
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            texts.append(text_of(part, name))
            continue
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text"):
            raise RowError(name, f"has a part of a message in {name!r} that is no text")
        texts.append(text_of(part.get("text"), name))
    calls = _calls(message)
    if not texts and not calls:
        raise RowError(name, f"has no text under {name!r}")
    text = "".join(texts)
    if not calls:
        return text
    written = text_of(json.dumps(calls, ensure_ascii=False), name)
    return f"{text}\n\n{written}" if text.strip() else written


def _calls(message: Mapping[str, object]) -> object:
    """Of tools, as a list or, as it was once, of one function."""
    return message.get("tool_calls") or message.get("function_call")


def list_of(value: object, name: str) -> list[object]:
    """A list, which a table of texts holds as JSON."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(name, f"has a text under {name!r} where a list should be") from None
    if not isinstance(value, list):
        raise RowError(name, f"has no list under {name!r}")
    return value


def messages_in(raw: Raw, columns: Columns, field: str) -> list[object] | None:
    """The list of messages of a field, to look at; None if it is anything else."""
    try:
        found = list_of(value_in(raw, columns, field), field)
    except RowError:
        return None
    return found if found and all(isinstance(message, dict) for message in found) else None


def value_in(raw: Raw, columns: Columns, field: str) -> object:
    """What a row has for a field; None for nothing, which in a table of texts is an empty one."""
    column = columns.get(field)
    value = raw.get(column) if column is not None else None
    return None if value == "" else value


def name_in(raw: Raw, columns: Columns, field: str) -> str | None:
    """A short text that names something: a model, a topic, a person."""
    value = value_in(raw, columns, field)
    return None if value is None else short(value, columns[field])


def short(value: object, name: str) -> str:
    """A name, as text, whatever it is in the file, and no longer than a column of names."""
    if isinstance(value, dict | list):
        raise RowError(name, f"has no name under {name!r}")
    return text_of(str(value), name)[:LONGEST_NAME]


def whole_number_of(value: object, name: str) -> int:
    """A whole number, as such or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RowError(name, f"has no number under {name!r}")
    try:
        number = float(value)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise RowError(name, f"has no whole number under {name!r}") from None
    return int(number)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is one that can be compared with others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # more digits than any float
        return False


def truth_of(value: object, name: str) -> bool:
    """True or false, as such, as 1 or 0, as 1 or −1, or as a word."""
    found = TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise RowError(name, f"has neither true nor false under {name!r}")
    return found


def split_in(raw: Raw, columns: Columns) -> Split | None:
    """The split that a row brings along; its test prompts are held out here."""
    name = name_in(raw, columns, "split")
    if name is None:
        return None
    split = SPLITS.get(name.strip().lower())
    if split is None:
        raise RowError(columns["split"], f"has a split {name!r}, which is none of train, validation and held_out")
    return split


def tags_in(raw: Raw, columns: Columns) -> tuple[str, ...]:
    """Tags as a list, or as a text with commas between them."""
    value = value_in(raw, columns, "tags")
    if value is None:
        return ()
    column = columns["tags"]
    parts: Iterable[object] = value.split(",") if isinstance(value, str) else list_of(value, column)
    named = (short(part, column).strip() for part in parts if part is not None)
    return tuple(dict.fromkeys(tag for tag in named if tag))


def text_or_none(value: object, name: str) -> str | None:
    """A text that may be missing or blank."""
    if value is None:
        return None
    text = text_of(value, name)
    return text if text.strip() else None


def as_dict(value: object) -> Mapping[str, object]:
    """A mapping, and an empty one of anything else."""
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}
