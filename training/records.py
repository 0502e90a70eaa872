"""The file contract between the application and the training stages: one JSON object per line.

Standard library only, because both sides import it. Unknown fields are refused, so that a misspelt field
fails where it is read and not where it is missed.
"""

import dataclasses
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Literal, Self, TypeVar, cast

Role = Literal["system", "developer", "user", "assistant", "tool"]
Split = Literal["train", "validation"]
Json = dict[str, object]

ROLES = ("system", "developer", "user", "assistant", "tool")
SPLITS = ("train", "validation")


class RecordError(ValueError):
    """A record that breaks the contract; the message names the field, and the line when read from a file."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = _fields(value, {"role", "content"}, "message")
        if fields["role"] not in ROLES:
            raise RecordError(f"message role must be one of {', '.join(ROLES)}, not {fields['role']!r}")
        return cls(cast(Role, fields["role"]), _text(fields, "content"))

    def to_json(self) -> Json:
        return {"role": self.role, "content": self.content}


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Record(ABC):
    """Base of all records: `from_json` checks what it is given, `to_json` is its inverse."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: object) -> Self:
        """Raises `RecordError`."""

    def to_json(self) -> Json:
        row: Json = {}
        for field in dataclasses.fields(self):
            entry = getattr(self, field.name)
            row[field.name] = [message.to_json() for message in entry] if field.name == "prompt" else entry
        return row


@dataclass(frozen=True, slots=True)
class PromptRecord(Record):
    """A conversation that waits for the assistant's response."""

    prompt_id: str
    prompt: Conversation

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = _fields(value, {"prompt_id", "prompt"}, "prompt record")
        return cls(_text(fields, "prompt_id"), _conversation(fields))


@dataclass(frozen=True, slots=True)
class DemonstrationRecord(Record):
    """A response to imitate."""

    prompt_id: str
    prompt: Conversation
    response: str

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = _fields(value, {"prompt_id", "prompt", "response"}, "demonstration record")
        return cls(_text(fields, "prompt_id"), _conversation(fields), _text(fields, "response"))


@dataclass(frozen=True, slots=True)
class ResponseRecord(Record):
    """A response to look at, whoever wrote it; `response_id` is its writer's own and of no two responses."""

    response_id: str
    prompt_id: str
    prompt: Conversation
    response: str

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = _fields(value, {"response_id", "prompt_id", "prompt", "response"}, "response record")
        return cls(
            _text(fields, "response_id"),
            _text(fields, "prompt_id"),
            _conversation(fields),
            _text(fields, "response"),
        )


@dataclass(frozen=True, slots=True)
class PreferenceRecord(Record):
    """What people said about two responses to one prompt.

    `preference` is the probability in [0, 1] that response A is better: 1.0 or 0.0 for a plain judgement, 0.5
    for a tie, anything between for a soft label. `weight` > 0 multiplies the pair's loss. Pairs that follow from one
    ranking of a prompt's responses share a `group`. `strength` is how much better the better one was said to be, from
    0, the scale's least, to 1, its most; None where nobody was asked. `criteria` holds, by name, the probability that A
    is better by that criterion alone. `safe_a` and `safe_b` say whether a response may be shown at all, `less_harmful`
    the probability that A is the less harmful one; None where nobody was asked. All six are left out of the file where
    they say nothing.
    """

    prompt_id: str
    prompt: Conversation
    response_a: str
    response_b: str
    preference: float
    weight: float = 1.0
    split: Split = "train"
    source: str = ""
    group: str = ""
    strength: float | None = None
    criteria: Mapping[str, float] = dataclasses.field(default_factory=dict)
    safe_a: bool | None = None
    safe_b: bool | None = None
    less_harmful: float | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = _fields(
            value,
            {"prompt_id", "prompt", "response_a", "response_b", "preference"},
            "preference record",
            optional={"weight": 1.0, "split": "train", "source": "", **_UNSAID},
        )
        preference = _number(fields, "preference")
        strength = None if fields["strength"] is None else _number(fields, "strength")
        less_harmful = None if fields["less_harmful"] is None else _number(fields, "less_harmful")
        if not 0.0 <= preference <= 1.0:
            raise RecordError(f"preference must lie in [0, 1], not {preference}")
        if strength is not None and not 0.0 <= strength <= 1.0:
            raise RecordError(f"strength must lie in [0, 1], not {strength}")
        if less_harmful is not None and not 0.0 <= less_harmful <= 1.0:
            raise RecordError(f"less_harmful must lie in [0, 1], not {less_harmful}")
        return cls(
            _text(fields, "prompt_id"),
            _conversation(fields),
            _text(fields, "response_a"),
            _text(fields, "response_b"),
            preference,
            _weight(fields),
            _split(fields),
            _text(fields, "source"),
            _text(fields, "group"),
            strength,
            _probabilities(fields, "criteria"),
            _optional_truth(fields, "safe_a"),
            _optional_truth(fields, "safe_b"),
            less_harmful,
        )

    def to_json(self) -> Json:
        row = Record.to_json(self)
        return {name: entry for name, entry in row.items() if name not in _UNSAID or entry != _UNSAID[name]}


_UNSAID: Json = {"group": "", "strength": None, "criteria": {}, "safe_a": None, "safe_b": None, "less_harmful": None}


@dataclass(frozen=True, slots=True)
class UnpairedRecord(Record):
    """What people said about one response by itself: whether it is desirable. `weight` > 0 multiplies its loss."""

    prompt_id: str
    prompt: Conversation
    response: str
    desirable: bool
    weight: float = 1.0
    split: Split = "train"
    source: str = ""

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = _fields(
            value,
            {"prompt_id", "prompt", "response", "desirable"},
            "unpaired record",
            optional={"weight": 1.0, "split": "train", "source": ""},
        )
        return cls(
            _text(fields, "prompt_id"),
            _conversation(fields),
            _text(fields, "response"),
            _truth(fields, "desirable"),
            _weight(fields),
            _split(fields),
            _text(fields, "source"),
        )


@dataclass(frozen=True, slots=True)
class CompletionRecord(Record):
    """A response that a policy wrote; `sample` counts the responses to one prompt from 0.

    `token_count` includes the end-of-sequence token if there is one; `text` holds no special tokens.
    """

    prompt_id: str
    sample: int
    text: str
    token_count: int
    ended_with_eos: bool
    seed: int
    temperature: float

    @classmethod
    def from_json(cls, value: object) -> Self:
        names = {field.name for field in dataclasses.fields(cls)}
        fields = _fields(value, names, "completion record")
        return cls(
            _text(fields, "prompt_id"),
            _integer(fields, "sample"),
            _text(fields, "text"),
            _integer(fields, "token_count"),
            _truth(fields, "ended_with_eos"),
            _integer(fields, "seed"),
            _number(fields, "temperature"),
        )


@dataclass(frozen=True, slots=True)
class ScoredPairRecord(Record):
    """How a reward model scores a held-out pair: the raw score of A less that of B, and by the model before it.

    `source` is that of the pair's `PreferenceRecord`; `place` counts the pairs of one source from 0, in the order of
    their file.
    """

    source: str
    place: int
    difference: float
    previous_difference: float | None

    @classmethod
    def from_json(cls, value: object) -> Self:
        names = {field.name for field in dataclasses.fields(cls)}
        fields = _fields(value, names, "scored pair record")
        previous = fields["previous_difference"]
        return cls(
            _text(fields, "source"),
            _integer(fields, "place"),
            _number(fields, "difference"),
            None if previous is None else _number(fields, "previous_difference"),
        )


@dataclass(frozen=True, slots=True)
class DuelRecord(Record):
    """What a policy and its reference wrote to the same prompt, and how a reward model scores each.

    `sample` counts the responses to one prompt from 0.
    """

    prompt_id: str
    sample: int
    text: str
    reference_text: str
    token_count: int
    reference_token_count: int
    ended_with_eos: bool
    reference_ended_with_eos: bool
    reward: float
    reference_reward: float
    temperature: float

    @classmethod
    def from_json(cls, value: object) -> Self:
        names = {field.name for field in dataclasses.fields(cls)}
        fields = _fields(value, names, "duel record")
        return cls(
            _text(fields, "prompt_id"),
            _integer(fields, "sample"),
            _text(fields, "text"),
            _text(fields, "reference_text"),
            _integer(fields, "token_count"),
            _integer(fields, "reference_token_count"),
            _truth(fields, "ended_with_eos"),
            _truth(fields, "reference_ended_with_eos"),
            _number(fields, "reward"),
            _number(fields, "reference_reward"),
            _number(fields, "temperature"),
        )


RecordT = TypeVar("RecordT", bound=Record)


def read_records(path: str | Path, kind: type[RecordT]) -> list[RecordT]:
    """All records of a JSONL file, blank lines skipped.

    Raises `RecordError` with the line number for a row that breaks the contract, `OSError` when unreadable.
    """
    return list(iterate_records(path, kind))


def iterate_records(path: str | Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records of `read_records` one at a time; its errors come with the row that they are about."""
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield kind.from_json(json.loads(line))
            # RecordError, JSONDecodeError and UnicodeDecodeError all are a ValueError; too many brackets are the other.
            except (ValueError, RecursionError) as error:
                raise RecordError(f"{path}, line {number}: {error}") from error


def json_line(record: Record) -> str:
    """A record as files hold it."""
    return json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False) + "\n"


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSONL and return how many: in full or not at all (temporary file, fsync, rename)."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{token_hex(4)}.part")
    count = 0
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json_line(record))
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def sync(path: Path) -> None:
    """Flush a file to disk; of a folder, that a file in it has the name that it was given."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def conversation(*turns: tuple[Role, str]) -> Conversation:
    """A conversation from (role, content) pairs."""
    return tuple(Message(role, content) for role, content in turns)


def _fields(
    value: object, required: set[str], noun: str, *, optional: Mapping[str, object] | None = None
) -> dict[str, object]:
    if not isinstance(value, dict):
        raise RecordError(f"a {noun} is a JSON object, not {type(value).__name__}")
    optional = optional or {}
    missing = sorted(required - value.keys())
    unknown = sorted(value.keys() - required - optional.keys())
    if missing or unknown:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise RecordError(f"{noun} {' and '.join(problems)}")
    return {**optional, **value}


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise RecordError(f"{name} must be text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(f"{name} holds half a character: {value[error.start]!r}") from error
    return value


def _number(fields: Mapping[str, object], name: str) -> float:
    value = fields[name]
    # Compared and not converted: a whole number may be larger than any float. What is no number is not below either.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise RecordError(f"{name} must be a finite number")
    return float(value)


def _probabilities(fields: Mapping[str, object], name: str) -> dict[str, float]:
    entries = fields[name]
    if not isinstance(entries, dict):
        raise RecordError(f"{name} must be an object of numbers")
    found = {entry: _number(entries, entry) for entry in entries}
    for entry, probability in found.items():
        if not 0.0 <= probability <= 1.0:
            raise RecordError(f"{name}: {entry} must lie in [0, 1], not {probability}")
    return found


def _truth(fields: Mapping[str, object], name: str) -> bool:
    value = fields[name]
    if not isinstance(value, bool):
        raise RecordError(f"{name} must be true or false")
    return value


def _optional_truth(fields: Mapping[str, object], name: str) -> bool | None:
    return None if fields[name] is None else _truth(fields, name)


def _weight(fields: Mapping[str, object]) -> float:
    weight = _number(fields, "weight")
    if weight <= 0.0:
        raise RecordError(f"weight must be positive, not {weight}")
    return weight


def _split(fields: Mapping[str, object]) -> Split:
    if fields["split"] not in SPLITS:
        raise RecordError(f"split must be one of {', '.join(SPLITS)}, not {fields['split']!r}")
    return cast(Split, fields["split"])


def _integer(fields: Mapping[str, object], name: str) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise RecordError(f"{name} must be a whole number")
    return value


def _conversation(fields: Mapping[str, object]) -> Conversation:
    turns = fields["prompt"]
    if not isinstance(turns, list) or not turns:
        raise RecordError("prompt must be a list of messages")
    messages = tuple(Message.from_json(turn) for turn in turns)
    if all(message.role == "assistant" for message in messages):
        raise RecordError("prompt must have a turn that is not the assistant's")
    return messages
