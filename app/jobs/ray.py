"""Stages as jobs of a Ray cluster, by its REST interface alone: what a job is called is known before it is submitted,
so that a worker that comes later needs nothing but the name.

The run's folder is shared: every machine of the cluster has it, the code and the interpreter at the same paths.
"""

import asyncio
import json
import math
import shlex
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, ClassVar

import httpx
import structlog

from app.certificates import trusted
from app.db.base import Json
from app.jobs.child_environment import OF_THIS_MACHINE
from app.jobs.launch import Child, EngineAway, Executor, Launch, Living, LocalProcess
from app.jobs.pausing import pause
from app.services import cluster
from training.config.stage import WHOLE
from training.ending import JOB

CODE = Path(__file__).parents[2]
REQUEST_SECONDS = 5.0
# The first job of a cluster starts an agent.
SUBMISSION_SECONDS = 30.0
POLL_SECONDS = 1.0
# An orphan lives for a minute after its head died, on a machine where it can't be killed from another.
FENCE_SECONDS = 120.0
# The group may read it: a secret that is mounted into a pod belongs to the group that its processes are of.
OTHERS = 0o037
OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
# Errors of a job whose stage never began, for want of room above all: that takes 15 minutes.
NEVER_BEGAN = frozenset(
    {
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_START_FAILURE",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
        "RUNTIME_ENV_SETUP_FAILURE",
    }
)
KILLED = -9
UNKNOWN = 1

log = structlog.get_logger(__name__)


class RayJobs(Executor):
    """Starts stages as `here` would, with `cpus` cores each, and one at least for each of its processes. `stop_seconds`
    is how long one may take to write its checkpoint before the cluster kills it, `patience_seconds` how long a cluster
    that doesn't answer is waited for."""

    outlives_worker: ClassVar[bool] = True
    lag_seconds: ClassVar[float] = 15.0

    def __init__(
        self,
        url: str,
        token_file: Path,
        here: LocalProcess,
        *,
        cpus: int = 1,
        stop_seconds: float = 20.0,
        patience_seconds: float = 300.0,
    ) -> None:
        self._token_file = token_file
        self._here = here
        self._cpus = cpus
        self._stop_seconds = stop_seconds
        self.patience_seconds = patience_seconds
        self._url = f"{url}/api/jobs/"
        self._certificates = trusted()

    async def start(self, launch: Launch) -> Child:
        await self._require_closed()
        if await self.find(launch.job) is None:
            await self._submit(launch)
        return _RayChild(self, launch.job)

    async def sweep(self, prefix: str, living: Living) -> None:
        answer = await self._ask("GET", "")
        jobs = {name: job for job in _listed(answer) if (name := str(job.get("submission_id"))).startswith(prefix)}
        alive = await living() if jobs else ()
        for name, job in jobs.items():
            if name not in alive:
                log.info("job_swept", job=name, status=job.get("status"))
                await (self.forget(name) if job.get("status") in OVER else self.stop(name))

    async def find(self, job: str) -> Json | None:
        """What the cluster says of a job, None if it knows of none. Raises EngineAway."""
        answer = await self._ask("GET", job)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found = _content(answer)
        if not isinstance(found, dict):
            raise EngineAway("The cluster's answer is not one of Ray's.")
        return found

    async def stop(self, job: str) -> None:
        """Have it told to stop, and killed if it doesn't. Raises EngineAway."""
        await self._ask("POST", f"{job}/stop")

    async def forget(self, job: str) -> None:
        """Remove what the cluster keeps of a job that is over. Raises EngineAway."""
        await self._ask("DELETE", job)

    async def _require_closed(self) -> None:
        answer = await self._send("GET", cluster.NOBODY)
        if cluster.standing_of(answer) == "open":
            raise EngineAway(
                "The cluster answers without a token, so that anybody who reaches it could run programs there: it is "
                "not used until token authentication is on."
            )

    async def _submit(self, launch: Launch) -> None:
        """A second one under the same name is refused as a broken request would be, so that it is looked for."""
        processes = await asyncio.to_thread(_processes_of, launch, self._here.processes)
        body = {
            "submission_id": launch.job,
            "entrypoint": self.entrypoint(launch),
            "runtime_env": {"env_vars": self.environment(launch)},
            "entrypoint_num_cpus": max(self._cpus, processes),
            # Asked for even where it is none: else the job sees all that its machine has.
            "entrypoint_num_gpus": max(launch.gpus, processes) if launch.gpus else 0,
        }
        try:
            answer = await self._ask("POST", "", json=body, seconds=SUBMISSION_SECONDS, fails=True)
        except EngineAway:
            if await self.find(launch.job) is None:
                raise
            return
        if answer.is_success or await self.find(launch.job) is not None:
            return
        log.warning("job_refused", job=launch.job, status=answer.status_code)
        raise EngineAway(f"The cluster doesn't take the job (status {answer.status_code}).")

    def entrypoint(self, launch: Launch) -> str:
        """What the shell of a machine of the cluster is given: nothing in it was typed by a person."""
        command = launch.command(self._here.program, fence_seconds=FENCE_SECONDS)
        line = shlex.join((self._here.program[0], *command))
        return f"cd {shlex.quote(str(CODE))} && exec {line} >> {shlex.quote(str(launch.log))} 2>&1"

    def environment(self, launch: Launch) -> dict[str, str]:
        """What the job is told of this worker's environment, as its own child would be."""
        told = self._here.environment_of_child() | {JOB: launch.job}
        asked_for = self._here.environment
        own = {name: value for name, value in told.items() if name not in OF_THIS_MACHINE or name in asked_for}
        return own | {"RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(self._stop_seconds))}

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        seconds: float = REQUEST_SECONDS,
        fails: bool = False,
    ) -> httpx.Response:
        """With `fails` an error of the server is an answer, too."""
        headers = {"Authorization": f"Bearer {token_of(self._token_file)}"}
        answer = await self._send(method, path, json=json, headers=headers, seconds=seconds)
        if answer.status_code in cluster.REFUSED:
            raise EngineAway("The cluster refuses the token.")
        if answer.is_redirect or (answer.is_server_error and not fails):
            raise EngineAway(f"The cluster doesn't answer as it should (status {answer.status_code}).")
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> httpx.Response:
        """Over a connection of its own: one that is kept may be to a head that is no more. No proxy and no netrc of the
        environment, and no redirect: the token is for this address alone."""
        try:
            async with httpx.AsyncClient(verify=self._certificates, trust_env=False, follow_redirects=False) as client:
                return await client.request(method, f"{self._url}{path}", json=json, headers=headers, timeout=seconds)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EngineAway(f"The cluster can't be reached ({type(error).__name__}).") from error


class _RayChild(Child):
    def __init__(self, engine: RayJobs, job: str) -> None:
        self._engine = engine
        self._job = job
        self.is_waiting = True
        self._left = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    async def wait(self) -> int:
        heard = time.monotonic()
        while not self._left.is_set():
            try:
                found = await self._engine.find(self._job)
            except EngineAway:
                if time.monotonic() - heard > self._engine.patience_seconds:
                    raise
            else:
                heard = time.monotonic()
                if found is None:
                    raise EngineAway("The cluster knows nothing of the job any more: its head has lost what it knew.")
                if found.get("error_type") in NEVER_BEGAN:
                    await self._engine.forget(self._job)
                    raise EngineAway("The cluster had no room for the job, or couldn't begin it: it is given it again.")
                if found.get("status") in OVER:
                    return _code(found)
                self.is_waiting = found.get("status") == "PENDING"
            await pause(self._left, POLL_SECONDS)
        return UNKNOWN

    def terminate(self) -> None:
        self._soon(self._engine.stop(self._job))

    def kill(self) -> None:
        """The cluster kills what doesn't stop; a request to stop that it didn't hear is sent again."""
        self.terminate()

    def leave(self) -> None:
        self._left.set()

    def _soon(self, asking: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_tried(asking))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)


def token_of(file: Path) -> str:
    """The cluster's token. Raises EngineAway where there is none, or others can read it."""
    try:
        mode, token = file.stat().st_mode, file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineAway("The file of the cluster's token can't be read.") from error
    if mode & OTHERS:
        raise EngineAway("Others can read the file of the cluster's token: chmod 600 it, and have another token made.")
    if not token:
        raise EngineAway("The file of the cluster's token is empty.")
    return token


def _processes_of(launch: Launch, usual: int) -> int:
    """How many will share the work of a stage, which each need a core, and a GPU where there are any."""
    said = json.loads(launch.config.read_bytes()).get("processes")
    return 1 if launch.stage in WHOLE else said or usual


async def _tried(asking: Coroutine[Any, Any, None]) -> None:
    try:
        await asking
    except EngineAway as away:
        log.warning("job_not_told", reason=str(away))


def _code(found: Json) -> int:
    """Of one that was stopped, or whose supervisor was killed, there is none."""
    code = found.get("driver_exit_code")
    return code if type(code) is int else KILLED


def _content(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise EngineAway("The cluster's answer is not one of Ray's.") from error


def _listed(answer: httpx.Response) -> list[Json]:
    found = _content(answer)
    return [job for job in found if isinstance(job, dict)] if isinstance(found, list) else []
