"""Rows of a file as COPY takes them, some thousands at a time: what Postgres doesn't have to work out.

A row's unit is what makes it new: its judgements, else its task, else its demonstrations, else its prompt. Rows
are numbered from 0 within a frame.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from app.services.data.imports.rows import BadRow, Demonstration, ImportedRow, Response, RowError, Statement
from app.services.data.storing.answers import LONGEST_NAME
from app.services.data.storing.copying import NULL, copied, hexadecimal, or_null
from app.services.data.storing.options import Options
from app.services.data.storing.placing import placed
from app.services.data.storing.statements import Stated, stated
from app.services.prompts import split_of

ROWS_A_FRAME = 5_000
MOST_RESPONSES = 9
LONGEST_TAG = 80

Table = Literal["rows", "prompts", "tasks", "responses", "statements", "demonstrations"]
Unit = Literal["judgements", "task", "demonstrations", "prompt"]
TABLES: tuple[Table, ...] = ("rows", "prompts", "tasks", "responses", "statements", "demonstrations")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Frame:
    """`rows` were read, of which `bad` can't be used and `duplicates` came in the same frame before; `near_held_out`
    have a prompt that differs from a held-out one in nothing but case, blanks and punctuation. `copies` is what the
    staging tables take."""

    rows: int
    bad: tuple[BadRow, ...]
    duplicates: int
    near_held_out: int
    copies: dict[Table, bytes]


def frames(
    rows: Iterable[ImportedRow | BadRow], options: Options, held_out: Collection[bytes], *, only_keys: bool = False
) -> Iterator[Frame]:
    """All rows in frames; `held_out` are the fingerprints of held-out prompts. With `only_keys` the frames hold what
    tells whether a row is new, and no text."""
    iterator = iter(rows)
    while batch := list(islice(iterator, ROWS_A_FRAME)):
        yield _Builder(options, held_out, only_keys).frame(batch)


def fingerprint(turns: Iterable[tuple[str, str]]) -> bytes:
    """Equal for prompts that differ in nothing but case, blanks and punctuation."""
    text = "\0".join(_NO_WORD.sub("", content.casefold()) for _, content in turns)
    return hashlib.sha256(text.encode()).digest()[:16]


@dataclass
class _Task:
    """A task of the frame; rows that share it add to what was said of it."""

    number: int
    prompt: str
    said: int


@dataclass
class _Builder:
    options: Options
    held_out: Collection[bytes]
    only_keys: bool
    bad: list[BadRow] = field(default_factory=list)
    duplicates: int = 0
    near_held_out: int = 0
    lines: dict[Table, list[str]] = field(default_factory=lambda: {table: [] for table in TABLES})
    seen: set[bytes] = field(default_factory=set)
    said: set[bytes] = field(default_factory=set)
    prompts: set[bytes] = field(default_factory=set)
    tasks: dict[str, _Task] = field(default_factory=dict)

    def frame(self, batch: Iterable[ImportedRow | BadRow]) -> Frame:
        number = -1
        for number, row in enumerate(batch):
            if isinstance(row, BadRow):
                self.bad.append(row)
                continue
            try:
                self._add(number, row)
            except RowError as error:
                self.bad.append(BadRow(row.line, error.field, error.reason))
        for digest, task in self.tasks.items():
            self.lines["tasks"].append(f"{task.number}\t{task.prompt}\t{digest}\t{task.said}\n")
        copies = {table: "".join(lines).encode() for table, lines in self.lines.items() if lines}
        return Frame(number + 1, tuple(self.bad), self.duplicates, self.near_held_out, copies)

    def _add(self, number: int, row: ImportedRow) -> None:
        _require_fit(row, len(row.responses))
        messages = _canonical(row)
        prompt = hashlib.sha256(messages.encode()).digest()
        responses, statements = placed(row, prompt)
        said = [stated(statement, len(responses), self.options.choice) for statement in statements]
        keys = [each.key for each in said]
        task = _task_digest(row, prompt, responses, keys)
        demonstrations = row.demonstrations
        if self.options.demonstrate:
            demonstrations = (*demonstrations, *_of_the_better(responses, statements))
        unit, row_key = _unit(prompt, task, keys, demonstrations)
        if row_key in self.seen:
            self.duplicates += 1
            return
        self.seen.add(row_key)
        if self.held_out and row.split != "held_out" and fingerprint(row.prompt) in self.held_out:
            self.near_held_out += 1
        prompt_hex, task_hex = hexadecimal(prompt), hexadecimal(task) if task else NULL
        self.lines["rows"].append(f"{number}\t{unit}\t{hexadecimal(row_key)}\t{prompt_hex}\t{task_hex}\n")
        self._add_prompt(number, row, prompt, messages)
        if task:
            self._add_task(number, task, task_hex, prompt_hex, responses)
            self._add_statements(number, task, task_hex, said)
        for demonstration in demonstrations:
            self._add_demonstration(number, prompt_hex, task_hex, demonstration)

    def _add_prompt(self, number: int, row: ImportedRow, digest: bytes, messages: str) -> None:
        if self.only_keys or digest in self.prompts:
            return
        self.prompts.add(digest)
        split = row.split or split_of(digest)
        tags = json.dumps(row.tags, ensure_ascii=False) if row.tags else "[]"
        self.lines["prompts"].append(
            f"{number}\t{hexadecimal(digest)}\t{copied(messages)}\t{split}\t{or_null(row.topic)}\t{copied(tags)}\n"
        )

    def _add_task(
        self, number: int, task: bytes, task_hex: str, prompt_hex: str, responses: tuple[Response, ...]
    ) -> None:
        if self.only_keys or task_hex in self.tasks:
            return
        self.tasks[task_hex] = _Task(number, prompt_hex, 0)
        for position, response in enumerate(responses):
            self.lines["responses"].append(
                f"{task_hex}\t{position}\t{copied(response.text)}\t{or_null(response.model)}\n"
            )

    def _add_statements(self, number: int, task: bytes, task_hex: str, said: Iterable[Stated]) -> None:
        for each in said:
            digest = hashlib.sha256(task + each.key.encode()).digest()
            if digest in self.said:
                continue
            self.said.add(digest)
            line = f"{number}\t{task_hex}\t{hexadecimal(digest)}"
            if not self.only_keys:
                self.tasks[task_hex].said += 1
                line = f"{line}\t{each.columns}"
            self.lines["statements"].append(f"{line}\n")

    def _add_demonstration(self, number: int, prompt_hex: str, task_hex: str, demonstration: Demonstration) -> None:
        position = NULL if demonstration.edited_from is None else str(demonstration.edited_from)
        self.lines["demonstrations"].append(
            f"{number}\t{prompt_hex}\t{task_hex}\t{copied(demonstration.text)}\t{position}\n"
        )


def _of_the_better(responses: Sequence[Response], statements: Iterable[Statement]) -> Iterator[Demonstration]:
    best = {
        said.ranks.index(1) for said in statements if said.ranks.count(1) == 1 and any(rank != 1 for rank in said.ranks)
    }
    for position in sorted(best):
        if responses[position].text.strip(" "):
            yield Demonstration(responses[position].text)


def _require_fit(row: ImportedRow, size: int) -> None:
    """Raises RowError for what no table holds."""
    if size > MOST_RESPONSES:
        raise RowError(None, f"has {size} responses; a task holds {MOST_RESPONSES}")
    if size == 1 and not row.statements:
        raise RowError(None, "has one response, and nothing is said of it")
    for response in row.responses:
        if response.model is not None and len(response.model) > LONGEST_NAME:
            raise RowError(None, f"has a model's name of more than {LONGEST_NAME} characters")
    if row.topic is not None and len(row.topic) > LONGEST_NAME:
        raise RowError(None, f"has a topic of more than {LONGEST_NAME} characters")
    if any(len(tag) > LONGEST_TAG for tag in row.tags):
        raise RowError(None, f"has a tag of more than {LONGEST_TAG} characters")
    for demonstration in row.demonstrations:
        if not demonstration.text.strip(" "):
            raise RowError(None, "has an empty response to imitate")


def _task_digest(row: ImportedRow, prompt: bytes, responses: Sequence[Response], keys: Sequence[str]) -> bytes | None:
    """None for a row without a task. One that the file names is the same whatever is said of it."""
    if not responses:
        return None
    named = ["named", row.task, "judged" if keys else "open"] if row.task is not None else ["", *keys]
    content = "\0".join([*named, "\0", *(response.text for response in responses)])
    return hashlib.sha256(prompt + content.encode()).digest()[:16]


def _unit(
    prompt: bytes, task: bytes | None, keys: Sequence[str], demonstrations: Sequence[Demonstration]
) -> tuple[Unit, bytes]:
    """What makes the row new, and what tells it from others."""
    texts = [demonstration.text for demonstration in demonstrations]
    if task is not None:
        key = hashlib.sha256(task + "\0".join(keys).encode()).digest()
        return ("judgements" if keys else "task"), key
    if texts:
        return "demonstrations", hashlib.sha256(prompt + "\0".join(texts).encode()).digest()
    return "prompt", prompt


def _canonical(row: ImportedRow) -> str:
    """The prompt's messages as `app.services.prompts` writes them for its digest."""
    return _encode([{"content": content, "role": role} for role, content in row.prompt])
