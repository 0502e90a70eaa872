"""What is new in a frame as lines of COPY, once every row has its key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString

from app.services.data.storing import statements
from app.services.data.storing.copying import NULL, copied, hexadecimal
from app.services.data.storing.frames import Frame, Said

SELECTION = '{"rule": "imported"}'


@dataclass(frozen=True)
class Target:
    """Where rows go and what all of them share; `now` is when a judgement was made whose file doesn't say it."""

    project_id: int
    import_id: int
    overlap: int
    guidelines_version: int
    source: str
    now: str


@dataclass(frozen=True)
class Keyed:
    """A frame with the keys of its prompts and tasks by digest, old ones included, and of the responses of each new
    task; `said` are the judgements that are new, `shown` the demonstrations: prompt, text, and the response that it was
    made of."""

    target: Target
    frame: Frame
    prompts: Mapping[bytes, int]
    tasks: Mapping[bytes, int]
    new_prompts: list[bytes]
    responses: Mapping[bytes, list[int]]
    said: list[Said]
    shown: Mapping[tuple[bytes, str], int | None]

    @property
    def is_searchable(self) -> bool:
        """Search finds it at once, and not only once a worker has read it."""
        return self.frame.is_first

    def lines(self) -> Iterator[tuple[LiteralString, list[str]]]:
        """Tables with their columns in the order of what points at what, and the lines of each."""
        yield (
            "prompts (is_searchable, id, project_id, source, import_id, digest, messages, split, topic, tags)",
            self._prompts(),
        )
        yield "completions (is_searchable, id, prompt_id, source, text, source_model)", self._completions()
        yield (
            "tasks (project_id, import_id, selection, id, prompt_id, import_digest, state, quota, taken, judged)",
            self._tasks(),
        )
        yield "task_completions (task_id, position, completion_id)", self._task_completions()
        yield (
            "judgements (project_id, kind, guidelines_version, task_id, body_digest, submitted_at,"
            f" {statements.COLUMNS})",
            self._judgements(),
        )
        yield (
            "demonstrations (is_searchable, import_id, prompt_id, text, source, completion_id)",
            self._demonstrations(),
        )

    def _prompts(self) -> list[str]:
        shared = f"{self.target.project_id}\t{copied(self.target.source)}\t{self.target.import_id}"
        columns = self.frame.prompts
        return [
            f"{self.is_searchable}\t{self.prompts[digest]}\t{shared}\t{columns[digest]}\n"
            for digest in self.new_prompts
        ]

    def _completions(self) -> list[str]:
        lines = []
        for digest, keys in self.responses.items():
            task = self.frame.tasks[digest]
            prompt = self.prompts[task.prompt]
            for key, response in zip(keys, task.responses, strict=True):
                lines.append(f"{self.is_searchable}\t{key}\t{prompt}\timported\t{response}\n")
        return lines

    def _tasks(self) -> list[str]:
        shared = f"{self.target.project_id}\t{self.target.import_id}\t{SELECTION}"
        lines = []
        for digest in self.responses:
            task = self.frame.tasks[digest]
            said = task.said
            places = f"closed\t{said}\t{said}\t{said}" if said else f"open\t{self.target.overlap}\t0\t0"
            lines.append(
                f"{shared}\t{self.tasks[digest]}\t{self.prompts[task.prompt]}\t{hexadecimal(digest)}\t{places}\n"
            )
        return lines

    def _task_completions(self) -> list[str]:
        return [
            f"{self.tasks[digest]}\t{position}\t{key}\n"
            for digest, keys in self.responses.items()
            for position, key in enumerate(keys)
        ]

    def _judgements(self) -> list[str]:
        shared = f"{self.target.project_id}\timported\t{self.target.guidelines_version}"
        now = self.target.now
        return [
            f"{shared}\t{self.tasks[task]}\t{hexadecimal(digest)}\t{stated.submitted_at or now}\t{stated.columns}\n"
            for task, digest, stated in self.said
        ]

    def _demonstrations(self) -> list[str]:
        lines = []
        for (prompt, text), made_of in self.shown.items():
            origin = f"imported\t{NULL}" if made_of is None else f"edited\t{made_of}"
            lines.append(
                f"{self.is_searchable}\t{self.target.import_id}\t{self.prompts[prompt]}\t{copied(text)}\t{origin}\n"
            )
        return lines
