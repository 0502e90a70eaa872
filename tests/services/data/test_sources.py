"""Bytes to rows: any shape in any packing by any door, and by name what isn't read."""

import gzip
import io
import os
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import Invalid
from app.services.data.imports.formats.registry import recognise
from app.services.data.imports.reading import read
from app.services.data.imports.rows import BadRow, RawRow
from app.services.data.imports.sources import archive
from app.services.data.imports.sources import bytes as source_bytes
from app.services.data.imports.sources import json_lines as lines_of_json
from app.services.data.imports.sources.json_lines import NOT_UTF8
from app.services.data.imports.sources.source import Source
from tests.services.data.examples import ASKED, EXAMPLES, Example
from tests.services.data.packing import (
    OF_ANY_VALUES,
    OF_TEXTS,
    PACKINGS,
    SHAPES,
    Rows,
    delimited,
    json_lines,
    json_list,
    parquet_of,
    zipped,
)

NO_OBJECT = "is not a JSON object"
LACKING, TOO_MANY = (f"has {count} values where the header has 2" for count in (1, 3))
TEXTS: list[dict[str, Any]] = [
    {"prompt": ASKED, "chosen": "Hang it.\r\nDry.", "rejected": ' "Boil", it.\n\n; \t'},
    {"prompt": "Grüezi — 你好?", "chosen": "\u2028 x", "rejected": "🏳️‍🌈"},
]


def opened(content: bytes, name: str = "rows") -> Source:
    return Source(io.BytesIO(content), name, len(content))


def rows_of(content: bytes, name: str = "rows") -> list[RawRow | BadRow]:
    with opened(content, name) as source:
        return list(source.rows())


def fields_of(content: bytes) -> list[Any]:
    return [row.fields if isinstance(row, RawRow) else row for row in rows_of(content)]


def refusal(content: bytes) -> str:
    with pytest.raises(Invalid) as refused:
        rows_of(content)
    return str(refused.value)


def piped(content: bytes) -> Path:
    """A pipe that holds it all already, by a path that can be opened; what it gave is gone."""
    read_end, write_end = os.pipe()
    os.write(write_end, content)
    os.close(write_end)
    return Path(f"/dev/fd/{read_end}")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.form)
def test_every_format_is_read_in_every_packing(example: Example, packing: str) -> None:
    with opened(PACKINGS[packing](json_lines(example.rows))) as source:
        assert source.packed == (None if packing == "plain" else packing)
        found = recognise(source.sample(50)).best
        assert found is not None
        assert (found.form.name, list(read(source.rows(), found.form, found.columns))) == (example.form, example.read)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("write", SHAPES, ids=lambda write: write.__name__)
def test_every_shape_is_read_in_every_packing(write: Callable[[Rows], bytes], packing: str) -> None:
    with opened(PACKINGS[packing](write(TEXTS))) as source:
        assert source.written == SHAPES[write]
        assert source.sample(1) == TEXTS[:1]
        assert [row.fields for row in source.rows() if isinstance(row, RawRow)] == TEXTS


@pytest.mark.parametrize("write", OF_ANY_VALUES, ids=lambda write: write.__name__)
def test_values_of_any_kind_stay_as_they_are(write: Callable[[Rows], bytes]) -> None:
    rows = [{"a": [1, {"b": None}], "c": True, "d": 1.5, "e": {}}, {"a": [], "ü": ']}\\"'}]
    assert fields_of(write(rows)) == rows


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("write", [json_lines, json_list, delimited, parquet_of], ids=lambda write: write.__name__)
def test_a_pipe_is_read_once_and_to_its_end(write: Callable[[Rows], bytes], packing: str) -> None:
    many = [{**TEXTS[0], "prompt": f"Question {number}?"} for number in range(100)]
    path = piped(PACKINGS[packing](write(many)))
    with Source.open(path) as source:
        assert source.size_bytes is None
        source.sample(5)
        assert [row.fields for row in source.rows() if isinstance(row, RawRow)] == many
        assert source.read_bytes > 0
    os.close(int(path.name))


def test_standard_input_is_read_by_its_usual_name(monkeypatch: pytest.MonkeyPatch) -> None:
    path = piped(gzip.compress(json_lines(TEXTS)))
    with path.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with Source.open(Path("-")) as source:
            assert (source.called, source.packed) == ("standard input", "gzip")
            assert len(list(source.rows())) == 2
    os.close(int(path.name))


def test_members_one_after_the_other_are_one_file() -> None:
    one, other = json_lines(TEXTS[:1]), json_lines(TEXTS[1:])
    for packing in ("gzip", "bzip2", "xz", "zstd"):
        pack = PACKINGS[packing]
        assert fields_of(pack(one) + pack(b"") + pack(other)) == TEXTS, packing
    assert fields_of(gzip.compress(one) + bytes(512)) == TEXTS[:1], "padded, as on tape"


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("rest", [b"rest", b"\x1f\x8b\x08", b"BZ"])
def test_whatever_follows_a_member_and_is_none_refuses_the_file(packing: str, rest: bytes) -> None:
    assert "is damaged" in refusal(PACKINGS[packing](json_lines(TEXTS)) + rest)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd", "zip"])
def test_a_packed_file_that_breaks_off_anywhere_is_refused(packing: str) -> None:
    packed = PACKINGS[packing](json_lines([{"prompt": os.urandom(300).hex()}] * 40))
    for length in range(10, len(packed), 23):
        assert "is damaged" in refusal(packed[:length]), length


def test_files_of_an_archive_are_counted_on_and_a_bad_row_is_told_in_its_own_file() -> None:
    packed = zipped(json_lines(TEXTS), gzip.compress(json_lines(TEXTS[:1]) + b"oops\n"), delimited(TEXTS))
    rows = rows_of(packed)
    assert [row.line for row in rows] == [1, 2, 3, 4, 6, 10]
    assert rows[3] == BadRow(4, None, "is not JSON (row 2 of rows/1)")


def test_an_archive_in_which_nothing_is_read_and_one_within_another_are_refused() -> None:
    assert rows_of(zipped()) == []
    assert "is packed twice" in refusal(zipped(zipped(json_lines(TEXTS))))
    assert "is packed twice" in refusal(gzip.compress(gzip.compress(json_lines(TEXTS))))
    assert fields_of(gzip.compress(zipped(json_lines(TEXTS)))) == TEXTS, "each of both once"


def test_what_unpacks_to_far_too_much_is_refused_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_bytes, "LARGEST_UNPACKED", 2**20)
    bomb = (b"{}" + b" " * 1_000 + b"\n") * 5_000
    for packing in ("gzip", "bzip2", "xz", "zstd", "zip"):
        assert "unpacks to more than" in refusal(PACKINGS[packing](bomb))
    # Each file by itself is small enough.
    assert "unpacks to more than" in refusal(zipped(*[bomb[: 2**19]] * 3))


def test_what_has_to_be_kept_aside_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_bytes, "LARGEST_SPOOLED", 100)
    path = piped(zipped(json_lines(TEXTS)))
    with pytest.raises(Invalid, match="larger than what can be kept aside"):
        Source.open(path)
    os.close(int(path.name))
    assert fields_of(zipped(json_lines(TEXTS))) == TEXTS, "a file is read in place"


def test_more_files_than_anybody_packs_and_secret_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    assert refusal(zipped(b"", b"", b"")) == "rows holds more than 2 files."
    secret = bytearray(zipped(json_lines(TEXTS)))
    with zipfile.ZipFile(io.BytesIO(secret)) as opened_archive:
        start = opened_archive.start_dir
    while (start := secret.find(b"PK\x01\x02", start)) >= 0:
        secret[start + 8] |= 1
        start += 4
    assert refusal(bytes(secret)) == "rows is encrypted, which isn't read: unpack it first."


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("[Content_Types].xml", "<Types/>")
        made.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("rows.jsonl"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (workbook(), "is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook"),
        (b"SQLite format 3\0" + bytes(84), "is an SQLite database"),
        (b"ARROW1\0\0", "is an Arrow or Feather file"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "is a 7z archive"),
        (b"Rar!\x1a\7\1\0", "is a RAR archive"),
        (tarred(), "is a tar archive"),
        (gzip.compress(tarred(), mtime=0), "is a tar archive"),
        (b"%PDF-1.7", "is a PDF"),
        (b"<!DOCTYPE html>", "is HTML or XML"),
        (b"\n<?xml version='1.0'?>", "is HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "is Git LFS's pointer"),
        ('{"prompt": "a"}'.encode("utf-16"), "is UTF-16"),
        ('{"prompt": "a"}'.encode("utf-16-be"), "is UTF-16"),
        ('{"prompt": "a"}'.encode("utf-32"), "is UTF-32"),
        (bytes(range(9)) * 9 + bytes(99), "is no text"),
    ],
)
def test_what_is_not_read_is_named(content: bytes, words: str) -> None:
    assert refusal(content).startswith(f"rows {words}")


def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.jsonl"))
    file.write_bytes(json_lines(TEXTS))
    with Source.open(file) as source:
        assert source.called == "caf\\xe9\\n.jsonl"
    file.write_bytes(b"%PDF")
    with pytest.raises(Invalid, match="is a PDF"):
        Source.open(file)


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(Invalid, match="can't be read"):
            Source.open(path)


def test_how_far_it_is_can_be_followed(tmp_path: Path) -> None:
    for packing, pack in PACKINGS.items():
        file = tmp_path / packing
        file.write_bytes(pack(json_lines(TEXTS * 50_000 if packing == "plain" else TEXTS)))
        with Source.open(file) as source:
            assert source.size_bytes == file.stat().st_size
            if packing == "plain":
                assert 0 < source.read_bytes < source.size_bytes
            for _ in source.rows():
                pass
            assert source.read_bytes == source.size_bytes


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", []),
        (b"\n  \n\t\n", []),
        (b"[]", []),
        (b'{"data": []}', []),
        (
            b'["a", {"b": 1}, 2]',
            [BadRow(1, None, NO_OBJECT), {"b": 1}, BadRow(3, None, NO_OBJECT)],
        ),
        (b'{"a": 1}\n[1]\n{"a": 2}', [{"a": 1}, BadRow(2, None, NO_OBJECT), {"a": 2}]),
        (b'{"a": 1},\n{"a": 2},\n', [BadRow(1, None, "is not JSON"), BadRow(2, None, "is not JSON")]),
        (b'{"a": NaN, "b": 1e999}', None),
        (b"prompt\nHello?\n", [{"prompt": "Hello?"}]),
        (b'"prompt","chosen"\n"a","b"\n', [{"prompt": "a", "chosen": "b"}]),
        (
            b"a,b\n1\n1,2\n1,2,3\n",
            [
                BadRow(2, None, LACKING),
                {"a": "1", "b": "2"},
                BadRow(4, None, TOO_MANY),
            ],
        ),
        (
            b'a,b\n1,2\n1,"x\n1,2\n1,2\n',
            [
                {"a": "1", "b": "2"},
                BadRow(3, None, "opens a quotation mark that nothing closes, and so takes in the 2 lines after it"),
            ],
        ),
        (b'a,b\n"x"y,2\n1,2\n', [BadRow(2, None, "is not CSV: ',' expected after '\"'"), {"a": "1", "b": "2"}]),
        (
            b"a,b\n\xff,2\n1,2\n",
            [BadRow(2, None, NOT_UTF8), {"a": "1", "b": "2"}],
        ),
        (b'a,b\n"x\ny",2\n1,2\n', [{"a": "x\ny", "b": "2"}, {"a": "1", "b": "2"}]),
        (b",b\n1,2\n", [{"column 1": "1", "b": "2"}]),
        (b'[{"a": "\xff"}, {"a": 1}]', [BadRow(1, None, NOT_UTF8), {"a": 1}]),
    ],
)
def test_odd_texts_are_read_as_what_they_are(content: bytes, found: list[Any] | None) -> None:
    rows = fields_of(content)
    assert rows == found if found is not None else rows[0]["b"] == float("inf")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'[{"a": 1}, {"a": 2}', "rows is damaged: its list breaks off after item 2."),
        (b'[{"a": 1}, {"a": ', "rows is damaged: what follows item 1 of its list is no JSON, or breaks off."),
        (b'[{"a": 1},]', "rows is damaged: its list breaks off after item 1."),
        (b'[{"a": 1} {"a": 2}]', "rows is damaged: its list breaks off after item 0."),
        (b'[{"a": 1}]\n[{"a": 2}]', "rows goes on after the end of its list, which has 1 items."),
        (b'{"data": [{"a": 1}]', "rows goes on after the end of its list, which has 1 items."),
        (b'{"data": [{"a": 1}], "more": []}', "rows goes on after the end of its list, which has 1 items."),
        (b'{\n"a": 1\n}\n{\n"a"', "rows is damaged: what follows item 1 of its list is no JSON, or breaks off."),
        (b"a,a\n1,2\n", "rows has more than one column a."),
        (b"PAR1" + bytes(40), "rows is damaged after row 0: Parquet magic bytes not found in footer."),
    ],
)
def test_what_breaks_off_is_refused_whole(content: bytes, line: str) -> None:
    assert refusal(content).startswith(line)


def test_a_line_that_no_memory_should_hold_is_a_bad_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_of_json, "LONGEST_LINE", 1_000)
    small = json_lines([{"a": 1}])
    rows = rows_of(small + json_lines([{"a": "x" * 5_000}]) + small)
    assert rows == [RawRow(1, {"a": 1}), BadRow(2, None, "is longer than 1,000 bytes"), RawRow(3, {"a": 1})]


def test_a_line_of_a_table_that_no_memory_should_hold_is_a_bad_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_of_json, "LONGEST_LINE", 1_000)
    rows = rows_of(b"a,b\n1,2\n" + b"x" * 5_000 + b",2\n3,4\n")
    assert rows == [
        RawRow(2, {"a": "1", "b": "2"}),
        BadRow(3, None, "is longer than 1,000 bytes"),
        RawRow(4, {"a": "3", "b": "4"}),
    ]


def test_items_and_lines_are_read_whole_where_the_window_cuts_them() -> None:
    rows = [{"prompt": "ü" * (70_000 * number)} for number in range(1, 8)]
    for write in (*OF_ANY_VALUES, *OF_TEXTS):
        assert fields_of(write(rows)) == rows, write.__name__


def test_bad_rows_are_not_kept() -> None:
    packed = gzip.compress(b"{\n" * 30_000)
    tracemalloc.start()
    try:
        with opened(b"" + gzip.compress(b'{"a": 1}\n') + packed) as source:
            assert sum(isinstance(row, BadRow) for row in source.rows()) == 30_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**20


@pytest.mark.parametrize("pack", [gzip.compress, zipped, bytes])
def test_whoever_looks_at_the_first_rows_reads_no_more_than_so_many_bytes(pack: Callable[[bytes], bytes]) -> None:
    file = pack(b"\n" * 10**6 + b'{"prompt": "Tea?"}\n')
    with Source(io.BytesIO(file), "rows", len(file)) as whole:
        assert len(whole.sample(50)) == 1
    with Source(io.BytesIO(file), "rows", len(file), most_bytes=2 * 10**5) as beginning:
        assert not beginning.sample(50)
        assert not list(beginning.rows())
    first = pack(b'{"prompt": "Tea?"}\n' + b"\n" * 10**6)
    with Source(io.BytesIO(first), "rows", len(first), most_bytes=2 * 10**5) as beginning:
        assert len(beginning.sample(50)) == 1


def test_a_packed_table_of_which_too_little_is_looked_at_is_not_recognised_and_is_read_for_all_that() -> None:
    table = gzip.compress(parquet_of([{"prompt": f"Tea {number}?" * 50} for number in range(200)]))
    with Source(io.BytesIO(table), "rows", len(table), most_bytes=1_000) as beginning:
        assert recognise(beginning.sample(50)).best is None
    with Source(io.BytesIO(table), "rows", len(table)) as whole:
        assert len(list(whole.rows())) == 200
