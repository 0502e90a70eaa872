"""What Prometheus is told: asked for by HTTP, at the port of its own, of real processes and a real database."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs import site_figures
from app.services import accounts, dispatch
from app.settings import Settings
from tests.factories import make_scene
from tests.infra.test_up import home, up
from tests.sites import new_site
from tests.up import Up, free_port, wait_until

__all__ = ["home", "up"]

Labels = tuple[tuple[str, str], ...]
Figures = dict[tuple[str, Labels], float]
ROOT = Path(__file__).resolve().parents[2]
SECRET = "Kq7-not-for-logs"


def figures_at(port: int) -> Figures:
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False)
    assert answer.status_code == 200
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}


def told(figures: Figures, name: str, **labels: str) -> float:
    return figures[name, tuple(sorted(labels.items()))]


async def asked(port: int) -> Figures:
    return await asyncio.to_thread(figures_at, port)


def free_ports() -> int:
    """The first of five ports that nobody gets who asks for any: of those, one was taken in between at times."""
    return free_port() % 20_000 + 10_000


@pytest.fixture
async def watched(database_url: str) -> AsyncIterator[tuple[FastAPI, int]]:
    """A site that tells its figures, and the port of its process."""
    port = free_ports()
    app = new_site(Settings(database_url=database_url, trusted_hosts="test", metrics_port=port))
    async with app.router.lifespan_context(app):
        yield app, port + 1


async def test_requests_are_counted_and_timed_by_the_template_of_their_route(
    watched: tuple[FastAPI, int], db: AsyncSession
) -> None:
    app, port = watched
    project, _, annotator = await make_scene(db)
    token = await accounts.create_api_token(db, annotator.user_id, name="mine")
    await db.commit()
    before = await asked(port)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        api = {"Authorization": f"Bearer {token}"}
        assert (await client.get(f"/api/v1/projects/{project.slug}/next-task", headers=api)).status_code == 200
        await client.get(f"/sign-in/link/{SECRET}")
        await client.get(f"/{SECRET}")
        await client.get(f"/static/{SECRET}.css")
        await client.request("BREW" + SECRET, "/")
    after = await asked(port)

    def new(method: str, route: str, status: str) -> float:
        key = "plumbline_http_requests_total", (("method", method), ("route", route), ("status", status))
        return after[key] - before.get(key, 0)

    assert new("GET", "/api/v1/projects/{slug}/next-task", "200") == 1
    assert new("GET", "/sign-in/link/{token}", "404") == 1
    assert new("GET", "unknown", "404") == 1
    assert new("GET", "/static", "404") == 1
    assert told(after, "plumbline_http_response_seconds_count", method="GET", route="/api/v1/projects/{slug}/next-task")
    assert SECRET not in repr(after)
    assert project.slug not in repr(after)


async def test_a_process_tells_how_many_connections_it_has(watched: tuple[FastAPI, int]) -> None:
    app, port = watched
    async with app.state.sessions() as session:
        await session.connection()
        figures = await asked(port)
        assert told(figures, "plumbline_database_connections", state="in_use") == 1
        assert told(figures, "plumbline_database_connections_limit") == 20
    assert told(await asked(port), "plumbline_database_connections", state="in_use") == 0


async def test_figures_are_told_nowhere_unless_asked_for(database_url: str) -> None:
    app = new_site(Settings(database_url=database_url))
    assert "RequestFigures" not in [layer.cls.__name__ for layer in app.user_middleware]


async def test_each_web_process_takes_a_port_of_its_own(watched: tuple[FastAPI, int], database_url: str) -> None:
    _, port = watched
    second = new_site(Settings(database_url=database_url, metrics_port=port - 1))
    async with second.router.lifespan_context(second):
        assert await asked(port)
        assert await asked(port + 1)


async def test_a_worker_tells_of_leases_queue_runs_judgements_and_the_disk(
    db: AsyncSession, database_url: str, tmp_path: Path
) -> None:
    project, _, annotator = await make_scene(db)
    await db.commit()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO runs (project_id, stage) SELECT id, unnest('{sft,ppo}'::text[]) FROM projects")
        connection.execute(
            "INSERT INTO assignments (project_id, task_id, annotator_id, shown_order, guidelines_version, "
            "lease_expires_at) SELECT project_id, id, %s, '{0,1}', 1, now() - interval '1 s' FROM tasks",
            [annotator.user_id],
        )
        connection.execute(
            "INSERT INTO backups (place, name, began_at, ended_at, problem) VALUES "
            "('/backups', 'whole', now() - interval '2 h', now(), NULL), ('/backups', NULL, now(), now(), 'no room')"
        )
    await dispatch.defer_report(db, project.id, "dashboard")
    await db.commit()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE procrastinate.procrastinate_events SET at = now() - interval '90 s'")
    figures = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in site_figures.SiteFigures(database_url, tmp_path).collect()
        for sample in family.samples
    }
    assert told(figures, "plumbline_database_up") == 1
    assert told(figures, "plumbline_runs", state="queued") == 2
    assert told(figures, "plumbline_runs", state="failed") == 0
    assert told(figures, "plumbline_leases", state="expired") == 1
    assert told(figures, "plumbline_queue_jobs", queue="steps", state="todo") == 1
    assert 90 <= told(figures, "plumbline_queue_oldest_seconds", queue="steps") < 120
    assert told(figures, "plumbline_queue_oldest_seconds", queue="training") == 0
    assert told(figures, "plumbline_judgements_total") == 0
    assert 7200 <= told(figures, "plumbline_backup_age_seconds") < 7300
    assert told(figures, "plumbline_disk_free_bytes") > 0
    assert told(figures, "plumbline_database_bytes") > 0


def test_without_its_database_a_worker_still_tells_that_and_the_disk(tmp_path: Path) -> None:
    gone = site_figures.SiteFigures("postgresql://nobody@127.0.0.1:1/nothing", tmp_path).collect()
    values = {sample.name: sample.value for family in gone for sample in family.samples}
    assert values["plumbline_database_up"] == 0
    assert values["plumbline_disk_free_bytes"] > 0


@pytest.mark.e2e
def test_the_whole_application_tells_at_a_port_for_each_process(up: Callable[..., Up], home: Path) -> None:
    port = free_ports()
    up(PLUMBLINE_METRICS_PORT=str(port), PLUMBLINE_WEB_PROCESSES="2", PLUMBLINE_LOG_FORMAT="json").wait_until_ready()
    wait_until(lambda: all(_answers(port + number) for number in range(3)))
    assert told(figures_at(port), "plumbline_workers_alive") == 3
    assert told(figures_at(port), "plumbline_judgements_total") == 0
    for number in (1, 2):
        assert told(figures_at(port + number), "plumbline_database_connections_limit") == 20
    for name in ("web", "web-2", "worker"):
        lines = (home / "logs" / f"{name}.log").read_text().splitlines()
        assert [line for line in lines if not re.fullmatch(r'\{.*"event": .*\}', line)] == []
        assert lines


def _answers(port: int) -> bool:
    try:
        return bool(figures_at(port))
    except httpx.TransportError:
        return False


def test_the_documented_figures_are_those_that_are_told(database_url: str, tmp_path: Path) -> None:
    text = (ROOT / "docs/operations.md").read_text()
    (table,) = re.findall(r"^\| figure \| of \| what \|\n(.*?)\n\n", text, flags=re.MULTILINE | re.DOTALL)
    documented = {name for row in table.splitlines() for name in re.findall(r"`(plumbline_\w+)`", row.split("|")[1])}
    site = {one.name for one in site_figures.SiteFigures(database_url, tmp_path).collect()}
    process = {one.name for one in REGISTRY.collect() if one.name.startswith("plumbline_")}
    assert {name.removesuffix("_total") for name in documented} == {
        name.removesuffix("_total") for name in site | process
    }
    alarms = set(re.findall(r"\b(plumbline_\w+)", text.partition("### What to be told of")[2]))
    assert {name.removesuffix("_bucket") for name in alarms} <= documented
