"""Moving what is published between the home folder and the storage, both ways, a thing at a time.

What was moved is left alone by the next try: whoever breaks off begins again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.services.places.files import sha256_of
from app.services.published.bucket import Heard, Taken
from app.services.published.shelf import Shelf
from app.services.published.thing import Broken, Published, files_in, manifest_in

Tell = Callable[[str], None]
"""Given a line about how far it is."""


@dataclass
class Moved:
    """What came of it; `problems` are sentences about what stayed where it was."""

    things: int = 0
    there_before: int = 0
    size_bytes: int = 0
    problems: list[str] = field(default_factory=list)


def to_storage(shelf: Shelf, things: Sequence[Published], tell: Tell) -> Moved:
    """Put everything into the storage that isn't there; what lies in the home is a copy from then on. Raises Away."""
    return _moved(shelf, things, tell, _put)


def to_home(shelf: Shelf, things: Sequence[Published], tell: Tell) -> Moved:
    """Bring everything back, compare it, and take it out of the storage. Raises Away, NoRoom."""
    return _moved(shelf, things, tell, _take)


_Step = Callable[[Shelf, Published, Heard], bool]


def _moved(shelf: Shelf, things: Sequence[Published], tell: Tell, step: _Step) -> Moved:
    done = Moved()
    for number, thing in enumerate(things, 1):

        def heard(size_bytes: int, number: int = number) -> None:
            done.size_bytes += size_bytes
            tell(f"{number:,} of {len(things):,}, {done.size_bytes / 1e6:,.1f} MB")

        try:
            if step(shelf, thing, heard):
                done.things += 1
            else:
                done.there_before += 1
        except (Broken, Taken) as error:
            done.problems.append(f"{thing.path}: {error.message}")
    return done


def _put(shelf: Shelf, thing: Published, heard: Heard) -> bool:
    """Whether it had to be."""
    is_there, is_here = shelf.held(thing) is not None, thing.is_in(shelf.home)
    if not is_there and not is_here:
        raise Broken("It is neither in the home nor in the storage.")
    if is_here and not (is_there and shelf.copies.is_one(thing)):
        shelf.keep(thing, heard=heard)
    return not is_there


def _take(shelf: Shelf, thing: Published, heard: Heard) -> bool:
    if shelf.held(thing) is None:
        if not thing.is_in(shelf.home):
            raise Broken("It is neither in the home nor in the storage.")
        return False
    with shelf.using(thing, heard) as place:
        if not _is_whole(thing, place):
            shelf.bring(thing, anew=True, heard=heard)
        shelf.copies.forget(thing)
        shelf.remove(thing.path)
    return True


def _is_whole(thing: Published, place: Path) -> bool:
    try:
        files = files_in(thing, manifest_in(thing, place))
        return all(sha256_of(place / name if thing.is_folder else place) == digest for name, digest in files.items())
    except (Broken, OSError):
        return False
