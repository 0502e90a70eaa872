"""What can be done to many prompts or tasks at once. A new one is what it does to a row, and a row of `CHANGES`."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Prompt, Task
from app.db.tables.content import Split
from app.errors import Conflict, Invalid
from app.phrases import phrase
from app.services.judging import reservations

TAG_LENGTH = 80
MOST_TAGS = 50

ChangeName = Literal[
    "retire", "put_back", "quota", "priority", "give", "share", "tag", "untag", "split", "exclude", "include"
]
Change = Callable[[Any, str], None]


@dataclass(frozen=True)
class Kind:
    """`of` is the list on whose rows it works, `value` what it asks for beside the rows: None asks nothing.

    `apply` changes one row; it raises Invalid for a value that can't be, Conflict where this row can't be changed.
    """

    title: str
    of: Literal["prompts", "tasks"]
    columns: tuple[str, ...]
    apply: Change
    value: Literal["number", "tag", "split", "person"] | None = None
    require: Callable[[AsyncSession, Project, str], Awaitable[None]] | None = None
    """Asked before the rows are locked. Raises Invalid for a value that can't be in this project."""
    left: Callable[[AsyncSession, Sequence[Any], str], Awaitable[Mapping[int, str]]] | None = None
    """Those of some locked rows that can't be changed, by id, and why: where that takes a look at other tables."""

    @property
    def table(self) -> Any:
        return Prompt if self.of == "prompts" else Task


async def require(db: AsyncSession, project: Project, kind: Kind, value: str) -> None:
    """Raises Invalid for a value that can be of no row."""
    blank = Task(quota=1, taken=0, judged=0, skipped=0, state="open") if kind.of == "tasks" else Prompt(tags=[])
    kind.apply(blank, value)
    if kind.require is not None:
        await kind.require(db, project, value)


def _retire(task: Task, _value: str) -> None:
    task.state = "retired"


def _put_back(task: Task, _value: str) -> None:
    if task.erased_at is not None:
        raise Conflict("Something in it was erased.")
    if task.state == "retired":
        task.state = state_of(task)


def _quota(task: Task, value: str) -> None:
    quota = _whole(value, 1, 100)
    if quota < task.taken:
        raise Conflict("More people have it or have judged it already.")
    task.quota = quota
    if task.state != "retired":
        task.state = state_of(task)


def _priority(task: Task, value: str) -> None:
    task.priority = float(_whole(value, -1_000_000, 1_000_000))


def _give(task: Task, value: str) -> None:
    task.reserved_for_id = _person(value)


def _share(task: Task, _value: str) -> None:
    task.reserved_for_id = None


async def _require_worker(db: AsyncSession, project: Project, value: str) -> None:
    await reservations.require_works(db, project, _person(value))


async def _not_for_them(db: AsyncSession, tasks: Sequence[Task], value: str) -> Mapping[int, str]:
    return await reservations.left_out(db, tasks, _person(value))


def _tag(prompt: Prompt, value: str) -> None:
    tag = _tag_of(value)
    if tag not in prompt.tags:
        if len(prompt.tags) >= MOST_TAGS:
            raise Conflict(f"A prompt has at most {MOST_TAGS} tags.")
        prompt.tags = [*prompt.tags, tag]


def _untag(prompt: Prompt, value: str) -> None:
    tag = _tag_of(value)
    prompt.tags = [known for known in prompt.tags if known != tag]


def _move(prompt: Prompt, value: str) -> None:
    if value not in get_args(Split):
        raise Invalid("A split is train, validation or held_out.")
    prompt.split = value


def _exclude(prompt: Prompt, _value: str) -> None:
    prompt.excluded = True


def _include(prompt: Prompt, _value: str) -> None:
    prompt.excluded = False


def state_of(task: Task) -> str:
    return "closed" if task.judged + task.skipped >= task.quota else "open"


def _whole(value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", value) or not least <= int(value) <= most:
        raise Invalid("Give a whole number from %(least)s to %(most)s.", least=least, most=most)
    return int(value)


def _person(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise Invalid("Say who is to have these tasks.")
    return int(value)


def _tag_of(value: str) -> str:
    tag = " ".join(value.split())
    if not tag or len(tag) > TAG_LENGTH or not tag.isprintable():
        raise Invalid("A tag has 1 to %(size)s printable characters.", size=TAG_LENGTH)
    return tag


CHANGES: Mapping[str, Kind] = {
    "tag": Kind(phrase("Add a tag"), "prompts", ("tags",), _tag, "tag"),
    "untag": Kind(phrase("Take a tag away"), "prompts", ("tags",), _untag, "tag"),
    "split": Kind(phrase("Move to a split"), "prompts", ("split",), _move, "split"),
    "exclude": Kind(phrase("Keep out of datasets"), "prompts", ("excluded",), _exclude),
    "include": Kind(phrase("Let into datasets again"), "prompts", ("excluded",), _include),
    "retire": Kind(phrase("Retire"), "tasks", ("state",), _retire),
    "put_back": Kind(phrase("Put back"), "tasks", ("state",), _put_back),
    "quota": Kind(phrase("Set how many people judge it"), "tasks", ("quota", "state"), _quota, "number"),
    "priority": Kind(phrase("Set the priority"), "tasks", ("priority",), _priority, "number"),
    "give": Kind(
        phrase("Give to"), "tasks", ("reserved_for_id",), _give, "person", require=_require_worker, left=_not_for_them
    ),
    "share": Kind(phrase("Let anybody have it"), "tasks", ("reserved_for_id",), _share),
}
