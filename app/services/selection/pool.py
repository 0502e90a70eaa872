"""What may be asked about: responses by prompt, with their features."""

# N = responses, F = features, P = prompts, K = responses to one prompt, padded

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from app.services.selection.arrays import Floats, Whole

NONE = -1
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Pool:
    """Responses `row_PK` to each prompt, rows of `feature_NF`, with NONE where a prompt has fewer.

    `topic_P` and `text_N` are numbers: prompts of one topic share theirs, and so do texts that say the same.
    """

    feature_NF: Floats
    row_PK: Whole
    topic_P: Whole
    text_N: Whole

    @property
    def size(self) -> int:
        """How many prompts there are."""
        return len(self.row_PK)


def pool_of(
    feature_NF: Floats, rows: Sequence[Sequence[int]], topics: Sequence[Hashable], texts: Sequence[str]
) -> Pool:
    """`rows[p]` are the rows of prompt p's responses, of which those that say the same as an earlier one are left out;
    `texts` are by row."""
    text_N = numbered([spoken(text) for text in texts])
    distinct = [list({int(text_N[row]): row for row in reversed(of_prompt)}.values()) for of_prompt in rows]
    widest = max(map(len, distinct), default=0)
    row_PK = np.full((len(distinct), widest), NONE, dtype=np.int64)
    for place, of_prompt in enumerate(distinct):
        row_PK[place, : len(of_prompt)] = sorted(of_prompt)
    return Pool(feature_NF, row_PK, numbered(topics), text_N)


def spoken(text: str) -> tuple[str, ...] | str:
    """What is left of a text without case, spaces and punctuation; the text itself where nothing is."""
    return tuple(_WORDS.findall(text.casefold())) or text


def numbered(values: Sequence[Hashable]) -> Whole:
    """Equal values have equal numbers."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], dtype=np.int64)
