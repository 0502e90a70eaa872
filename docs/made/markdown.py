"""Pieces of Markdown that the made pages share."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, and none where there is no row."""
    lines = [row_of(row) for row in rows]
    return [row_of(header), row_of(["---"] * len(header)), *lines, ""] if lines else []


def row_of(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def entries(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of names with their meaning last, which a phone shows one below the other."""
    lines = table(header, rows)
    return ['<div class="entries" markdown>', "", *lines, "</div>", ""] if lines else []


def page(title: str, lead: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", lead, "", *lines])
