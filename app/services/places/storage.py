"""A storage of objects: S3 and what speaks like it, by obstore, an extra.

Credentials, region and endpoint are those of the environment, `AWS_ACCESS_KEY_ID` and so on, as for other programs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from app.errors import Conflict, Invalid
from app.services.places.place import PIECE_BYTES, Content, Damaged

SCHEMES = ("s3://", "gs://", "az://")


class Storage:
    keeps_many = True

    def __init__(self, url: str) -> None:
        """Raises Invalid where obstore isn't installed, or for an address that it doesn't understand."""
        if find_spec("obstore") is None:
            raise Invalid("%(url)s needs obstore, which isn't installed: pip install plumbline[storage]", url=url)
        self._obstore: Any = import_module("obstore")
        self._url = url
        with self._in_words():
            self._store = import_module("obstore.store").from_url(url)

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
        with self._in_words():
            batches = self._obstore.list(self._store, prefix)
            return {found["path"]: found["size"] for batch in batches for found in batch}

    def put(self, name: str, content: Content) -> None:
        with self._in_words():
            self._obstore.put(self._store, name, content.pieces())

    def read(self, name: str) -> Iterator[bytes]:
        with self._in_words():
            try:
                pieces = self._obstore.get(self._store, name).stream(min_chunk_size=PIECE_BYTES)
            except FileNotFoundError:
                raise Damaged("The backup is damaged: %(name)s is missing.", name=name) from None
            yield from (bytes(piece) for piece in pieces)

    def remove(self, name: str) -> None:
        with self._in_words():
            self._obstore.delete(self._store, [name])

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise Conflict("The storage %(url)s can't be used: %(reason)s", url=self._url, reason=reason) from error
