"""A database with so many judgements as an installation has after years: prompts, pairs and answers of many people.

Written by SQL, as an import is (docs/imports.md): parents aren't asked for one by one.
"""

import sys
import time
from typing import LiteralString

import psycopg
from psycopg import sql

OF_EACH_PERSON = 10_000
"""Judgements, in a long time; there are forty people at least."""
BATCH = 250_000
"""Tasks that are written in one transaction."""
OPEN_SHARE = 0.001
"""Of tasks, how many nobody has answered yet."""

# $first and $last count tasks from 1, each with its own prompt; the others are the largest numbers before.
SEED = (
    """INSERT INTO prompts (id, project_id, messages, digest, split, source, tags)
       SELECT %(prompt)s + n, %(project)s, jsonb_build_array(jsonb_build_object('role', 'user', 'content',
         'How do I ' || md5((%(prompt)s + n)::text) || ' a ' || md5((n %% 5000)::text) || '?')),
         sha256((%(prompt)s + n)::text::bytea), CASE WHEN n %% 10 = 0 THEN 'validation' ELSE 'train' END, 'bench',
         CASE WHEN n %% 100 = 0 THEN ARRAY['hard'] ELSE ARRAY[]::varchar[] END
       FROM generate_series(%(first)s::bigint, %(last)s::bigint) n""",
    """INSERT INTO completions (id, prompt_id, text, source)
       SELECT %(completion)s + n, %(prompt)s + (n + 1) / 2,
         'First ' || md5(n::text) || ', then ' || md5((n %% 7000)::text) || repeat(' and so on', (n %% 9)::int),
         'imported'
       FROM generate_series(2 * %(first)s::bigint - 1, 2 * %(last)s::bigint) n""",
    """INSERT INTO tasks (id, project_id, prompt_id, state, quota, taken, judged)
       SELECT %(task)s + n, %(project)s, %(prompt)s + n, 'closed', 2, 2, 2
       FROM generate_series(%(first)s::bigint, %(last)s::bigint) n""",
    # Else the rows that follow from them are planned for the hundred tasks that were there.
    "ANALYZE tasks",
    """INSERT INTO task_completions (task_id, position, completion_id)
       SELECT %(task)s + (n + 1) / 2, (n + 1) %% 2, %(completion)s + n
       FROM generate_series(2 * %(first)s::bigint - 1, 2 * %(last)s::bigint) n""",
    """INSERT INTO assignments (id, project_id, task_id, annotator_id, state, shown_order, guidelines_version,
         lease_expires_at)
       SELECT %(assignment)s + n, %(project)s, %(task)s + (n + 1) / 2, %(person)s + 1 + (n * 7 + n / 2) %% %(people)s,
         'submitted', ARRAY[0, 1], 1, now()
       FROM generate_series(2 * %(first)s::bigint - 1, 2 * %(last)s::bigint) n""",
    """INSERT INTO judgements (project_id, task_id, assignment_id, annotator_id, kind, choice, preference, shown_order,
         guidelines_version, idempotency_key, active_ms, submitted_at, rationale, flags)
       SELECT project_id, task_id, id, annotator_id, 'human', 1 + id %% 7, 4 - (1 + id %% 7), shown_order, 1, id::text,
         9000, now() - make_interval(secs => %(assignment)s + %(judgements)s - id),
         CASE WHEN id %% 50 = 0 THEN 'because ' || md5(id::text) END,
         CASE WHEN id %% 200 = 0 THEN '{"0": ["Makes facts up"]}'::jsonb ELSE '{}'::jsonb END
       FROM assignments
       WHERE id BETWEEN %(assignment)s + 2 * %(first)s::bigint - 1 AND %(assignment)s + 2 * %(last)s::bigint""",
)  # fmt: skip
NUMBERED = ("prompts", "completions", "tasks", "assignments", "judgements", "users")


def fill(url: str, slug: str, judgements: int) -> int:
    """Writes them into a project, which is made where there is none; the project's id."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        project = _project(connection, slug)
        before = {f"{table[:-1]}": _largest(connection, table) for table in ("prompts", "completions", "tasks")}
        before["assignment"] = _largest(connection, "assignments")
        people = max(40, judgements // OF_EACH_PERSON)
        values = {"project": project, "people": people, "person": _invite(connection, project, people), **before}
        values["judgements"] = judgements
        begun = time.monotonic()
        tasks = judgements // 2
        for first in range(1, tasks + 1, BATCH):
            last = min(tasks, first + BATCH - 1)
            for statement in SEED:
                connection.execute(statement, {**values, "first": first, "last": last})
            connection.commit()
            print(f"{2 * last:>12,} judgements after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        _leave_open(connection, values["task"], tasks)
        for table in NUMBERED:
            next_id = sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), max(id)) FROM {}")
            connection.execute(next_id.format(sql.Literal(table), sql.Identifier(table)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return project


def _leave_open(connection: psycopg.Connection, before: int, tasks: int) -> None:
    """The last tasks are nobody's yet."""
    first = before + tasks - int(OPEN_SHARE * tasks) + 1
    for table in ("judgements", "assignments"):
        removed = sql.SQL("DELETE FROM {} WHERE task_id >= %s")
        connection.execute(removed.format(sql.Identifier(table)), [first])
    changed = "UPDATE tasks SET state = 'open', taken = 0, judged = 0, division = NULL WHERE id >= %s"
    connection.execute(changed, [first])
    connection.commit()


def _project(connection: psycopg.Connection, slug: str) -> int:
    asked = "SELECT id FROM projects WHERE slug = %s"
    if connection.execute(asked, [slug]).fetchone() is None:
        connection.execute("INSERT INTO projects (slug, name) VALUES (%s, %s)", [slug, slug.title()])
    return _number(connection, asked, slug)


def _invite(connection: psycopg.Connection, project: int, people: int) -> int:
    """The largest number before those of the people, who follow one another."""
    before = _largest(connection, "users")
    numbers = {"before": before, "people": people, "project": project}
    for each in (
        "INSERT INTO users (id, name) SELECT %(before)s + n, 'Person ' || n",
        "INSERT INTO members (project_id, user_id, role) SELECT %(project)s, %(before)s + n, 'annotator'",
    ):
        connection.execute(each + " FROM generate_series(1, %(people)s) n", numbers)
    return before


def _largest(connection: psycopg.Connection, table: str) -> int:
    return _number(connection, sql.SQL("SELECT coalesce(max(id), 0) FROM {}").format(sql.Identifier(table)))


def _number(connection: psycopg.Connection, asked: LiteralString | sql.Composed, *values: object) -> int:
    (found,) = connection.execute(asked, values).fetchone() or (0,)
    return int(found)
