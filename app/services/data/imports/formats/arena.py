"""Arena battles: two whole conversations with two models, and who won."""

from collections.abc import Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, about, counted, verdict
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import messages_in, name_in, turns_of, value_in, whole_prompt
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError

NAMES = ("model_a", "model_b")


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    sides = [turns_of(raw.get(columns[name]), columns[name]) for name in ("conversation_a", "conversation_b")]
    for turns, field in zip(sides, ("conversation_a", "conversation_b"), strict=True):
        if not turns or turns[-1][0] != "assistant" or not turns[-1][1].strip():
            raise RowError(columns[field], f"does not end with a response in {columns[field]!r}")
    if sides[0][:-1] != sides[1][:-1]:
        raise RowError(None, "holds two different conversations: they differ before the last response")
    prompt = whole_prompt(sides[0][:-1], columns["conversation_a"])
    models = [name_in(raw, columns, name) for name in NAMES]
    responses = counted([Response(turns[-1][1], model) for turns, model in zip(sides, models, strict=True)], None)
    winner = value_in(raw, columns, "winner")
    if winner is None:
        raise RowError(columns["winner"], f"has no winner under {columns['winner']!r}")
    statement = replace(verdict(winner, NAMES, columns["winner"]), annotator=name_in(raw, columns, "judge"))
    return (about(ImportedRow(line, prompt, responses, (statement,)), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    return all(messages_in(raw, columns, name) is not None for name in ("conversation_a", "conversation_b"))


FORMAT = Format(
    name="arena",
    called=phrase("Arena battles"),
    kind="judgements",
    fields=(
        Field("conversation_a", phrase("Conversation with the first model"), "conversation_a", required=True),
        Field("conversation_b", phrase("Conversation with the second model"), "conversation_b", required=True),
        Field("winner", phrase("Which is better"), "winner", required=True),
        Field("model_a", phrase("First model"), "model_a"),
        Field("model_b", phrase("Second model"), "model_b"),
        Field("judge", phrase("Who said so"), "judge"),
        Field("topic", phrase("Topic"), "language"),
        SPLIT,
        TAGS,
    ),
    claims=claims,
    parse=parse,
    loses=phrase(
        "Conversations that differ before their last response are reported: only one response can be compared."
    ),
)
