"""Arena battles: two whole conversations with two models, and who won; or a table of them, in which what was asked and
what either model answered are lists of texts, and a column for each outcome holds 1 or 0."""

from collections.abc import Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, about, counted, verdict
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    list_of,
    messages_in,
    name_in,
    response_of,
    text_of,
    truth_of,
    turns_of,
    value_in,
    whole_prompt,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError

NAMES = ("model_a", "model_b")
OUTCOMES = ("winner_model_a", "winner_model_b", "winner_tie")


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


def parse_table(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    asked, *answered = (_texts(raw, columns[name]) for name in ("prompt", "response_a", "response_b"))
    if len({len(asked), *map(len, answered)}) > 1:
        raise RowError(columns["prompt"], "has not one response of each model to each prompt")
    if answered[0][:-1] != answered[1][:-1]:
        raise RowError(None, "holds two different conversations: they differ before the last response")
    turns = [
        turn for said in zip(asked, answered[0], strict=True) for turn in zip(("user", "assistant"), said, strict=True)
    ]
    prompt = whole_prompt(turns[:-1], columns["prompt"])
    models = [name_in(raw, columns, name) for name in NAMES]
    texts = [response_of(texts[-1], columns["response_a"]) for texts in answered]
    responses = counted([Response(text, model) for text, model in zip(texts, models, strict=True)], None)
    won = [name for name in OUTCOMES if truth_of(raw.get(columns[name]), columns[name])]
    if len(won) != 1:
        raise RowError(columns["winner_model_a"], "has not one outcome")
    statement = verdict(won[0].removeprefix("winner_"), NAMES, columns[won[0]])
    return (about(ImportedRow(line, prompt, responses, (statement,)), raw, columns),)


def claims_table(raw: Raw, columns: Columns) -> bool:
    return all(str(raw.get(columns[name])) in ("0", "1", "0.0", "1.0") for name in OUTCOMES)


def _texts(raw: Raw, name: str) -> list[str]:
    found = [text_of(text, name) for text in list_of(raw.get(name), name)]
    if not found:
        raise RowError(name, f"has no text under {name!r}")
    return found


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
TABLE = Format(
    name="arena-table",
    called=phrase("Arena battles as a table with a column for each outcome"),
    kind="judgements",
    fields=(
        Field("prompt", phrase("Prompt"), "prompt", required=True),
        Field("response_a", phrase("First response"), "response_a", required=True),
        Field("response_b", phrase("Second response"), "response_b", required=True),
        *(Field(name, phrase("Which is better"), name, required=True) for name in OUTCOMES),
        Field("model_a", phrase("First model"), "model_a"),
        Field("model_b", phrase("Second model"), "model_b"),
        SPLIT,
        TAGS,
    ),
    claims=claims_table,
    parse=parse_table,
    loses=FORMAT.loses,
)
