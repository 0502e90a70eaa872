"""A Ray cluster: when it is not used, what it is told, and what comes of a head that is away or has lost everything."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Run
from app.jobs import execution, orphans, ray
from app.jobs.context import WorkerContext
from app.jobs.launch import Launch, LocalProcess
from app.jobs.ray import FENCE_SECONDS, RayJobs
from app.jobs.worker import CannotWork, elsewhere_of
from app.services import cluster
from app.services.loop.runs import runs
from app.services.loop.stages.registry import TRAINING
from app.settings import Settings, load_settings
from tests.browser.people import session_token
from tests.factories import make_user, principal
from tests.faults.test_models_in_use import fresh
from tests.jobs import fake_ray
from tests.jobs.conftest import ROOT, make_context
from tests.jobs.fake_ray import FakeRay
from tests.jobs.loop import LOOK_SECONDS, Loop
from tests.jobs.test_executors import WAITS, at_work, let_go
from tests.jobs.test_workers import assert_as_uninterrupted
from tests.jobs.worker_program import FAKE_TRAINING
from tests.sites import site_of


@pytest.fixture
def head() -> Iterator[FakeRay]:
    with fake_ray.running() as head:
        yield head


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return write_token(tmp_path / "token", fake_ray.TOKEN)


def write_token(file: Path, token: str, *, mode: int = 0o600) -> Path:
    file.write_text(token)
    file.chmod(mode)
    return file


@pytest.fixture
def jobs(head: FakeRay, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> RayJobs:
    monkeypatch.setattr(ray, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(execution, "WAIT_SECONDS", 0.0)
    here = LocalProcess((sys.executable, str(FAKE_TRAINING)), environment=("ASKED_FOR",))
    return RayJobs(head.url, token_file, here, cpus=2, stop_seconds=4.2, patience_seconds=60)


@pytest.fixture
def context(jobs: RayJobs, sessions: SessionFactory, home: Path) -> WorkerContext:
    return replace(make_context(sessions, home), elsewhere={"sft": jobs}, gpus=1)


async def waiting_for(loop: Loop, reason: str) -> Run:
    """A run that was put back with this reason, without an attempt spent, and with nothing started."""
    run = await loop.execute(await loop.queue_sft(await loop.make_project()))
    assert (run.state, run.attempt, run.launch) == ("queued", 0, 0)
    assert reason in (run.error or "")
    return run


async def test_a_cluster_that_anybody_may_use_is_not_used_and_the_run_says_so(loop: Loop, head: FakeRay) -> None:
    head.is_open = True
    run = await waiting_for(loop, "The cluster answers without a token")
    assert head.seen == [("GET", f"/api/jobs/{cluster.NOBODY}")]
    head.is_open = False
    assert (await loop.execute(run)).state == "succeeded"


async def test_a_token_that_is_refused_or_that_others_can_read_starts_nothing(
    loop: Loop, head: FakeRay, token_file: Path
) -> None:
    write_token(token_file, "another")
    await waiting_for(loop, "The cluster refuses the token.")
    write_token(token_file, fake_ray.TOKEN, mode=0o644)
    await waiting_for(loop, "Others can read the file of the cluster's token")
    write_token(token_file, "")
    await waiting_for(loop, "The file of the cluster's token is empty.")
    assert head.submitted == []


async def test_a_token_goes_nowhere_but_to_the_cluster(loop: Loop, head: FakeRay) -> None:
    with fake_ray.running() as stranger:
        head.redirects_to = f"{stranger.url}/api/jobs/"
        await waiting_for(loop, "doesn't answer as it should (status 302)")
        assert stranger.seen == []


async def test_a_cluster_that_is_away_when_a_run_is_to_start_spends_no_attempt(loop: Loop, head: FakeRay) -> None:
    head.is_away = True
    run = await waiting_for(loop, "The cluster can't be reached")
    head.is_away = False
    assert (await loop.execute(run)).attempt == 1


async def test_a_head_that_is_away_for_a_while_is_waited_for(loop: Loop, head: FakeRay, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    head.is_away = True
    asked = len(head.seen)
    while len(head.seen) < asked + 3:  # noqa: ASYNC110 - another thread counts
        await asyncio.sleep(LOOK_SECONDS)
    assert (await loop.read(run)).state == "running"
    head.is_away = False
    let_go(home, run)
    done = await executing
    assert (done.state, done.attempt, len(head.submitted)) == ("succeeded", 1, 1)
    await assert_as_uninterrupted(loop, done, home)


async def test_a_head_that_stays_away_gives_the_run_back_and_is_found_at_work_later(
    loop: Loop, head: FakeRay, jobs: RayJobs, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    jobs.patience_seconds = 0.1
    head.is_away = True
    left = await executing
    assert (left.state, left.attempt, left.launch) == ("queued", 0, 0)
    assert "The cluster can't be reached" in (left.error or "")
    head.is_away = False
    let_go(home, run)
    done = await loop.execute(run)
    assert (done.state, done.attempt, len(head.submitted)) == ("succeeded", 1, 1)
    await assert_as_uninterrupted(loop, done, home)


async def test_a_head_that_lost_everything_is_given_the_same_job_again(loop: Loop, head: FakeRay, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    head.lose_everything()
    left = await executing
    assert (left.state, left.attempt) == ("queued", 0)
    assert "knows nothing of the job any more" in (left.error or "")
    let_go(home, run)
    done = await loop.execute(run)
    assert (done.state, done.attempt) == ("succeeded", 1)
    assert len({job["submission_id"] for job in head.submitted}) == 1
    assert len(head.submitted) == 2
    await assert_as_uninterrupted(loop, done, home)


async def test_a_job_that_never_had_room_is_given_to_the_cluster_again(loop: Loop, head: FakeRay, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    (job,) = head.jobs.values()
    job.error_type = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
    job.signal(signal.SIGKILL)
    await asyncio.to_thread(job.process.wait)
    left = await executing
    assert (left.state, left.attempt, left.launch) == ("queued", 0, 0)
    assert "had no room for the job" in (left.error or "")
    let_go(home, run)
    assert (await loop.execute(run)).state == "succeeded"
    assert len(head.submitted) == 2


async def test_a_run_cancelled_while_the_head_is_away_is_over_and_its_job_is_swept(
    loop: Loop, head: FakeRay, jobs: RayJobs
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    head.is_away = True
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    while ("POST", f"/api/jobs/{head.submitted[0]['submission_id']}/stop") not in head.seen:  # noqa: ASYNC110 - as above
        await asyncio.sleep(LOOK_SECONDS)
    jobs.patience_seconds = 0.1
    assert (await executing).state == "cancelled"
    (job,) = head.jobs.values()
    assert job.told()["status"] == "RUNNING"
    head.is_away = False
    await orphans.look(loop.context)
    assert await asyncio.to_thread(job.process.wait) == 3
    assert job.told()["status"] == "STOPPED"


async def test_a_job_asks_for_what_it_needs_and_is_told_nothing_that_opens_a_door(
    loop: Loop, head: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await loop.queue_sft(await loop.make_project())
    for name in ("PLUMBLINE_SECRET", "HF_TOKEN", "ASKED_FOR", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "of the worker")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:password@nowhere/x")
    assert (await loop.execute(run)).state == "succeeded"
    (body,) = head.submitted
    told = body["runtime_env"]["env_vars"]
    assert (body["entrypoint_num_cpus"], body["entrypoint_num_gpus"]) == (2, 1)
    assert told["PLUMBLINE_JOB"] == body["submission_id"]
    assert told["RAY_JOB_STOP_WAIT_TIME_S"] == "5"
    assert told["OMP_WAIT_POLICY"] == "PASSIVE"
    assert told["ASKED_FOR"] == "of the worker"
    assert not told.keys() & {"PLUMBLINE_SECRET", "HF_TOKEN", "DATABASE_URL", "PATH", "HOME", "CUDA_VISIBLE_DEVICES"}
    assert "password" not in json.dumps(body)


@pytest.mark.parametrize(
    ("stage", "said", "usual", "gpus", "asked"),
    [
        ("sft", None, 1, 0, (2, 0)),
        ("sft", None, 4, 0, (4, 0)),
        ("sft", 3, 8, 1, (3, 3)),
        ("sft", 1, 8, 4, (2, 4)),
        ("embed", None, 8, 1, (2, 1)),
    ],
)
async def test_a_job_asks_for_a_core_and_a_gpu_for_each_of_its_processes(
    stage: str,
    said: int | None,
    usual: int,
    gpus: int,
    asked: tuple[int, int],
    head: FakeRay,
    token_file: Path,
    tmp_path: Path,
) -> None:
    here = LocalProcess(("/bin/true",), processes=usual)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"processes": said} if said else {}))
    launch = Launch(stage, config, tmp_path, 1, tmp_path / "log.txt", "job", gpus=gpus)
    await RayJobs(head.url, token_file, here, cpus=2).start(launch)
    (body,) = head.submitted
    assert (body["entrypoint_num_cpus"], body["entrypoint_num_gpus"]) == asked
    assert body["runtime_env"]["env_vars"]["PLUMBLINE_PROCESSES"] == str(usual)


def test_no_path_is_read_by_a_shell_and_a_newer_job_waits_for_an_older_one_on_another_machine(
    jobs: RayJobs, tmp_path: Path
) -> None:
    odd = tmp_path / "it's $(touch here); a folder"
    odd.mkdir()
    launch = Launch("sft", odd / "config.json", odd / "out", 7, odd / "log.txt", "job")
    line = jobs.entrypoint(launch)
    words = shlex.split(line)
    assert words[:4] == ["cd", str(ray.CODE), "&&", "exec"]
    fence = ["-m", "app.jobs.fence", str(odd / "out"), "7", f"{FENCE_SECONDS:g}", "--", sys.executable]
    settings = ["sft", "--config", str(odd / "config.json"), "--out", str(odd / "out")]
    assert words[5:-3] == [*fence, str(FAKE_TRAINING), *settings]
    (odd / "config.json").write_text('{"seed": 0, "refuse": true}')
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(["/bin/sh", "-c", line], check=False, env=environment)
    assert ended.returncode == 2
    assert "the config says no\n" in (odd / "log.txt").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "PLUMBLINE_RAY_TOKEN_FILE is not set"),
        ({"PLUMBLINE_RAY_TOKEN_FILE": "/nowhere/token"}, "can't be read"),
        ({"PLUMBLINE_RAY_STAGES": "ppo,select"}, "PLUMBLINE_RAY_STAGES names select"),
    ],
)
def test_a_worker_with_settings_of_a_cluster_that_make_no_sense_does_not_start(
    given: dict[str, str], said: str
) -> None:
    settings = load_settings({"PLUMBLINE_RAY_URL": "http://127.0.0.1:1"} | given)
    with pytest.raises(CannotWork, match=said):
        elsewhere_of(settings, LocalProcess())


def test_all_stages_that_train_go_to_the_cluster_or_those_that_are_named(token_file: Path) -> None:
    given = {"PLUMBLINE_RAY_URL": "http://127.0.0.1:1/", "PLUMBLINE_RAY_TOKEN_FILE": str(token_file)}
    assert elsewhere_of(load_settings(given), LocalProcess()).keys() == TRAINING.keys()
    assert elsewhere_of(load_settings(given | {"PLUMBLINE_RAY_STAGES": "ppo, dpo"}), LocalProcess()).keys() == {
        "ppo",
        "dpo",
    }
    assert elsewhere_of(load_settings(given | {"PLUMBLINE_QUEUES": "steps"}), LocalProcess()) == {}
    assert elsewhere_of(load_settings({}), LocalProcess()) == {}


async def test_admins_and_probes_see_whether_the_cluster_answers_and_asks_for_its_token(
    head: FakeRay, database_url: str, db: AsyncSession, home: Path
) -> None:
    cookies = {"session": await session_token(db, principal(await make_user(db, is_admin=True)))}
    await db.commit()
    site = site_of(Settings(database_url=database_url, home=home, ray_url=head.url, trusted_hosts="test"))
    transport = httpx.ASGITransport(site)
    async with (
        site.router.lifespan_context(site),
        httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as browser,
    ):
        for is_open, is_away, state, words in (
            (False, False, "ok", "answers, and asks for its token"),
            (True, False, "failing", "answers without a token: anybody who reaches it can run programs there"),
            (False, True, "failing", "doesn&#39;t answer: runs wait for it"),
        ):
            head.is_open, head.is_away = is_open, is_away
            assert (await fresh(site, browser)).json()["checks"]["cluster"] == state
            assert words in (await browser.get("/health")).text
