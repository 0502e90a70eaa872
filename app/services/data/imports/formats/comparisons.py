"""Rows of two or more responses, made the same way by every format: what is refused of them, and who won."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.format import Columns, Field
from app.services.data.imports.formats.values import name_in, split_in, tags_in, text_of, value_in
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement, Turn

MOST_RESPONSES = 9
BOTH_BAD = ("tiebothbad", "bothbad", "bothpoor")
TIES = ("tie", "tied", "equal", "same", "draw", "bothgood", "tiebothgood")
SIDES = {"left": 0, "right": 1, "first": 0, "second": 1}

FIRST_IS_BETTER = (Statement((1, 2)),)
SYSTEM = Field("system", phrase("Instructions before the prompt"), "system", others=("system_prompt",))
SPLIT = Field("split", phrase("Split"), "split")
TOPIC = Field("topic", phrase("Topic"), "topic", others=("category", "domain", "task"))
TAGS = Field("tags", phrase("Tags"), "tags", others=("labels", "keywords"))
ABOUT = (SYSTEM, SPLIT, TOPIC, TAGS)
SAID_BY = Field("annotator", phrase("Who said so"), "annotator", others=("annotator_id", "rater", "worker_id"))


def pair(line: int, prompt: tuple[Turn, ...], chosen: str, rejected: str) -> ImportedRow:
    """Two responses of which the first is better, by nobody said how much."""
    different((chosen, rejected), None)
    return ImportedRow(line, prompt, (Response(chosen), Response(rejected)), FIRST_IS_BETTER)


def different(texts: Sequence[str], name: str | None) -> None:
    """Raises RowError for two responses that differ in nothing, or in blanks around them: nobody can compare them."""
    if len(texts) == 2 and texts[0].strip() == texts[1].strip():
        raise RowError(name, "holds the same response twice")


def counted(responses: Sequence[Response], name: str | None) -> tuple[Response, ...]:
    """The responses, of which there are two to nine. Raises RowError."""
    if not 2 <= len(responses) <= MOST_RESPONSES:
        raise RowError(name, f"has {len(responses)} responses where from 2 to {MOST_RESPONSES} can be compared")
    different([response.text for response in responses], name)
    return tuple(responses)


def about(row: ImportedRow, raw: Raw, columns: Columns) -> ImportedRow:
    """The row with what the file says about its prompt: instructions before it, split, topic and tags."""
    if columns.keys().isdisjoint(("system", "split", "topic", "tags")):
        return row
    system = value_in(raw, columns, "system")
    instructions = "" if system is None else text_of(system, columns["system"])
    prompt = (("system", instructions), *row.prompt) if instructions.strip() else row.prompt
    return replace(
        row,
        prompt=prompt,
        split=split_in(raw, columns),
        topic=name_in(raw, columns, "topic"),
        tags=tags_in(raw, columns),
    )


def said_by(row: ImportedRow, raw: Raw, columns: Columns) -> ImportedRow:
    """The row with who said so, where the file tells: the same said by two is two judgements."""
    name = name_in(raw, columns, "annotator")
    if name is None:
        return row
    return replace(row, statements=tuple(replace(statement, annotator=name) for statement in row.statements))


def verdict(winner: object, names: Sequence[str], column: str) -> Statement:
    """What a winner's name says of two or more responses that have these names, or are called by letter or number."""
    called = text_of(winner, column) if isinstance(winner, str) else str(winner)
    word = "" if called in names else _bare(called)
    if word in BOTH_BAD:
        return Statement((1,) * len(names), acceptable=(False,) * len(names))
    if word in TIES:
        return Statement((1,) * len(names))
    best = position_of(called, names)
    if best is None:
        raise RowError(column, f"has a winner in {column!r} that is none of its responses")
    if len(names) == 2:
        return Statement((1, 2) if best == 0 else (2, 1))
    ranks = tuple(1 if position == best else None for position in range(len(names)))
    return Statement(ranks, answer_type="best")


def position_of(called: str, names: Sequence[str]) -> int | None:
    """Which response is meant: by its own name, by left or right, or by the letter or number at its end."""
    for word, known in ((called, list(names)), (_bare(called), [_bare(name) for name in names])):
        if word and known.count(word) == 1:
            return known.index(word)
    if word in SIDES and len(names) == 2:
        return SIDES[word]
    found = re.fullmatch(r"(?:model|response|answer|completion|option|output|text|assistant)?(?:([a-i])|([1-9]))", word)
    if found is None:
        return None
    letter, digit = found.groups()
    position = ord(letter) - ord("a") if letter else int(digit) - 1
    return position if position < len(names) else None


def ranked(order: Iterable[tuple[int, float]], size: int) -> tuple[int | None, ...]:
    """Ranks from 1 without gaps, of (position, any number that is smaller the better); the others are unranked."""
    given = dict(order)
    steps = {number: rank for rank, number in enumerate(sorted(set(given.values())), 1)}
    return tuple(steps[given[position]] if position in given else None for position in range(size))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
