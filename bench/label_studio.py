"""Label Studio beside us: a database of its own, gunicorn as its documentation says, a project with the same texts.

`make peers` installs it in build/peers/label-studio. It needs PostgreSQL with pg_trgm, Debian's packages postgresql and
postgresql-contrib; the server here is started and removed with the block.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from app.processes import Account, bound_to_us

ENVIRONMENT = Path("build/peers/label-studio")
WORKERS, THREADS = 2, 4
START_SECONDS = 180
ANSWER_SECONDS = 1_200
IMPORTED_AT_ONCE = 5_000
LABELS = (
    '<View><Text name="p" value="$prompt"/><Pairwise name="c" toName="a,b"/>'
    '<Text name="a" value="$a"/><Text name="b" value="$b"/></View>'
)


class PeerMissing(RuntimeError):
    """The peer can't be run here; the message says why."""


@dataclass(frozen=True)
class LabelStudio:
    folder: Path
    port: int
    token: str
    server: int
    """The process above those that answer."""

    def make_project(self, tasks: Iterable[Mapping[str, Any]]) -> str:
        """One of pairs, with these tasks in it. Returns its id."""
        with self._client() as client:
            made = client.post("/api/projects", json={"title": "pairs", "label_config": LABELS}).raise_for_status()
            project = made.json()["id"]
            left = iter(tasks)
            while some := list(islice(left, IMPORTED_AT_ONCE)):
                client.post(f"/api/projects/{project}/import", json=some).raise_for_status()
        return str(project)

    def export(self, project: str, form: str, file: Path) -> None:
        """What a user gets from *Export* on its page: `form` is one of its own, such as JSON."""
        asked = f"/api/projects/{project}/export?exportType={form}"
        with self._client() as client, client.stream("GET", asked) as answer, file.open("wb") as written:
            answer.raise_for_status()
            for content in answer.iter_bytes():
                written.write(content)

    def megabytes(self, field: str) -> float:
        """Of the process with the most, now (`VmRSS`) or at most since it began (`VmHWM`)."""
        below = Path(f"/proc/{self.server}/task/{self.server}/children").read_text().split()
        statuses = [Path(f"/proc/{process}/status").read_text() for process in below]
        return max(int(status.partition(f"{field}:")[2].split()[0]) / 1024 for status in statuses)

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Token {self.token}"}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=ANSWER_SECONDS, trust_env=False
        )


@contextmanager
def running_label_studio() -> Iterator[LabelStudio]:
    """Raises PeerMissing."""
    if not (ENVIRONMENT / "bin" / "label-studio").exists():
        raise PeerMissing("build/peers/label-studio is missing: `make peers`")
    folder = Path(tempfile.mkdtemp(prefix="label-studio-"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.append(_start_postgres(folder))
        port, token = _free_port(), secrets.token_hex(20)
        processes.append(_start_gunicorn(folder, port, token))
        yield LabelStudio(folder, port, token, processes[-1].pid)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start_postgres(folder: Path) -> subprocess.Popen[bytes]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise PeerMissing("there is no system PostgreSQL: install postgresql and postgresql-contrib")
    binaries = found[-1]
    account = None
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        account = Account(user.pw_uid, user.pw_gid)
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"
    initialise = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-instructions"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(bound_to_us(list(map(str, initialise)), account=account), check=True, **quiet)
    options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}")
    command = [str(binaries / "postgres"), "-D", str(data), *options]
    server = subprocess.Popen(bound_to_us(command, death_signal="INT", account=account), **quiet)
    ready = [str(binaries / "pg_isready"), "-q", "-h", str(folder)]
    _until(lambda: subprocess.run(ready, check=False).returncode == 0, server, "PostgreSQL")
    subprocess.run([binaries / "createdb", "-h", folder, "-U", "postgres", "label_studio"], check=True)
    return server


def _start_gunicorn(folder: Path, port: int, token: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "DJANGO_DB": "default",
        "POSTGRE_NAME": "label_studio",
        "POSTGRE_USER": "postgres",
        "POSTGRE_PASSWORD": "",
        "POSTGRE_HOST": str(folder),
        "POSTGRE_PORT": "5432",
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "files"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
        "DEBUG": "false",
        "LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "label_studio.core.settings.label_studio",
        "PYTHONPATH": "label_studio",
    }
    binaries = ENVIRONMENT.resolve() / "bin"
    site_packages = next((ENVIRONMENT.resolve() / "lib").glob("python3*/site-packages"))
    log = (folder / "label-studio.log").open("wb")
    account = ["--username", "load@example.org", "--password", secrets.token_hex(20), "--user-token", token]
    start = [binaries / "label-studio", "init", "load", *account, "--enable-legacy-api-token", "--no-browser"]
    first = subprocess.run(start, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)
    if first.returncode != 0:
        raise PeerMissing(f"label-studio init: {(folder / 'label-studio.log').read_text()[-400:]}")
    command = [binaries / "gunicorn", "-w", WORKERS, "-k", "gthread", "--threads", THREADS]
    command += ["-b", f"127.0.0.1:{port}", "label_studio.core.wsgi:application"]
    server = subprocess.Popen(
        bound_to_us(list(map(str, command)), death_signal="TERM"),
        env=environment, stdout=log, stderr=log, cwd=site_packages,
    )  # fmt: skip
    _until(lambda: _answers(port, token), server, "gunicorn")
    return server


def pairs_to_judge(tasks: int) -> Iterator[dict[str, str]]:
    """With the texts of the load on Plumbline."""
    return map(_row, range(tasks))


def _row(number: int) -> dict[str, str]:
    return {
        "prompt": f"prompt {number}{' word' * 40}",
        "a": f"answer a {number}{' word' * 80}",
        "b": f"answer b {number}{' word' * 80}",
    }


def _answers(port: int, token: str) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/api/projects"
        return httpx.get(url, headers={"Authorization": f"Token {token}"}, timeout=60, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _until(is_ready: Callable[[], bool], server: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if server.poll() is not None or time.monotonic() > deadline:
            raise PeerMissing(f"{name} did not start")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
