"""What must hold of a site at any moment, whatever has been done to it: by SQL and on disk.

Nothing here changes anything. All questions of a look are asked in one snapshot, so that people may go on meanwhile;
what is only allowed to pass, like a lease that has just run out, has its time limit in the question.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from app.errors import DomainError
from app.services.loop.models import artifacts

REAPED_WITHIN_SECONDS = 60
"""How long after its lease a run may stand as running: the reaper looks every 5 s once there is a worker."""
TAKEN_WITHIN_SECONDS = 300
"""How long a run that is due may wait while nothing is at work."""

Key = tuple[int, str]
"""Whose submission, and its idempotency key."""


@dataclass(frozen=True)
class Violation:
    """`promise` names what was broken, `found` says what was seen, `look_at` where to go on."""

    promise: str
    found: str
    look_at: str


@dataclass
class Told:
    """What the people of a site know: what they sent, and what of it they were told was taken."""

    sent: set[Key] = field(default_factory=set)
    acknowledged: set[Key] = field(default_factory=set)


@dataclass
class History:
    """What was seen as final, by run and by model version: it must never be seen otherwise."""

    runs: dict[int, tuple[object, ...]] = field(default_factory=dict)
    versions: dict[int, tuple[object, ...]] = field(default_factory=dict)


# Everything that tells of a task's places; 0 rows is what is asked for.
OVERLAP = """
    SELECT tasks.id, tasks.quota, tasks.taken, tasks.judged, said.people, places.taken
    FROM tasks
    CROSS JOIN LATERAL (
        SELECT count(*) AS people FROM judgements
        WHERE judgements.task_id = tasks.id AND superseded_by IS NULL AND NOT is_verdict
          AND kind IN ('human', 'simulated')) said
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE state IN ('leased', 'submitted') OR keeps_place) AS taken FROM assignments
        WHERE assignments.task_id = tasks.id) places
    WHERE tasks.import_id IS NULL
      AND (said.people > tasks.quota OR said.people <> tasks.judged OR places.taken <> tasks.taken)
    ORDER BY tasks.id LIMIT 10"""
TWICE = """
    SELECT task_id, annotator_id, count(*) FROM judgements
    WHERE superseded_by IS NULL AND NOT is_verdict AND annotator_id IS NOT NULL AND kind IN ('human', 'simulated')
    GROUP BY task_id, annotator_id HAVING count(*) > 1 ORDER BY task_id LIMIT 10"""
UNHELD = """
    SELECT id, stage, lease_owner, extract(epoch FROM now() - lease_expires_at)::int FROM runs
    WHERE state = 'running' AND lease_expires_at < now() - make_interval(secs => %s) ORDER BY id"""
FORGOTTEN = """
    SELECT id, stage, extract(epoch FROM now() - coalesce(retry_at, queued_at))::int FROM runs
    WHERE state = 'queued' AND coalesce(retry_at, queued_at) < now() - make_interval(secs => %s)
      AND NOT EXISTS (SELECT FROM runs AS other WHERE other.state = 'running') ORDER BY id"""
UNFINISHED_MAKERS = """
    SELECT model_versions.id, model_versions.kind, model_versions.number, runs.id, runs.state
    FROM model_versions JOIN runs ON runs.id = model_versions.run_id WHERE runs.state <> 'succeeded' ORDER BY 1"""
IN_USE_TWICE = """
    SELECT project_id, kind, count(*) FROM model_versions WHERE state = 'promoted'
    GROUP BY project_id, kind HAVING count(*) > 1"""


def violations(url: str, home: Path, told: Told, history: History | None = None) -> list[Violation]:
    """Everything that doesn't hold now. `told` may grow while this looks."""
    acknowledged = set(told.acknowledged)
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = [
            *_of_judgements(connection, acknowledged, told),
            *_of_runs(connection, home),
            *_of_publications(connection, home),
            *_of_files(connection, home),
        ]
        if history is not None:
            found += _of_history(connection, history)
    return found


def unended(url: str) -> list[Violation]:
    """Runs and rounds that are still under way, of a site that nobody asks anything of any more."""
    with psycopg.connect(url) as connection:
        runs = connection.execute(
            "SELECT id, stage, state, error FROM runs WHERE finished_at IS NULL ORDER BY id"
        ).fetchall()
        rounds = connection.execute(
            "SELECT id, number, step FROM rounds WHERE finished_at IS NULL ORDER BY id"
        ).fetchall()
    return [
        *(_violation("every run ends", f"run {run} ({stage}) is {state}: {error}", f"runs/{run}/log.txt, worker.log")
          for run, stage, state, error in runs),
        *(_violation("every run ends", f"round {number} stands at {step}", f"rounds.id = {round_}")
          for round_, number, step in rounds),
    ]  # fmt: skip


def _of_judgements(connection: psycopg.Connection, acknowledged: set[Key], told: Told) -> Iterator[Violation]:
    stored = {
        (person, key)
        for person, key in connection.execute(
            "SELECT annotator_id, idempotency_key FROM judgements WHERE idempotency_key IS NOT NULL"
        )
    }
    yield from (
        _violation("acknowledged is stored", f"person {person} was told that {key} was taken", "judgements, web.log")
        for person, key in _some(acknowledged - stored)
    )
    asked = {person for person, _ in told.sent}
    yield from (
        _violation("stored was said", f"nobody sent {key} of person {person}", "judgements")
        for person, key in _some({one for one in stored if one[0] in asked} - told.sent)
    )
    yield from (
        _violation("none twice", f"person {person} counts {count} times on task {task}", f"judgements of task {task}")
        for task, person, count in connection.execute(TWICE)
    )
    yield from (
        _violation(
            "overlap is exact",
            f"task {task}: {people} judgements and {held} held places, where its row says quota {quota}, taken {taken},"
            f" judged {judged}",
            f"assignments and judgements of task {task}",
        )
        for task, quota, taken, judged, people, held in connection.execute(OVERLAP)
    )


def _of_runs(connection: psycopg.Connection, home: Path) -> Iterator[Violation]:
    yield from (
        _violation("every run ends", f"run {run} ({stage}) runs {seconds} s after the lease of {owner}", "worker.log")
        for run, stage, owner, seconds in connection.execute(UNHELD, [REAPED_WITHIN_SECONDS])
    )
    yield from (
        _violation("every run ends", f"run {run} ({stage}) has been due for {seconds} s", "worker.log, /health")
        for run, stage, seconds in connection.execute(FORGOTTEN, [TAKEN_WITHIN_SECONDS])
    )
    # The lock of a run's folder holds the newest token that a training process came with.
    for run, folder, token in connection.execute("SELECT id, folder, lease_token FROM runs WHERE folder IS NOT NULL"):
        lock = home / folder / "lock"
        came = int(lock.read_bytes() or b"0") if lock.exists() else 0
        if came > token:
            yield _violation("no stale publication", f"run {run} was worked on by {came}, handed out: {token}", folder)


def _of_publications(connection: psycopg.Connection, home: Path) -> Iterator[Violation]:
    yield from (
        _violation("no stale publication", f"{kind} {number} was made by run {run}, which is {state}", f"runs/{run}")
        for _, kind, number, run, state in connection.execute(UNFINISHED_MAKERS)
    )
    yield from (
        _violation("no stale publication", f"project {project} has {count} of {kind} in use", "model_versions")
        for project, kind, count in connection.execute(IN_USE_TWICE)
    )


def _of_files(connection: psycopg.Connection, home: Path) -> Iterator[Violation]:
    """Every file of every version that can be used, read in full."""
    rows = connection.execute("SELECT folder, manifest_sha256 FROM model_versions WHERE state <> 'archived'")
    for folder, digest in rows:
        try:
            artifacts.require_intact(home / folder, digest)
        except DomainError as error:
            yield _violation("no artifact unverified", error.message, folder)
    for path, digest in connection.execute("SELECT path, sha256 FROM dataset_versions WHERE file_removed_at IS NULL"):
        file = home / path
        if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            yield _violation("no artifact unverified", f"{path} is not what was cut", path)


def _of_history(connection: psycopg.Connection, history: History) -> list[Violation]:
    runs = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT id, state, lease_token, finished_at, result::text FROM runs WHERE finished_at IS NOT NULL"
        )
    }
    versions = {
        row[0]: row[1:]
        for row in connection.execute("SELECT id, kind, number, run_id, folder, manifest_sha256 FROM model_versions")
    }
    found = [
        *_changed(history.runs, runs, "every run ends", "run"),
        *_changed(history.versions, versions, "no stale publication", "model version"),
    ]
    history.runs.update(runs)
    history.versions.update(versions)
    return found


def _changed(
    before: dict[int, tuple[object, ...]], now: dict[int, tuple[object, ...]], promise: str, what: str
) -> Iterator[Violation]:
    for number, was in before.items():
        if now.get(number) != was:
            yield _violation(
                promise, f"{what} {number} was final as {was} and is {now.get(number)}", f"{what} {number}"
            )


def _some(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys)[:10]


def _violation(promise: str, found: str, look_at: str) -> Violation:
    return Violation(promise, found, look_at)
