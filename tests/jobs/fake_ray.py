"""A Ray head as far as its six routes of jobs go, with its habits: a duplicate is an error of the server with a stack
trace, and a job that was stopped has no exit code."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-token-of-the-cluster"


class FakeRay(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs: dict[str, Job] = {}
        self.submitted: list[Any] = []
        self.seen: list[tuple[str, str]] = []
        self.deciding = threading.Lock()
        self.is_open = False
        self.is_away = False
        self.redirects_to: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def lose_everything(self) -> None:
        """As when a head that keeps its state in memory is killed."""
        lost, self.jobs = self.jobs, {}
        for job in lost.values():
            job.signal(signal.SIGKILL)
            job.process.wait()


class Job:
    def __init__(self, body: Any) -> None:
        self.body = body
        self.environment: dict[str, str] = body["runtime_env"]["env_vars"]
        self.told_to_stop = False
        self.is_pending = False
        self.error_type: str | None = None
        self.process = subprocess.Popen(  # noqa: S602 - as Ray does
            body["entrypoint"],
            shell=True,
            executable="/bin/bash",
            start_new_session=True,
            env={"PATH": os.environ["PATH"]} | self.environment,
        )

    def told(self) -> dict[str, Any]:
        code = self.process.poll()
        status = "RUNNING" if code is None else "STOPPED" if self.told_to_stop else "FAILED" if code else "SUCCEEDED"
        return {
            "type": "SUBMISSION",
            "submission_id": self.body["submission_id"],
            "status": "PENDING" if self.is_pending else status,
            "driver_exit_code": None if self.told_to_stop else code,
            "message": "…",
            "error_type": self.error_type,
        }

    def stop(self) -> None:
        self.told_to_stop = True
        self.signal(signal.SIGTERM)
        seconds = int(self.environment.get("RAY_JOB_STOP_WAIT_TIME_S", "3"))
        killer = threading.Timer(seconds, self.signal, [signal.SIGKILL])
        killer.daemon = True
        killer.start()

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Handler(BaseHTTPRequestHandler):
    server: FakeRay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self._name()
        if name == "":
            self._answer(200, [job.told() for job in list(self.server.jobs.values())])
        elif name is not None:
            self._of(name, lambda job: job.told())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self._name()
        if name == "":
            self._submit(json.loads(body))
        elif name is not None:
            self._of(name.removesuffix("/stop"), lambda job: [job.stop(), {"stopped": True}][1])

    def do_DELETE(self) -> None:
        name = self._name()
        if name is not None:
            self._of(name, lambda job: {"deleted": self.server.jobs.pop(job.body["submission_id"]) is job})

    def _submit(self, body: Any) -> None:
        with self.server.deciding:
            if body["submission_id"] in self.server.jobs:
                self._answer(500, 'Traceback (most recent call last):\n  File "job_manager.py"\nRuntimeError: exists')
                return
            self.server.submitted.append(body)
            self.server.jobs[body["submission_id"]] = Job(body)
        self._answer(200, {"submission_id": body["submission_id"], "job_id": body["submission_id"]})

    def _name(self) -> str | None:
        """What follows the route's beginning, of a request that may be answered; else it was refused."""
        self.server.seen.append((self.command, self.path))
        if self.server.is_away:
            self.close_connection = True
            return None
        if self.server.redirects_to:
            self._answer(302, "", Location=self.server.redirects_to)
            return None
        token = self.headers.get("Authorization")
        if not self.server.is_open and token != f"Bearer {TOKEN}":
            self._answer(403 if token else 401, "Unauthorized: Missing authentication token")
            return None
        return self.path.removeprefix("/api/jobs/")

    def _of(self, name: str, answer: Any) -> None:
        job = self.server.jobs.get(name)
        if job is None:
            self._answer(404, f"Job {name} does not exist")
        else:
            self._answer(200, answer(job))

    def _answer(self, status: int, content: Any, **headers: str) -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def running() -> Iterator[FakeRay]:
    """A head, all of whose jobs end with it."""
    with FakeRay() as head:
        threading.Thread(target=head.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield head
        finally:
            head.shutdown()
            head.lose_everything()
