"""Where published things are taken from and put: the home folder, behind it the storage where one is named.

A copy lies in the home exactly where it would lie without a storage, so that nothing else has to know of it: adapters
find their base beside them, runs go on with the paths that they were given.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from app.errors import NoRoom
from app.services import disk
from app.services.places.storage import Storage
from app.services.published.bucket import Away, Bucket, Heard, Held
from app.services.published.copies import Copies
from app.services.published.thing import MANIFEST, Broken, Published, base_of, digest_of, of_model
from app.settings import settings
from training.records import sync

SETTLED_SECONDS = 600.0
"""A copy that was used a moment ago stays, whatever the bound: it was brought for somebody."""
MOST_BASES = 8
# A part of an upload may be on its way for so long; a storage that refuses is told at once.
PATIENCE_SECONDS = 120.0


class Shelf:
    """The published things of a home folder."""

    def __init__(self, home: Path, bucket: Bucket | None, *, most_bytes: int = 0, reserve_bytes: int = 0) -> None:
        """Copies take `most_bytes` at most, but for those in use, and `reserve_bytes` of the disk stay free."""
        self.home = home
        self.bucket = bucket
        self.copies = Copies(home)
        self._most_bytes = most_bytes
        self._reserve_bytes = reserve_bytes

    def bring(self, thing: Published, *, anew: bool = False, heard: Heard = lambda _: None) -> Path:
        """Where it lies, after it and the models beside which it stands were copied from the storage unless they are
        here; `anew` also if it is. Several processes copy it once.

        What neither place holds is left to whoever reads it. Raises Away, Broken for what isn't in the storage as it
        was put there, NoRoom.
        """
        for one in self._with_bases(thing, anew=anew, heard=heard):
            self.copies.used(one)
        return self.home / thing.path

    @contextmanager
    def using(self, thing: Published, heard: Heard = lambda _: None) -> Iterator[Path]:
        """Like `bring`, and it stays here until the block ends."""
        if self.bucket is None:
            yield self.home / thing.path
            return
        with ExitStack() as held:
            held.enter_context(self.copies.in_use(thing))
            for one in self._with_bases(thing, heard=heard):
                held.enter_context(self.copies.in_use(one))
                self._bring_one(one, heard=heard)
                self.copies.used(one)
            yield self.home / thing.path

    def keep(self, thing: Published, place: Path | None = None, heard: Heard = lambda _: None) -> None:
        """Put into the storage what lies in its place, or at `place` until it is moved there. Without a storage that
        is all. Raises Taken, Broken, Away."""
        if self.bucket is None:
            return
        place = place or self.home / thing.path
        self.bucket.put(thing, place, heard)
        self.copies.note(thing, _size_of(place))

    def is_taken(self, thing: Published) -> bool:
        """Whether the storage has something else in its place. Raises Away."""
        try:
            self.held(thing)
        except Broken:
            return True
        return False

    def held(self, thing: Published) -> Held | None:
        """The thing as the storage has it; None where it doesn't, or there is none. Raises Broken, Away."""
        return None if self.bucket is None else self.bucket.find(thing)

    def heal(self, thing: Published) -> bool:
        """Put what the storage has in the place of a copy that isn't what it was; whether there was something. Raises
        as `bring`."""
        if self.held(thing) is None:
            return False
        self.bring(thing, anew=True)
        return True

    def remove(self, path: str) -> None:
        """A thing, or all below a path, from the storage; what lies here is its owner's to remove. Raises Away."""
        if self.bucket is not None:
            self.bucket.remove(path)

    def make_room(self, size_bytes: int = 0) -> int:
        """Take copies away, those that were used longest ago first, until the bound holds with so much more; how many
        went. What the storage has lost, or isn't there to be asked about, stays."""
        copies = self.copies.all()
        total, gone = sum(copy.size_bytes for copy in copies) + size_bytes, 0
        with suppress(Away):
            for copy in copies:
                fits = total <= self._most_bytes and not self._is_short_of(size_bytes)
                if fits or copy.idle_seconds < SETTLED_SECONDS:
                    break
                if self._is_stored(copy.thing) and self.copies.drop(copy.thing):
                    total -= copy.size_bytes
                    gone += 1
        return gone

    def drop_unnamed(self, named: Collection[str]) -> int:
        """Take away copies of what nobody names any more; how many went. What was brought a moment ago may be about to
        be named."""
        old = [copy for copy in self.copies.all() if copy.thing.path not in named]
        return sum(self.copies.drop(copy.thing) for copy in old if copy.idle_seconds > SETTLED_SECONDS)

    def remove_unfinished(self) -> dict[str, int]:
        """Remove from the storage what writers left that never got as far as their manifest: folders, and their bytes.

        Raises Away."""
        assert self.bucket is not None
        found = {}
        for folder, size_bytes in self.bucket.unfinished():
            self.bucket.remove(folder)
            found[folder] = size_bytes
        return found

    def _with_bases(self, thing: Published, *, anew: bool = False, heard: Heard) -> Iterator[Published]:
        if self.bucket is None:
            return
        for _ in range(MOST_BASES):
            self._bring_one(thing, anew=anew, heard=heard)
            yield thing
            path = base_of(self.home, thing.path) if thing.is_folder else None
            base = None if path is None else self._model_at(path)
            if base is None:
                return
            thing, anew = base, False

    def _bring_one(self, thing: Published, *, anew: bool = False, heard: Heard) -> None:
        if thing.is_in(self.home) and not anew:
            return
        with self.copies.alone(thing, heard):
            if thing.is_in(self.home) and not anew:  # somebody else was faster
                return
            held = self.held(thing)
            if held is not None:
                self._copy(held, heard)

    def _copy(self, held: Held, heard: Heard) -> None:
        self.make_room(held.size_bytes)
        if self._is_short_of(held.size_bytes):
            raise NoRoom
        thing = held.thing
        draft = self.copies.draft_of(thing)
        try:
            held.fill(draft / "new", heard)
            place = self.home / thing.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if not thing.is_folder:
                (draft / "new" / thing.name).replace(place)
            else:
                with suppress(FileNotFoundError):
                    place.rename(draft / "old")
                (draft / "new").rename(place)
            sync(place.parent)
            self.copies.note(thing, held.size_bytes)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _model_at(self, path: str) -> Published | None:
        """The model in that place, whichever it is."""
        assert self.bucket is not None
        try:
            manifest: bytes | None = (self.home / path / MANIFEST).read_bytes()
        except OSError:
            manifest = self.bucket.manifest_of(path)
        return None if manifest is None else of_model(path, digest_of(manifest))

    def _is_stored(self, thing: Published) -> bool:
        try:
            return self.held(thing) is not None
        except Broken:
            return False

    def _is_short_of(self, size_bytes: int) -> bool:
        return bool(self._reserve_bytes) and disk.look(self.home, self._reserve_bytes + size_bytes).is_short


def shelf_of(home: Path) -> Shelf:
    """The shelf of a home folder, as this process's settings want it."""
    wanted = settings()
    bucket = None if wanted.storage_url is None else _bucket(wanted.storage_url)
    return Shelf(home, bucket, most_bytes=wanted.storage_cache_bytes, reserve_bytes=wanted.disk_reserve_bytes)


@lru_cache(maxsize=4)
def _bucket(url: str) -> Bucket:
    return Bucket(Storage(url, patience_seconds=PATIENCE_SECONDS))


def _size_of(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
