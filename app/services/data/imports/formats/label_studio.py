"""Label Studio's JSON export: tasks with data and annotations of the tags Pairwise, Ranker and Choices; also its
pre-annotated tasks that nobody annotated, which are to be judged."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import counted, position_of, ranked, verdict
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import as_dict, prompt_of, response_of, short, text_of
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

PROMPTS = ("prompt", "question", "instruction", "input", "query", "dialogue", "messages", "text")
_RESPONSE = re.compile(
    r"(?:response|completion|answer|generation|output|text|candidate|option)[-_ ]?(?:[a-i]|[1-9])", re.IGNORECASE
)


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    data = as_dict(raw.get(columns["data"]))
    results = [(given, list(_results(given))) for given in _annotations(raw, columns)]
    asked = next((name for name in PROMPTS if data.get(name)), None)
    if asked is None:
        raise RowError("data", f"has no prompt: nothing in its data is called {', '.join(PROMPTS)}")
    texts, names = _responses(data, [result for _, found in results for result in found])
    responses = counted([Response(response_of(text, "data")) for text in texts], "data")
    statements = [statement for given, found in results for statement in _statements(given, found, names)]
    return (ImportedRow(line, prompt_of(data[asked], asked), responses, tuple(statements)),)


def claims(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["data"]), dict) and ("annotations" in raw or "id" in raw or "completions" in raw)


def _annotations(raw: Raw, columns: Columns) -> list[Mapping[str, object]]:
    given = raw.get(columns.get("annotations", "annotations"))
    each = [as_dict(one) for one in given] if isinstance(given, list) else []
    return [one for one in each if not one.get("was_cancelled")]


def _results(annotation: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    given = annotation.get("result")
    for one in given if isinstance(given, list) else ():
        yield as_dict(one)


def _responses(data: Mapping[str, object], results: Sequence[Mapping[str, object]]) -> tuple[list[object], list[str]]:
    """The responses and what they are called: what a Pairwise tag is about, items of a list, or columns by name."""
    for result in results:
        names = str(result.get("to_name", "")).split(",")
        if result.get("type") == "pairwise" and len(names) == 2 and all(name in data for name in names):
            return [data[name] for name in names], names
    for value in data.values():
        items = [as_dict(one) for one in value] if isinstance(value, list) else []
        if len(items) > 1 and all("id" in item for item in items):
            bodies = [
                next((item[key] for key in ("body", "text", "html", "title") if item.get(key)), None) for item in items
            ]
            return bodies, [str(item["id"]) for item in items]
    names = [name for name in data if _RESPONSE.fullmatch(name) and data[name]]
    return [data[name] for name in names], names


def _statements(
    annotation: Mapping[str, object], results: Sequence[Mapping[str, object]], names: Sequence[str]
) -> Iterator[Statement]:
    person = _person(annotation.get("completed_by"))
    why = [text for result in results if result.get("type") == "textarea" for text in _texts(result)]
    for result in results:
        statement = _statement(result, names)
        if statement is not None:
            yield replace(statement, annotator=person, rationale="\n\n".join(why) or None)


def _statement(result: Mapping[str, object], names: Sequence[str]) -> Statement | None:
    value = as_dict(result.get("value"))
    match result.get("type"):
        case "pairwise":
            selected = value.get("selected")
            return Statement((1, 1)) if selected is None else verdict(selected, names, "selected")
        case "ranker":
            order = _order(value.get("ranker"))
            return Statement(_ranks(order, names), answer_type="ranking") if order else None
        case "choices":
            chosen = value.get("choices")
            label = chosen[0] if isinstance(chosen, list) and len(chosen) == 1 else None
            if not isinstance(label, str) or (position_of(label, names) is None and "tie" not in label.lower()):
                return None
            return verdict(label, names, "choices")
    return None


def _order(given: object) -> list[object]:
    """What a Ranker says: a list, or the one bucket that something was put into; `_` holds what was left over."""
    if not isinstance(given, dict):
        return given if isinstance(given, list) else []
    buckets = [ids for name, ids in given.items() if name != "_" and isinstance(ids, list) and ids]
    return buckets[0] if len(buckets) == 1 else []


def _ranks(order: Sequence[object], names: Sequence[str]) -> tuple[int | None, ...]:
    places = [position_of(str(name), names) for name in order]
    if len(set(places)) < len(places) or None in places:
        raise RowError("annotations", "has a ranking of something that is none of its responses, or of one twice")
    return ranked(((place, rank) for rank, place in enumerate(places) if place is not None), len(names))


def _texts(result: Mapping[str, object]) -> Iterator[str]:
    given = as_dict(result.get("value")).get("text")
    for text in given if isinstance(given, list) else (given,):
        if isinstance(text, str) and text.strip():
            yield text_of(text, "text")


def _person(value: object) -> str | None:
    """An id, or an object with an address."""
    fields = as_dict(value)
    value = fields.get("email", fields.get("id")) if fields else value
    return None if value is None else short(value, "completed_by")


FORMAT = Format(
    name="label-studio",
    called=phrase("Label Studio tasks"),
    kind="judgements",
    fields=(
        Field("data", phrase("Data"), "data", required=True),
        Field("annotations", phrase("Annotations"), "annotations", others=("completions",)),
    ),
    claims=claims,
    parse=parse,
    loses=phrase("Cancelled annotations, predictions, and results of tags that don't say which response is better."),
)
