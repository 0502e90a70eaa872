"""The rows of a file as what they stand for in a format."""

from collections.abc import Iterable, Iterator

from app.services.data.imports.formats.format import Columns, Format
from app.services.data.imports.rows import BadRow, ImportedRow, Raw, RawRow, RowError

LARGEST_GROUP = 10_000
LETTERS_OF_A_GROUP = 16 * 2**20


def read(rows: Iterable[RawRow | BadRow], form: Format, columns: Columns) -> Iterator[ImportedRow | BadRow]:
    """What each row stands for, or why it can't be used; `columns` is where the format's fields are read from.

    A row can stand for several (a tree of messages), and several for one (responses that are rated one by one).
    """
    return _grouped(rows, form, columns) if form.group else _one_by_one(rows, form, columns)


def _one_by_one(rows: Iterable[RawRow | BadRow], form: Format, columns: Columns) -> Iterator[ImportedRow | BadRow]:
    parse = form.parse
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            yield from parse((row.fields,), columns, row.line)
        except RowError as error:
            yield BadRow(row.line, error.field, error.reason)


def _grouped(rows: Iterable[RawRow | BadRow], form: Format, columns: Columns) -> Iterator[ImportedRow | BadRow]:
    assert form.group is not None
    column = columns.get(form.group)
    group: list[Raw] = []
    line, shared, letters = 0, None, 0
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        value = row.fields.get(column) if column else None
        is_full = len(group) == LARGEST_GROUP or letters > LETTERS_OF_A_GROUP
        if group and (value != shared or value is None or is_full):
            yield from _parsed(form, group, columns, line)
            group = []
        if not group:
            line, shared, letters = row.line, value, 0
        group.append(row.fields)
        letters += sum(len(value) for value in row.fields.values() if isinstance(value, str))
    if group:
        yield from _parsed(form, group, columns, line)


def _parsed(form: Format, group: list[Raw], columns: Columns, line: int) -> Iterator[ImportedRow | BadRow]:
    try:
        yield from form.parse(group, columns, line)
    except RowError as error:
        yield BadRow(line, error.field, error.reason)
