"""Prompts by themselves: a text, or a conversation that waits for its response."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, about
from app.services.data.imports.formats.demonstrations import ends_with_the_assistant
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import list_of, prompt_of, turns_of, whole_prompt
from app.services.data.imports.rows import ImportedRow, Raw, RowError

PROMPT = Field(
    "prompt",
    phrase("Prompt"),
    "prompt",
    required=True,
    others=("question", "instruction", "input", "query", "text", "user_prompt", "problem"),
)
MESSAGES = Field(
    "messages",
    phrase("Conversation"),
    "messages",
    required=True,
    others=("conversation", "conversations", "context_messages", "context", "prompt"),
)


def parse_text(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["prompt"]
    return (about(ImportedRow(line, prompt_of(raw.get(name), name)), raw, columns),)


def parse_messages(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["messages"]
    turns = whole_prompt(turns_of(raw.get(name), name), name)
    if turns[-1][0] == "assistant":
        raise RowError(name, f"ends with a response in {name!r}, and is no prompt")
    return (about(ImportedRow(line, turns), raw, columns),)


def claims_text(raw: Raw, columns: Columns) -> bool:
    value = raw.get(columns["prompt"])
    return isinstance(value, str) and bool(value)


def claims_messages(raw: Raw, columns: Columns) -> bool:
    value = raw.get(columns["messages"])
    try:
        return bool(list_of(value, "")) and not ends_with_the_assistant(value)
    except RowError:
        return False


PROMPTS = Format(
    name="prompts",
    called=phrase("Prompts"),
    kind="prompts",
    fields=(PROMPT, *ABOUT),
    claims=claims_text,
    parse=parse_text,
)
CONVERSATIONS = Format(
    name="conversations",
    called=phrase("Conversations that wait for a response"),
    kind="prompts",
    fields=(MESSAGES, *ABOUT),
    claims=claims_messages,
    parse=parse_messages,
)
