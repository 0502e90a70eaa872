"""The file contract, with anything that a record can hold and everything that it must not."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.records import (
    CompletionRecord,
    DemonstrationRecord,
    DuelRecord,
    Message,
    PreferenceRecord,
    PromptRecord,
    Record,
    RecordError,
    ResponseRecord,
    UnpairedRecord,
    conversation,
    iterate_records,
    read_records,
    write_records,
)

PROMPT = conversation(("user", "Grüße – 你好 🙂"))
ONE_OF_EACH: tuple[Record, ...] = (
    PromptRecord("p", PROMPT),
    DemonstrationRecord("p", PROMPT, "text"),
    ResponseRecord("r", "p", PROMPT, "text"),
    PreferenceRecord(
        *("p", PROMPT, "a", "b", 0.25, 2.0, "validation", "human:1", "ranking", 0.5),
        *({"brief": 1.0}, True, False, 0.75),
    ),
    CompletionRecord("p", 0, "text", 3, True, 7, 0.7),
    UnpairedRecord("p", PROMPT, "text", True, 2.0, "validation", "human:1"),
    DuelRecord("p", 0, "text", "other", 3, 4, True, False, 0.5, -0.5, 0.7),
)
KINDS = [type(record) for record in ONE_OF_EACH]
FIELDS = [(record, field.name) for record in ONE_OF_EACH for field in dataclasses.fields(record)]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
probabilities = st.floats(0, 1)
anywhere = st.floats(allow_nan=False, allow_infinity=False)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)
prompts = st.builds(lambda before, last: (*before, Message("user", last)), st.lists(messages, max_size=3), texts)
truths = st.none() | st.booleans()
weights = st.floats(0, exclude_min=True, allow_infinity=False)
judgements = st.builds(
    PreferenceRecord,
    prompt_id=texts,
    prompt=prompts,
    response_a=texts,
    response_b=texts,
    preference=probabilities,
    weight=weights,
    split=st.sampled_from(["train", "validation"]),
    source=texts,
    group=texts,
    strength=st.none() | probabilities,
    criteria=st.dictionaries(texts, probabilities, max_size=3),
    safe_a=truths,
    safe_b=truths,
    less_harmful=st.none() | probabilities,
)
any_record: st.SearchStrategy[Record] = st.one_of(
    st.builds(PromptRecord, texts, prompts),
    st.builds(DemonstrationRecord, texts, prompts, texts),
    st.builds(ResponseRecord, texts, texts, prompts, texts),
    judgements,
    st.builds(
        UnpairedRecord, texts, prompts, texts, st.booleans(), weights, st.sampled_from(["train", "validation"]), texts
    ),
    st.builds(CompletionRecord, texts, st.integers(), texts, st.integers(), st.booleans(), st.integers(), anywhere),
    st.builds(
        DuelRecord,
        *(texts, st.integers(), texts, texts, st.integers(), st.integers()),
        *(st.booleans(), st.booleans(), anywhere, anywhere, anywhere),
    ),
)
no_time_limit = settings(max_examples=30, deadline=None)
on_one_file = settings(no_time_limit, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(record=any_record)
@on_one_file
def test_any_record_comes_back_from_a_file_as_it_was_written(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert write_records(path, [record] * 2) == 2
    assert read_records(path, type(record)) == [record] * 2


@given(record=any_record)
@on_one_file
def test_whatever_its_texts_hold_a_record_is_one_line_of_plain_json(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [record] * 3)
    lines = path.read_bytes().split(b"\n")
    assert lines[-1] == b""
    assert [json.loads(line) for line in lines[:-1]] == [record.to_json()] * 3


@given(record=judgements)
@no_time_limit
def test_what_nobody_said_is_not_written(record: PreferenceRecord) -> None:
    unsaid = {"group": "", "strength": None, "criteria": {}, "safe_a": None, "safe_b": None, "less_harmful": None}
    said = {name for name, nothing in unsaid.items() if getattr(record, name) != nothing}
    assert unsaid.keys() & record.to_json().keys() == said


def test_of_a_judgement_the_least_is_two_responses_and_which_is_better() -> None:
    row = {"prompt_id": "p", "prompt": [{"role": "user", "content": "hi"}], "response_a": "a", "response_b": "b"}
    assert PreferenceRecord.from_json(row | {"preference": 1}) == PreferenceRecord(
        "p", conversation(("user", "hi")), "a", "b", 1.0, 1.0, "train", ""
    )


@pytest.mark.parametrize(
    ("record", "name"), FIELDS, ids=lambda one: one if isinstance(one, str) else type(one).__name__
)
def test_a_field_that_is_missing_is_named_unless_it_has_a_default(record: Record, name: str) -> None:
    row = record.to_json()
    del row[name]
    fields = {field.name: field for field in dataclasses.fields(record)}
    has_default = (fields[name].default, fields[name].default_factory) != (dataclasses.MISSING,) * 2
    if has_default:
        assert getattr(type(record).from_json(row), name) != getattr(record, name)
        return
    with pytest.raises(RecordError, match=f"lacks {name}$"):
        type(record).from_json(row)


def wrong_for(value: object) -> list[object]:
    """What may not stand in a field that holds such a value."""
    match value:
        case bool():
            return ["yes", 1, 0.5, []]
        case str():
            return [5, True, None, ["a"], {"a": 1}]
        case int():
            return [1.5, True, "1", None, [1]]
        case float():
            return [True, "0.5", [0.5], float("nan"), float("inf")]
        case _:
            return ["text", 5, None]


WRONG = [
    (record, name, value)
    for record in ONE_OF_EACH
    for name, good in record.to_json().items()
    for value in wrong_for(good)
]


@pytest.mark.parametrize(("record", "name", "value"), WRONG)
def test_a_value_of_another_kind_is_refused_by_the_name_of_its_field(record: Record, name: str, value: object) -> None:
    with pytest.raises(RecordError, match=f"{name} must be"):
        type(record).from_json(record.to_json() | {name: value})


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=lambda record: type(record).__name__)
def test_a_field_that_is_not_in_the_contract_is_refused_by_name(record: Record) -> None:
    with pytest.raises(RecordError, match=r"has unknown colour, size$"):
        type(record).from_json(record.to_json() | {"size": 1, "colour": "blue"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 3, "text", [], [{"prompt_id": "p"}]])
def test_what_is_no_object_is_no_record(kind: type[Record], value: object) -> None:
    with pytest.raises(RecordError, match="is a JSON object, not"):
        kind.from_json(value)


@given(number=anywhere.filter(lambda number: not 0 <= number <= 1))
@pytest.mark.parametrize("name", ["preference", "strength", "less_harmful"])
def test_a_probability_beyond_its_ends_is_refused(name: str, number: float) -> None:
    with pytest.raises(RecordError, match=f"{name} must lie in"):
        PreferenceRecord.from_json(ONE_OF_EACH[3].to_json() | {name: number})


@given(weight=st.floats(max_value=0, allow_infinity=False))
@pytest.mark.parametrize("record", [ONE_OF_EACH[3], ONE_OF_EACH[5]])
def test_a_weight_that_would_turn_a_judgement_round_or_drop_it_is_refused(record: Record, weight: float) -> None:
    with pytest.raises(RecordError, match="weight must be positive"):
        type(record).from_json(record.to_json() | {"weight": weight})


@pytest.mark.parametrize("record", [ONE_OF_EACH[3], ONE_OF_EACH[5]])
@pytest.mark.parametrize("split", ["test", "Train", "", None, 1])
def test_a_judgement_is_to_be_learnt_from_or_measured_on(record: Record, split: object) -> None:
    with pytest.raises(RecordError, match=f"split must be one of train, validation, not {split!r}"):
        type(record).from_json(record.to_json() | {"split": split})


@pytest.mark.parametrize("digits", [400, 4000])
@pytest.mark.parametrize(("record", "name"), [(ONE_OF_EACH[3], "weight"), (ONE_OF_EACH[4], "temperature")])
def test_a_whole_number_too_large_for_a_float_is_no_number(
    record: Record, name: str, digits: int, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(record.to_json() | {name: 0}).replace(f'"{name}": 0', f'"{name}": 1{"0" * digits}'))
    with pytest.raises(RecordError, match=f"line 1: {name} must be a finite number"):
        read_records(path, type(record))


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ([], "prompt must be a list of messages"),
        ("hello", "prompt must be a list of messages"),
        ([{"role": "assistant", "content": "b"}], "must have a turn that is not the assistant's"),
        (
            [{"role": "User", "content": "a"}],
            "message role must be one of system, developer, user, assistant, tool, not 'User'",
        ),
        ([{"role": "user"}], "message lacks content"),
        ([{"role": "user", "content": "a", "name": "b"}], "message has unknown name"),
        ([{"role": "user", "content": None}], "content must be text"),
        (["hello"], "a message is a JSON object, not str"),
    ],
)
@pytest.mark.parametrize("record", [one for one in ONE_OF_EACH if "prompt" in one.to_json()])
def test_a_prompt_that_no_policy_could_answer_is_refused(record: Record, prompt: object, word: str) -> None:
    with pytest.raises(RecordError, match=word):
        type(record).from_json(record.to_json() | {"prompt": prompt})


@pytest.mark.parametrize("name", ["prompt_id", "text"])
def test_half_a_character_is_refused_where_it_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(ONE_OF_EACH[4].to_json() | {name: "a\ud83d"}))
    with pytest.raises(RecordError, match=f"line 1: {name} holds half a character"):
        read_records(path, CompletionRecord)


@pytest.mark.parametrize("line", [b"{", b'{"prompt_id": "\xff"}', b"[" * 100_000, b"nothing", b'"p"'])
def test_a_line_that_is_no_json_object_is_named_with_its_file(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [ONE_OF_EACH[0]] * 2)
    path.write_bytes(path.read_bytes() + b"\n  \n" + line + b"\n")
    with pytest.raises(RecordError, match=r"records\.jsonl, line 5: "):
        read_records(path, PromptRecord)


def test_a_file_that_another_system_wrote_is_read(tmp_path: Path) -> None:
    """A mark of the byte order at its start, carriage returns, blank lines, and none at the end."""
    path = tmp_path / "records.jsonl"
    line = json.dumps(ONE_OF_EACH[0].to_json()).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n" + line)
    assert read_records(path, PromptRecord) == [ONE_OF_EACH[0]] * 2


def test_records_come_one_at_a_time_before_a_bad_line_is_met(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [ONE_OF_EACH[0]] * 2)
    path.write_bytes(path.read_bytes() + b"{")
    found = iterate_records(path, PromptRecord)
    assert [next(found), next(found)] == [ONE_OF_EACH[0]] * 2
    with pytest.raises(RecordError, match="line 3"):
        next(found)


def test_a_writer_that_stops_half_way_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    def broken() -> Iterator[Record]:
        yield ONE_OF_EACH[0]
        raise RuntimeError("half-way")

    path = tmp_path / "records.jsonl"
    write_records(path, [ONE_OF_EACH[0]])
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="half-way"):
        write_records(path, broken())
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"records.jsonl": before}


@pytest.mark.parametrize("temperature", [float("nan"), float("inf")])
def test_a_number_that_json_has_no_word_for_is_never_written(temperature: float, tmp_path: Path) -> None:
    record = dataclasses.replace(ONE_OF_EACH[4], temperature=temperature)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_records(tmp_path / "records.jsonl", [record])
    assert list(tmp_path.iterdir()) == []


def test_no_records_make_an_empty_file(tmp_path: Path) -> None:
    assert write_records(tmp_path / "records.jsonl", []) == 0
    assert (tmp_path / "records.jsonl").read_bytes() == b""
    assert read_records(tmp_path / "records.jsonl", PromptRecord) == []
