"""Frames of rows into the tables by COPY. What the project has already, by content, is left alone.

All of it happens in the caller's transaction. Keys are taken from the tables' sequences before, so that what points at
what is known without asking back.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.data.imports.rows import Demonstration
from app.services.data.storing.frames import Frame
from app.services.data.storing.keyed import Keyed, Target
from app.services.data.storing.known import Known, look_up, unseen

# Statements are planned once, when tables may still be small.
BEGIN = """
CREATE TEMP TABLE IF NOT EXISTS seen (key bytea PRIMARY KEY) ON COMMIT DROP;
TRUNCATE seen;
SET LOCAL enable_seqscan = off;
"""
NEXT_KEYS = "SELECT nextval(%(sequence)s::regclass) FROM generate_series(1, %(count)s)"
# A task that is there already gets a place for everything more that was said of it.
MAKE_ROOM = """
UPDATE tasks SET quota = quota + n, taken = taken + n, judged = judged + n
FROM unnest(%(tasks)b::bigint[], %(counts)b::smallint[]) more (id, n) WHERE tasks.id = more.id
"""
RESPONSES = "SELECT task_id, position, completion_id FROM task_completions WHERE task_id = ANY (%(tasks)b::bigint[])"
NOW_AND_RIGHT = "SELECT now()::text, has_parameter_privilege('session_replication_role', 'SET')"
PROMPT_IS_THERE = "uq_prompts_project_id_digest"


@dataclass(frozen=True)
class Merged:
    """Rows of one frame by what they were, and what was made of them."""

    duplicates: int
    already_there: int
    prompts: int = 0
    tasks: int = 0
    judgements: int = 0
    demonstrations: int = 0


class Merging:
    """One import's way into its project, in one transaction."""

    def __init__(self, connection: AsyncConnection[Any], target: Target, *, asks_at_once: bool) -> None:
        self._connection = connection
        self._asks_at_once = asks_at_once
        self._target = target
        self._values = {"project": target.project_id, "import": target.import_id}

    @classmethod
    async def open(cls, db: AsyncSession, project: Project, import_id: int, source: str) -> "Merging":
        connection = (await (await db.connection()).get_raw_connection()).driver_connection
        assert isinstance(connection, AsyncConnection)
        await connection.execute(BEGIN)
        found = await (await connection.execute(NOW_AND_RIGHT)).fetchone()
        assert found is not None
        now, asks_at_once = found
        target = Target(project.id, import_id, project.overlap, project.guidelines_version, source, now)
        return cls(connection, target, asks_at_once=asks_at_once)

    async def merge(self, frame: Frame) -> Merged:
        """Store what is new in the frame."""
        while True:
            try:
                async with self._connection.transaction():
                    return await self._merge(frame)
            except UniqueViolation as violation:
                # Somebody else has just made one of the prompts: by now it is there, and found.
                if violation.diag.constraint_name != PROMPT_IS_THERE:
                    raise

    async def look_up(self, frame: Frame) -> Merged:
        """What of the frame is new; nothing is stored."""
        known = await look_up(self._connection, frame, self._values, hold=False)
        first = await unseen(self._connection, frame)
        return Merged(len(frame.rows) - len(first), sum(known.of(row for row in frame.rows if row.key in first)))

    async def _merge(self, frame: Frame) -> Merged:
        known = await look_up(self._connection, frame, self._values, hold=True)
        keyed = await self._keyed(frame, known)
        await self._make_room(keyed, known)
        async with self._parents_asked_at_once():
            for table, lines in keyed.lines():
                if lines:
                    async with self._connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
                        await copy.write("".join(lines))
        duplicates, already_there = known.of(frame.rows)
        return Merged(
            duplicates,
            already_there,
            prompts=len(keyed.new_prompts),
            tasks=len(keyed.responses),
            judgements=len(keyed.said),
            demonstrations=len(keyed.shown),
        )

    @asynccontextmanager
    async def _parents_asked_at_once(self) -> AsyncIterator[None]:
        """Within the block the tables' own triggers stand in for those of foreign keys, where we may ask for that."""
        if self._asks_at_once:
            await self._connection.execute("SET LOCAL session_replication_role = replica")
        yield
        if self._asks_at_once:
            await self._connection.execute("SET LOCAL session_replication_role = origin")

    async def _keyed(self, frame: Frame, known: Known) -> Keyed:
        prompts = {digest: found.id for digest, found in known.prompts.items()}
        tasks = {digest: found.id for digest, found in known.tasks.items()}
        new_prompts = [digest for digest in frame.prompts if digest not in prompts]
        new_tasks = [digest for digest in frame.tasks if digest not in tasks]
        prompts.update(zip(new_prompts, await self._keys("prompts", len(new_prompts)), strict=True))
        tasks.update(zip(new_tasks, await self._keys("tasks", len(new_tasks)), strict=True))
        sizes = [len(frame.tasks[digest].responses) for digest in new_tasks]
        keys = iter(await self._keys("completions", sum(sizes)))
        responses = {digest: [next(keys) for _ in range(size)] for digest, size in zip(new_tasks, sizes, strict=True)}
        said = [each for each in frame.statements if each.digest not in known.judgements]
        shown = await self._shown(frame, known, responses)
        return Keyed(self._target, frame, prompts, tasks, new_prompts, responses, said, shown)

    async def _shown(
        self, frame: Frame, known: Known, responses: dict[bytes, list[int]]
    ) -> dict[tuple[bytes, str], int | None]:
        """Demonstrations that are new, each with the response that it was made of."""
        new: dict[tuple[bytes, str], tuple[bytes | None, Demonstration]] = {}
        for row in frame.rows:
            for demonstration in row.demonstrations:
                which = row.prompt, demonstration.text
                if which not in known.demonstrations:
                    new.setdefault(which, (row.task, demonstration))
        edited = {task for task, demonstration in new.values() if task and demonstration.edited_from is not None}
        older = await self._responses([known.tasks[task].id for task in edited if task in known.tasks])

        def made_of(task: bytes | None, position: int | None) -> int | None:
            if task is None or position is None:
                return None
            if task in known.tasks:
                return older.get((known.tasks[task].id, position))
            keys = responses[task]
            return keys[position] if position < len(keys) else None

        return {which: made_of(task, demonstration.edited_from) for which, (task, demonstration) in new.items()}

    async def _responses(self, tasks: list[int]) -> dict[tuple[int, int], int]:
        """Keys of the tasks' responses, by task and position."""
        if not tasks:
            return {}
        rows = await self._connection.execute(RESPONSES, {"tasks": tasks})
        return {(task, position): key for task, position, key in await rows.fetchall()}

    async def _make_room(self, keyed: Keyed, known: Known) -> None:
        more = Counter(keyed.tasks[each.task] for each in keyed.said if each.task in known.tasks)
        if more:
            counts = {"tasks": list(more), "counts": list(more.values())}
            await self._connection.execute(MAKE_ROOM, counts)

    async def _keys(self, table: LiteralString, count: int) -> list[int]:
        """The next keys of a table."""
        if not count:
            return []
        rows = await self._connection.execute(NEXT_KEYS, {"sequence": f"{table}_id_seq", "count": count}, binary=True)
        return [key for (key,) in await rows.fetchall()]
