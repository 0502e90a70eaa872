"""Backup and restore while the installation works, is damaged, and is killed."""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import func, select, update

from app.cli.backup import Progress
from app.db import migrate
from app.db.session import create_engine, session_factory, transaction
from app.db.tables import Backup, Completion, Invitation, Judgement, ModelVersion, Project, Run, User
from app.jobs import reaper
from app.security import new_token
from app.services.backups import database, gathering, making, one_file
from app.services.backups.places import place_at
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.models import artifacts
from app.services.people import invitations
from app.services.people.invitations import Invitee
from app.services.places import folder
from app.services.published.thing import MANIFEST
from app.settings import Settings
from tests.factories import make_member, make_task
from tests.faults.backups.conftest import EMAIL, PASSWORD, Command, files_in, is_marked, kill_when
from tests.jobs.conftest import StartWorker, make_context
from tests.jobs.loop import Loop
from tests.sites import site_of
from tests.web.conftest import HOST, client_of


class Judging:
    """One person who judges as fast as they can."""

    def __init__(self, loop: Loop, project: Project) -> None:
        self._loop = loop
        self._project = project
        self._stop = False
        self.acknowledged: list[str] = []

    async def go_on(self) -> None:
        async with transaction(self._loop.sessions) as db:
            annotator = await make_member(db, self._project)
        while not self._stop:
            key = f"mine-{len(self.acknowledged)}"
            async with transaction(self._loop.sessions) as db:
                await make_task(db, self._project)
                leased = await assignments.lease_next(db, annotator, await db.get_one(Project, self._project.id))
                assert leased is not None
                await judgements.submit(db, annotator, leased.id, Submission(Answer(1), idempotency_key=key))
            self.acknowledged.append(key)

    @asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.go_on())
        try:
            yield
        finally:
            self._stop = True
            await task


async def rows(url: str, statement: Any) -> list[Any]:
    engine = create_engine(url, pool_size=1)
    try:
        async with session_factory(engine)() as db:
            return list(await db.scalars(statement))
    finally:
        await engine.dispose()


async def test_a_backup_of_a_site_at_work_holds_all_that_was_acknowledged_before_it_and_works_elsewhere(
    loop: Loop,
    project: Project,
    here: Command,
    there: Command,
    other_home: Path,
    empty_database_url: str,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    file = tmp_path / "backup.tar"
    run = await loop.queue_sft(project, steps=100_000, step_seconds=0.02)
    start_worker()
    await loop.until_at_work(run, step=3)
    judging = Judging(loop, project)
    async with judging.meanwhile():
        while len(judging.acknowledged) < 5:  # noqa: ASYNC110 - it happens beside
            await asyncio.sleep(0.01)
        before = list(judging.acknowledged)
        done = await here("backup", file)
        assert done.code == 0, done.err
    assert len(judging.acknowledged) > len(before), "nobody judged while it was made"
    assert (await loop.read(run)).state == "running"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    restored = await there("restore", file)
    assert restored.code == 0, restored.err
    assert "Restored backup 2" in restored.out
    assert (await there("db", "check")).code == 0

    kept = set(await rows(empty_database_url, select(Judgement.idempotency_key)))
    assert set(before) <= kept <= set(judging.acknowledged)
    for version in await rows(empty_database_url, select(ModelVersion)):
        artifacts.require_intact(other_home / version.folder, version.manifest_sha256)
    await can_sign_in(empty_database_url, other_home)
    await goes_on(empty_database_url, other_home, project, run)


async def can_sign_in(url: str, home: Path) -> None:
    app = site_of(Settings(database_url=url, home=home, trusted_hosts=HOST))
    async with app.router.lifespan_context(app), client_of(app) as browser:
        form = {"email": EMAIL, "password": PASSWORD}
        answer = await browser.post("/sign-in", data=form)
        assert answer.status_code == httpx.codes.SEE_OTHER
        assert (await browser.get("/projects")).is_success


async def goes_on(url: str, home: Path, project: Project, under_way: Run) -> None:
    """The run that was under way is taken up, and the next one works on what was brought."""
    engine = create_engine(url)
    sessions = session_factory(engine)
    loop = Loop(sessions, make_context(sessions, home))
    before = await loop.versions(project)
    cut = under_way.settings | {"config": {"steps": 2}}
    await loop.do(lambda db: db.execute(update(Run).where(Run.id == under_way.id).values(settings=cut)))
    assert (await loop.read(under_way)).state == "running"
    await loop.let_lease_expire(under_way)
    await reaper.look_around(loop.context)
    under_way = await loop.execute(under_way)
    assert (under_way.state, under_way.error) == ("succeeded", None)
    run = await loop.execute(await loop.queue_sft(project, steps=2, step_seconds=0))
    assert run.state == "succeeded", run.error
    assert len(await loop.versions(project)) == len(before) + 2
    await engine.dispose()


async def test_files_that_are_pruned_while_it_is_written_are_in_it(
    project: Project,
    here: Command,
    there: Command,
    home: Path,
    other_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prune(self: folder.Folder, name: str, content: Any) -> None:
        shutil.rmtree(home / "models", ignore_errors=True)
        put(self, name, content)

    put = folder.Folder.put
    monkeypatch.setattr(folder.Folder, "put", prune)
    done = await here("backup", f"{tmp_path}/backups/")
    assert "missing" not in done.out
    assert not (home / "models").exists()
    assert (await there("restore", tmp_path / "backups")).code == 0
    assert files_in(other_home / "models")


async def test_a_second_backup_into_a_folder_takes_only_what_is_new_and_old_ones_go(
    loop: Loop, project: Project, here: Command, there: Command, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    assert "0.0 kB of them new" not in (await here("backup", f"{place}/")).out
    first = set(files_in(place))
    models = [path for path in files_in(place / "objects") if path.read_bytes()[:1] == b"{"]
    written = {path: path.stat().st_mtime_ns for path in first}
    await loop.judge(project, 1)
    await asyncio.sleep(1)  # names are by the second
    assert (await here("backup", place, "--keep", "1")).code == 0
    assert {path: path.stat().st_mtime_ns for path in first if path.exists()}.items() <= written.items()
    assert len((await here("restore", place, "--list")).out.split()) == 1
    held = files_in(place)
    assert {stat.S_IMODE(path.stat().st_mode) for path in held} == {0o600}
    assert set(models) <= set(held)
    assert first - set(held), "the rows that changed were not removed with the backup that held them"
    assert (await there("restore", place)).code == 0


async def test_a_file_with_a_changed_byte_is_refused_and_the_place_stays_empty(
    project: Project, here: Command, there: Command, other_home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await here("backup", file)
    content = file.read_bytes()
    for place in (int(share * len(content)) for share in (0.0, 0.1, 0.5, 0.9, 0.9999)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "is damaged" in (await there("restore", file)).refusal
        file.write_bytes(content[:place])
        assert "not a whole one" in (await there("restore", file)).refusal
        assert not files_in(other_home)
    file.write_bytes(content)
    assert (await there("restore", file)).code == 0


async def test_a_folder_with_a_changed_byte_is_refused_by_name_and_the_place_is_empty_again(
    project: Project, here: Command, there: Command, other_home: Path, empty_database_url: str, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    await here("backup", f"{place}/")
    parts = files_in(place)
    for part in (parts[0], *parts[1::15]):
        content = part.read_bytes()
        part.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        for arguments in (("restore", place, "--check"), ("restore", place)):
            refusal = (await there(*arguments)).refusal
            assert refusal == f"The backup is damaged: {part.relative_to(place)} is not what it was."
        part.unlink()
        if part != parts[0]:
            assert "is missing" in (await there("restore", place)).refusal
        part.write_bytes(content)
        assert not files_in(other_home)
        assert not is_marked(empty_database_url)
    assert (await there("restore", place, "--check")).code == 0
    assert (await there("restore", place)).code == 0


async def test_a_place_that_holds_something_is_refused_in_numbers(
    project: Project, here: Command, there: Command, other_home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await here("backup", file)
    assert "already: name another file" in (await here("backup", file)).refusal
    assert (await here("restore", file)).refusal.startswith("This installation isn't empty: it holds 1 users and 1 pro")
    (other_home / "models" / "mine").mkdir(parents=True)
    (other_home / "models" / "mine" / "file").touch()
    assert "restore into a new home" in (await there("restore", file)).refusal
    assert (other_home / "models" / "mine" / "file").exists()


async def test_a_backup_of_a_newer_version_is_refused(
    project: Project, here: Command, there: Command, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    file = tmp_path / "backup.tar"
    assert (await here("backup", file)).code == 0
    assert "A newer Plumbline" in (await there("restore", file)).refusal


async def test_what_a_killed_backup_leaves_is_no_backup(
    project: Project, here: Command, there: Command, home: Path, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    draft = file.with_name(f".{file.name}.part")
    await asyncio.to_thread(kill_when, database_url, home, draft.exists, "backup", file)
    assert not file.exists()
    assert "not a whole one" in (await there("restore", draft)).refusal
    place = tmp_path / "backups"
    await asyncio.to_thread(
        kill_when, database_url, home, lambda: any(place.glob("objects/*/*")), "backup", f"{place}/"
    )
    assert "There is no backup in" in (await there("restore", place)).refusal
    assert (await here("backup", file)).code == 0
    assert not draft.exists()
    assert not (home / gathering.ASIDE).exists()
    with psycopg.connect(database_url) as connection:
        problems = connection.execute("SELECT problem FROM backups ORDER BY id").fetchall()
    assert problems == [("It was interrupted.",), ("It was interrupted.",), (None,)]
    assert (await there("restore", file)).code == 0


async def test_a_killed_restore_says_that_it_is_unfinished_and_is_done_again(
    project: Project, here: Command, there: Command, other_home: Path, empty_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await here("backup", file)
    for is_time in (is_marked, _has_users):
        has_come = partial(is_time, empty_database_url)
        await asyncio.to_thread(kill_when, empty_database_url, other_home, has_come, "restore", file)
        for words in (("db", "check"), ("prepare",), ("backup", tmp_path / "another.tar")):
            assert "is not finished: run `plumbline restore` again" in (await there(*words)).refusal
    (other_home / "models" / "left-over").mkdir(parents=True, exist_ok=True)
    (other_home / "models" / "left-over" / "file").touch()
    assert (await there("restore", file)).code == 0
    assert (await there("db", "check")).code == 0
    assert await rows(empty_database_url, select(func.count(Completion.id))) != [0]
    assert not (other_home / "models" / "left-over" / "file").exists()


def _has_users(url: str) -> bool:
    with psycopg.connect(url) as connection:
        there = connection.execute("SELECT to_regclass('public.users') IS NOT NULL").fetchone() == (True,)
        return there and connection.execute("SELECT EXISTS (SELECT FROM users)").fetchone() == (True,)


async def test_what_is_missing_or_damaged_is_told_and_the_rest_is_there(
    loop: Loop,
    project: Project,
    here: Command,
    there: Command,
    home: Path,
    other_home: Path,
    empty_database_url: str,
    tmp_path: Path,
) -> None:
    for _ in range(2):
        await loop.execute(await loop.queue_sft(project))
    damaged, missing = [path for path in files_in(home / "models") if path.name != MANIFEST][:2]
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    missing.unlink()
    (home / "secret.key").write_text("00" * 32)
    async with transaction(loop.sessions) as db:
        there_since = await db.get_one(Project, project.id)
        kim = Invitee("Kim", None)
        await invitations.invite(db, None, there_since, [kim], "annotator", days=7, form_key=new_token())
    missing.symlink_to(home / "secret.key")
    changed = sorted((home / "models").rglob(MANIFEST))[-1]
    changed.write_text('{"format": 1, "files": ["../../../secret.key"]}')
    done = await here("backup", tmp_path / "backup.tar")
    assert done.code == 0
    assert f"Not in it, because it is missing: {missing.relative_to(home)}" in done.out
    for one in (damaged, changed):
        assert f"In it as it is, but damaged: {one.relative_to(home)}" in done.out
    assert (await there("restore", tmp_path / "backup.tar")).code == 0
    assert (other_home / damaged.relative_to(home)).read_bytes() == damaged.read_bytes()
    assert {path.name for path in files_in(other_home / changed.parent.relative_to(home))} >= {MANIFEST, damaged.name}
    assert not [path for path in files_in(other_home) if path.read_bytes() == b"00" * 32]
    assert await rows(empty_database_url, select(Invitation.expires_at <= func.now())) == [True]


async def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(
    project: Project, here: Command, home: Path, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(one_file.OneFile, "put", refuse)
    assert "No space left" in (await here("backup", tmp_path / "full" / "x.tar")).refusal
    assert files_in(tmp_path / "full") == []
    assert not (home / gathering.ASIDE).exists()
    (problem,) = await rows(database_url, select(Backup.problem))
    assert "No space left" in problem


async def test_two_backups_are_not_made_at_once(
    project: Project, here: Command, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [making.BACKUP_LOCK])
        assert (await here("backup", tmp_path / "x.tar")).refusal == "Another backup or restore is under way."
    assert not (tmp_path / "x.tar").exists()


async def test_a_backup_waits_for_a_migration_that_is_under_way(
    project: Project, here: Command, database_url: str, tmp_path: Path
) -> None:
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [migrate.MIGRATION_LOCK])
        backup = asyncio.create_task(here("backup", tmp_path / "x.tar"))
        while connection.execute(waits).fetchone() != (True,):
            assert not backup.done()
            await asyncio.sleep(0.01)
        connection.execute("SELECT pg_advisory_unlock(%s)", [migrate.MIGRATION_LOCK])
        assert (await backup).code == 0


async def test_ways_in_that_may_have_ended_since_stay_behind(
    loop: Loop, project: Project, here: Command, there: Command, empty_database_url: str, tmp_path: Path
) -> None:
    assert (await here("prepare", PLUMBLINE_STARTER="false")).code == 0
    assert (await here("backup", tmp_path / "x.tar")).code == 0
    assert (await there("restore", tmp_path / "x.tar")).code == 0
    with psycopg.connect(empty_database_url) as connection:
        ways_in = "SELECT (SELECT count(*) FROM sign_in_links), (SELECT count(*) FROM sign_in_sessions)"
        assert connection.execute(ways_in).fetchone() == (0, 0)
        logged = connection.execute("SELECT kind FROM audit_entries ORDER BY id DESC LIMIT 1").fetchone()
    assert logged == ("restore",)


async def test_a_backup_is_restored_where_file_systems_make_no_links(
    project: Project, here: Command, there: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert (await here("backup", tmp_path / "x.tar")).code == 0
    assert (await there("restore", tmp_path / "x.tar")).code == 0


def test_addresses_name_files_folders_and_storages(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    kinds = {str(tmp_path / "there"): True, f"{tmp_path}/new/": True, str(tmp_path / "new.tar"): False}
    assert {address: place_at(address).keeps_many for address in kinds} == kinds
    assert place_at(str(tmp_path / "new"), of_many=True).keeps_many


def test_how_far_it_is_is_told_to_people_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_terminal, told in ((True, "1 of 3\n"), (False, "")):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal)
        tell = Progress()
        tell("1 of 3")
        tell("2 of 3, too soon")
        assert capsys.readouterr().err == told


def test_of_tables_that_open_doors_only_those_go_along_that_somebody_has_decided_on() -> None:
    secrets = ("token_digest", "browser_digest", "challenge", "nonce")
    ways_in = {
        name for name, table in User.metadata.tables.items() if any(column.name.endswith(secrets) for column in table.c)
    }
    # What a call was answered is sealed by its token, which nobody but its owner has.
    assert ways_in - database.LEFT_OUT == {"api_tokens", "invitations", "kept_answers"}
