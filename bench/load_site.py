"""What a load is put on: a site with many open tasks and annotators, and the processor time of its processes."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import create_engine, session_factory, transaction
from app.db.tables import Project
from app.services import accounts
from app.services.projects import projects
from app.settings import load_settings
from app.simulation.site import Site, running_site

SLUG = "load"
PEOPLE = 64
WAYS_IN = ("page", "api", "bare")
BATCH = 100_000

# The texts of the load on Label Studio: a prompt of 40 words and two responses of 80.
SEED = (
    """INSERT INTO prompts (project_id, messages, digest, split, source)
       SELECT %(project)s, jsonb_build_array(jsonb_build_object('role', 'user', 'content', content)),
              sha256(convert_to(content, 'UTF8')), 'train', 'load'
       FROM (SELECT 'prompt ' || i || repeat(' word', 40) AS content
             FROM generate_series(%(first)s::int, %(last)s::int) i) texts""",
    """INSERT INTO completions (prompt_id, text, source)
       SELECT prompts.id, 'answer ' || side || ' ' || prompts.id || repeat(' word', 80), 'imported'
       FROM prompts, unnest(ARRAY['a', 'b']) side
       WHERE prompts.project_id = %(project)s AND prompts.id > %(seen)s ORDER BY prompts.id""",
    """INSERT INTO tasks (project_id, prompt_id, quota)
       SELECT project_id, id, 1 FROM prompts WHERE project_id = %(project)s AND id > %(seen)s ORDER BY id""",
    """INSERT INTO task_completions (task_id, position, completion_id)
       SELECT tasks.id, row_number() OVER (PARTITION BY tasks.id ORDER BY completions.id) - 1, completions.id
       FROM tasks JOIN completions USING (prompt_id)
       WHERE tasks.project_id = %(project)s AND tasks.prompt_id > %(seen)s""",
)


@dataclass(frozen=True)
class Person:
    user_id: int
    session: str
    api_token: str


@dataclass(frozen=True)
class LoadedSite:
    """`people` has others for each way in: nobody finds a lease on the desk that came another way."""

    site: Site
    people: dict[str, tuple[Person, ...]]

    @property
    def port(self) -> int:
        return int(self.site.url.rsplit(":", 1)[1])


@contextmanager
def loaded_site(home: Path, tasks: int, people: int = PEOPLE) -> Iterator[LoadedSite]:
    """A site with `tasks` open tasks or a few more, and `people` annotators for each way in."""
    # A lease outlives the benchmark.
    settings = {"PLUMBLINE_STARTER": "false", "PLUMBLINE_ASSIGNMENT_LEASE_SECONDS": "86400"}
    settings["PLUMBLINE_WEB_PROCESSES"] = str(load_settings().web_processes)
    with running_site(home, settings) as site:
        yield LoadedSite(site, filled(site.database_url, tasks, people))


def filled(database_url: str, tasks: int, people: int = PEOPLE) -> dict[str, tuple[Person, ...]]:
    """Brings a database to so many open tasks; the annotators of each way in, who are new."""
    invited = asyncio.run(_invite(database_url, people))
    with psycopg.connect(database_url, autocommit=True) as connection:
        _fill(connection, tasks)
    return invited


async def _invite(database_url: str, people: int) -> dict[str, tuple[Person, ...]]:
    engine = create_engine(database_url, pool_size=1)
    async with transaction(session_factory(engine)) as db:
        project = await db.scalar(select(Project).where(Project.slug == SLUG))
        project = project or await projects.create(db, slug=SLUG, name="Load", owner_id=None, lease_seconds=86_400)
        invited = {way: tuple([await _person(db, project) for _ in range(people)]) for way in WAYS_IN}
    await engine.dispose()
    return invited


async def _person(db: AsyncSession, project: Project) -> Person:
    user = await accounts.create_user(db, name="Annotator")
    await projects.add_member(db, project, user.id, "annotator")
    session = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, user.id))
    return Person(user.id, session, await accounts.create_api_token(db, user.id, name="load"))


def _fill(connection: psycopg.Connection, tasks: int) -> None:
    (project,) = connection.execute("SELECT id FROM projects WHERE slug = %s", [SLUG]).fetchone() or (0,)
    (there,) = connection.execute("SELECT count(*) FROM tasks WHERE taken < quota").fetchone() or (0,)
    if there >= tasks:
        return
    while there < tasks:
        more = min(BATCH, tasks - there)
        (seen,) = connection.execute("SELECT coalesce(max(id), 0) FROM prompts").fetchone() or (0,)
        values = {"project": project, "seen": seen, "first": seen + 1, "last": seen + more}
        for statement in SEED:
            connection.execute(statement, values)
        there += more
    connection.execute("VACUUM ANALYZE")  # autovacuum would do it in the middle of a measurement


@dataclass(frozen=True)
class Processes:
    """A server's processes: they work in a folder or name it in their environment, and have a word in their command."""

    folder: Path
    word: str

    def cpu_seconds(self) -> float:
        """Of those that live and of those that they have seen end: PostgreSQL's come and go."""
        ticks = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._are_here(process):
                    # After the name, which may hold spaces, the fields from the third on: 14 to 17 are utime, stime and
                    # the same of children that ended.
                    fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
                    ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _are_here(self, process: Path) -> bool:
        if self.word not in (process / "cmdline").read_bytes().decode(errors="replace"):
            return False
        mark = str(self.folder).encode()
        return (process / "cwd").readlink().is_relative_to(self.folder) or mark in (process / "environ").read_bytes()
