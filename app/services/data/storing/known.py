"""What of a frame the project has already, by content.

What grows with the project is looked up row by row, each time by an index. A join would be planned for the tables as
they were at the first frame, and read all of them again for every frame.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection

from app.services.data.storing.frames import Frame, Row

PROMPTS: LiteralString = """
SELECT d.digest, p.id, p.import_id IS NOT DISTINCT FROM %(import)s
FROM unnest(%(digests)b::bytea[]) d (digest)
CROSS JOIN LATERAL (
    SELECT id, import_id FROM prompts WHERE project_id = %(project)s AND digest = d.digest LIMIT 1 FOR KEY SHARE
) p
"""
TASKS: LiteralString = """
SELECT d.digest, t.id, t.import_id IS NOT DISTINCT FROM %(import)s
FROM unnest(%(digests)b::bytea[]) d (digest)
CROSS JOIN LATERAL (
    SELECT id, import_id FROM tasks WHERE project_id = %(project)s AND import_digest = d.digest LIMIT 1 FOR KEY SHARE
) t
"""
# A check holds nothing, so that it writes nothing.
HOLD: LiteralString = " FOR KEY SHARE"
JUDGEMENTS: LiteralString = """
SELECT s.digest FROM unnest(%(tasks)b::bigint[], %(digests)b::bytea[]) s (task_id, digest)
WHERE (SELECT j.id FROM judgements j WHERE j.task_id = s.task_id AND j.body_digest = s.digest LIMIT 1) IS NOT NULL
"""
DEMONSTRATIONS: LiteralString = """
SELECT s.number, d.import_id IS NOT DISTINCT FROM %(import)s
FROM unnest(%(prompts)b::bigint[], %(texts)b::text[]) WITH ORDINALITY s (prompt_id, text, number)
CROSS JOIN LATERAL (
    SELECT import_id FROM demonstrations d WHERE d.prompt_id = s.prompt_id AND d.text = s.text LIMIT 1
) d
"""
# A check stores nothing, so what came before in the file is kept in mind beside the tables.
SEEN: LiteralString = "INSERT INTO seen SELECT unnest(%(keys)b::bytea[]) ON CONFLICT DO NOTHING RETURNING key"


class Found(NamedTuple):
    """`is_ours`: the same import brought it."""

    id: int
    is_ours: bool


@dataclass(frozen=True)
class Known:
    """What is there of a frame: prompts, tasks and judgements by digest, demonstrations by prompt and text. Of all but
    judgements it is told whether the same import brought it."""

    prompts: Mapping[bytes, Found]
    tasks: Mapping[bytes, Found]
    judgements: frozenset[bytes]
    demonstrations: Mapping[tuple[bytes, str], bool]

    def standing(self, row: Row) -> bool | None:
        """Whether the same import brought the row's unit; None for a row that is new."""
        found: Found | None
        match row.unit:
            case "demonstrations":
                brought = [self.demonstrations.get((row.prompt, each.text)) for each in row.demonstrations]
                return None if None in brought else all(brought)
            case "prompt":
                found = self.prompts.get(row.prompt)
            case "task":
                found = self.tasks.get(row.task or b"")
            case "judgements":
                found = self.tasks.get(row.task or b"")
                if not self.judgements.issuperset(row.statements):
                    return None
        return found and found.is_ours

    def of(self, rows: Iterable[Row]) -> tuple[int, int]:
        """How many of the rows the same import brought before, and how many were there before it."""
        standings = [self.standing(row) for row in rows]
        return standings.count(True), standings.count(False)


async def look_up(connection: AsyncConnection[Any], frame: Frame, values: Mapping[str, object], *, hold: bool) -> Known:
    """What the project has. With `hold`, its prompts and tasks stay until the transaction ends."""

    async def found(statement: LiteralString, **more: object) -> list[tuple[Any, ...]]:
        rows = await connection.execute(
            statement if hold else statement.replace(HOLD, ""), {**values, **more}, binary=True
        )
        return await rows.fetchall()

    async def by_digest(statement: LiteralString, digests: set[bytes]) -> dict[bytes, Found]:
        rows = await found(statement, digests=list(digests)) if digests else []
        return {digest: Found(key, is_ours) for digest, key, is_ours in rows}

    prompts = await by_digest(PROMPTS, {row.prompt for row in frame.rows})
    tasks = await by_digest(TASKS, {row.task for row in frame.rows if row.task is not None})
    said = [(tasks[row.task].id, digest) for row in frame.rows if row.task in tasks for digest in row.statements]
    judgements: list[tuple[Any, ...]] = []
    if said:
        ids, digests = zip(*said, strict=True)
        judgements = await found(JUDGEMENTS, tasks=list(ids), digests=list(digests))
    shown = list(_demonstrations(frame, prompts))
    demonstrations: list[tuple[Any, ...]] = []
    if shown:
        holders, texts = [prompts[prompt].id for prompt, _ in shown], [text for _, text in shown]
        demonstrations = await found(DEMONSTRATIONS, prompts=holders, texts=texts)
    return Known(
        prompts,
        tasks,
        frozenset(digest for (digest,) in judgements),
        {shown[number - 1]: is_ours for number, is_ours in demonstrations},
    )


def _demonstrations(frame: Frame, prompts: Mapping[bytes, Found]) -> Iterator[tuple[bytes, str]]:
    """Those whose prompt is there."""
    for row in frame.rows:
        if row.demonstrations and row.prompt in prompts:
            for demonstration in row.demonstrations:
                yield row.prompt, demonstration.text


async def unseen(connection: AsyncConnection[Any], frame: Frame) -> set[bytes]:
    """Keys of the rows that came in no frame before."""
    rows = await connection.execute(SEEN, {"keys": [row.key for row in frame.rows]}, binary=True)
    return {key for (key,) in await rows.fetchall()}
