"""Small files that failed, or that could well have, as people reported them: what is read of each."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from decimal import Decimal
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from app.errors import Invalid
from app.services.data.imports.formats.registry import recognise
from app.services.data.imports.reading import read
from app.services.data.imports.rows import BadRow, ImportedRow
from app.services.data.imports.sources.json_lines import NOT_UTF8
from app.services.data.imports.sources.source import Source
from tests.services.data.packing import delimited, json_lines, json_list, parquet_of, pretty_list, zipped

NO_JSON, NO_OBJECT = "is not JSON", "is not a JSON object"
NO_END = "does not end with a response in 'chosen'"
ELSEWHERE = "holds two different conversations: they differ before the last response"


def said(chosen: str | None, rejected: str | None, **more: Any) -> dict[str, Any]:
    return {"chosen": chosen, "rejected": rejected, **more}


def talk(*turns: str, gap: str = "\n\n") -> str:
    speakers = ("Human", "Assistant")
    return "".join(f"{gap}{speakers[place % 2]}: {text}" for place, text in enumerate(turns))


def pair(asked: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return said(talk(asked, chosen), talk(asked, rejected), **more)


def whole(content: bytes) -> list[Any]:
    """What is read: (turns of the prompt, responses or those to imitate), or why not, by row."""
    with Source(io.BytesIO(content), "file") as source:
        found = recognise(source.sample(50)).best
        rows: Any = source.rows() if found is None else read(source.rows(), found.form, found.columns)
        return [_told(row) for row in rows]


def _told(row: ImportedRow | BadRow) -> Any:
    if isinstance(row, BadRow):
        return row.reason
    prompt = row.prompt[0][1] if [role for role, _ in row.prompt] == ["user"] else row.prompt
    return (prompt, *(response.text for response in row.responses), *(shown.text for shown in row.demonstrations))


SAGE, RIVER = pair("Dry sage?", "Hang it.", "Boil it."), pair("A river?", "The Oder.", "Bread.")
SAGE_READ, RIVER_READ = ("Dry sage?", "Hang it.", "Boil it."), ("A river?", "The Oder.", "Bread.")
BOTH, BOTH_READ = json_lines([SAGE, RIVER]), [SAGE_READ, RIVER_READ]
MARK = b"\xef\xbb\xbf"
TABLE = b"prompt,chosen,rejected\nDry sage?,Hang it.,Boil it.\n"
USER, GOOD, BAD = (
    {"role": role, "content": text}
    for role, text in (("user", "Dry sage?"), ("assistant", "Hang it."), ("assistant", "Boil it."))
)


def parts(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def one(row: Any) -> bytes:
    return json_lines([row])


def in_parquet(**more: Any) -> bytes:
    """A file with the columns of a pair, and others or the same anew."""
    file = io.BytesIO()
    row = {"prompt": ["Dry sage?"], "chosen": ["Hang it."], "rejected": ["Boil it."]}
    parquet.write_table(pyarrow.table({**row, **more}), file)
    return file.getvalue()


REPORTED: dict[str, tuple[bytes, list[Any]]] = {
    # Encodings and odd characters.
    "a byte order mark": (MARK + BOTH, BOTH_READ),
    "files with marks, joined": (MARK + one(SAGE) + MARK + one(RIVER), BOTH_READ),
    "CRLF between rows": (BOTH.replace(b"\n", b"\r\n"), BOTH_READ),
    "CRLF around markers": (
        one(said("\r\n\r\nHuman: a\r\nb\r\n\r\nAssistant: c\r\nd", "\r\n\r\nHuman: a\r\nb\r\n\r\nAssistant: e")),
        [("a\r\nb", "c\r\nd", "e")],
    ),
    "CR alone between rows": (BOTH.replace(b"\n", b"\r"), [NO_JSON]),
    "CR alone around markers": (
        one(said("\r\rHuman: a\r\rAssistant: b", "\r\rHuman: a\r\rAssistant: c")),
        ["has no 'Human:' and 'Assistant:' in 'chosen'"],
    ),
    "a mark behind an empty line": (b"\r\n" + MARK + BOTH, BOTH_READ),
    "a mark of a file that was empty": (MARK + MARK + BOTH, BOTH_READ),
    "marks in a list": (MARK + b"[" + MARK + one(SAGE) + b"," + MARK + one(RIVER) + b"]", BOTH_READ),
    "record separators": (b"".join(b"\x1e" + one(row) for row in (SAGE, RIVER)), BOTH_READ),
    "tables with marks and headers, joined": ((MARK + TABLE) * 2, [SAGE_READ] * 2),
    "Latin-1": (json.dumps(pair("heiß?", "süß", "nie"), ensure_ascii=False).encode("latin-1"), [NOT_UTF8]),
    "half a surrogate pair": (
        json.dumps(pair("a", "ok \ud83d", "no")).encode() + b"\n" + one(RIVER),
        ["has half a surrogate pair in 'chosen', which is no text", RIVER_READ],
    ),
    "a NUL": (
        one(pair("a", "b\0c", "d")) + one(RIVER),
        ["has a NUL character in 'chosen', which no database text can hold", RIVER_READ],
    ),
    "what only looks like a NUL": (one(pair("a", "written \\u0000n", "c")), [("a", "written \\u0000n", "c")]),
    "joiners and both directions": (
        one(pair("مرحبا \u202bקפה\u202c?", "👨\u200d👩\u200d👧 \u200fשלום\u200f", "ñ n\u0303")),
        [("مرحبا \u202bקפה\u202c?", "👨\u200d👩\u200d👧 \u200fשלום\u200f", "ñ n\u0303")],
    ),
    "other ends of lines": (
        one(pair("a\u2028b", "c\x85d\x0be\x0cf\u2029", "g")),
        [("a\u2028b", "c\x85d\x0be\x0cf\u2029", "g")],
    ),
    "control characters": (
        one(pair("a", "\x07 \x1b[31mred\x1b[0m \x7f", "b")),
        [("a", "\x07 \x1b[31mred\x1b[0m \x7f", "b")],
    ),
    "blanks at the end are all the difference": (one(pair("a", "Same.", "Same.  ")), ["holds the same response twice"]),
    "a character without width is all the difference": (
        one(pair("a", "Same.", "Same\u200b.")),
        [("a", "Same.", "Same\u200b.")],
    ),
    "a first line's indent": (
        one(pair("a", "    x += 1\n    y += 1", "pass")),
        [("a", "    x += 1\n    y += 1", "pass")],
    ),
    # Transcripts.
    "the marker quoted by a response": (
        one(pair("a", "Like this:\n\nAssistant: hello\n\nThat is all.", "No.")),
        [("a", "Like this:\n\nAssistant: hello\n\nThat is all.", "No.")],
    ),
    "one speaker twice in a row": (
        one(
            said("\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d", "\n\nHuman: a\n\nHuman: b\n\nAssistant: e")
        ),
        [("a\n\nHuman: b", "c\n\nAssistant: d", "e")],
    ),
    "markers within a line": (
        one(pair("Is Human: fair?", "Human: or Assistant: marks.", "No.")),
        [("Is Human: fair?", "Human: or Assistant: marks.", "No.")],
    ),
    "a quoted transcript": (one(pair("a", "Sure:\n\nHuman: hi\n\nAssistant: hello\n\nHuman: bye", "No.")), [NO_END]),
    "single line ends before markers": (one(said("Human: a\nAssistant: b", "Human: a\nAssistant: c")), [NO_END]),
    "one line end before the first marker": (
        one(said("\nHuman: a\n\nAssistant: b", "\nHuman: a\n\nAssistant: c")),
        ["has text before the first 'Human:' in 'chosen'"],
    ),
    "the same response twice": (
        one(pair("a", "Same.", "Same.")) + one(RIVER),
        ["holds the same response twice", RIVER_READ],
    ),
    "an empty response": (one(pair("a", "b", "")) + one(RIVER), ["has an empty response in 'rejected'", RIVER_READ]),
    "an empty turn": (one(pair("", "b", "c")) + one(RIVER), ["has an empty turn in 'chosen'", RIVER_READ]),
    "conversations that part earlier": (
        one(said(talk("a", "b", "c", "d"), talk("a", "X", "c", "e"))) + one(RIVER),
        [ELSEWHERE, RIVER_READ],
    ),
    "a conversation that goes on": (one(said(talk("a", "b"), talk("a", "b", "c", "d"))), [ELSEWHERE]),
    "an end with a person": (one(said(talk("a", "b", "thanks"), talk("a", "c", "thanks"))), [NO_END]),
    "one response begins the other": (one(pair("a", "The sky", "The sky is")), [("a", "The sky", "The sky is")]),
    "templates in texts": (
        one(pair("{{ 7*7 }}", "{% raw %} <|im_end|> </s>", "{{ x }}")),
        [("{{ 7*7 }}", "{% raw %} <|im_end|> </s>", "{{ x }}")],
    ),
    "both opinions": (
        one(SAGE) + one(pair("Dry sage?", "Boil it.", "Hang it.")),
        [SAGE_READ, ("Dry sage?", "Boil it.", "Hang it.")],
    ),
    # Shapes.
    "rows that come twice": (one(SAGE) * 2, [SAGE_READ] * 2),
    "empty lines": (b"\n" + one(SAGE) + b"  \n\n\t\n" + one(RIVER) + b"\n\n", BOTH_READ),
    "commas after rows": (BOTH.replace(b"}\n", b"},\n"), [NO_JSON] * 2),
    "a list": (json_list([SAGE, RIVER]), BOTH_READ),
    "a list on many lines": (pretty_list([SAGE, RIVER]), BOTH_READ),
    "numbers that are none": (json.dumps({**SAGE, "a": float("nan"), "b": float("inf")}).encode(), [SAGE_READ]),
    "null for a text": (one(said(None, SAGE["rejected"])) + one(RIVER), ["has no text under 'chosen'", RIVER_READ]),
    "a column that is missing": (
        one({"chosen": SAGE["chosen"]}) + one(RIVER),
        ["has no text under 'rejected'", RIVER_READ],
    ),
    "no end of the last line": (BOTH.rstrip(b"\n"), BOTH_READ),
    "nothing": (b"", []),
    "blanks alone": (b"\n\n  \n", []),
    "a name twice": (b'{"chosen": "x", ' + one(SAGE)[1:], [SAGE_READ]),
    "rows that are no objects": (b'"text"\n42\nnull\ntrue\n[]\n' + one(SAGE), [*[NO_OBJECT] * 5, SAGE_READ]),
    "line ends within texts": (b'{"chosen": "\n\nHuman: a", "rejected": "b"}\n', [NO_JSON] * 2),
    "single quotes": (str(SAGE).encode(), [NO_JSON]),
    "more columns": (one({**SAGE, "id": 7, "margin": 1.5, "meta": {"a": [1]}}) + one(RIVER), BOTH_READ),
    "a table": (TABLE, [SAGE_READ]),
    "a table that tells its delimiter": (b"sep=;\r\n" + TABLE.replace(b",", b";"), [SAGE_READ]),
    "a table with a mark and quotes": (
        MARK + b'"prompt","chosen","rejected"\n' + TABLE.partition(b"\n")[2],
        [SAGE_READ],
    ),
    "a table with bars": (TABLE.replace(b",", b"|"), [SAGE_READ]),
    "a table that counts its rows": (b",prompt,chosen,rejected\n0,Dry sage?,Hang it.,Boil it.\n", [SAGE_READ]),
    "columns with names that are no text": (json.dumps({"a\0": 1, "b\ud83d": 2, **SAGE}).encode(), [SAGE_READ]),
    # Packings.
    "gzip, whatever it is called": (gzip.compress(BOTH), BOTH_READ),
    "gzip of two members": (gzip.compress(one(SAGE)) + gzip.compress(one(RIVER)), BOTH_READ),
    "bzip2": (bz2.compress(BOTH), BOTH_READ),
    "xz": (lzma.compress(BOTH), BOTH_READ),
    "zip": (zipped(BOTH), BOTH_READ),
    "Parquet": (parquet_of([SAGE, RIVER]), BOTH_READ),
    # Responses to imitate.
    "messages, then a prompt": (
        one({"messages": [USER, GOOD]}) + one({"prompt": "A river?", "completion": "The Oder."}),
        [("Dry sage?", "Hang it."), ("A river?", "The Oder.")],
    ),
    "content in parts": (one({"messages": [parts(USER), parts(GOOD)]}), [("Dry sage?", "Hang it.")]),
    "calls of tools": (
        one(
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "w"}}]},
                    {"role": "tool", "content": "12"},
                    GOOD,
                ]
            }
        ),
        [((("user", "Dry sage?"), ("assistant", '[{"function": {"name": "w"}}]'), ("tool", "12")), "Hang it.")],
    ),
    "two responses in a row": (
        one({"messages": [USER, GOOD, BAD]}),
        [((("user", "Dry sage?"), ("assistant", "Hang it.")), "Boil it.")],
    ),
    "two turns of the user in a row": (
        one({"messages": [USER, USER, GOOD]}),
        [((("user", "Dry sage?"), ("user", "Dry sage?")), "Hang it.")],
    ),
    "instructions alone": (
        one({"messages": [{"role": "system", "content": "s"}, GOOD]}),
        [((("system", "s"),), "Hang it.")],
    ),
    "null for messages": (
        one({"messages": None, "prompt": "Dry sage?", "completion": "Hang it."}),
        [("Dry sage?", "Hang it.")],
    ),
    "a completion that begins with a blank": (
        one({"prompt": "The sky is", "completion": " blue."}),
        [("The sky is", " blue.")],
    ),
    "more in messages": (
        one({"messages": [{**USER, "name": "x", "weight": 0}, {**GOOD, "thinking": None}]}),
        [("Dry sage?", "Hang it.")],
    ),
    "ShareGPT": (
        one({"conversations": [{"from": "human", "value": "Dry sage?"}, {"from": "gpt", "value": "Hang it."}]}),
        [("Dry sage?", "Hang it.")],
    ),
    "instructions in the middle": (
        one({"messages": [USER, GOOD, {"role": "system", "content": "now in rhyme"}, USER, BAD]}),
        [
            (
                (
                    ("user", "Dry sage?"),
                    ("assistant", "Hang it."),
                    ("system", "now in rhyme"),
                    ("user", "Dry sage?"),
                ),
                "Boil it.",
            )
        ],
    ),
    "ShareGPT by a chatbot": (
        one({"conversations": [{"from": "user", "value": "Dry sage?"}, {"from": "chatbot", "value": "Hang it."}]}),
        [("Dry sage?", "Hang it.")],
    ),
    "a picture in a demonstration": (
        one({"messages": [USER, {"role": "assistant", "content": [{"type": "image"}]}]}),
        ["has a part of a message in 'messages' that is no text"],
    ),
    "instruction and context": (
        one({"instruction": "Dry sage?", "context": "It is wet.", "response": "Hang it."}),
        [("Dry sage?\nIt is wet.", "Hang it.")],
    ),
    "Alpaca": (one({"instruction": "Dry sage?", "input": "", "output": "Hang it."}), [("Dry sage?", "Hang it.")]),
    # Preferences.
    "TRL, messages": (one({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}), [SAGE_READ]),
    "TRL, messages without a prompt": (one({"chosen": [USER, GOOD], "rejected": [USER, BAD]}), [SAGE_READ]),
    "TRL, texts": (one({"prompt": "Dry sage?", "chosen": "Hang it.", "rejected": "Boil it."}), [SAGE_READ]),
    "TRL, content in parts": (
        one({"prompt": [parts(USER)], "chosen": [parts(GOOD)], "rejected": [parts(BAD)]}),
        [SAGE_READ],
    ),
    "TRL, instructions": (
        one({"prompt": [{"role": "system", "content": "s"}, USER], "chosen": [GOOD], "rejected": [BAD]}),
        [((("system", "s"), ("user", "Dry sage?")), "Hang it.", "Boil it.")],
    ),
    "a conversation beside both responses": (one({"messages": [USER], "chosen": GOOD, "rejected": BAD}), [SAGE_READ]),
    "whole messages beside both conversations": (
        one({"prompt": "Dry sage?", "messages": [USER, GOOD], "chosen": [USER, GOOD], "rejected": [USER, BAD]}),
        [SAGE_READ],
    ),
    "responses counted from 0": (
        one({"prompt": "Dry sage?", "response_0": "Hang it.", "response_1": "Boil it.", "response_2": "Eat it."}),
        [(*SAGE_READ, "Eat it.")],
    ),
    "responses with ranks": (
        one(
            {
                "prompt": talk("Dry sage?") + "\n\nAssistant: ",
                "answers": [{"answer": text, "rank": rank} for rank, text in enumerate(SAGE_READ[1:], 1)],
            }
        ),
        [SAGE_READ],
    ),
    "a raw export of before": (
        one(
            {
                "prompt": [USER],
                "chosen": [GOOD],
                "rejected": [BAD],
                "judgement_id": 1,
                "strength": 2,
                "annotator": "imported",
                "chosen_safe": None,
                "rejected_safe": None,
                "less_harmful": None,
            }
        ),
        [SAGE_READ],
    ),
    # Siblings of those above.
    "calls of a function, as they were once": (
        one({"messages": [USER, {"role": "assistant", "content": None, "function_call": {"name": "w"}}, GOOD]}),
        [((("user", "Dry sage?"), ("assistant", '{"name": "w"}')), "Hang it.")],
    ),
    "a message for either response": (one({"prompt": "Dry sage?", "chosen": GOOD, "rejected": BAD}), [SAGE_READ]),
    "instructions of blanks": (
        one({"system": " ", "prompt": "Dry sage?", "chosen": "Hang it.", "rejected": "Boil it."}),
        [SAGE_READ],
    ),
    "a score that no float holds": (
        json.dumps({"prompt": "a", "responses": ["b", "c"], "scores": [10**400, 1]}).encode(),
        ["has no number under 'scores'"],
    ),
    "a list of messages in a table": (
        delimited([{"prompt": json.dumps([USER]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])}]),
        [SAGE_READ],
    ),
    "a list of other objects in a table": (
        delimited([{"prompt": "Which?", "chosen": '[{"role": "cook"}]', "rejected": "[]"}]),
        [("Which?", '[{"role": "cook"}]', "[]")],
    ),
    "a zip that explains itself": (
        zipped(b"# Herbs", one(SAGE)),
        [f"{NO_JSON} (row 1 of rows/0)", SAGE_READ],
    ),
    "times that Python has not": (in_parquet(when=pyarrow.array([2**62], pyarrow.timestamp("us"))), [SAGE_READ]),
    "days that Python has not": (in_parquet(when=pyarrow.array([2**30], pyarrow.date32())), [SAGE_READ]),
    "a zone that nobody knows": (in_parquet(when=pyarrow.array([0], pyarrow.timestamp("ns", "Moon/Sea"))), [SAGE_READ]),
    "texts that aren't called so": (in_parquet(prompt=pyarrow.array([b"Dry sage?"])), [SAGE_READ]),
    "pictures beside texts": (in_parquet(picture=pyarrow.array([b"\x89PNG"])), [SAGE_READ]),
}


@pytest.mark.parametrize("name", REPORTED)
def test_a_reported_file_is_read_as_it_should_be(name: str) -> None:
    content, expected = REPORTED[name]
    assert whole(content) == expected


def office() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("content.xml", "<a/>")
    return file.getvalue()


def of_arrays(names: list[str]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array([name]) for name in names], names), file)
    return file.getvalue()


REFUSED = {
    "UTF-16": (BOTH.decode().encode("utf-16"), "file is UTF-16, which isn't read: save it as UTF-8."),
    "UTF-16 from a spreadsheet": (
        TABLE.decode().replace(",", "\t").encode("utf-16"),
        "file is UTF-16, which isn't read: save it as UTF-8.",
    ),
    "a header in Latin-1": (
        "prompt,réponse_1,réponse_2\na,b,c\n".encode("latin-1"),
        "file has a header that is not UTF-8: save it as UTF-8.",
    ),
    "a table with CR alone": (
        TABLE.replace(b"\n", b"\r"),
        "file has no header that can be read: its lines end with CR alone.",
    ),
    "zlib": (zlib.compress(BOTH), "file is compressed with zlib alone, which isn't read: use gzip."),
    "a spreadsheet": (
        office(),
        "file is a document of an office program, which isn't read: save its table as CSV.",
    ),
    "cut": (gzip.compress(BOTH)[:-40], "file is damaged: its compressed data break off"),
    "cut before its last bytes": (gzip.compress(BOTH)[:-8], "file is damaged: its compressed data break off"),
    "followed by something else": (gzip.compress(BOTH) + b"garbage", "file is damaged: its compressed data break down"),
    "packed twice": (gzip.compress(gzip.compress(BOTH)), "file is packed twice: unpack it once."),
    "a column twice": (
        of_arrays(["prompt", "chosen", "rejected", "chosen"]),
        "file has more than one column chosen.",
    ),
    "of another checksum": (gzip.compress(BOTH)[:-8] + bytes(8), "file is damaged: its compressed data break down"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_reported_file_is_refused_whole(name: str) -> None:
    content, line = REFUSED[name]
    with pytest.raises(Invalid) as refused:
        whole(content)
    assert str(refused.value).startswith(line)


def test_a_decimal_says_whether_a_response_is_good() -> None:
    table = pyarrow.table({"prompt": ["a"], "completion": ["b"], "label": [Decimal("1.0")]})
    file = io.BytesIO()
    parquet.write_table(table, file)
    file.seek(0)
    with Source(file, "file") as source:
        best = recognise(source.sample(1)).best
    assert best is not None
    assert best.form.name == "unpaired", "and the label is not lost"


def ranking(order: Any, *ids: str) -> dict[str, Any]:
    items = [{"id": name, "body": f"{name}."} for name in ids]
    said = [{"result": [{"type": "ranker", "value": {"ranker": order}}]}]
    return {"id": 1, "data": {"prompt": "Which?", "items": items}, "annotations": said}


@pytest.mark.parametrize(
    ("row", "ranks"),
    [
        (ranking(["乙", "甲"], "甲", "乙"), (2, 1)),
        (ranking(["v1.10", "v11.0"], "v11.0", "v1.10"), (2, 1)),
        (ranking({"_": ["c"], "good": ["b", "a"]}, "a", "b", "c"), (2, 1, None)),
        (ranking({"good": ["a"], "bad": ["b"]}, "a", "b"), None),
        (ranking([], "a", "b"), None),
        (ranking(["b", "x", "a"], "a", "b"), "has a ranking of something that is none of its responses, or of one"),
        (ranking(["b", "b", "a"], "a", "b"), "has a ranking of something that is none of its responses, or of one"),
        ({"prompt": "Which?", "response_a": "α.", "response_b": "β.", "winner": "β"}, "has a winner in 'winner' that"),
    ],
)
def test_a_response_is_meant_by_its_whole_name_or_nothing_is_said(row: dict[str, Any], ranks: Any) -> None:
    with Source(io.BytesIO(one(row)), "file") as source:
        best = recognise(source.sample(1)).best
        assert best is not None
        (found,) = read(source.rows(), best.form, best.columns)
    if isinstance(found, BadRow):
        assert found.reason.startswith(ranks)
    else:
        assert [said.ranks for said in found.statements] == ([] if ranks is None else [ranks])


def test_nothing_is_no_tag() -> None:
    with Source(io.BytesIO(one({"prompt": "Which?", "tags": ["hard", None, " "]})), "file") as source:
        best = recognise(source.sample(1)).best
        assert best is not None
        (row,) = read(source.rows(), best.form, best.columns)
    assert isinstance(row, ImportedRow)
    assert row.tags == ("hard",)
