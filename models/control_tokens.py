"""Tokens that stand for structure: what a person types never becomes one.

A tokenizer looks for its added tokens in any text, special or not, so that a typed `<|start_header_id|>` would open a
turn. Such a text is broken up by a blank after its first character. Added tokens that are only text are left alone:
runs of blanks and line ends, words, and the HTML that some vocabularies hold.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tags of Gemma's vocabulary; whoever asks for HTML gets it back as they wrote it.
_HTML = re.compile(r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup|code)>")


class ControlTokens:
    """The control tokens of one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        special = {str(token) for token in tokenizer.all_special_tokens}
        template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
        added = {str(token) for token in tokenizer.get_added_vocab()}
        added |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        found = special | {token for token in added if token in special or not _is_text(token, template)}
        # One character can't be broken up.
        self._tokens = sorted((token for token in found if len(token.strip()) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._tokens))) if self._tokens else None
        self._normalise = _normaliser(tokenizer)

    def broken_up(self, text: str) -> str:
        """The text with every control token in it broken, whatever is left of it then."""
        if self._pattern is None:
            return text
        text = self._without(text)
        # Some are looked for in the normalised text: in full-width signs and capitals, too.
        while self._pattern.search(normalised := self._normalise(text)) is not None:
            before, text = text, self._without(normalised)
            if text == before:  # the tokenizer takes the blank out again
                return self._pattern.sub("", normalised)
        return text

    def at_start_of(self, text: str) -> str | None:
        """The control token that a text begins with."""
        found = self._pattern.match(text) if self._pattern is not None else None
        return found[0] if found is not None else None

    def _without(self, text: str) -> str:
        assert self._pattern is not None
        while self._pattern.search(text) is not None:
            text = self._pattern.sub(lambda found: f"{found[0][:1]} {found[0][1:]}", text)
        return text


def _is_text(token: str, template: str) -> bool:
    """Whether an added token that is not special is text and no structure."""
    shown = token.strip()
    return not shown or shown[0].isalnum() or (shown not in template and _HTML.fullmatch(shown) is not None)


def _normaliser(tokenizer: "PreTrainedTokenizerBase") -> Callable[[str], str]:
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return str if normalizer is None else cast(Callable[[str], str], normalizer.normalize_str)
