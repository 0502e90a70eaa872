"""Files made to fill memory, disk or time are read no further than it takes to say so."""

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Invalid
from app.services.data.imports.formats import registry
from app.services.data.imports.reading import read
from app.services.data.imports.rows import RawRow
from app.services.data.imports.sources import bytes as source_bytes
from app.services.data.imports.sources.source import Source
from app.services.data.storing import loads
from app.services.data.storing.frames import frames
from app.services.data.storing.options import Options
from tests.factories import make_project
from tests.importing import import_file

MIB = 2**20


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("rows.jsonl", content)
    return archive.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_a_file_that_swells_beyond_all_that_people_write_is_refused_before_it_is_unpacked(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_bytes, "MAY_SWELL_BYTES", MIB)
    file = tmp_path / "bomb"
    file.write_bytes(pack(b'{"prompt": "Tea?"}\n' + b'{"prompt": 7}\n' * (4 * MIB // 14)))
    read_so_far = 0
    with Source.open(file) as source, pytest.raises(Invalid, match="unpacks to more than 200 times its size"):  # noqa: PT012 - counted as it is read
        for _ in source.rows():
            read_so_far += 1
    assert read_so_far < 1.5 * MIB / 14


def test_what_packs_well_without_being_large_is_read(tmp_path: Path) -> None:
    file = tmp_path / "few.gz"
    file.write_bytes(gzip.compress(b'{"prompt": "Tea?"}\n' * 50_000))
    with Source.open(file) as source:
        assert sum(isinstance(row, RawRow) for row in source.rows()) == 50_000


async def test_a_file_none_of_whose_rows_can_be_used_is_given_up(
    db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "MOST_BAD_TOLD", 5_000)
    file = tmp_path / "bad.jsonl"
    file.write_bytes(b'{"prompt": 7}\n' * 40_000)
    said = r"None of the first 5,000 rows of bad.jsonl can be used, so it was not read on. Row 1 has .+\.$"
    with pytest.raises(Invalid, match=said):
        await import_file(db, await make_project(db), file, schema="prompts", skip_bad=True)


async def test_of_many_bad_rows_all_are_counted_and_the_first_told(
    db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "MOST_BAD_TOLD", 1_000)
    file = tmp_path / "mixed.jsonl"
    file.write_bytes(b'{"prompt": "Tea?"}\n' + b'{"prompt": 7}\n' * 12_000)
    counts = await import_file(db, await make_project(db), file, schema="prompts", skip_bad=True)
    assert (counts.rows, counts.bad, counts.prompts) == (12_001, 12_000, 1)
    assert len(file.with_suffix(".bad.csv").read_text().splitlines()) == 1_001


@pytest.mark.parametrize("schema", ["prompts", "helpsteer2"])
def test_long_rows_are_held_a_few_at_a_time(schema: str) -> None:
    def rows() -> Iterator[RawRow]:
        for number in range(120):
            text = f"{number}" + "a" * MIB
            prompt = text if schema == "prompts" else "Tea?"
            yield RawRow(number + 1, {"prompt": prompt, "response": text, "helpfulness": 3})

    form = registry.named(schema)
    assert form is not None
    columns = form.columns(["prompt", "response", "helpfulness"])
    assert columns is not None
    tracemalloc.start()
    try:
        for _ in frames(read(rows(), form, columns), Options(), frozenset()):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 90 * MIB


def test_a_value_that_a_table_keeps_once_is_not_unpacked_for_all_rows_at_once(tmp_path: Path) -> None:
    file = tmp_path / "one.parquet"
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 600, pyarrow.int32()), ["a" * 400_000])
    parquet.write_table(pyarrow.table({"prompt": shared}), file, compression="zstd")
    assert file.stat().st_size < 2_000
    tracemalloc.start()
    try:
        with Source.open(file) as source:
            assert (
                sum(len(str(row.fields["prompt"])) for row in source.rows() if isinstance(row, RawRow)) == 240_000_000
            )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 90 * MIB
