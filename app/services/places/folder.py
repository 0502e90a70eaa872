"""A folder of backups."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import Invalid
from app.services.places.files import write_durably
from app.services.places.place import PIECE_BYTES, Content, Damaged


class Folder:
    """A folder that its owner alone can read; made when the first backup is written."""

    keeps_many = True

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def called(self) -> str:
        return f"{self._path.name}/"

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        if not self._path.is_dir():
            raise Invalid("There is no folder %(path)s.", path=self._path)
        yield

    def names(self, prefix: str) -> dict[str, int]:
        found = (path for path in (self._path / prefix).rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(self._path).as_posix(): path.stat().st_size for path in found}

    def put(self, name: str, content: Content) -> None:
        write_durably(self._path / name, content.pieces())

    def read(self, name: str) -> Iterator[bytes]:
        try:
            with (self._path / name).open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except FileNotFoundError:
            raise Damaged("The backup is damaged: %(name)s is missing.", name=name) from None

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)
