"""hh-rlhf transcripts: {"chosen", "rejected"}, two whole conversations that differ in their last response; or what
comes before it once, under "prompt", and the two responses.

A paragraph that begins with the marker of whoever is speaking already is a part of what they say, marker and all:
models write "Assistant:" themselves, and people quote it.
"""

import re
from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import SPLIT, about, pair
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import response_of, text_of
from app.services.data.imports.rows import ImportedRow, Raw, RowError, Turn

MARKER = re.compile(r"(\A|\n\n|\r\n\r\n)(Human|Assistant):")
AFTER_LF = re.compile(r"\n\n(Human|Assistant):")
BEGINNING = re.compile(r"\s*Human:")
UP_TO_A_RESPONSE = re.compile(r"\s*Human:.*\n\r?\n?Assistant: *\Z", re.DOTALL)
ROLES = {"Human": "user", "Assistant": "assistant"}


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    names = columns["chosen"], columns["rejected"]
    chosen, rejected = (_turns(text_of(raw.get(name), name), name) for name in names)
    if chosen[:-1] != rejected[:-1]:
        raise RowError(None, "holds two different conversations: they differ before the last response")
    return (about(pair(line, tuple(chosen[:-1]), chosen[-1][1], rejected[-1][1]), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    value = raw.get(columns["chosen"])
    return isinstance(value, str) and BEGINNING.match(value) is not None


def parse_prompted(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["prompt"]
    asked = text_of(raw.get(name), name)
    after_marker = "" if asked.endswith(" ") else " "
    chosen, rejected = (
        response_of(raw.get(side), side).removeprefix(after_marker) for side in (columns["chosen"], columns["rejected"])
    )
    return (about(pair(line, prompt_in(asked, name), chosen, rejected), raw, columns),)


def claims_prompted(raw: Raw, columns: Columns) -> bool:
    asked = raw.get(columns["prompt"])
    if not isinstance(asked, str) or not is_up_to_a_response(asked):
        return False
    return all(isinstance(raw.get(columns[name]), str) for name in ("chosen", "rejected"))


def is_up_to_a_response(text: str) -> bool:
    """Whether a text is a transcript that ends where the assistant is about to speak."""
    return UP_TO_A_RESPONSE.match(text) is not None


def prompt_in(text: str, name: str) -> tuple[Turn, ...]:
    """The turns of such a transcript. Raises RowError."""
    return tuple(_turns(f"{text}.", name)[:-1])


def _turns(text: str, name: str) -> list[Turn]:
    before, *parts = _split(text)
    if not parts:
        raise RowError(name, f"has no 'Human:' and 'Assistant:' in {name!r}")
    if before.strip():
        raise RowError(name, f"has text before the first 'Human:' in {name!r}")
    turns: list[Turn] = []
    last = ""
    for place in range(0, len(parts), 3):
        gap, speaker, said = parts[place : place + 3]
        if speaker == last:
            turns[-1] = (turns[-1][0], f"{turns[-1][1]}{gap}{speaker}:{said}")
        else:
            turns.append((ROLES[speaker], said[1:] if said.startswith(" ") else said))
            last = speaker
    if turns[0][0] != "user":
        raise RowError(name, f"does not start with 'Human:' in {name!r}")
    if turns[-1][0] != "assistant":
        raise RowError(name, f"does not end with a response in {name!r}")
    if not turns[-1][1].strip():
        raise RowError(name, f"has an empty response in {name!r}")
    for _, said in turns:
        if not said.strip():
            raise RowError(name, f"has an empty turn in {name!r}")
    return turns


def _split(text: str) -> list[str]:
    """What comes before the first marker, then of each its gap, its speaker and what is said.

    Nearly all lines end in LF, and nearly all texts begin with it: a marker without alternatives is found several times
    as fast.
    """
    if "\r" in text or not text.startswith("\n"):
        return MARKER.split(text)
    before, *parts = AFTER_LF.split(text)
    for place in range(0, len(parts) + len(parts) // 2, 3):
        parts.insert(place, "\n\n")
    return [before, *parts]


FORMAT = Format(
    name="hh-rlhf",
    called=phrase("hh-rlhf transcripts"),
    kind="judgements",
    fields=(
        Field("chosen", phrase("Conversation with the better response"), "chosen", required=True),
        Field("rejected", phrase("Conversation with the worse response"), "rejected", required=True),
        SPLIT,
    ),
    claims=claims,
    parse=parse,
    strips=phrase("The words Human: and Assistant:, the empty line before each and one space after it."),
)
PROMPTED = Format(
    name="hh-rlhf-prompt",
    called=phrase("hh-rlhf transcripts up to the last response, and two responses"),
    kind="judgements",
    fields=(
        Field("prompt", phrase("Conversation"), "prompt", required=True),
        Field("chosen", phrase("Better response"), "chosen", required=True, others=("response",)),
        Field("rejected", phrase("Worse response"), "rejected", required=True),
        SPLIT,
    ),
    claims=claims_prompted,
    parse=parse_prompted,
    strips=FORMAT.strips,
)
