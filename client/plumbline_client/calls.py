"""One call of the API as a value, which either transport makes."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel

from plumbline_client.values import Known

Content = bytes | Path
"""What is uploaded: the bytes themselves, or a file that is read while it is sent."""

Plain = str | int | float | bool
Progress = Callable[[int, int | None], None]
"""Told of bytes that were sent or came, and of how many there are, where that is known."""

CHUNK_BYTES = 1 << 16
SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True)
class Call:
    """`is_keyed`: the site remembers the Idempotency-Key, so that a call that broke off may be made again."""

    method: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, Known | None] = field(default_factory=dict)
    body: object = None
    content: Content | None = None
    content_type: str = "application/octet-stream"
    is_keyed: bool = False
    progress: Progress | None = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether it does no harm to make it again without knowing what became of it."""
        return self.is_keyed or self.method in SAFE_METHODS

    @property
    def json(self) -> object:
        """The body as JSON has it, of a model those fields alone that were set."""
        if isinstance(self.body, BaseModel):
            return self.body.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return self.body

    @property
    def parameters(self) -> dict[str, Plain | list[Plain]]:
        """The query without what wasn't given; of a list, each value by itself."""
        given = {name: value for name, value in self.query.items() if value is not None}
        return {
            name: [_plain(one) for one in value] if isinstance(value, list | tuple) else _plain(value)
            for name, value in given.items()
        }


def place(value: object) -> str:
    """A value as a part of a path."""
    return quote(str(value), safe="")


def _plain(value: object) -> Plain:
    if isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def size_of(content: Content) -> int:
    """In bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def pieces_of(content: Content) -> Iterator[bytes]:
    """All of it, from the beginning."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
