"""How many answers a second the running site takes, and how long its annotators wait.

    python -m bench.web_load [--seconds 10] [--home DIR] [--only ours] [--small 10000] [--large 1000000]

Two sites of their own, with 10^4 and 10^6 open tasks, are loaded in turns by 1, 16 and 64 annotators: through the
annotate page (one POST saves an answer and brings the task after the next, as the browser does it) and through the
API. In the same run: a service of two bare endpoints over the same tables, and Label Studio (`make peers`). Ours and
the bare one run in PLUMBLINE_WEB_PROCESSES processes. Prints a table and, last, one JSON object.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from app.settings import load_settings
from app.supervisor import take_port, web_command
from bench.label_studio import PeerMissing, pairs_to_judge, running_label_studio
from bench.load_client import Kind, Target, run_clients
from bench.load_site import SLUG, LoadedSite, Processes, loaded_site

THINKING_SECONDS = 2.0
LABEL_STUDIO_TASKS = 10_000
# Measured before with these texts on an idle machine of two cores, for where the peer can't run: pairs a second.
PUBLISHED = {1: 3.8, 4: 5.5, 16: 6.9}

GOALS = {
    "over_label_studio": 50.0,
    "of_bare": 0.6,
    "slower_at_many_tasks": 1.3,
    "next_p99_ms": 25.0,
    "submit_p99_ms": 40.0,
}


@dataclass(frozen=True)
class Point:
    """One measurement. Processor times are shares of one core."""

    system: str
    tasks: int
    annotators: int
    thinking: float
    pairs_per_second: float
    next_p50_ms: float | None
    next_p99_ms: float | None
    submit_p50_ms: float | None
    submit_p99_ms: float | None
    server_cpu: float
    database_cpu: float
    client_cpu: float


class Load:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.points: list[Point] = []

    def measure(
        self,
        target: Target,
        servers: tuple[Processes, Processes],
        *,
        tasks: int,
        annotators: int,
        thinking: float = 0.0,
    ) -> Point:
        """One point; `servers` are the processes of the service and of its database."""
        seconds = self._seconds * (2 if thinking else 1)
        used: list[list[float]] = []
        samplers: list[threading.Thread] = []

        def begins(*moments: float) -> None:
            samplers.append(threading.Thread(target=_sample, args=(servers, moments, used)))
            samplers[0].start()

        seen = run_clients(target, annotators=annotators, seconds=seconds, think=thinking, begins=begins)
        samplers[0].join()
        server, database = ((after - before) / seconds for before, after in zip(*used, strict=True))
        point = Point(
            system=target.kind,
            tasks=tasks,
            annotators=annotators,
            thinking=thinking,
            pairs_per_second=round(len(seen.submit_ms) / seconds, 1),
            next_p50_ms=percentile(seen.next_ms, 0.5),
            next_p99_ms=percentile(seen.next_ms, 0.99),
            submit_p50_ms=percentile(seen.submit_ms, 0.5),
            submit_p99_ms=percentile(seen.submit_ms, 0.99),
            server_cpu=round(server, 2),
            database_cpu=round(database, 2),
            client_cpu=round(seen.client_cpu_seconds / seconds, 2),
        )
        print(_line(point), flush=True)
        self.points.append(point)
        return point

    def rate(self, system: str, annotators: int, tasks: int) -> float:
        return _only(
            point.pairs_per_second
            for point in self.points
            if (point.system, point.annotators, point.tasks, point.thinking) == (system, annotators, tasks, 0)
        )


def percentile(values: list[float], share: float) -> float | None:
    """The nearest rank: some annotator really waited so long."""
    if not values:
        return None
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 1)


def _sample(servers: tuple[Processes, ...], moments: tuple[float, ...], into: list[list[float]]) -> None:
    for moment in moments:
        time.sleep(max(0.0, moment - time.monotonic()))
        into.append([server.cpu_seconds() for server in servers])


def _only(values: Iterator[float]) -> float:
    (value,) = values
    return value


HEADINGS = (
    "system",
    "tasks",
    "people",
    "think",
    "pairs/s",
    "next p50",
    "p99 ms",
    "submit p50",
    "p99 ms",
    "server",
    "db",
    "client",
)


def _line(point: Point) -> str:
    return _row(list(asdict(point).values()))


def _row(cells: list[object]) -> str:
    return f"{cells[0]!s:<13}" + "".join(f"{'–' if cell is None else cell!s:>11}" for cell in cells[1:])


Sites = list[tuple[int, LoadedSite]]


def load_ours(load: Load, sites: Sites, people: tuple[int, ...], only: str) -> None:
    """Sites in turns, so that what else the machine does falls on all of them alike."""
    with ExitStack() as stack:
        bare = [stack.enter_context(_bare_service(loaded)) for _, loaded in sites] if only != "ours" else []
        kinds: list[Kind] = ["page", "api"]
        for annotators in people:
            for kind in kinds if only != "ours" else kinds[:1]:
                for tasks, loaded in sites:
                    load.measure(_target(kind, loaded), _servers(loaded), tasks=tasks, annotators=annotators)
            for (tasks, loaded), (target, server) in zip(sites, bare, strict=False):
                load.measure(target, (server, _servers(loaded)[1]), tasks=tasks, annotators=annotators)


def load_ours_thinking(load: Load, sites: Sites) -> None:
    kinds: tuple[Kind, ...] = ("page", "api")
    for kind in kinds:
        for tasks, loaded in sites:
            load.measure(_target(kind, loaded), _servers(loaded), tasks=tasks, annotators=64, thinking=THINKING_SECONDS)


def _target(kind: Kind, loaded: LoadedSite) -> Target:
    secrets = tuple(person.session if kind == "page" else person.api_token for person in loaded.people[kind])
    return Target(kind, loaded.port, SLUG, secrets)


def _servers(loaded: LoadedSite) -> tuple[Processes, Processes]:
    home = loaded.site.home
    return Processes(home, "app.web.main"), Processes(home / "postgres", "postgres")


@contextmanager
def _bare_service(loaded: LoadedSite) -> Iterator[tuple[Target, Processes]]:
    """As the site runs, in as many processes; its annotators are people who hold no lease of the site's."""
    settings = load_settings()
    listener = take_port("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    command = web_command(settings, f"--fd={listener.fileno()}")
    command[command.index("app.web.main:create_app")] = "bench.bare_service:create_app"
    environment = os.environ | {"DATABASE_URL": loaded.site.database_url, "BARE_PROJECT": SLUG}
    environment["PLUMBLINE_HOME"] = str(loaded.site.home)
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, pass_fds=[listener.fileno()])
        for _ in range(settings.web_processes)
    ]
    try:
        _wait_for(port)
        numbers = tuple(str(person.user_id) for person in loaded.people["bare"])
        yield Target("bare", port, SLUG, numbers), Processes(loaded.site.home, "bench.bare_service")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        listener.close()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the bare service did not start")


def load_label_studio(load: Load, people: tuple[int, ...]) -> None:
    with running_label_studio() as peer:
        project = peer.make_project(pairs_to_judge(LABEL_STUDIO_TASKS))
        servers = Processes(peer.folder, "gunicorn"), Processes(peer.folder, "postgres")
        target = Target("label-studio", peer.port, project, (peer.token,) * 64)
        for annotators in people:
            load.measure(target, servers, tasks=LABEL_STUDIO_TASKS, annotators=annotators)


def verdicts(load: Load, people: tuple[int, ...], small: int, large: int) -> dict[str, float]:
    """Each figure that has a goal, from this run."""
    thinking = [point for point in load.points if point.thinking and point.tasks == large]
    found = {
        "slower_at_many_tasks": max(
            load.rate("page", annotators, small) / load.rate("page", annotators, large) for annotators in people
        ),
        "next_p99_ms": max(point.next_p99_ms or 0.0 for point in thinking),
        "submit_p99_ms": max(point.submit_p99_ms or 0.0 for point in thinking),
    }
    systems = {point.system for point in load.points}
    if "bare" in systems:
        found["of_bare"] = load.rate("page", 16, small) / load.rate("bare", 16, small)
    if "label-studio" in systems:
        found["over_label_studio"] = load.rate("page", 16, small) / load.rate("label-studio", 16, LABEL_STUDIO_TASKS)
    return {name: round(value, 2) for name, value in found.items()}


def is_met(name: str, value: float) -> bool:
    return value >= GOALS[name] if name in {"over_label_studio", "of_bare"} else value <= GOALS[name]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--people", type=_numbers, default=(1, 16, 64), help="how many annotators; 16 has the goals")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("all", "ours"), default="all", help="`ours`: the page, nothing beside it")
    parser.add_argument("--home", type=Path, help="keep the sites here; the next run finds their tasks")
    arguments = parser.parse_args()
    load = Load(arguments.seconds)
    peer = "measured in this run"
    print(_row(list(HEADINGS)))
    with tempfile.TemporaryDirectory(prefix="plumbline-load-") as temporary, ExitStack() as stack:
        home = arguments.home or Path(temporary)
        sizes = (arguments.small, arguments.large)
        sites = [(size, stack.enter_context(loaded_site(home / str(size), size))) for size in sizes]
        load_ours(load, sites, arguments.people, arguments.only)
        if arguments.only == "all":
            try:
                load_label_studio(load, arguments.people)
            except PeerMissing as error:
                peer = f"not measured: {error}; published for an idle machine of two cores: {PUBLISHED}"
        load_ours_thinking(load, sites)
    found = verdicts(load, arguments.people, arguments.small, arguments.large)
    for name, value in found.items():
        print(f"{name:<22}{value:>9}  goal {GOALS[name]:>6}  {'met' if is_met(name, value) else 'NOT MET'}")
    outcome = {
        "bench": "web_load",
        "ratio": found.get("over_label_studio"),
        "goal": GOALS["over_label_studio"],
        "figures": found,
        "goals": GOALS,
        "label_studio": peer,
        "points": [asdict(point) for point in load.points],
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    sys.exit(main())
