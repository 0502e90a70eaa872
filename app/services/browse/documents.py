"""What full-text search reads: the expressions of the indexes, word for word."""

from typing import Any

from sqlalchemy import ColumnElement, literal_column

PROMPT: ColumnElement[Any] = literal_column("""jsonb_to_tsvector('simple', prompts.messages, '["string"]')""")
RESPONSE: ColumnElement[Any] = literal_column("to_tsvector('simple', completions.text)")
DEMONSTRATION: ColumnElement[Any] = literal_column("to_tsvector('simple', demonstrations.text)")
