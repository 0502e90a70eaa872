"""Which signs of a text are markup: dollars of prices or of TeX, stars of products or of emphasis.

People judge what they read, so that a sign which could be either stays as it was written.
"""

import re
import unicodedata

from markdown_it.rules_inline import StateInline

LONGEST_TEX = 2_000
LONGEST_NUMBER = 12
"""Characters, its indent included, of what may be the number of an item: more is never looked at."""
TEX_DELIMITERS = {"$$": ("$$", True), "$": ("$", False), "\\[": ("\\]", True), "\\(": ("\\)", False)}

_ASCII_WORD = re.compile(r"[A-Za-z0-9]")
# What Markdown or TeX gives a meaning to.
_ESCAPED = "*_`#[]$~>|<+-!(){}"
_LEADS_TO_A_NAME = "¯:"
_NUMBER_OF_AN_ITEM = re.compile(r"(?:^|\n) *\d+\Z")
_NO_QUOTE = re.compile(r">(?:[=_:;<.)(^-]|>>(?: |$))")
_ADDED = re.compile(r"\+\s+\d")
_STARS = re.compile(r"\*+")
_NAME_IN_UNDERSCORES = re.compile(r"__[A-Za-z][A-Za-z0-9_]*__(?![A-Za-z0-9_])")
_WORD_BY_A_SPACE = re.compile(r"[A-Za-z]{2,}[,;.]?\s|\s[A-Za-z]{2,}")
_SIGN_OF_TEX = re.compile(r"[\\^=]")
_SIGN_OR_LETTER = re.compile(r"[\\^_={}+*/<>|()\[\]0-9-]|^[A-Za-z]$")
_ENDING = re.compile(r"(th|st|nd|rd|s)(?![A-Za-z0-9])")


def tex(state: StateInline, silent: bool) -> bool:
    """`$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]`, as a rule of markdown-it.

    A price isn't TeX, nor is a name in a shell or at an exchange: as in Pandoc, a single dollar opens before a
    non-space and closes after one, and outside of them no dollar stands next to a letter or digit. What has words
    between spaces and no sign of TeX is prose. The search for the end is bounded, so that a row of dollars costs linear
    time.
    """
    source, start = state.src, state.pos
    opening = next((mark for mark in TEX_DELIMITERS if source.startswith(mark, start)), None)
    if opening is None:
        return False
    closing, display = TEX_DELIMITERS[opening]
    first = start + len(opening)
    end = _end(source, closing, first, min(state.posMax, first + LONGEST_TEX))
    if end <= first:
        return False
    after = end + len(closing)
    if opening[0] == "$" and not _is_between_dollars(source, start, after, source[first:end], opening):
        return False
    if not silent:
        token = state.push("tex", "span", 0)
        token.content = source[first:end].strip()
        token.markup = "display" if display else "inline"
    state.pos = after
    return True


def backslash(state: StateInline, silent: bool) -> bool:
    """One that escapes nothing of a meaning here, as in `\\d+\\.\\d+` or `\\\\server\\share`: a sign like any other."""
    source, start = state.src, state.pos
    if source[start] != "\\" or start + 1 >= state.posMax or source[start + 1] == "\n":
        return False
    escaped, before = source[start + 1], source[start - 1 : start]
    if escaped == "." and _NUMBER_OF_AN_ITEM.search(source[max(0, start - LONGEST_NUMBER) : start]):
        return False
    is_of_a_name = bool(before) and before in _LEADS_TO_A_NAME
    if escaped in _ESCAPED and not is_of_a_name:
        return False
    written = f"\\{escaped}" if escaped == "\\" or is_of_a_name else "\\"
    if not silent:
        state.append_pending(written)
    state.pos += len(written)
    return True


def is_quote(line: str) -> bool:
    """Whether a line that begins with `>` is a quote: no comparison, no prompt of Python, no face."""
    return not _NO_QUOTE.match(line)


def is_list(line: str) -> bool:
    """Whether a line that may begin a list does: no number that is added."""
    return not _ADDED.match(line)


def product(state: StateInline, silent: bool) -> bool:
    """Stars within a word, after a bracket or around a comment, as in `2*3*4` and `/* … */`, and the underscores of
    `__init__`: signs, not emphasis."""
    source, start = state.src, state.pos
    if found := _NAME_IN_UNDERSCORES.match(source, start, state.posMax):
        if start and (_ASCII_WORD.match(source[start - 1]) or source[start - 1] == "_"):
            return False
    else:
        found = _STARS.match(source, start, state.posMax)
        if not found or not _are_signs(source, start, found.end()):
            return False
    if not silent:
        state.append_pending(found.group())
    state.pos = found.end()
    return True


def _are_signs(source: str, start: int, end: int) -> bool:
    """Whether the stars from `start` to `end` are no emphasis."""
    before, behind = source[start - 1 : start], source[end : end + 1]
    if before == "/" and source.find("*/", end, end + LONGEST_TEX) >= 0:
        return True
    if behind == "/":
        return not before.strip() or source.rfind("/*", max(0, start - LONGEST_TEX), start) >= 0
    if before in tuple(")]}"):
        return _is_of_word(behind) or behind in tuple("([{")
    return _is_of_word(before) and _is_of_word(behind)


def _is_of_word(sign: str) -> bool:
    """A letter or digit of a script that parts its words by spaces."""
    return sign.isalnum() and unicodedata.east_asian_width(sign) not in "WF"


def _end(source: str, closing: str, first: int, last: int) -> int:
    """Where the next `closing` begins that isn't escaped; -1 if there is none."""
    end = source.find(closing, first, last)
    while closing[0] == "$" and end > first and source[end - 1] == "\\":
        end = source.find(closing, end + 1, last)
    return end


def _is_between_dollars(source: str, start: int, after: int, body: str, opening: str) -> bool:
    before, behind = source[start - 1 : start], source[after : after + 1]
    if before == "$" or behind == "$" or body[0] == "$" or body[-1] == "$" or _ASCII_WORD.match(before):
        return False
    if _WORD_BY_A_SPACE.search(body) and not _SIGN_OF_TEX.search(body):
        return False
    if _ASCII_WORD.match(behind) and not _is_word_with_ending(body, source, after):
        return False
    if opening == "$":
        return not (body[0].isspace() or body[-1].isspace())
    return not body[0].isspace() or "\n" in body or bool(_SIGN_OR_LETTER.search(body.strip()))


def _is_word_with_ending(body: str, source: str, after: int) -> bool:
    """As in “the $n$th”."""
    return (len(body) == 1 or body.startswith("\\")) and bool(_ENDING.match(source, after))
