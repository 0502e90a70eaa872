"""HelpSteer 3 and the preferences of HelpSteer 2: two responses and how much better one is, from −3 (the first) to 3;
and HelpSteer 2, whose rows are single responses with five ratings: adjacent ones of a prompt are compared."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import MOST_RESPONSES, SPLIT, about, counted, ranked
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    as_dict,
    list_of,
    prompt_of,
    response_of,
    text_of,
    text_or_none,
    value_in,
    whole_number_of,
    whole_prompt,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement, Turn

MOST = 3
RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROLES = {"User": "user", "Assistant": "assistant"}


def parse_preference(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    context = value_in(raw, columns, "context")
    name = columns["context"]
    prompt = _in_markers(context, name) if isinstance(context, str) else prompt_of(context, name)
    names = columns["response1"], columns["response2"]
    responses = counted([Response(response_of(raw.get(name), name)) for name in names], None)
    each = value_in(raw, columns, "individual_preference")
    if each is not None and (opinions := list_of(each, columns["individual_preference"])):
        said = [_said(as_dict(one), columns["individual_preference"]) for one in opinions]
    else:
        reason = text_or_none(value_in(raw, columns, "reasoning"), columns.get("reasoning", ""))
        said = [_statement(raw.get(columns["overall_preference"]), columns["overall_preference"], reason)]
    return (about(ImportedRow(line, prompt, responses, tuple(said)), raw, columns),)


def parse_ratings(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when one of the rows can't be used."""
    prompt = _in_markers(raws[0].get(columns["prompt"]), columns["prompt"])
    if len(raws) > MOST_RESPONSES:
        raise RowError(columns["prompt"], f"has {len(raws)} responses where up to {MOST_RESPONSES} can be compared")
    responses = tuple(Response(response_of(raw.get(columns["response"]), columns["response"])) for raw in raws)
    ratings = [_ratings(raw, columns) for raw in raws]
    rationale = "\n".join(", ".join(f"{name} {rating}" for name, rating in each.items()) for each in ratings)
    if len(raws) == 1:
        statement = Statement((None,), rationale=rationale)
        return (about(ImportedRow(line, prompt, responses, (statement,)), raws[0], columns),)
    counted(responses, columns["response"])
    ranks = ranked(((place, -each["helpfulness"]) for place, each in enumerate(ratings)), len(ratings))
    statement = Statement(ranks, criteria=_criteria(ratings), rationale=rationale)
    return (about(ImportedRow(line, prompt, responses, (statement,)), raws[0], columns),)


def claims_preference(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["overall_preference"]), int | float | str) and bool(raw.get(columns["context"]))


def claims_ratings(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["helpfulness"]), int | float | str)


def _said(one: Mapping[str, object], name: str) -> Statement:
    parts = (text_or_none(one.get(key), name) for key in ("reasoning", "feedback1", "feedback2"))
    return _statement(one.get("score"), name, "\n\n".join(part for part in parts if part) or None)


def _statement(score: object, name: str, rationale: str | None) -> Statement:
    preference = whole_number_of(score, name)
    if abs(preference) > MOST:
        raise RowError(name, f"has a preference in {name!r} that is not from -{MOST} to {MOST}")
    ranks = (1, 1) if not preference else (1, 2) if preference < 0 else (2, 1)
    return Statement(ranks, strength=abs(preference), answer_type="seven", rationale=rationale)


def _ratings(raw: Raw, columns: Columns) -> dict[str, int]:
    return {name: whole_number_of(raw.get(columns[name]), columns[name]) for name in RATINGS if name in columns}


def _criteria(ratings: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Which of two was rated higher, by each rating but the first, which is the verdict."""
    if len(ratings) != 2:
        return {}
    one, other = ratings
    return {name: (one[name] > other[name]) - (one[name] < other[name]) for name in one if name != "helpfulness"}


def _in_markers(value: object, name: str) -> tuple[Turn, ...]:
    """A prompt of several turns is one text with a marker before each turn but the first."""
    first, *rest = _TURN.split(text_of(value, name))
    turns: list[Turn] = [("user", first)] if first or not rest else []
    turns += [(_ROLES[speaker], said) for speaker, said in zip(rest[::2], rest[1::2], strict=True)]
    if any(one[0] == other[0] for one, other in pairwise(turns)):
        raise RowError(name, f"has two turns of one speaker in a row in {name!r}")
    return whole_prompt(turns, name)


_DOMAIN = Field("topic", phrase("Topic"), "domain")
PREFERENCE = Field(
    "overall_preference",
    phrase("Preference from −3 to 3"),
    "overall_preference",
    required=True,
    others=("preference_strength",),
)
HELPSTEER3 = Format(
    name="helpsteer3",
    called=phrase("HelpSteer 3, and the preferences of HelpSteer 2"),
    kind="judgements",
    fields=(
        Field("context", phrase("Conversation"), "context", required=True, others=("prompt",)),
        Field("response1", phrase("First response"), "response1", required=True, others=("response_1",)),
        Field("response2", phrase("Second response"), "response2", required=True, others=("response_2",)),
        PREFERENCE,
        Field("individual_preference", phrase("Preference of each person"), "individual_preference"),
        Field("reasoning", phrase("Why"), "preference_statement", others=("preference_elaboration",)),
        _DOMAIN,
        Field("tags", phrase("Tags"), "language"),
        SPLIT,
    ),
    claims=claims_preference,
    parse=parse_preference,
    strips=phrase("The markers of turns (<extra_id_1>) in prompts that are one text."),
    loses=phrase("The overall preference, where each person's own is there: it follows from those."),
)
HELPSTEER2 = Format(
    name="helpsteer2",
    called=phrase("HelpSteer 2: responses with ratings"),
    kind="judgements",
    fields=(
        Field("prompt", phrase("Prompt"), "prompt", required=True),
        Field("response", phrase("Response"), "response", required=True),
        *(Field(name, phrase("Rating"), name, required=name == "helpfulness") for name in RATINGS),
        SPLIT,
    ),
    claims=claims_ratings,
    parse=parse_ratings,
    group="prompt",
    strips=phrase("The markers of turns (<extra_id_1>) in prompts that are one text."),
    loses=phrase("Ratings as numbers: they stay in the rationale, and say which response is better."),
)
