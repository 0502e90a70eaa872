"""Model versions of one kind in columns that can be compared: each figure beside that of the version in use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.db.tables import ModelVersion
from app.services.loop.stages.figures import COMPARED, MEASURED_BY
from app.web.locales import gettext
from app.web.words.figures import Figure, described, difference


def writer_name(kind: str, name: str) -> str:
    """A writer's name for people: a policy has its number, a served model its own."""
    return gettext("policy %(number)s") % {"number": name} if kind == "policy" else name


@dataclass(frozen=True)
class Cell:
    """A figure of a version; `difference` is how much more than the version in use has, "" where that says nothing."""

    figure: Figure
    difference: str


@dataclass(frozen=True)
class Comparison:
    """The `titles` of the columns, and by version one cell for each of them, None where it wasn't measured.

    `has_differences`: some cell has one.
    """

    titles: tuple[str, ...]
    cells: Mapping[int, tuple[Cell | None, ...]]
    has_differences: bool

    def leading(self, version: ModelVersion) -> Figure | None:
        """The most telling figure of a version, None where none of the columns was measured."""
        return next((cell.figure for cell in self.cells[version.id] if cell is not None), None)


def comparison(versions: Sequence[ModelVersion], in_use: ModelVersion | None) -> Comparison:
    """Columns are the figures by which versions of a kind are compared, as far as any of these has them."""
    told = {version.id: {figure.name: figure for figure in described(version.figures)} for version in versions}
    titles = {name: figure.title for figures in told.values() for name, figure in figures.items()}
    names = [name for name in COMPARED[versions[0].kind] if name in titles]
    cells = {
        version.id: tuple(
            Cell(told[version.id][name], _difference(name, version, in_use)) if name in told[version.id] else None
            for name in names
        )
        for version in versions
    }
    return Comparison(
        titles=tuple(titles[name] for name in names),
        cells=cells,
        has_differences=any(cell and cell.difference for row in cells.values() for cell in row),
    )


def _difference(name: str, version: ModelVersion, in_use: ModelVersion | None) -> str:
    """Of what was measured by the same alone: a win rate over one policy says nothing of that over another."""
    if in_use is None or in_use.id == version.id:
        return ""
    if any(getattr(version, by) != getattr(in_use, by) for by in MEASURED_BY.get(name, ())):
        return ""
    return difference(name, version.figures, in_use.figures)
