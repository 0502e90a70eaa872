"""Frames of rows into the tables: staged by COPY, then merged by a few statements that see the whole frame.

All of it happens in the caller's transaction. What the project has already, by content, is left alone.
"""

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.data.storing.frames import TABLES, Frame

STAGING = """
CREATE TEMP TABLE IF NOT EXISTS staged_rows (
    number int, unit text, key bytea, prompt_digest bytea, task_digest bytea
) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS staged_prompts (
    number int, digest bytea, messages jsonb, split text, topic text, tags jsonb
) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS staged_tasks (
    number int, prompt_digest bytea, digest bytea, said smallint
) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS staged_responses (
    task_digest bytea, position smallint, text text, model text
) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS staged_statements (
    number int, task_digest bytea, digest bytea, answer_type text, choice smallint, preference smallint,
    ranks smallint[], shown_order smallint[], strength_said boolean, annotator text, criteria jsonb, flags jsonb,
    less_harmful smallint, rationale text, first_action_ms bigint, active_ms bigint, visits smallint, hurried boolean,
    served_at timestamptz, submitted_at timestamptz, acceptable boolean[], safe boolean[]
) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS staged_demonstrations (
    number int, prompt_digest bytea, task_digest bytea, text text, position smallint
) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS made_tasks (id bigint, prompt_id bigint, digest bytea) ON COMMIT DROP;
CREATE TEMP TABLE IF NOT EXISTS seen (key bytea PRIMARY KEY) ON COMMIT DROP;
CREATE INDEX IF NOT EXISTS ix_staged_statements_number ON staged_statements (number);
CREATE INDEX IF NOT EXISTS ix_staged_demonstrations_number ON staged_demonstrations (number);
SET LOCAL enable_seqscan = off;
"""
EMPTY = f"TRUNCATE {', '.join(f'staged_{table}' for table in TABLES)}, made_tasks"
# The rest of a statement's columns tells nothing of whether it is known.
KEY_COLUMNS = {"statements": " (number, task_digest, digest)"}

# What grows with the project is looked up row by row, each time by an index. A join would be planned for the tables as
# they were at the first frame, and read all of them again for every frame.
TASK = "SELECT id, import_id FROM tasks WHERE project_id = %(project)s AND import_digest = {} LIMIT 1"
PROMPT = "SELECT id, import_id FROM prompts WHERE project_id = %(project)s AND digest = {} LIMIT 1"
JUDGEMENT = "SELECT j.id FROM judgements j WHERE j.task_id = t.id AND j.body_digest = s.digest LIMIT 1"
DEMONSTRATION = "SELECT id, import_id FROM demonstrations d WHERE d.prompt_id = p.id AND d.text = s.text LIMIT 1"

# Rows of the frame whose unit is in the project, each with whether this import brought it.
KNOWN = f"""
    SELECT r.number, t.import_id IS NOT DISTINCT FROM %(import)s AS is_ours
    FROM staged_rows r, LATERAL ({TASK.format("r.task_digest")}) t
    WHERE r.unit = 'task' OR (r.unit = 'judgements' AND NOT EXISTS (
        SELECT FROM staged_statements s WHERE s.number = r.number AND ({JUDGEMENT}) IS NULL))
    UNION ALL
    SELECT r.number, p.import_id IS NOT DISTINCT FROM %(import)s
    FROM staged_rows r, LATERAL ({PROMPT.format("r.prompt_digest")}) p
    WHERE r.unit = 'prompt'
    UNION ALL
    SELECT r.number, bool_and(d.import_id IS NOT DISTINCT FROM %(import)s)
    FROM staged_rows r
    CROSS JOIN LATERAL ({PROMPT.format("r.prompt_digest")}) p
    JOIN staged_demonstrations s ON s.number = r.number
    LEFT JOIN LATERAL ({DEMONSTRATION}) d ON true
    WHERE r.unit = 'demonstrations'
    GROUP BY r.number HAVING bool_and(d.id IS NOT NULL)
"""  # noqa: S608 - texts of ours
COUNT_KNOWN = f"""
SELECT count(*) FILTER (WHERE is_ours), count(*) FILTER (WHERE NOT is_ours) FROM ({KNOWN}) known
"""  # noqa: S608 - texts of ours
# A check writes nothing, so what came before in the file is kept in mind beside the tables.
COUNT_SEEN = f"""
WITH first AS (INSERT INTO seen SELECT key FROM staged_rows ON CONFLICT DO NOTHING RETURNING key)
SELECT (SELECT count(*) FROM staged_rows) - (SELECT count(*) FROM first),
       (SELECT count(*) FROM ({KNOWN}) known JOIN staged_rows r USING (number) JOIN first USING (key))
"""  # noqa: S608 - texts of ours

PROMPTS = """
INSERT INTO prompts (project_id, messages, digest, split, topic, source, tags, import_id)
SELECT %(project)s, messages, digest, split, topic, %(source)s,
       CASE WHEN tags = '[]' THEN '{}' ELSE ARRAY(SELECT jsonb_array_elements_text(tags)) END, %(import)s
FROM staged_prompts ORDER BY number
ON CONFLICT (project_id, digest) DO NOTHING
"""
TASKS = f"""
WITH made AS (
    INSERT INTO tasks (project_id, prompt_id, state, quota, taken, judged, selection, import_id, import_digest)
    SELECT %(project)s, p.id, CASE WHEN s.said = 0 THEN 'open' ELSE 'closed' END,
           CASE WHEN s.said = 0 THEN %(overlap)s ELSE s.said END, s.said, s.said,
           '{{"rule": "imported"}}', %(import)s, s.digest
    FROM staged_tasks s, LATERAL ({PROMPT.format("s.prompt_digest")}) p
    ORDER BY s.number
    ON CONFLICT (project_id, import_digest) WHERE import_digest IS NOT NULL DO NOTHING
    RETURNING id, prompt_id, import_digest
)
INSERT INTO made_tasks SELECT id, prompt_id, import_digest FROM made
"""  # noqa: S608 - texts of ours
RESPONSES = """
WITH written AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('completions', 'id')) AS id, t.id AS task_id, t.prompt_id, s.position,
           s.text, s.model
    FROM (SELECT * FROM made_tasks ORDER BY id) t JOIN staged_responses s ON s.task_digest = t.digest
), kept AS (
    INSERT INTO completions (id, prompt_id, text, source, source_model)
    SELECT id, prompt_id, text, 'imported', model FROM written ORDER BY id
)
INSERT INTO task_completions (task_id, position, completion_id) SELECT task_id, position, id FROM written
"""
# A task that is there already gets a place for everything more that was said of it.
JUDGEMENTS = f"""
WITH said AS (
    INSERT INTO judgements (
        project_id, task_id, kind, body_digest, answer_type, choice, preference, ranks, shown_order, strength_said,
        source_annotator, criteria, flags, less_harmful, rationale, first_action_ms, active_ms, visits, hurried,
        served_at, submitted_at, acceptable, safe, guidelines_version)
    SELECT %(project)s, t.id, 'imported', s.digest, s.answer_type, s.choice, s.preference, s.ranks, s.shown_order,
           s.strength_said, s.annotator, s.criteria, s.flags, s.less_harmful, s.rationale, s.first_action_ms,
           s.active_ms, s.visits, s.hurried, s.served_at, coalesce(s.submitted_at, now()), s.acceptable, s.safe,
           %(guidelines)s
    FROM staged_statements s, LATERAL ({TASK.format("s.task_digest")}) t
    WHERE ({JUDGEMENT}) IS NULL
    ORDER BY s.number
    RETURNING task_id
), more AS (
    UPDATE tasks SET quota = quota + n, taken = taken + n, judged = judged + n
    FROM (
        SELECT task_id, count(*) AS n FROM said WHERE task_id NOT IN (SELECT id FROM made_tasks) GROUP BY task_id
    ) added
    WHERE tasks.id = added.task_id
)
SELECT count(*) FROM said
"""  # noqa: S608 - texts of ours
DEMONSTRATIONS = f"""
INSERT INTO demonstrations (prompt_id, text, source, completion_id, import_id)
SELECT p.id, s.text, CASE WHEN c.completion_id IS NULL THEN 'imported' ELSE 'edited' END, c.completion_id, %(import)s
FROM (
    SELECT DISTINCT ON (prompt_digest, text) * FROM staged_demonstrations ORDER BY prompt_digest, text, number
) s
CROSS JOIN LATERAL ({PROMPT.format("s.prompt_digest")}) p
LEFT JOIN LATERAL ({TASK.format("s.task_digest")}) t ON s.position IS NOT NULL
LEFT JOIN LATERAL (
    SELECT completion_id FROM task_completions WHERE task_id = t.id AND position = s.position LIMIT 1
) c ON true
LEFT JOIN LATERAL ({DEMONSTRATION}) d ON true
WHERE d.id IS NULL
ORDER BY s.number
"""  # noqa: S608 - texts of ours


@dataclass(frozen=True)
class Merged:
    """Rows of one frame by what they were, and what was made of them."""

    duplicates: int
    already_there: int
    prompts: int = 0
    tasks: int = 0
    judgements: int = 0
    demonstrations: int = 0


class Staging:
    """The staging tables of one import, in a transaction that drops them at its end."""

    def __init__(self, connection: AsyncConnection[Any], project: Project, import_id: int, source: str) -> None:
        self._connection = connection
        self._values = {
            "project": project.id,
            "import": import_id,
            "overlap": project.overlap,
            "guidelines": project.guidelines_version,
            "source": source,
        }

    @classmethod
    async def open(cls, db: AsyncSession, project: Project, import_id: int, source: str) -> "Staging":
        connection = (await (await db.connection()).get_raw_connection()).driver_connection
        assert isinstance(connection, AsyncConnection)
        await connection.execute(STAGING)
        await connection.execute("TRUNCATE seen")
        return cls(connection, project, import_id, source)

    async def merge(self, frame: Frame) -> Merged:
        """Store what is new in the frame."""
        await self._stage(frame)
        duplicates, already_there = await self._row(COUNT_KNOWN)
        prompts = await self._changed(PROMPTS)
        tasks = judgements = demonstrations = 0
        if "tasks" in frame.copies:
            tasks = await self._changed(TASKS)
            await self._changed(RESPONSES)
        if "statements" in frame.copies:
            (judgements,) = await self._row(JUDGEMENTS)
        if "demonstrations" in frame.copies:
            demonstrations = await self._changed(DEMONSTRATIONS)
        return Merged(duplicates, already_there, prompts, tasks, judgements, demonstrations)

    async def look_up(self, frame: Frame) -> Merged:
        """What of a frame with keys alone is new; nothing is stored."""
        await self._stage(frame, columns=KEY_COLUMNS)
        return Merged(*await self._row(COUNT_SEEN))

    async def _stage(self, frame: Frame, columns: dict[str, str] | None = None) -> None:
        await self._connection.execute(EMPTY)
        for table, content in frame.copies.items():
            into = f"COPY staged_{table}{(columns or {}).get(table, '')} FROM STDIN"
            async with self._connection.cursor() as cursor, cursor.copy(into) as copy:
                await copy.write(content)

    async def _changed(self, statement: LiteralString) -> int:
        return (await self._connection.execute(statement, self._values)).rowcount

    async def _row(self, statement: LiteralString) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = await (await self._connection.execute(statement, self._values)).fetchone()
        assert row is not None
        return row
