"""CSV (RFC 4180) for people who open it in a spreadsheet."""

import csv
from collections.abc import Iterable
from io import StringIO

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\0")


def harmless(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it; anything else stays."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV, no text of which is a formula."""
    text = StringIO()
    csv.writer(text).writerows([harmless(value) for value in row] for row in rows)
    return text.getvalue()
