"""Argilla's records: nested ({"fields", "responses"}) or flat ("QUESTION.responses"), with what people answered to a
ranking, a label or a rating about fields that are responses."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import counted, position_of, ranked, verdict
from app.services.data.imports.formats.format import Columns, Format
from app.services.data.imports.formats.values import (
    as_dict,
    prompt_of,
    response_of,
    short,
    text_or_none,
    whole_number_of,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

PROMPTS = ("prompt", "instruction", "question", "input", "query", "context", "chat", "conversation", "messages")
_RESPONSE = re.compile(
    r"(?:response|completion|answer|generation|output|text|candidate)[-_ ]?(?:[a-i]|[1-9])", re.IGNORECASE
)
_RATIONALE = re.compile(r"rationale|reason|comment|why|explanation", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """What one person answered to one question."""

    question: str
    value: object
    person: str | None


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    fields = as_dict(raw.get("fields")) or raw
    asked = next((name for name in PROMPTS if fields.get(name)), None)
    if asked is None:
        raise RowError("fields", f"has no prompt: none of its fields is called {', '.join(PROMPTS)}")
    names = [name for name in fields if _RESPONSE.fullmatch(name) and fields[name] not in (None, "")]
    responses = counted([Response(response_of(fields[name], name)) for name in names], "fields")
    statements = tuple(_statements(list(_answers(raw)), names))
    topic = as_dict(raw.get("metadata")).get("topic")
    return (
        ImportedRow(
            line,
            prompt_of(fields[asked], asked),
            responses,
            statements,
            topic=None if topic is None else short(topic, "metadata"),
        ),
    )


def claims(raw: Raw, columns: Columns) -> bool:
    if isinstance(raw.get("fields"), dict):
        return "responses" in raw or "suggestions" in raw
    return "_server_id" in raw or any(name.endswith((".responses", ".responses.users")) for name in raw)


def _answers(raw: Raw) -> Iterator[Said]:
    """All submitted answers, whichever way the record is written."""
    nested = as_dict(raw.get("responses"))
    for question, given in nested.items():
        for one in given if isinstance(given, list) else ():
            answer = as_dict(one)
            if answer.get("status", "submitted") == "submitted":
                yield Said(question, answer.get("value"), _person(answer.get("user_id")))
    for column, given in raw.items():
        if not column.endswith(".responses") or not isinstance(given, list):
            continue
        people, status = raw.get(f"{column}.users"), raw.get(f"{column}.status")
        for place, value in enumerate(given):
            if _at(status, place) in (None, "submitted"):
                yield Said(column.removesuffix(".responses"), value, _person(_at(people, place)))


def _statements(answers: Sequence[Said], names: Sequence[str]) -> Iterator[Statement]:
    """A statement for each answer that says which response is better, with the same person's reason."""
    for said in answers:
        if _RATIONALE.search(said.question):
            continue
        statement = _statement(said, names)
        if statement is not None:
            why = [
                text_or_none(other.value, other.question)
                for other in answers
                if other.person == said.person and _RATIONALE.search(other.question) and isinstance(other.value, str)
            ]
            rationale = "\n\n".join(part for part in why if part) or None
            yield replace(statement, annotator=said.person, rationale=rationale)


def _statement(said: Said, names: Sequence[str]) -> Statement | None:
    value = said.value
    if isinstance(value, Mapping) and isinstance(value.get("value"), list) and isinstance(value.get("rank"), list):
        value = [{"value": name, "rank": rank} for name, rank in zip(value["value"], value["rank"], strict=False)]
    if isinstance(value, list):
        return _ranking(value, names, said.question)
    if isinstance(value, str) and (position_of(value, names) is not None or "tie" in value.lower()):
        return verdict(value, names, said.question)
    return None


def _ranking(value: Sequence[object], names: Sequence[str], question: str) -> Statement | None:
    order = []
    for place, one in enumerate(value, 1):
        entry = as_dict(one)
        name = entry.get("value") if entry else one
        position = position_of(name, names) if isinstance(name, str) else None
        if position is None:
            return None  # labels, spans: another kind of question
        rank = entry.get("rank") if entry else place
        if rank is not None:
            order.append((position, whole_number_of(rank, question)))
    return Statement(ranked(order, len(names)), answer_type="ranking") if order else None


def _at(values: object, place: int) -> object:
    return values[place] if isinstance(values, list) and place < len(values) else None


def _person(value: object) -> str | None:
    return None if value is None else short(value, "responses")


FORMAT = Format(
    name="argilla",
    called=phrase("Argilla records"),
    kind="judgements",
    fields=(),
    claims=claims,
    parse=parse,
    loses=phrase(
        "Drafts and discarded answers, suggestions, vectors, and answers that don't say which response is better."
    ),
)
