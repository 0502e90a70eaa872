"""hh-rlhf transcripts: lines of {"chosen", "rejected"}, two whole conversations that differ in their last response.

What real files hold and what becomes of it: turns of one speaker in a row are one turn (a model that wrote "Human:" or
"Assistant:" itself); every other oddity makes a bad row.
"""

import re

from app.services.data.imports.comparisons import COMPARISONS
from app.services.data.imports.files import RowError, json_object, text_of
from app.services.data.imports.format import ImportFormat
from app.services.data.imports.rows import ComparisonRow, Turn

MARKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def parse(content: bytes) -> ComparisonRow:
    """Raises RowError with the reason when the row can't be used."""
    row = json_object(content)
    chosen, rejected = (_turns(text_of(row.get(name), name), name) for name in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise RowError("holds two different conversations: they differ before the last response")
    if chosen[-1] == rejected[-1]:
        raise RowError("holds the same response twice")
    return ComparisonRow(tuple(chosen[:-1]), chosen[-1][1], rejected[-1][1])


def _turns(text: str, name: str) -> list[Turn]:
    before, *parts = MARKER.split(text)
    if not parts:
        raise RowError(f"has no 'Human:' and 'Assistant:' in {name!r}")
    if before.strip():
        raise RowError(f"has text before the first 'Human:' in {name!r}")
    turns: list[Turn] = []
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        role, said = ROLES[speaker], said.strip()
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{said}".strip())
        else:
            turns.append((role, said))
    if turns[0][0] != "user":
        raise RowError(f"does not start with 'Human:' in {name!r}")
    if turns[-1][0] != "assistant":
        raise RowError(f"does not end with a response in {name!r}")
    if not turns[-1][1]:
        raise RowError(f"has an empty response in {name!r}")
    if not all(said for _, said in turns):
        raise RowError(f"has an empty turn in {name!r}")
    return turns


FORMAT = ImportFormat("comparisons", "hh-rlhf transcripts", COMPARISONS, parse)
