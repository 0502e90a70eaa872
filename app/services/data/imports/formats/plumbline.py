"""Our own exports of what people said: all judgements, the form for another Plumbline, and raw preferences. Plain
preferences and demonstrations are of TRL's schemas. Exports from before their columns were typed (null where nobody was
asked) are read, too."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats import preferences
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, TOPIC, about, counted
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    list_of,
    prompt_of,
    response_of,
    short,
    text_of,
    text_or_none,
    truth_of,
    whole_number_of,
)
from app.services.data.imports.rows import (
    Circumstances,
    Demonstration,
    ImportedRow,
    Raw,
    Response,
    RowError,
    Statement,
)

SIDES = {"first": 1, "second": -1, "tie": 0}
SCALES = ("seven", "six", "eight")
NOBODY = "imported"


def parse_judgement(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    prompt = prompt_of(raw.get("prompt"), "prompt")
    texts = [response_of(value, "responses") for value in list_of(raw.get("responses"), "responses")]
    models = _each(raw["models"], "models", len(texts)) if raw.get("models") else [None] * len(texts)
    given = [
        Response(text, short(model, "models") if model else None) for text, model in zip(texts, models, strict=True)
    ]
    # What is said of a single response is whether it is acceptable.
    is_single = len(given) == 1 and raw.get("acceptable") not in (None, [""], '[""]')
    responses = tuple(given) if is_single else counted(given, "responses")
    written = text_or_none(raw.get("better_response"), "better_response")
    shown = () if written is None else (Demonstration(written, _position(raw, "better_response_of", len(texts))),)
    task = raw.get("task", raw.get("task_id"))
    called = None if task is None else short(task, "task")
    row = ImportedRow(line, prompt, responses, (_judgement(raw, len(texts)),), shown, task=called)
    return (about(row, raw, columns),)


def parse_raw_preference(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    row = preferences.compared(raw, columns, line)
    annotator = _annotator(raw)
    strength = _number(raw, "strength") or None
    statement = replace(
        row.statements[0],
        strength=None if _is_untold(raw, "less_harmful") else strength,
        annotator=annotator,
    )
    safe = _truth(raw.get("chosen_safe"), "chosen_safe"), _truth(raw.get("rejected_safe"), "rejected_safe")
    less_harmful = raw.get("less_harmful") or None
    if safe[0] is not None and safe[1] is not None and less_harmful is not None:
        sides = {"chosen": 1, "rejected": -1, "tie": 0}
        # A list can't be looked up.
        if not isinstance(less_harmful, str) or less_harmful not in sides:
            raise RowError(
                "less_harmful", "has something under 'less_harmful' that is none of chosen, tie and rejected"
            )
        statement = replace(statement, safe=(safe[0], safe[1]), less_harmful=sides[less_harmful])
    return (about(replace(row, statements=(statement,)), raw, columns),)


def claims_judgement(raw: Raw, columns: Columns) -> bool:
    return "answer_type" in raw and "judgement_id" in raw


def claims_lossless(raw: Raw, columns: Columns) -> bool:
    return "answer_type" in raw and "judgement_id" not in raw


def claims_raw_preference(raw: Raw, columns: Columns) -> bool:
    return "judgement_id" in raw and isinstance(raw.get("chosen"), list)


def _judgement(raw: Raw, size: int) -> Statement:
    answer_type = text_of(raw.get("answer_type"), "answer_type")
    if answer_type not in (*SCALES, "ranking", "best"):
        raise RowError("answer_type", f"has an answer of a kind {answer_type!r} that isn't known")
    strength = None
    if answer_type in SCALES:
        preference = whole_number_of(raw.get("preference"), "preference")
        ranks: tuple[int | None, ...] = (1, 1) if not preference else (1, 2) if preference > 0 else (2, 1)
        strength = None if _is_untold(raw, "ranks") else abs(preference)
    else:
        ranks = tuple(_rank(value, size) for value in _each(raw.get("ranks"), "ranks", size))
    safe = [_truth(value, "safe") for value in _each(raw.get("safe"), "safe", size)] if raw.get("safe") else []
    acceptable = tuple(
        _truth(value, "acceptable") for value in _each(raw.get("acceptable") or [None] * size, "acceptable", size)
    )
    is_safe = (safe[0], safe[1]) if len(safe) == 2 else (None, None)
    is_pair_of_a_file = raw.get("kind") == NOBODY and answer_type == "ranking" and size == 2
    return Statement(
        ranks=ranks,
        strength=strength,
        answer_type=None if is_pair_of_a_file else answer_type,
        acceptable=acceptable if any(value is not None for value in acceptable) else None,
        criteria={short(name, "criteria"): _side(value) for name, value in _mapping(raw, "criteria").items()},
        flags=_flags(raw, size),
        safe=None if is_safe[0] is None or is_safe[1] is None else (is_safe[0], is_safe[1]),
        less_harmful=_less_harmful(raw.get("less_harmful")),
        annotator=_annotator(raw),
        rationale=text_or_none(raw.get("rationale"), "rationale"),
        circumstances=_circumstances(raw, size),
    )


def _circumstances(raw: Raw, size: int) -> Circumstances:
    order = tuple(whole_number_of(value, "shown_order") for value in _each(raw.get("shown_order"), "shown_order", size))
    if sorted(order) != list(range(size)):
        raise RowError("shown_order", "has an order under 'shown_order' that doesn't name each response once")
    return Circumstances(
        shown_order=order,
        first_action_ms=_number(raw, "first_action_ms"),
        active_ms=_number(raw, "active_ms"),
        visits=_number(raw, "visits"),
        hurried=_truth(raw.get("hurried"), "hurried") or False,
        served_at=text_or_none(raw.get("served_at"), "served_at"),
        submitted_at=text_or_none(raw.get("submitted_at"), "submitted_at"),
    )


def _flags(raw: Raw, size: int) -> dict[int, tuple[str, ...]]:
    found = {}
    for key, names in _mapping(raw, "flags").items():
        position = whole_number_of(key, "flags")
        if not 0 <= position < size:
            raise RowError("flags", "has flags of a response that isn't there")
        found[position] = tuple(short(name, "flags") for name in list_of(names, "flags"))
    return found


def _annotator(raw: Raw) -> str | None:
    value = raw.get("annotator")
    return None if value in (None, "", NOBODY) else short(value, "annotator").removeprefix(f"{NOBODY}:")


def _is_untold(raw: Raw, typed: str) -> bool:
    """Exports from before the columns were typed called every imported pair two levels better."""
    return raw.get("annotator") == NOBODY and raw.get(typed, "") is None


def _mapping(raw: Raw, name: str) -> Mapping[str, object]:
    """An object, as such or as JSON."""
    value = raw.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except (ValueError, RecursionError):
            raise RowError(name, f"has no JSON under {name!r}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(name, f"has no object under {name!r}")
    return value


def _each(value: object, name: str, size: int) -> list[object]:
    found = list_of(value, name)
    if len(found) != size:
        raise RowError(name, f"has {len(found)} entries under {name!r} for {size} responses")
    return found


def _rank(value: object, size: int) -> int | None:
    rank = 0 if value is None else whole_number_of(value, "ranks")
    if not 0 <= rank <= size:
        raise RowError("ranks", f"has a rank that is not from 1 to {size}")
    return rank or None


def _position(raw: Raw, name: str, size: int) -> int | None:
    position = _number(raw, name)
    if position is not None and position >= size:
        raise RowError(name, f"has a response under {name!r} that isn't there")
    return position


def _number(raw: Raw, name: str) -> int | None:
    """A number of 0 or more; less stands for none."""
    value = raw.get(name)
    number = -1 if value is None else whole_number_of(value, name)
    return None if number < 0 else number


def _truth(value: object, name: str) -> bool | None:
    return None if value is None or value == "" else truth_of(value, name)


def _side(value: object) -> int:
    side = whole_number_of(value, "criteria")
    if side not in (-1, 0, 1):
        raise RowError("criteria", "has something under 'criteria' that is none of 1, 0 and -1")
    return side


def _less_harmful(value: object) -> int | None:
    if value is None or value == "":
        return None
    side = SIDES.get(value) if isinstance(value, str) else value
    if side not in (-1, 0, 1) or isinstance(side, bool):
        raise RowError("less_harmful", "has something under 'less_harmful' that is none of first, tie and second")
    return int(side)


def _named(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, name, name, required=True) for name in names)


JUDGEMENTS = Format(
    name="plumbline-judgements",
    called=phrase("Plumbline's export of all judgements"),
    kind="judgements",
    fields=(*_named("prompt", "responses", "judgement_id", "answer_type"), SPLIT),
    claims=claims_judgement,
    parse=parse_judgement,
    loses=phrase("Who said it, but for the pseudonym, whether it was a verdict, and the version of the guidelines."),
)
LOSSLESS = Format(
    name="plumbline",
    called=phrase("Plumbline's export for another Plumbline"),
    kind="judgements",
    fields=(*_named("prompt", "responses", "task", "answer_type"), SPLIT, TOPIC, TAGS),
    claims=claims_lossless,
    parse=parse_judgement,
    loses=phrase("Which judgement a better response came with: it becomes a demonstration."),
)
RAW_PREFERENCES = Format(
    name="plumbline-raw",
    called=phrase("Plumbline's raw export of preferences"),
    kind="judgements",
    fields=(*_named("prompt", "chosen", "rejected", "judgement_id", "annotator"), SPLIT),
    claims=claims_raw_preference,
    parse=parse_raw_preference,
    loses=phrase("That pairs follow from one ranking: the export of all judgements says so."),
)
