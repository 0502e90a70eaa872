"""Values as the text form of COPY has them."""

from collections.abc import Sequence

NULL = "\\N"


def copied(text: str) -> str:
    """A text, with what would end its line or its column escaped."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def or_null(value: object) -> str:
    """Any value but a list."""
    return NULL if value is None else copied(str(value))


def array(values: Sequence[object] | None) -> str:
    """A list of numbers or truths."""
    if values is None:
        return NULL
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def texts(values: Sequence[str]) -> str:
    """A list of texts."""
    if not values:
        return "{}"
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return copied("{" + ",".join(f'"{value}"' for value in escaped) + "}")


def hexadecimal(digest: bytes) -> str:
    """Bytes."""
    return f"\\\\x{digest.hex()}"
