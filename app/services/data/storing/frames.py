"""Rows of a file as the tables take them, some thousands at a time: all that can be known without the database.

A row's unit is what makes it new: its judgements, else its task, else its demonstrations, else its prompt. What a row
points at is told by digest, because ids are given where it is stored.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from app.services.data.imports.rows import BadRow, Demonstration, ImportedRow, Response, RowError, Statement
from app.services.data.storing.answers import LONGEST_NAME
from app.services.data.storing.copying import copied, hexadecimal, or_null, texts
from app.services.data.storing.options import Options
from app.services.data.storing.placing import placed
from app.services.data.storing.statements import Stated, stated
from app.services.prompts import split_of

ROWS_A_FRAME = 5_000
# A row may be as long as a line, so that rows alone bound nothing.
LETTERS_A_FRAME = 16 * 2**20
MOST_RESPONSES = 9
MOST_JUDGEMENTS = 2**15 - 1
LONGEST_TAG = 80

Unit = Literal["judgements", "task", "demonstrations", "prompt"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NO_WORD = re.compile(r"[\W_]+")


class Row(NamedTuple):
    """What tells whether a row is new. `statements` are those that no row of the frame made before."""

    unit: Unit
    key: bytes
    prompt: bytes
    task: bytes | None
    statements: tuple[bytes, ...]
    demonstrations: tuple[Demonstration, ...]


class Said(NamedTuple):
    """A judgement to be: of which task, and its digest."""

    task: bytes
    digest: bytes
    stated: Stated


@dataclass(slots=True)
class FramedTask:
    """A task of the frame; rows that share it add to what was said of it. Each of `responses` is its columns."""

    prompt: bytes
    responses: tuple[str, ...]
    said: int = 0


@dataclass(frozen=True)
class Frame:
    """`size` rows were read, of which `bad` can't be used and `duplicates` came in the same frame before;
    `near_held_out` have a prompt that differs from a held-out one in nothing but case, blanks and punctuation. `rows`
    are the others. Prompts and tasks are by digest; of a prompt there are its columns."""

    is_first: bool
    size: int
    bad: tuple[BadRow, ...]
    duplicates: int
    near_held_out: int
    rows: list[Row]
    prompts: dict[bytes, str]
    tasks: dict[bytes, FramedTask]
    statements: list[Said]


def frames(
    rows: Iterable[ImportedRow | BadRow], options: Options, held_out: Collection[bytes], *, only_keys: bool = False
) -> Iterator[Frame]:
    """All rows in frames; `held_out` are the fingerprints of held-out prompts. With `only_keys` the frames hold what
    tells whether a row is new, and no text."""
    is_first, repeats = True, _Repeats()
    for batch in _batches(rows):
        yield _Builder(options, held_out, only_keys, is_first, repeats).frame(batch)
        is_first = False


def _batches(rows: Iterable[ImportedRow | BadRow]) -> Iterator[list[ImportedRow | BadRow]]:
    batch: list[ImportedRow | BadRow] = []
    letters = 0
    for row in rows:
        batch.append(row)
        letters += _letters(row)
        if len(batch) >= ROWS_A_FRAME or letters >= LETTERS_A_FRAME:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def _letters(row: ImportedRow | BadRow) -> int:
    """How long the row's texts are, for most of what it takes of memory."""
    if isinstance(row, BadRow):
        return len(row.reason)
    texts = sum([len(text) for _, text in row.prompt]) + sum([len(response.text) for response in row.responses])
    said = sum([len(said.rationale) for said in row.statements if said.rationale])
    return texts + said + sum([len(demonstration.text) for demonstration in row.demonstrations])


def fingerprint(turns: Iterable[tuple[str, str]]) -> bytes:
    """Equal for prompts that differ in nothing but case, blanks and punctuation."""
    text = "\0".join(_NO_WORD.sub("", content.casefold()) for _, content in turns)
    return hashlib.sha256(text.encode()).digest()[:16]


@dataclass
class _Repeats:
    """What was said of the last task. Of statements that are the same, each has a key of its own where nobody can have
    copied them: those of one row are of two people, and so are rows that a file gives to one task by name.
    """

    task: str | None = None
    said: Counter[str] = field(default_factory=Counter)

    def distinct(self, task: str | None, keys: Sequence[str]) -> list[str]:
        if task is None or task != self.task:
            self.task, self.said = task, Counter()
        found = []
        for key in keys:
            found.append(f"{key}\0{self.said[key]}" if self.said[key] else key)
            self.said[key] += 1
        return found


@dataclass
class _Builder:
    options: Options
    held_out: Collection[bytes]
    only_keys: bool
    is_first: bool
    repeats: "_Repeats"
    bad: list[BadRow] = field(default_factory=list)
    duplicates: int = 0
    near_held_out: int = 0
    rows: list[Row] = field(default_factory=list)
    prompts: dict[bytes, str] = field(default_factory=dict)
    tasks: dict[bytes, FramedTask] = field(default_factory=dict)
    statements: list[Said] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    said: set[bytes] = field(default_factory=set)

    def frame(self, batch: Sequence[ImportedRow | BadRow]) -> Frame:
        for row in batch:
            if isinstance(row, BadRow):
                self.bad.append(row)
                continue
            try:
                self._add(row)
            except RowError as error:
                self.bad.append(BadRow(row.line, error.field, error.reason))
        return Frame(
            self.is_first, len(batch), tuple(self.bad), self.duplicates, self.near_held_out,
            self.rows, self.prompts, self.tasks, self.statements,
        )  # fmt: skip

    def _add(self, row: ImportedRow) -> None:
        _require_fit(row, len(row.responses))
        messages = _canonical(row)
        prompt = hashlib.sha256(messages.encode()).digest()
        responses, statements = placed(row, prompt)
        said = [stated(statement, len(responses), self.options.choice) for statement in statements]
        keys = self.repeats.distinct(row.task, [each.key for each in said])
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
        digests: tuple[bytes, ...] = ()
        if task is not None:
            self._add_task(task, prompt, responses)
            digests = tuple(self._add_statements(task, zip(keys, said, strict=True)))
        self._add_prompt(row, prompt, messages)
        self.rows.append(Row(unit, row_key, prompt, task, digests, demonstrations))

    def _add_prompt(self, row: ImportedRow, digest: bytes, messages: str) -> None:
        if self.only_keys or digest in self.prompts:
            return
        split = row.split or split_of(digest)
        self.prompts[digest] = (
            f"{hexadecimal(digest)}\t{copied(messages)}\t{split}\t{or_null(row.topic)}\t{texts(row.tags)}"
        )

    def _add_task(self, task: bytes, prompt: bytes, responses: tuple[Response, ...]) -> None:
        if self.only_keys or task in self.tasks:
            return
        self.tasks[task] = FramedTask(
            prompt, tuple([f"{copied(response.text)}\t{or_null(response.model)}" for response in responses])
        )

    def _add_statements(self, task: bytes, said: Iterable[tuple[str, Stated]]) -> Iterator[bytes]:
        for key, each in said:
            digest = hashlib.sha256(task + key.encode()).digest()
            if digest in self.said:
                continue
            self.said.add(digest)
            if not self.only_keys:
                self.tasks[task].said += 1
                self.statements.append(Said(task, digest, each))
            yield digest


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
    if len(row.statements) > MOST_JUDGEMENTS:
        raise RowError(None, f"has {len(row.statements):,} judgements; a task holds {MOST_JUDGEMENTS:,}")
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
