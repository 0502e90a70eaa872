"""ShareGPT: {"conversations": [{"from", "value"}]}, plain, with a better and a worse last response, or with a tag that
says whether the last response is good."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, about, pair
from app.services.data.imports.formats.demonstrations import demonstrated, ends_with_the_assistant
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import messages_in, response_of, truth_of, turns_of, whole_prompt
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

CONVERSATIONS = Field(
    "conversations", phrase("Conversation"), "conversations", required=True, others=("conversation", "messages")
)


def parse_plain(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["conversations"]
    return (about(demonstrated(turns_of(raw.get(name), name), name, line), raw, columns),)


def parse_ranked(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name, chosen, rejected = columns["conversations"], columns["chosen"], columns["rejected"]
    prompt = whole_prompt(turns_of(raw.get(name), name), name)
    row = pair(line, prompt, response_of(raw.get(chosen), chosen), response_of(raw.get(rejected), rejected))
    return (about(row, raw, columns),)


def parse_tagged(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["conversations"]
    row = demonstrated(turns_of(raw.get(name), name), name, line)
    responses = (Response(row.demonstrations[0].text),)
    statement = Statement((None,), acceptable=(truth_of(raw.get(columns["label"]), columns["label"]),))
    return (about(ImportedRow(line, row.prompt, responses, (statement,)), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    messages = messages_in(raw, columns, "conversations")
    return messages is not None and isinstance(messages[-1], dict) and "from" in messages[-1]


def claims_ranked(raw: Raw, columns: Columns) -> bool:
    """Messages by role and content, too, as long as they wait for a response: whole ones stand beside other schemas."""
    messages = messages_in(raw, columns, "conversations")
    return messages is not None and not ends_with_the_assistant(messages)


def claims_plain(raw: Raw, columns: Columns) -> bool:
    if not claims(raw, columns):
        return False
    try:
        return turns_of(raw.get(columns["conversations"]), "")[-1][0] == "assistant"
    except (RowError, IndexError):
        return False


PLAIN = Format(
    name="sharegpt",
    called=phrase("ShareGPT conversations"),
    kind="demonstrations",
    fields=(CONVERSATIONS, *ABOUT),
    claims=claims_plain,
    parse=parse_plain,
    loses=phrase("Descriptions of tools. Of several responses in a conversation, only the last is imitated."),
)
RANKED = Format(
    name="sharegpt-ranked",
    called=phrase("ShareGPT conversations with a better and a worse response"),
    kind="judgements",
    fields=(
        CONVERSATIONS,
        Field("chosen", phrase("Better response"), "chosen", required=True),
        Field("rejected", phrase("Worse response"), "rejected", required=True),
        *ABOUT,
    ),
    claims=claims_ranked,
    parse=parse_ranked,
    loses=phrase("Descriptions of tools."),
)
TAGGED = Format(
    name="sharegpt-tagged",
    called=phrase("ShareGPT conversations whose last response is good or not"),
    kind="judgements",
    fields=(
        CONVERSATIONS,
        Field("label", phrase("Whether it is good"), "kto_tag", required=True, others=("label",)),
        *ABOUT,
    ),
    claims=claims,
    parse=parse_tagged,
    loses=phrase("Descriptions of tools."),
)
