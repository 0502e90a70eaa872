"""A storage of objects: S3 and what speaks like it, by obstore, an extra.

Credentials, region and endpoint are those of the environment, `AWS_ACCESS_KEY_ID` and so on, as for other programs.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from app.errors import Conflict, Invalid
from app.services.places.place import PIECE_BYTES, Content, Damaged

SCHEMES = ("s3://", "gs://", "az://")
CONNECT_SECONDS = 5
ALLOW_HTTP = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP")


@dataclass(frozen=True)
class Listed:
    """An object as the storage lists it; `tag` is another one when its bytes are."""

    name: str
    size_bytes: int
    changed_at: datetime
    tag: str | None


class Storage:
    keeps_many = True

    def __init__(self, url: str, *, patience_seconds: float | None = None) -> None:
        """A request is tried again for `patience_seconds`, or for as long as obstore does.

        Raises Invalid where obstore isn't installed, or for an address that it doesn't understand.
        """
        if find_spec("obstore") is None:
            raise Invalid("%(url)s needs obstore, which isn't installed: pip install plumbline[storage]", url=url)
        self._obstore: Any = import_module("obstore")
        self._url = url
        with self._in_words():
            self._store = import_module("obstore.store").from_url(url, **_patience(patience_seconds))

    @property
    def called(self) -> str:
        return self._url

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        yield

    def names(self, prefix: str) -> dict[str, int]:
        return {found.name: found.size_bytes for found in self.listed(prefix)}

    def listed(self, prefix: str) -> Iterator[Listed]:
        """What `names` finds, and what else is said of it, a batch at a time."""
        with self._in_words():
            for batch in self._obstore.list(self._store, prefix):
                for found in batch:
                    yield Listed(found["path"], found["size"], found["last_modified"], found["e_tag"])

    def put(self, name: str, content: Content) -> None:
        with self._in_words():
            self._obstore.put(self._store, name, content.pieces())

    def create(self, name: str, content: bytes) -> bool:
        """Store a small content unless there is one of this name; whether it did. Of several at once one does."""
        with self._in_words():
            try:
                self._obstore.put(self._store, name, content, mode="create")
            except self._obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def small(self, name: str) -> bytes | None:
        """A content at once; None where there is none."""
        with self._in_words():
            try:
                return bytes(self._obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def read(self, name: str) -> Iterator[bytes]:
        with self._in_words():
            try:
                pieces = self._obstore.get(self._store, name).stream(min_chunk_size=PIECE_BYTES)
            except FileNotFoundError:
                raise Damaged("The backup is damaged: %(name)s is missing.", name=name) from None
            yield from (bytes(piece) for piece in pieces)

    def remove(self, name: str) -> None:
        self.remove_all([name])

    def remove_all(self, names: Iterable[str]) -> None:
        """Remove what is there of these names."""
        with self._in_words():
            self._obstore.delete(self._store, list(names))

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise Conflict("The storage %(url)s can't be used: %(reason)s", url=self._url, reason=reason) from error


def _patience(seconds: float | None) -> dict[str, Any]:
    if seconds is None:
        return {}
    silence = timedelta(seconds=max(seconds, CONNECT_SECONDS))
    client = {
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        # One request may take as long as its bytes do; what ends it is silence.
        "read_timeout": silence,
        "timeout": timedelta(days=1),
        # Given options take the place of those that obstore reads from the environment itself.
        "allow_http": any(os.environ.get(name, "").lower() in {"true", "1"} for name in ALLOW_HTTP),
    }
    return {"client_options": client, "retry_config": {"retry_timeout": timedelta(seconds=seconds), "max_retries": 3}}
