"""Formats: every one is recognised, and its rows stand for what they say; what a row lacks is told by field."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.errors import Invalid
from app.services.data.imports.formats import registry
from app.services.data.imports.formats.format import Fit
from app.services.data.imports.formats.registry import FORMATS, recognise
from app.services.data.imports.reading import read
from app.services.data.imports.rows import BadRow, ImportedRow, Raw, RawRow, Response
from tests.services.data.examples import ASKED, EXAMPLES, GOOD, PROMPT, USER, Example, pair, row

PAGE = (Path(__file__).parents[3] / "docs" / "imports.md").read_text()


def best(rows: Sequence[Raw]) -> Fit:
    found = recognise(rows).best
    assert found is not None
    return found


def as_read(rows: Sequence[Raw], name: str | None = None, **columns: str) -> list[ImportedRow | BadRow]:
    """Rows in the format of that name, or in the one that is recognised; `columns` are chosen by hand."""
    form = registry.named(name) if name else best(rows).form
    assert form is not None
    found = form.columns(list(dict.fromkeys(column for one in rows for column in one))) or {}
    return list(read((RawRow(line, one) for line, one in enumerate(rows, 1)), form, {**found, **columns}))


def reason(rows: Sequence[Raw], name: str | None = None) -> str:
    (bad,) = as_read(rows, name)
    assert isinstance(bad, BadRow)
    return bad.reason


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.form)
def test_every_format_is_recognised_and_its_rows_stand_for_what_they_say(example: Example) -> None:
    found = best(example.rows)
    assert (found.form.name, found.count) == (example.form, len(example.rows))
    assert as_read(example.rows) == example.read


def test_there_is_an_example_of_every_format() -> None:
    assert {example.form for example in EXAMPLES} == {form.name for form in FORMATS}
    assert len({form.name for form in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_documentation_has_every_format_with_an_example_that_is_one(form: Any) -> None:
    _, heading, section = PAGE.partition(f"\n### `{form.name}`\n")
    assert heading, "no section"
    section = section.partition("\n### ")[0]
    rows = [json.loads(line) for line in section.split("```json\n")[1].split("```")[0].splitlines()]
    assert best(rows).form is form
    assert all(isinstance(one, ImportedRow) for one in as_read(rows))
    for told in (form.strips, form.loses):
        assert told in section


def test_any_table_becomes_usable_by_choosing_its_columns() -> None:
    rows = [{"frage": ASKED, "links": "Hang it.", "rechts": "Boil it."}]
    assert recognise(rows).fits == ()
    chosen = {"prompt": "frage", "response_1": "links", "response_2": "rechts"}
    form = registry.named("responses")
    assert form is not None
    form.check(chosen, rows[0])
    assert as_read(rows, "responses", **chosen) == [row(responses=(Response("Hang it."), Response("Boil it.")))]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"prompt": "gone"}, "The file has no column gone."),
        ({"prompt": "frage", "song": "frage"}, "The format responses has no field song."),
        ({"response_1": "frage"}, "The format responses needs a column for prompt. The file has frage."),
    ],
)
def test_columns_that_do_not_do_are_refused_in_one_line(columns: dict[str, str], line: str) -> None:
    form = registry.named("responses")
    assert form is not None
    with pytest.raises(Invalid, match=line):
        form.check(columns, ["frage"])


@pytest.mark.parametrize(
    ("header", "form", "columns"),
    [
        ("question,answer_a,answer_b", "responses", {"prompt": "question", "response_1": "answer_a"}),
        ("Prompt,Response A,Response B", "responses", {"prompt": "Prompt", "response_2": "Response B"}),
        ("instruction,completion_1,completion_2,completion_3", "responses", {"response_3": "completion_3"}),
        ("input,model_a,model_b,response_a,response_b,winner", "judged-responses", {"model_2": "model_b"}),
        ("prompt,chosen,rejected,split", "preference", {"split": "split"}),
        ("question,category,keywords", "prompts", {"topic": "category", "tags": "keywords"}),
        ("system_prompt,question,response", "demonstrations", {"system": "system_prompt", "completion": "response"}),
    ],
)
def test_plausible_headers_are_recognised(header: str, form: str, columns: dict[str, str]) -> None:
    found = best(
        [{name: "1" if name == "winner" else "train" if name == "split" else name for name in header.split(",")}]
    )
    assert found.form.name == form
    assert found.columns.items() >= columns.items()


def test_what_no_format_reads_is_said_beforehand() -> None:
    found = best([{"prompt": ASKED, "chosen": "Hang it.", "rejected": "Boil it.", "score": 7, "id": 3}])
    assert found.unused == ("score", "id")


def test_a_file_with_bad_rows_is_still_recognised_by_the_others() -> None:
    good = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    found = recognise([{"chosen": None, "rejected": "x"}, good, good, {"chosen": "\n\nHuman: a", "rejected": ""}])
    assert [fit.form.name for fit in found.fits][:1] == ["hh-rlhf"]
    assert recognise([]).best is None
    assert recognise([{"a": 1}]).best is None


BAD = [
    ("preference", {"prompt": ASKED, "chosen": "Hang it.", "rejected": None}, "has no text under 'rejected'"),
    ("preference", {"prompt": ASKED, "chosen": "Hang it.", "rejected": " "}, "has an empty response in 'rejected'"),
    ("preference", {"prompt": ASKED, "chosen": "Hang it.", "rejected": "Hang it. "}, "holds the same response twice"),
    ("preference", {"prompt": " ", "chosen": "a", "rejected": "b"}, "has an empty turn in 'prompt'"),
    ("preference", {"chosen": "Yes.", "rejected": "No."}, "has no prompt: both sides begin differently"),
    (
        "preference",
        {"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "Else?"}, GOOD]},
        "holds two different conversations: they differ before the last response",
    ),
    (
        "preference",
        {"prompt": [USER], "chosen": [USER], "rejected": [GOOD]},
        "does not end with a response of the assistant in 'chosen'",
    ),
    ("preference", {"prompt": 7, "chosen": "a", "rejected": "b"}, "has neither a text nor messages under 'prompt'"),
    (
        "preference",
        {"prompt": "a\0b", "chosen": "a", "rejected": "b"},
        "has a NUL character in 'prompt', which no database text can hold",
    ),
    (
        "preference",
        {"prompt": ASKED, "chosen": "a\ud83d", "rejected": "b"},
        "has half a surrogate pair in 'chosen', which is no text",
    ),
    (
        "prompts",
        {"prompt": ASKED, "split": "autumn"},
        "has a split 'autumn', which is none of train, validation and held_out",
    ),
    ("unpaired", {"prompt": ASKED, "completion": "a", "label": "perhaps"}, "has neither true nor false under 'label'"),
    (
        "scored-responses",
        {"prompt": ASKED, "responses": ["a", "b"], "scores": [3, None]},
        "has fewer than two scores under 'scores'",
    ),
    (
        "scored-responses",
        {"prompt": ASKED, "responses": ["a", "b"], "scores": [3]},
        "has 1 entries under 'scores' for 2 responses",
    ),
    (
        "scored-responses",
        {"prompt": ASKED, "responses": ["a", "b"], "scores": [3, "x"]},
        "has no number under 'scores'",
    ),
    (
        "safe-rlhf",
        {"prompt": ASKED, "response_0": "a", "response_1": "b", "better_response_id": 2},
        "has neither 0 nor 1 under 'better_response_id'",
    ),
    (
        "arena-table",
        {
            "prompt": '["a", "b"]',
            "response_a": '["x"]',
            "response_b": '["y"]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        "has not one response of each model to each prompt",
    ),
    ("responses", {"prompt": ASKED, "responses": ["a"]}, "has 1 responses where from 2 to 9 can be compared"),
    (
        "responses",
        {"prompt": ASKED, "responses": list("abcdefghij")},
        "has 10 responses where from 2 to 9 can be compared",
    ),
    (
        "judged-responses",
        {"prompt": ASKED, "a": "x", "b": "y", "winner": "z"},
        "has a winner in 'winner' that is none of its responses",
    ),
    ("demonstrations", {"messages": [USER]}, "does not end with a response of the assistant"),
    ("demonstrations", {"messages": [GOOD]}, "has no prompt in 'messages'"),
    (
        "demonstrations",
        {"messages": [{"role": "robot", "content": "a"}, GOOD]},
        "has a message in 'messages' that no system, developer, user, assistant or tool says",
    ),
    (
        "demonstrations",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, GOOD]},
        "has a part of a message in 'messages' that is no text",
    ),
    ("conversations", {"messages": [USER, GOOD]}, "ends with a response in 'messages', and is no prompt"),
    (
        "helpsteer3",
        {"context": [USER], "response1": "a", "response2": "b", "overall_preference": 4},
        "has a preference in 'overall_preference' that is not from -3 to 3",
    ),
    (
        "oasst-messages",
        {"message_id": "2", "parent_id": "1", "message_tree_id": "1", "text": "a", "role": "assistant"},
        "has a message whose parent isn't among those before and after it",
    ),
]


@pytest.mark.parametrize(("name", "raw", "why"), BAD)
def test_a_row_that_cannot_be_used_is_told_with_its_reason(name: str, raw: dict[str, Any], why: str) -> None:
    assert reason([raw], name) == why


@pytest.mark.parametrize(
    ("columns", "winner", "ranks"),
    [
        (("response_0", "response_1"), 0, (1, 2)),
        (("response_0", "response_1"), 1, (2, 1)),
        (("response_0", "response_1"), "1", (2, 1)),
        (("response_0", "response_1"), "response_1", (2, 1)),
        (("response_1", "response_2"), 1, (1, 2)),
        (("response_1", "response_2"), 2.0, (2, 1)),
        (("response_a", "response_b"), "B", (2, 1)),
        (("response_a", "response_b"), "tie", (1, 1)),
    ],
)
def test_a_winner_by_number_is_counted_as_the_responses_are(
    columns: tuple[str, str], winner: object, ranks: tuple[int, ...]
) -> None:
    (found,) = as_read(
        [{"prompt": ASKED, **dict(zip(columns, ("Hang it.", "Boil it."), strict=True)), "winner": winner}]
    )
    assert isinstance(found, ImportedRow)
    assert found.statements[0].ranks == ranks


@pytest.mark.parametrize(
    ("label", "is_good"), [(1, True), (0.0, False), ("1.0", True), (-1, False), ("good", True), ("Undesirable", False)]
)
def test_a_label_says_good_or_not_in_the_words_that_files_have(label: object, is_good: bool) -> None:
    (found,) = as_read([{"prompt": ASKED, "completion": "Hang it.", "label": label}])
    assert isinstance(found, ImportedRow)
    assert found.statements[0].acceptable == (is_good,)


def test_a_message_in_parts_is_one_text_and_calls_of_tools_are_kept_as_json() -> None:
    parts = [{"type": "text", "text": "How do I "}, {"type": "text", "text": "dry sage?"}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "herbs"}}]}
    told = {"role": "tool", "content": "dry", "tool_call_id": "1"}
    (found,) = as_read([{"messages": [{"role": "user", "content": parts}, call, told, GOOD]}])
    assert isinstance(found, ImportedRow)
    assert found.prompt == (*PROMPT, ("assistant", '[{"function": {"name": "herbs"}}]'), ("tool", "dry"))


def test_texts_stay_as_they_are_to_the_byte() -> None:
    odd = "  \tcafé\r\n\u2028 x\u200b\x07  \n"
    assert as_read([{"prompt": odd, "chosen": odd + "a", "rejected": odd + "b"}], "preference") == [
        ImportedRow(1, (("user", odd),), (Response(odd + "a"), Response(odd + "b")), pair().statements)
    ]


@pytest.mark.parametrize(
    ("parents", "why"),
    [
        ({"1": None, "2": "3", "3": "2"}, "has messages that don't follow from one first message"),
        ({"1": None, "2": None}, "has messages that don't follow from one first message"),
        ({"1": "1"}, "has messages that don't follow from one first message"),
        ({"1": None, "2": "9"}, "has a message whose parent isn't among those before and after it"),
    ],
)
def test_messages_that_are_no_tree_are_told_as_one_row(parents: dict[str, str | None], why: str) -> None:
    rows = [
        {"message_id": name, "parent_id": parent, "message_tree_id": "1", "text": "a", "role": "prompter"}
        for name, parent in parents.items()
    ]
    assert reason(rows) == why
    assert reason([rows[0], rows[0]]) == "has two messages of one id"


def test_a_group_of_rows_ends_where_its_prompt_does_and_a_bad_one_takes_only_its_own_along() -> None:
    rated = {"response": "a", "helpfulness": 1}
    rows = [
        {"prompt": "one", **rated},
        {"prompt": "one", **rated, "response": " "},
        {"prompt": "two", **rated},
        {"prompt": "one", **rated},
    ]
    found = as_read(rows)
    assert [(type(one).__name__, one.line) for one in found] == [("BadRow", 1), ("ImportedRow", 3), ("ImportedRow", 4)]
