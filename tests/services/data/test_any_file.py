"""Whatever a file holds, it is read as it is or refused in one line: no traceback, nothing changed, nothing in half."""

import io
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import Invalid
from app.services.data.imports.formats.registry import FORMATS, recognise
from app.services.data.imports.reading import read
from app.services.data.imports.rows import BadRow, ImportedRow, Raw, RawRow
from app.services.data.imports.sources.source import Source
from tests.services.data.examples import EXAMPLES, GOOD, USER
from tests.services.data.packing import OF_ANY_VALUES, OF_TEXTS, PACKINGS, json_lines

# What a database text can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ANY_TEXT = st.text(st.characters()) | st.sampled_from(["\ud83d", "a\0b", "", " "])
NAMES = sorted({name for form in FORMATS for field in form.fields for name in (field.column, *field.others)})
KEYS = st.sampled_from(["role", "content", "from", "value", "text", "type", "replies", "rank", "score", "response"])
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "robot"]), "content": ANY_TEXT})
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | MESSAGE | st.just([USER, GOOD]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def all_of(content: bytes) -> list[RawRow | BadRow]:
    with Source(io.BytesIO(content), "rows", len(content)) as source:
        source.sample(2)
        return list(source.rows())


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.builds(bytes.__add__, st.sampled_from([b"[", b"{", b'{"data": [', b"a,b\n", b"PK\3\4", b"PAR1"]), st.binary()),
    st.sampled_from(sorted(PACKINGS)),
)
def test_any_bytes_are_rows_or_one_line(content: bytes, packing: str) -> None:
    for bytes_ in (content, PACKINGS[packing](content)):
        try:
            rows = all_of(bytes_)
        except Invalid:
            continue
        recognise([row.fields for row in rows if isinstance(row, RawRow)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}), min_size=1, max_size=4),
    st.sampled_from((*OF_ANY_VALUES, *OF_TEXTS)),
    st.sampled_from(sorted(PACKINGS)),
)
@example([{"prompt": "a\n\ufeffb", "chosen": "\r", "rejected": "\x85\u2028"}], OF_TEXTS[0], "plain")
def test_any_text_arrives_as_it_was_written(rows: list[dict[str, str]], write: Any, packing: str) -> None:
    assert [row.fields for row in all_of(PACKINGS[packing](write(rows))) if isinstance(row, RawRow)] == rows


@settings(max_examples=150, deadline=None)
@given(TEXT.filter(str.strip), TEXT.filter(str.strip), TEXT.filter(str.strip), st.sampled_from(FORMATS))
def test_any_text_goes_through_a_format_unchanged(asked: str, one: str, other: str, form: Any) -> None:
    """Wherever an example has one of these three texts, another one stays what it is."""
    if one.strip() == other.strip() or form.name in (
        "hh-rlhf",
        "hh-rlhf-prompt",
        "helpsteer3",
        "helpsteer2",
        "arena-table",
    ):
        return
    texts = {"How do I dry sage?": asked, "Hang it.": one, "Boil it.": other}
    for shown in (entry for entry in EXAMPLES if entry.form == form.name):
        columns = form.columns(list(dict.fromkeys(column for raw in shown.rows for column in raw)))
        swapped = [RawRow(line, _swapped(raw, texts)) for line, raw in enumerate(shown.rows, 1)]
        found = [row for row in read(swapped, form, columns) if isinstance(row, ImportedRow)]
        for was, is_now in zip(shown.read, found, strict=True):
            expected = [texts.get(response.text, response.text) for response in was.responses]
            assert [response.text for response in is_now.responses] == expected
            assert [text for _, text in is_now.prompt] == [texts.get(text, text) for _, text in was.prompt]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8), st.dictionaries(st.sampled_from(NAMES), JSON))
@example({"answer": [], "kto_tag": None}, {})
def test_any_row_is_read_or_told_in_every_format(raw: Raw, other: Raw) -> None:
    recognise([raw, other])
    for form in FORMATS:
        columns = form.columns(raw)
        if columns is None:
            continue
        for row in read([RawRow(1, raw), RawRow(2, other)], form, columns):
            if isinstance(row, BadRow):
                assert row.reason
                continue
            json.dumps([row.prompt, [response.text for response in row.responses]]).encode()
            assert "\0" not in "".join(text for _, text in row.prompt)
            for statement in row.statements:
                assert len(statement.ranks) == len(row.responses)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_example_with_one_value_changed_is_read_or_told(data: st.DataObject) -> None:
    shown = data.draw(st.sampled_from(EXAMPLES))
    raw = dict(data.draw(st.sampled_from(shown.rows)))
    column = data.draw(st.sampled_from(sorted(raw)))
    raw[column] = data.draw(JSON)
    form = next(form for form in FORMATS if form.name == shown.form)
    columns = form.columns(raw)
    assert columns is not None
    for row in read([RawRow(1, raw)], form, columns):
        assert isinstance(row, ImportedRow | BadRow)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zip"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_changes_no_row(packing: str, data: st.DataObject) -> None:
    rows = [{"prompt": f"Question {number}: {number**7}?"} for number in range(30)]
    packed = bytearray(PACKINGS[packing](json_lines(rows)))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = all_of(bytes(packed))
    except Invalid:
        return
    good = [row.fields for row in found if isinstance(row, RawRow)]
    assert good in (rows, [])


def _swapped(value: Any, texts: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _swapped(entry, texts) for name, entry in value.items()}
    if isinstance(value, list):
        return [_swapped(entry, texts) for entry in value]
    return texts.get(value, value) if isinstance(value, str) else value


def test_a_list_where_a_side_is_asked_for_is_told() -> None:
    shown = next(shown for shown in EXAMPLES if shown.form == "plumbline-raw" and shown.rows[0].get("less_harmful"))
    raw = {**shown.rows[0], "less_harmful": ["chosen"]}
    form = next(form for form in FORMATS if form.name == shown.form)
    columns = form.columns(raw)
    assert columns is not None
    (row,) = read([RawRow(1, raw)], form, columns)
    assert isinstance(row, BadRow)
    assert row.field == "less_harmful"
