"""The lists of what a project holds, as people read them: filters, columns, and what a row says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.services.browse.lists import ListName
from app.services.selection.rules import RULES
from app.web.locales import gettext, lazy
from app.web.words import figures
from app.web.words.choices import said_as_stored

TITLES: Mapping[ListName, str] = {
    "prompts": lazy("Prompts"),
    "responses": lazy("Responses"),
    "tasks": lazy("Tasks"),
    "judgements": lazy("Judgements"),
    "demonstrations": lazy("Demonstrations"),
}
FIELDS: Mapping[str, str] = {
    "search": lazy("Words"),
    "split": lazy("Split"),
    "tag": lazy("Tag"),
    "topic": lazy("Topic"),
    "source": lazy("Source"),
    "excluded": lazy("Kept out of datasets"),
    "since": lazy("From day"),
    "until": lazy("To day"),
    "policy": lazy("Policy number"),
    "longer_than": lazy("Longer than, in characters"),
    "shorter_than": lazy("Shorter than, in characters"),
    "state": lazy("State"),
    "purpose": lazy("Purpose"),
    "agreement": lazy("Agreement"),
    "decided": lazy("Decided by a reviewer"),
    "annotator": lazy("Annotator"),
    "round": lazy("Round number"),
    "kind": lazy("Kind"),
    "standing": lazy("Standing"),
    "flag": lazy("Flag"),
    "hurried": lazy("Hurried"),
    "in_dataset": lazy("In a dataset version"),
    "author": lazy("Author"),
    "given_to": lazy("Given to"),
}
WORDS: Mapping[str, str] = {
    "train": lazy("training"),
    "validation": lazy("validation"),
    "held_out": lazy("held out"),
    "open": lazy("open"),
    "closed": lazy("closed"),
    "retired": lazy("retired"),
    "label": lazy("label"),
    "qualification": lazy("qualification"),
    "gold": lazy("gold"),
    "repeat": lazy("repeat"),
    "review": lazy("review"),
    "divided": lazy("divided"),
    "agreed": lazy("agreed"),
    "human": lazy("by a person"),
    "simulated": lazy("simulated"),
    "imported": lazy("imported"),
    "machine": lazy("by a machine"),
    "current": lazy("current"),
    "replaced": lazy("replaced"),
    "check": lazy("check"),
    "verdict": lazy("verdict"),
    "starter": lazy("starter"),
    "policy": lazy("policy"),
    "person": lazy("person"),
    "written": lazy("written"),
    "edited": lazy("edited"),
    "served": lazy("served model"),
    "yes": lazy("yes"),
    "no": lazy("no"),
}


@dataclass(frozen=True)
class FilterField:
    """`options` are values with their words; without any the field is typed. `is_set`: one of them is chosen always."""

    name: str
    title: str
    input: Literal["select", "search", "number", "date", "text"]
    value: str
    options: tuple[tuple[str, str], ...] = ()
    is_set: bool = False


@dataclass(frozen=True)
class Cell:
    """`label` is its column's title, for screens too narrow for a table."""

    label: str
    text: str
    is_number: bool = False
    is_long: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a list, as it is read. `path` is where more about it stands, below the project's own."""

    id: int
    path: str
    cells: tuple[Cell, ...]


def word(value: str | None) -> str:
    """What a state, a split or a source is called."""
    return str(WORDS.get(value, value)) if value is not None else "–"


def filter_fields(
    kind: type[BaseModel], given: Mapping[str, str], titles: Mapping[str, str] = FIELDS
) -> list[FilterField]:
    """A field for each filter, days last."""
    names = sorted(kind.model_fields, key=lambda name: name in ("since", "until"))
    called = {name: str(titles.get(name, name)) for name in names}
    return [_filter_field(name, called[name], kind.model_fields[name], given.get(name, "")) for name in names]


def standing_of(judgement: Any) -> str:
    """What the judgement is of the filter of that name."""
    if judgement.superseded_by:
        return "replaced"
    return "check" if judgement.is_check else "verdict" if judgement.is_verdict else "current"


def lines(name: ListName, rows: Sequence[Any]) -> list[Line]:
    """What each row says."""
    return [_LINES[name](row) for row in rows]


def _filter_field(name: str, title: str, field: FieldInfo, value: str) -> FilterField:
    options = _options(field.annotation)
    if options:
        return FilterField(name, title, "select", value, tuple((option, word(option)) for option in options))
    inner = {part for part in get_args(field.annotation) if part is not type(None)}
    if date in inner:
        return FilterField(name, title, "date", value)
    if any(int in (part, *get_args(part)) for part in inner):
        return FilterField(name, title, "number", value)
    return FilterField(name, title, "search" if name == "search" else "text", value)


def _options(annotation: Any) -> tuple[str, ...]:
    for part in get_args(annotation):
        if isinstance(part, str):
            return tuple(get_args(annotation))
        found = _options(part)
        if found:
            return found
    return ()


def _cell(name: str, text: str | None, *, is_number: bool = False, is_long: bool = False) -> Cell:
    return Cell(str(FIELDS.get(name, name)), text or "–", is_number, is_long)


def _text(text: str | None, erased_at: datetime | None) -> str:
    """A text of people's, or that it was erased."""
    return gettext("erased") if erased_at else text or "–"


def _prompt(row: Any) -> Line:
    return Line(
        row.id,
        f"/prompts/{row.id}",
        (
            Cell(gettext("Prompt"), _text(row.asked, row.erased_at), is_long=True),
            _cell("split", word(row.split)),
            _cell("tag", ", ".join(row.tags)),
            _cell("topic", row.topic),
            _cell("source", row.source),
            Cell(gettext("Responses"), figures.count(row.responses), is_number=True),
            Cell(gettext("Datasets"), gettext("kept out") if row.excluded else ""),
        ),
    )


def _response(row: Any) -> Line:
    by = gettext("Policy %(number)s") % {"number": row.policy} if row.policy else word(row.source)
    return Line(
        row.id,
        f"/prompts/{row.prompt_id}#response-{row.id}",
        (
            Cell(gettext("Response"), _text(row.text, row.erased_at), is_long=True),
            Cell(gettext("Prompt"), row.asked or "–", is_long=True),
            _cell("source", by),
            Cell(gettext("Characters"), figures.count(row.characters), is_number=True),
        ),
    )


def _task(row: Any) -> Line:
    return Line(
        row.id,
        f"/tasks/{row.id}",
        (
            Cell(gettext("Prompt"), _text(row.asked, row.prompt_erased_at), is_long=True),
            _cell("state", _task_state(row)),
            _cell("purpose", word(row.purpose)),
            Cell(gettext("Judged"), f"{row.judged} / {figures.places(row.quota)}", is_number=True),
            _cell("round", figures.count(row.round) if row.round else None),
            Cell(gettext("Rule"), gettext(RULES[row.rule].title) if row.rule in RULES else word(row.rule)),
        ),
    )


def _task_state(row: Any) -> str:
    if row.erased_at:
        return gettext("erased")
    if row.given_to is None:
        return word(row.state)
    return gettext("%(state)s, for %(name)s") % {"state": word(row.state), "name": row.given_to}


def _judgement(row: Any) -> Line:
    seconds = figures.number(row.active_ms / 1000, 2) if row.active_ms is not None else None
    standing = standing_of(row)
    return Line(
        row.id,
        f"/tasks/{row.task_id}#judgement-{row.id}",
        (
            Cell(gettext("Answer"), said_as_stored(row)),
            _cell("annotator", _who(row)),
            _cell("standing", word(standing)),
            Cell(gettext("Seconds"), seconds or "–", is_number=True),
            Cell(gettext("Reason"), _text(row.rationale, row.erased_at), is_long=True),
            Cell(gettext("Said"), figures.moment(row.submitted_at)),
        ),
    )


def _who(row: Any) -> str:
    """By name; a machine is always called one."""
    if row.kind == "machine":
        return f"{row.annotator} ({word(row.kind)})"
    return row.annotator or word(row.kind)


def _demonstration(row: Any) -> Line:
    return Line(
        row.id,
        f"/prompts/{row.prompt_id}#demonstration-{row.id}",
        (
            Cell(gettext("Response"), _text(row.text, row.erased_at), is_long=True),
            Cell(gettext("Prompt"), row.asked or "–", is_long=True),
            _cell("source", word(row.source)),
            _cell("author", row.author),
        ),
    )


_LINES: Mapping[ListName, Callable[[Any], Line]] = {
    "prompts": _prompt,
    "responses": _response,
    "tasks": _task,
    "judgements": _judgement,
    "demonstrations": _demonstration,
}
