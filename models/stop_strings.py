"""Strings that end a response: looked for in its text, so that it doesn't matter which tokens they are written in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.tokenization import decode_response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTES = 4  # of a character, at most; and a token may be one of its bytes


@dataclass(frozen=True)
class StopStrings:
    """The strings that end a response of one tokenizer's tokens."""

    tokenizer: "PreTrainedTokenizerBase"
    strings: Sequence[str]

    def end(self, token_ids: Sequence[int]) -> bool:
        """Whether the text of the ids holds one of the strings. Asked after each token, so that the last ones tell."""
        longest = max(map(len, self.strings))
        last = token_ids[-(_BYTES * longest + _BYTES) :]
        if not _holds(decode_response(self.tokenizer, last), self.strings):
            return False
        return _holds(decode_response(self.tokenizer, token_ids), self.strings)


def stopped_text(text: str, strings: Sequence[str]) -> str:
    """The text before the first of the strings that it holds."""
    return text[: min((place for string in strings if (place := text.find(string)) >= 0), default=len(text))]


def _holds(text: str, strings: Sequence[str]) -> bool:
    return any(string in text for string in strings)
