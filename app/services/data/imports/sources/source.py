"""A file, a pipe or an upload as rows: what it is packed in and written as is found out from its first bytes.

with Source.open(path) as source:
    recognition = recognise(source.sample(50))
    for row in read(source.rows(), form, columns): ...
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from app.services.data.imports.rows import BadRow, Raw, RawRow


class Source:
    """What is read once, from its beginning to its end, in bounded memory; never opened twice.

    `called` is its name for people; `packed` (gzip, zip, …) and `written` (JSON Lines, CSV, …) are what it turned out to
    be. `read_bytes` of `size_bytes`, which is None for a pipe, were read so far: as packed, for a progress bar.
    """

    called: str
    packed: str | None
    written: str
    size_bytes: int | None

    def __init__(self, stream: BinaryIO, name: str, size_bytes: int | None = None) -> None:
        """Raises Invalid for what isn't read, with the name of what it is."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """`-` is standard input. Raises Invalid with the reason when it can't be opened or isn't read."""
        raise NotImplementedError

    @property
    def read_bytes(self) -> int:
        raise NotImplementedError

    def sample(self, count: int) -> Sequence[Raw]:
        """The first good rows, for `recognise`; `rows` gives them again."""
        raise NotImplementedError

    def rows(self) -> Iterator[RawRow | BadRow]:
        """All rows, once. Raises Invalid where the file breaks off or down: nothing of it may be kept then."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
