"""The annotator's form as it comes in: fields to a submission. Times come from the script, if it runs.

size                              how many responses the task has, 2 unless given
answer_type                       choice                 1 … 8, of a scale
rank_a … rank_i                   1 … 9 or empty         best       a … i
criterion:NAME                    a, tie, b or empty     acceptable_a …   yes, no or empty
flag_a … (any number)             a flag's name          rationale, response, response_of
safe_a, safe_b                    yes, no or empty       less_harmful           a, tie, b or empty
replaces                          the judgement that the page showed, 0 for none
"""

from typing import TypeVar, cast, get_args

from starlette.datastructures import FormData

from app.db.tables.judging import AnswerType
from app.errors import Invalid
from app.services.judging.answers import Answer
from app.services.judging.assignments import PANE_NAMES
from app.services.judging.judgements import Submission
from app.services.projects.question import PAIRWISE

T = TypeVar("T")

LETTERS = PANE_NAMES.lower()
SIDES = {"a": 1, "tie": 0, "b": -1}
YES_OR_NO = {"yes": True, "no": False, "": None}


def read(form: FormData) -> Submission:
    """Raises Invalid for what no page of ours sends."""
    return Submission(
        answer=_answer(form, LETTERS[: _number(form, "size") or 2]),
        idempotency_key=_text(form, "idempotency_key"),
        first_action_ms=_number(form, "first_action_ms"),
        active_ms=_number(form, "active_ms"),
        visits=_number(form, "visits"),
        hurried=_text(form, "hurried") == "true",
        client_version=_text(form, "client_version")[:40] or None,
        replaces=_number(form, "replaces"),
    )


def _answer(form: FormData, letters: str) -> Answer:
    answer_type = _text(form, "answer_type") or "seven"
    if answer_type not in get_args(AnswerType):
        raise Invalid("There is no such form of answer.")
    is_pairwise = answer_type in PAIRWISE
    origin = _text(form, "response_of")
    acceptable = tuple(_one_of(form, f"acceptable_{letter}", YES_OR_NO) for letter in letters)
    safe = tuple(_one_of(form, f"safe_{letter}", YES_OR_NO) for letter in letters)
    return Answer(
        answer_type=cast(AnswerType, answer_type),
        choice=_number(form, "choice") if is_pairwise else None,
        ranks=None if is_pairwise else _ranks(form, answer_type, letters),
        criteria={
            name.removeprefix("criterion:"): _one_of(form, name, SIDES)
            for name in form
            if name.startswith("criterion:") and _text(form, name)
        },
        acceptable=acceptable if any(said is not None for said in acceptable) else None,
        flags=tuple(tuple(_texts(form, f"flag_{letter}")) for letter in letters),
        safe=safe if any(said is not None for said in safe) else None,
        less_harmful=_one_of(form, "less_harmful", SIDES) if _text(form, "less_harmful") else None,
        rationale=_text(form, "rationale"),
        response=_text(form, "response"),
        response_of=letters.index(origin) if origin and origin in letters else None,
    )


def _ranks(form: FormData, answer_type: str, letters: str) -> tuple[int | None, ...]:
    if answer_type == "best":
        best = _text(form, "best")
        return tuple(1 if letter == best else None for letter in letters)
    return tuple(_number(form, f"rank_{letter}") for letter in letters)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


def _texts(form: FormData, name: str) -> list[str]:
    return [value for value in form.getlist(name) if isinstance(value, str)]


def _number(form: FormData, name: str) -> int | None:
    text = _text(form, name).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Invalid("The field %(name)s takes a whole number.", name=name)
    return int(text)


def _one_of(form: FormData, name: str, values: dict[str, T]) -> T:
    text = _text(form, name)
    if text not in values:
        raise Invalid("The field %(name)s can't be “%(text)s”.", name=name, text=text)
    return values[text]
