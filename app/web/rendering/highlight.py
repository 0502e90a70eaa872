"""Code with its words in classes, for a fixed list of languages.

Pygments' lexers are regular expressions, and some take quadratic time: 20,000 line breaks would keep Java's busy for
half a minute. So there is a deadline besides the limit of length. It is looked at between tokens; of 1,498 repetitive
texts that were tried, no single token took longer than some milliseconds.
"""

import time
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from operator import itemgetter

from markdown_it.common.utils import escapeHtml
from pygments.lexer import RegexLexer
from pygments.lexers.c_cpp import CLexer, CppLexer
from pygments.lexers.css import CssLexer
from pygments.lexers.data import JsonLexer, YamlLexer
from pygments.lexers.go import GoLexer
from pygments.lexers.html import HtmlLexer
from pygments.lexers.javascript import JavascriptLexer, TypeScriptLexer
from pygments.lexers.jvm import JavaLexer
from pygments.lexers.python import PythonLexer
from pygments.lexers.rust import RustLexer
from pygments.lexers.shell import BashLexer
from pygments.lexers.sql import SqlLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

LONGEST_HIGHLIGHTED = 20_000
SECONDS_FOR_A_TEXT = 0.25  # ordinary code of the longest length takes about a third of it

LEXERS: dict[str, type[RegexLexer]] = {
    "bash": BashLexer,
    "c": CLexer,
    "cpp": CppLexer,
    "css": CssLexer,
    "go": GoLexer,
    "html": HtmlLexer,
    "java": JavaLexer,
    "javascript": JavascriptLexer,
    "json": JsonLexer,
    "python": PythonLexer,
    "rust": RustLexer,
    "sql": SqlLexer,
    "typescript": TypeScriptLexer,
    "yaml": YamlLexer,
}
OTHER_NAMES = {"c++": "cpp", "js": "javascript", "py": "python", "sh": "bash", "ts": "typescript", "yml": "yaml"}

# The first that a token is part of; what is in none stays as it is.
CLASSES = {
    Comment: "code-comment",
    Keyword: "code-keyword",
    Operator.Word: "code-keyword",
    Name.Tag: "code-keyword",
    String: "code-string",
    Number: "code-number",
    Name.Attribute: "code-name",
    Name.Class: "code-name",
    Name.Function: "code-name",
    Name.Decorator: "code-name",
}


class Budget:
    """Processor seconds that the code of one text may take together. The first look at it starts the clock."""

    def __init__(self, seconds: float = SECONDS_FOR_A_TEXT) -> None:
        self._end = time.thread_time() + seconds

    @property
    def is_spent(self) -> bool:
        return time.thread_time() > self._end


def highlight(code: str, language: str, budget: Budget) -> str | None:
    """Escaped HTML of exactly this code, or None where it has to stay plain."""
    name = language.lower()
    lexer = LEXERS.get(OTHER_NAMES.get(name, name))
    if lexer is None or len(code) > LONGEST_HIGHLIGHTED:
        return None
    parts: list[str] = []
    length = 0
    for css_class, words in groupby(_classed(code, lexer, budget), key=itemgetter(0)):
        text = "".join(word for _, word in words)
        length += len(text)
        parts.append(f'<span class="{css_class}">{escapeHtml(text)}</span>' if css_class else escapeHtml(text))
    return "".join(parts) if length == len(code) else None


def _classed(code: str, lexer: type[RegexLexer], budget: Budget) -> Iterator[tuple[str, str]]:
    """Class and text of each token, as far as the budget reaches."""
    for _, kind, text in lexer().get_tokens_unprocessed(code):
        if budget.is_spent:
            return
        yield _class_of(kind), text


@cache
def _class_of(kind: _TokenType) -> str:
    return next((css_class for whole, css_class in CLASSES.items() if kind in whole), "")
