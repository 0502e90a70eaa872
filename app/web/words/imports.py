"""Imports as people read them: what one is doing, and what its first rows are to an annotator."""

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase

from app.db.tables import Import, Run
from app.services.data.imports.rows import BadRow, ImportedRow, Turn
from app.services.data.storing.loads import Counts

LONGEST_SHOWN = 20_000


@dataclass(frozen=True)
class ShownTurn:
    """A turn of a conversation as the annotator's templates take it."""

    role: str
    content: str


@dataclass(frozen=True)
class ShownRow:
    """A row as an annotator would see it; `problem` is why it can't be used. `panes` are a letter and a text each."""

    line: int
    turns: tuple[ShownTurn, ...] = ()
    panes: tuple[tuple[str, str], ...] = ()
    demonstrations: tuple[str, ...] = ()
    is_judged: bool = False
    field: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Standing:
    """An import and the run that is at it, or was last."""

    import_: Import
    run: Run | None

    @property
    def is_busy(self) -> bool:
        return self.run is not None and self.run.state in ("queued", "running")

    @property
    def action(self) -> str | None:
        """What the run does or did: check, load or undo."""
        return self.run.settings["action"] if self.run is not None else None

    @property
    def counts(self) -> Counts | None:
        return Counts.of(self.import_) if self.import_.counts else None

    @property
    def failure(self) -> str | None:
        """Why the last run failed."""
        return self.run.error if self.run is not None and self.run.state == "failed" else None


def shown(rows: tuple[ImportedRow | BadRow, ...]) -> Iterator[ShownRow]:
    """The first rows of a file, as far as a page shows long ones."""
    for row in rows:
        if isinstance(row, BadRow):
            yield ShownRow(row.line, field=row.field, problem=row.reason)
            continue
        yield ShownRow(
            row.line,
            tuple(_turn(turn) for turn in row.prompt),
            tuple(zip(ascii_uppercase, (_clipped(response.text) for response in row.responses), strict=False)),
            tuple(_clipped(demonstration.text) for demonstration in row.demonstrations),
            is_judged=bool(row.statements),
        )


def _turn(turn: Turn) -> ShownTurn:
    role, content = turn
    return ShownTurn(role, _clipped(content))


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
