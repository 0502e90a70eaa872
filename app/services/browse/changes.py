"""Changes of many prompts or tasks at once, each of which can be undone: what stood there before is kept with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import BulkChange, Project, Prompt, Task
from app.db.tables.content import Split
from app.errors import Conflict, Invalid, NotFound
from app.phrases import phrase

AT_ONCE = 200
TAG_LENGTH = 80
MOST_TAGS = 50

ChangeName = Literal["retire", "put_back", "quota", "priority", "tag", "untag", "split", "exclude", "include"]
Change = Callable[[Any, str], None]


@dataclass(frozen=True)
class Kind:
    """`of` is the list on whose rows it works, `value` what it asks for beside the rows: None asks nothing."""

    title: str
    of: Literal["prompts", "tasks"]
    columns: tuple[str, ...]
    apply: Change
    value: Literal["number", "tag", "split"] | None = None


@dataclass(frozen=True)
class Outcome:
    """`changed` rows are as they were asked to be; `left` could not be changed, for the reasons given."""

    change_id: int | None
    changed: int
    left: Mapping[int, str]


async def change(
    db: AsyncSession, actor_id: int | None, project: Project, name: ChangeName, ids: Sequence[int], value: str = ""
) -> Outcome:
    """Change the rows of these ids; those of other projects aren't there. Raises Invalid for a value that can't be."""
    kind = CHANGES[name]
    if len(ids) > AT_ONCE:
        raise Invalid("At most %(count)s rows are changed at once.", count=AT_ONCE)
    before: dict[str, Json] = {}
    left: dict[int, str] = {}
    for row in await _rows(db, project, kind, ids):
        was = {column: getattr(row, column) for column in kind.columns}
        try:
            kind.apply(row, value)
        except Conflict as refused:
            left[row.id] = str(refused)
            continue
        if any(getattr(row, column) != was[column] for column in kind.columns):
            before[str(row.id)] = was
    if not before:
        return Outcome(None, 0, left)
    kept = BulkChange(project_id=project.id, actor_id=actor_id, name=name, value=value, before=before)
    db.add(kept)
    await db.flush()
    return Outcome(kept.id, len(before), left)


async def undo(db: AsyncSession, project: Project, change_id: int) -> Outcome:
    """Put back what stood there before. What was changed again since is left as it is now.

    Raises NotFound, Conflict for a change that is undone already.
    """
    kept = await db.scalar(
        select(BulkChange).where(BulkChange.id == change_id, BulkChange.project_id == project.id).with_for_update()
    )
    if kept is None:
        raise NotFound
    if kept.undone_at is not None:
        raise Conflict("This change is undone already.")
    kind = CHANGES[kept.name]
    left: dict[int, str] = {}
    back = 0
    for row in await _rows(db, project, kind, [int(identity) for identity in kept.before]):
        was = kept.before[str(row.id)]
        expected = _copy(row, kind, was)
        kind.apply(expected, kept.value)
        if any(getattr(row, column) != getattr(expected, column) for column in kind.columns):
            left[row.id] = phrase("It was changed again since.")
            continue
        try:
            _restore(row, was)
        except Conflict as refused:
            left[row.id] = str(refused)
            continue
        back += 1
    kept.undone_at = func.now()
    await db.flush()
    return Outcome(kept.id, back, left)


async def _rows(db: AsyncSession, project: Project, kind: Kind, ids: Sequence[int]) -> Sequence[Any]:
    """Locked in the order of their ids, so that two changes at once wait for each other."""
    table: Any = Prompt if kind.of == "prompts" else Task
    return (
        await db.scalars(
            select(table)
            .where(table.project_id == project.id, table.id.in_(ids))
            .order_by(table.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).all()


def _copy(row: Any, kind: Kind, was: Json) -> Any:
    """What the row was when it was changed, as far as the change looks at it; not of the session."""
    table: Any = Prompt if kind.of == "prompts" else Task
    now = {column: getattr(row, column) for column in ("taken", "judged", "skipped") if kind.of == "tasks"}
    return table(**now, **was)


def _restore(row: Any, was: Json) -> None:
    """Raises Conflict. What people did since counts: a task that was open may have all its judgements by now."""
    if getattr(row, "erased_at", None) is not None and was.get("state") not in (None, "retired"):
        raise Conflict("Something in it was erased.")
    if "quota" in was and was["quota"] < row.taken:
        raise Conflict("More people have it or have judged it already.")
    for column, value in was.items():
        setattr(row, column, value)
    if isinstance(row, Task) and row.state != "retired":
        row.state = _state_of(row)


def _retire(task: Task, _value: str) -> None:
    task.state = "retired"


def _put_back(task: Task, _value: str) -> None:
    if task.erased_at is not None:
        raise Conflict("Something in it was erased.")
    if task.state == "retired":
        task.state = _state_of(task)


def _quota(task: Task, value: str) -> None:
    quota = _whole(value, 1, 100)
    if quota < task.taken:
        raise Conflict("More people have it or have judged it already.")
    task.quota = quota
    if task.state != "retired":
        task.state = _state_of(task)


def _priority(task: Task, value: str) -> None:
    task.priority = float(_whole(value, -1_000_000, 1_000_000))


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


def _state_of(task: Task) -> str:
    return "closed" if task.judged + task.skipped >= task.quota else "open"


def _whole(value: str, least: int, most: int) -> int:
    if not value.lstrip("-").isdecimal() or not least <= int(value[:20]) <= most:
        raise Invalid("Give a whole number from %(least)s to %(most)s.", least=least, most=most)
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
}
