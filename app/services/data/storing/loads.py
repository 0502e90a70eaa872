"""A file checked, or stored in one transaction: all of it, or nothing.

Reading goes on in a thread while the database is at work on the rows before; neither holds more than some thousand of
them.
"""

import asyncio
import csv
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Import, Project, Prompt
from app.errors import Invalid
from app.services.data.imports.formats.format import Columns, Format
from app.services.data.imports.reading import read
from app.services.data.imports.rows import BadRow
from app.services.data.imports.sources.source import Source
from app.services.data.storing.frames import Frame, fingerprint, frames
from app.services.data.storing.merging import Merged, Merging
from app.services.data.storing.options import Options
from app.spreadsheets import harmless

T = TypeVar("T")

# Any constant will do, as long as nothing else in the database locks the same pair.
IMPORT_LOCK = 0x494D50
PER_CENT = 100
NICENESS = 5
BAD_ROW_COLUMNS = ("line", "field", "reason")
MOST_BAD_TOLD = 100_000
LONGEST_REASON = 500


@dataclass(frozen=True)
class Counts:
    """Rows of the file by what they are, and what is new in the project because of them.

    `duplicates` came in the file before, `already_there` are in the project. `near_held_out` rows have a prompt that is
    a held-out one but for case, blanks and punctuation.
    """

    rows: int = 0
    new: int = 0
    duplicates: int = 0
    already_there: int = 0
    bad: int = 0
    near_held_out: int = 0
    prompts: int = 0
    tasks: int = 0
    judgements: int = 0
    demonstrations: int = 0

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def of(cls, import_: Import) -> Self:
        """The counts that an import keeps."""
        return cls(**import_.counts)

    def plus(self, frame: Frame, merged: Merged) -> "Counts":
        known = frame.duplicates + merged.duplicates + merged.already_there
        return Counts(
            rows=self.rows + frame.size,
            new=self.new + frame.size - len(frame.bad) - known,
            duplicates=self.duplicates + frame.duplicates + merged.duplicates,
            already_there=self.already_there + merged.already_there,
            bad=self.bad + len(frame.bad),
            near_held_out=self.near_held_out + frame.near_held_out,
            prompts=self.prompts + merged.prompts,
            tasks=self.tasks + merged.tasks,
            judgements=self.judgements + merged.judgements,
            demonstrations=self.demonstrations + merged.demonstrations,
        )


class Watch(Protocol):
    """Who looks on while a file is read."""

    def tell(self, done: int, total: int, phase: str) -> None:
        """How far it is."""

    def require_wanted(self) -> None:
        """Raises what ends the work when it isn't to go on."""


@dataclass(frozen=True)
class Reading:
    """A file that is open, what its rows are, and what is asked of them. `bad_rows` is where bad ones are written."""

    source: Source
    form: Format
    columns: Columns
    options: Options
    bad_rows: Path


class HasBadRows(Invalid):
    """Some rows can't be used, so nothing was stored."""

    def __init__(self, counts: Counts) -> None:
        super().__init__(
            "Nothing was imported: %(bad)s of %(rows)s rows can't be used.",
            bad=f"{counts.bad:,}",
            rows=f"{counts.rows:,}",
        )
        self.counts = counts


async def check(db: AsyncSession, project: Project, import_: Import, reading: Reading, watch: Watch) -> Counts:
    """Read all of the file and count what it would bring. Nothing is stored."""
    merging = await Merging.open(db, project, import_.id, import_.file_name)
    return await _pass(db, project, reading, watch, merging, is_check=True)


async def load(db: AsyncSession, project: Project, import_: Import, reading: Reading, watch: Watch) -> Counts:
    """Store what is new in the file. Raises HasBadRows where there are bad rows that aren't to be skipped."""
    await lock(db, project)
    merging = await Merging.open(db, project, import_.id, import_.file_name)
    async with db.begin_nested():
        counts = await _pass(db, project, reading, watch, merging, is_check=False)
        if counts.bad and not reading.options.skip_bad:
            raise HasBadRows(counts)
    if not counts.rows:
        raise Invalid("%(name)s holds no row.", name=import_.file_name)
    now = await db.scalar(select(func.now()))
    import_.state, import_.imported_at, import_.counts = "imported", now, counts.to_json()
    await db.flush()
    return counts


async def lock(db: AsyncSession, project: Project) -> None:
    """One import of a project at a time, so that the second finds what the first brought. People's work goes on."""
    await db.execute(select(func.pg_advisory_xact_lock(IMPORT_LOCK, project.id)))


async def _pass(
    db: AsyncSession, project: Project, reading: Reading, watch: Watch, merging: Merging, *, is_check: bool
) -> Counts:
    rows = read(reading.source.rows(), reading.form, reading.columns)
    made = frames(rows, reading.options, await _held_out(db, project), only_keys=is_check)
    counts = Counts()
    first_bad: BadRow | None = None
    with _bad_rows(reading.bad_rows) as write_bad:
        async with aclosing(_ahead(made)) as stream:
            async for frame in stream:
                watch.require_wanted()
                write_bad(frame)
                if is_check:
                    merged = await merging.look_up(frame)
                elif counts.bad + len(frame.bad) and not reading.options.skip_bad:
                    # Nothing will be kept: what is left to find out is which other rows are bad.
                    merged = Merged(0, 0)
                    await db.execute(text("SELECT"))
                else:
                    merged = await merging.merge(frame)
                counts = counts.plus(frame, merged)
                first_bad = first_bad or next(iter(frame.bad), None)
                _require_hope(reading, counts, first_bad)
                watch.tell(*_progress(reading.source), "checking" if is_check else "storing")
    return counts


def _require_hope(reading: Reading, counts: Counts, first_bad: BadRow | None) -> None:
    """Raises Invalid once so many rows were read and none can be used: the file is of another kind, or of none."""
    if first_bad is not None and counts.bad == counts.rows >= MOST_BAD_TOLD:
        raise Invalid(
            "None of the first %(rows)s rows of %(name)s can be used, so it was not read on. Row %(line)s %(reason)s.",
            rows=f"{counts.rows:,}",
            name=reading.source.called,
            line=f"{first_bad.line:,}",
            reason=first_bad.reason[:LONGEST_REASON],
        )


def _progress(source: Source) -> tuple[int, int]:
    if not source.size_bytes:
        return 0, 0
    return min(PER_CENT, source.read_bytes * PER_CENT // source.size_bytes), PER_CENT


async def _held_out(db: AsyncSession, project: Project) -> frozenset[bytes]:
    """Fingerprints of the project's held-out prompts."""
    held_out = select(Prompt.messages).where(Prompt.project_id == project.id, Prompt.split == "held_out")
    held_out = held_out.where(Prompt.erased_at.is_(None))
    found = set()
    async for (messages,) in await db.stream(held_out):
        found.add(fingerprint((message["role"], message["content"]) for message in messages))
    return frozenset(found)


async def _ahead(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """The items, each made in a thread while the one before it is dealt with."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "reading", initializer=_step_back) as thread:
        following = loop.run_in_executor(thread, next, items, None)
        try:
            while (item := await following) is not None:
                following = loop.run_in_executor(thread, next, items, None)
                yield item
        finally:
            await asyncio.wait([following])
            if not following.cancelled():
                following.exception()


def _step_back() -> None:
    """Let those who judge go first, as training does."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


@contextmanager
def _bad_rows(path: Path) -> Iterator[Callable[[Frame], None]]:
    """Writes the bad rows of frames into a table that people can download: the first MOST_BAD_TOLD of them."""
    path.unlink(missing_ok=True)
    with ExitStack() as opened:
        tables: list[Any] = []
        told = 0

        def write(frame: Frame) -> None:
            nonlocal told
            if frame.bad and not tables:
                path.parent.mkdir(parents=True, exist_ok=True)
                tables.append(csv.writer(opened.enter_context(path.open("w", encoding="utf-8", newline=""))))
                tables[0].writerow(BAD_ROW_COLUMNS)
            if frame.bad:
                bad_rows = frame.bad[: MOST_BAD_TOLD - told]
                told += len(bad_rows)
                tables[0].writerows(
                    (bad.line, harmless(bad.field or ""), harmless(bad.reason[:LONGEST_REASON])) for bad in bad_rows
                )

        yield write
