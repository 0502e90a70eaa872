"""Where a pair's better response stands: as good as drawn, because a place that were always the same would tell it."""

import hashlib
from dataclasses import replace

from app.services.data.imports.rows import ImportedRow, Response, Statement
from app.services.data.storing.statements import is_plain


def placed(row: ImportedRow, prompt: bytes) -> tuple[tuple[Response, ...], tuple[Statement, ...]]:
    """Responses and what was said of them, by position; `prompt` is the prompt's digest.

    Only pairs that one statement compares are turned, and none that the file tells more of: what order it was shown in,
    which task it was, which response was edited.
    """
    if len(row.responses) != 2 or len(row.statements) != 1 or row.task is not None or row.demonstrations:
        return row.responses, row.statements
    (said,) = row.statements
    if said.circumstances is not None or len(said.ranks) != 2:
        return row.responses, row.statements
    first, second = said.ranks
    better = 0 if first is None or second is None or first <= second else 1
    chosen, rejected = row.responses[better].text, row.responses[1 - better].text
    if hashlib.sha256(prompt + f"{chosen}\0{rejected}".encode()).digest()[0] % 2 == better:
        return row.responses, row.statements
    return row.responses[::-1], (_turned(said),)


def _turned(said: Statement) -> Statement:
    if is_plain(said):
        return Statement(said.ranks[::-1], said.strength, said.answer_type)
    return replace(
        said,
        ranks=said.ranks[::-1],
        acceptable=said.acceptable and said.acceptable[::-1],
        criteria={name: -side for name, side in said.criteria.items()},
        flags={1 - position: names for position, names in said.flags.items()},
        safe=said.safe and (said.safe[1], said.safe[0]),
        less_harmful=None if said.less_harmful is None else -said.less_harmful,
    )
