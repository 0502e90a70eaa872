"""`plumbline doctor` names what is wrong with an installation, says how to mend it, and exits by it."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.cli import database_findings, findings
from app.cli.database import connect
from app.services.backups.standing import scheduled_place
from app.settings import load_settings
from tests.command_line import Done, Plumbline, runner
from tests.jobs import fake_ray

Ask = Callable[..., Done]


@pytest.fixture
def plumbline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plumbline:
    return runner(monkeypatch, capsys)


@pytest.fixture
def doctor(
    plumbline: Plumbline, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """Ask it about a sound installation, with changes."""
    with connect(database_url) as connection:
        connection.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
        major, minor = divmod(connection.info.server_version, 10_000)
    monkeypatch.setitem(database_findings.SECURE_MINORS, major, minor)
    home = tmp_path / "home"
    home.mkdir()

    def ask(*options: str, **environment: str) -> Done:
        given = {"DATABASE_URL": database_url, "PLUMBLINE_HOME": str(home)} | environment
        return plumbline("doctor", *options, **given)

    return ask


def said(done: Done) -> str:
    return " ".join(done.out.split())


def test_of_a_sound_installation_nothing_is_said(doctor: Ask) -> None:
    done = doctor()
    assert (done.code, done.err) == (0, "")
    assert "Everything is as it should be." in done.out


@pytest.mark.parametrize(
    ("environment", "what", "mend", "code"),
    [
        ({"PLUMBLINE_PUBLIC_URL": "http://example.org"}, "sessions go in clear", "proxy with TLS", 1),
        ({"PLUMBLINE_HOST": "0.0.0.0"}, "listens on 0.0.0.0 without TLS", "PLUMBLINE_HOST=127.0.0.1", 0),  # noqa: S104 - a value that is found fault with
        ({"PLUMBLINE_PUBLIC_URL": "https://example.org"}, "no proxy is trusted", "PLUMBLINE_TRUSTED_PROXIES", 0),
        ({"PLUMBLINE_HOST": "::", "PLUMBLINE_TRUSTED_PROXIES": "*"}, "Anybody's X-Forwarded", "proxy's address", 1),
        ({"PLUMBLINE_METRICS_PORT": "9400", "PLUMBLINE_METRICS_HOST": "0.0.0.0"}, "without a password", "firewall", 0),  # noqa: S104 - as above
        ({"PLUMBLINE_METRICS_PORT": "8398"}, "Port 8400 of the site is among", "another PLUMBLINE_METRICS_PORT", 1),
        ({"PLUMBLINE_TRAINING_PYTHON": "/no/python"}, "no program is there", "environment with torch", 1),
        ({"PLUMBLINE_SECRET_KEY_FILE": "/no/key"}, "no file is there", "Put the key there", 1),
        ({"PLUMBLINE_MODEL_FOLDERS": "/no/models"}, "/no/models of PLUMBLINE_MODEL_FOLDERS", "Make it", 0),
        ({"PLUMBLINE_RAY_URL": "http://127.0.0.1:1"}, "No Ray cluster answers at http://127", "Start its head", 1),
        ({"PLUMBLINE_RAY_URL": "http://127.0.0.1:1"}, "PLUMBLINE_RAY_TOKEN_FILE names no file", "token into a file", 1),
        ({"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "The database: ", "look at DATABASE_URL", 1),
    ],
)
def test_mistakes_in_settings_are_named_with_what_mends_them(
    doctor: Ask, environment: dict[str, str], what: str, mend: str, code: int
) -> None:
    done = doctor(**environment)
    assert what in said(done)
    assert mend in said(done)
    assert done.code == code
    assert ("Problem " in done.out) == (code == 1)


def test_a_cluster_that_anybody_may_use_and_a_token_that_others_can_read_are_named(doctor: Ask, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(fake_ray.TOKEN)
    token.chmod(0o600)
    with fake_ray.running() as head:
        given = {"PLUMBLINE_RAY_URL": head.url, "PLUMBLINE_RAY_TOKEN_FILE": str(token)}
        assert doctor(**given).code == 0
        head.is_open = True
        token.chmod(0o644)
        done = doctor(**given)
    assert done.code == 1
    assert "The Ray cluster answers without a token" in said(done)
    assert f"chmod 600 {token}" in said(done)


def test_a_database_elsewhere_should_be_reached_by_tls() -> None:
    found = findings._database_address("postgresql://me:secret-word@db.example.org/plumbline")
    assert ["sslmode" in one.mend and "secret-word" not in one.what for one in found] == [True]
    assert list(findings._database_address("postgresql://me@db.example.org/plumbline?sslmode=require")) == []


def test_what_others_can_read_or_write_is_named(doctor: Ask, tmp_path: Path) -> None:
    key = tmp_path / "home/secret.key"
    key.write_text("00" * 32)
    key.chmod(0o644)
    (tmp_path / "home").chmod(0o777)
    done = doctor()
    assert done.code == 1
    assert f"chmod 600 {key}" in said(done)
    assert f"chmod go-w {tmp_path / 'home'}" in said(done)


@pytest.mark.parametrize(("free", "reserve", "code"), [(0.5e9, "0", 1), (3e9, "1000", 0), (9e9, "20000", 1)])
def test_a_disk_that_fills_up_is_named(
    doctor: Ask, monkeypatch: pytest.MonkeyPatch, free: float, reserve: str, code: int
) -> None:
    class Usage:
        pass

    usage = Usage()
    usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda _: usage)
    done = doctor(PLUMBLINE_DISK_RESERVE_MEGABYTES=reserve)
    assert (done.code, f"{free / 1e9:.1f} GB are free" in said(done)) == (code, True)


def test_a_queue_without_a_worker_is_a_problem_once_somebody_waits(doctor: Ask, database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '2 min'")
    quiet = doctor()
    assert (quiet.code, "No worker has been heard of" in said(quiet)) == (0, True)
    with connect(database_url) as connection:
        connection.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('steps', 't')")
        connection.execute("UPDATE procrastinate_events SET at = now() - interval '7 min'")
    stuck = doctor()
    assert stuck.code == 1
    assert "the first job for steps has been waiting for 7 min" in said(stuck)
    assert "`plumbline worker`" in said(stuck)


def test_a_training_queue_that_waits_for_a_long_run_is_none(doctor: Ask, database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('training', 't')")
        connection.execute("UPDATE procrastinate_events SET at = now() - interval '7 hours'")
    assert doctor().code == 0


def test_a_run_whose_worker_is_silent_is_named(doctor: Ask, database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('tea', 'Tea')")
        connection.execute(
            "INSERT INTO runs (project_id, stage, state, lease_expires_at) "
            "SELECT id, 'sft', 'running', now() - interval '1 hour' FROM projects"
        )
    done = doctor()
    assert (done.code, "1 runs are at work by a worker that has been silent" in said(done)) == (1, True)


def test_backups_that_are_wanted_and_not_made_are_named(doctor: Ask, database_url: str, tmp_path: Path) -> None:
    place = {"PLUMBLINE_BACKUP_TO": str(tmp_path / "backups"), "PLUMBLINE_BACKUP_HOURS": "12"}
    none_yet = doctor(**place)
    assert (none_yet.code, "There is no backup in" in said(none_yet)) == (0, True)
    for hours, code in ((25, 1), (23, 0)):
        with connect(database_url) as connection:
            connection.execute(
                "INSERT INTO backups (place, name, began_at, ended_at) VALUES (%s, %s, now() - %s, now())",
                [scheduled_place(load_settings(place)), f"after-{hours}", timedelta(hours=hours)],
            )
        done = doctor(**place)
        assert (done.code, "is 25 hours old; one is wanted every 12" in said(done)) == (code, bool(code))
        assert ("/backups" in said(done)) == bool(code)
    assert doctor().code == 0, "where none are asked for"


@pytest.mark.parametrize("package", ["obstore", "opentelemetry.sdk"])
def test_what_a_setting_takes_and_is_not_installed_is_named(
    doctor: Ask, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(findings, "find_spec", lambda name: None if name == package else find_spec(name))
    asked = {"PLUMBLINE_BACKUP_TO": "s3://ours/backups", "PLUMBLINE_TRACES_ENDPOINT": "http://localhost:4318"}
    done = doctor(**asked)
    assert (done.code, said(done).count("isn't installed")) == (1, 1)
    assert "pip install 'plumbline[" in said(done)


def test_an_old_server_is_named_with_the_version_that_mends_it(
    doctor: Ask, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(database_url) as connection:
        major, minor = divmod(connection.info.server_version, 10_000)
    monkeypatch.setitem(database_findings.SECURE_MINORS, major, minor + 1)
    done = doctor()
    assert f"PostgreSQL {major}.{minor} has faults that {major}.{minor + 1} mends." in said(done)
    assert done.code == 0


def test_a_clock_that_is_wrong_is_named(doctor: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(database_findings.time, "time", lambda: now() - 3600)
    done = doctor()
    assert (done.code, "clocks of this machine and of the database's are 3600 s apart" in said(done)) == (1, True)


def test_models_and_datasets_that_are_gone_or_changed_are_named(doctor: Ask, database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for number in range(3):
        folder = home / f"model-{number}"
        folder.mkdir()
        (folder / "weights").write_text("1234")
        files = {"weights": sha256(b"1234").hexdigest()}
        (folder / "manifest.json").write_text(json.dumps({"format": 1, "kind": "policy", "files": files}))
    digest = sha256((home / "model-0/manifest.json").read_bytes()).hexdigest()
    with connect(database_url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('tea', 'Tea')")
        connection.execute(
            "INSERT INTO model_versions (project_id, kind, number, folder, manifest_sha256) "
            "SELECT id, 'policy', n, 'model-' || n, %s FROM projects, generate_series(0, 2) n",
            [digest],
        )
        connection.execute(
            "INSERT INTO dataset_versions (project_id, kind, number, path, sha256, row_count) "
            "SELECT id, 'preferences', 1, 'datasets/gone.jsonl', '', 1 FROM projects"
        )
    (home / "model-1/manifest.json").unlink()
    (home / "model-2/weights").write_text("4321")
    quick = said(doctor())
    assert "policy 1 of tea" in quick
    assert "policy 2 of tea" not in quick
    assert "Version 1 of the preferences of tea has no file" in quick
    thorough = doctor("--all-files")
    assert "policy 2 of tea" in said(thorough)
    assert "policy 0 of tea" not in said(thorough)
    assert "docs/backups.md" in said(thorough)
    assert thorough.code == 1


def test_a_pooler_has_to_give_sessions_what_ours_ask_for_and_to_be_there(doctor: Ask, database_url: str) -> None:
    """Here the database itself stands in for one: what a session asks for when it begins is left out on that way."""
    asked = {"PLUMBLINE_POOLER_URL": database_url}
    before = doctor(**asked)
    assert before.code == 1
    assert "By the pooler search_path is" in said(before)
    assert "has to be public,procrastinate" in said(before)
    assert "idle_in_transaction_session_timeout is 0, and has to be 1min" in said(before)
    with connect(database_url) as connection:
        name = connection.info.dbname
        for parameter, value in (
            ("search_path", "public, procrastinate"),
            ("timezone", "'UTC'"),
            ("idle_in_transaction_session_timeout", "'60s'"),
        ):
            connection.execute(f'ALTER DATABASE "{name}" SET {parameter} = {value}'.encode())
    assert "Everything is as it should be." in doctor(**asked).out
    away = doctor(PLUMBLINE_POOLER_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert (away.code, "The pooler: connection failed" in said(away)) == (1, True)
