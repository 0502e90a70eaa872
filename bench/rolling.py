"""What a rolling restart under load loses, and what annotators notice of it.

    python -m bench.rolling [--turns 3] [--annotators 16] [--think 2] [--tasks 10000]

Two web processes on one database, each a server of its own, behind a round-robin of connections. Annotators work on the
page and think between answers; an answer that gets no answer, or a server's error, is sent again under its key, as the
page does it. In each turn first one process and then the other gets SIGTERM, and is started again once it has ended.
Afterwards every answer that was acknowledged has to be in the database once, and whatever is reserved has to be what
somebody has before them. Prints what was noticed and, last, one JSON object; exits with 1 if something was lost.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psycopg

from app.db.embedded import running
from app.settings import Settings
from app.supervisor import prepare, take_port, web_command
from bench.load_client import NothingLeft, PageAnnotator, Seen, Target
from bench.load_site import SLUG, filled
from bench.round_robin import Address, RoundRobin
from bench.web_load import percentile

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 180
# As the page waits before it sends an answer again.
AGAIN_SECONDS = (1, 2, 4, 8, 15)
STORED = "SELECT assignment_id, count(*) FROM judgements GROUP BY 1"
RESERVED = "SELECT id FROM assignments WHERE state = 'leased' AND lease_expires_at > now()"


class WebProcess:
    """One server of the site at an address of its own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with take_port("127.0.0.1", 0) as free:
            self.address: Address = free.getsockname()[:2]
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        host, port = self.address
        command = web_command(Settings(port=port), f"--host={host}", f"--port={port}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=log)

    def end(self) -> float:
        """Ask it to end; the seconds that it takes."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        return time.monotonic() - began

    async def ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(base_url="http://{}:{}".format(*self.address), trust_env=False) as client:
            while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
                try:
                    if (await client.get("/healthz", timeout=5)).is_success:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        raise SystemExit(f"a web process did not start: {self._log.read_text(errors='replace')[-2000:]}")


@contextmanager
def web_processes(count: int, home: Path, database_url: str) -> Iterator[list[WebProcess]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    environment |= {"DATABASE_URL": database_url, "PLUMBLINE_HOME": str(home), "PLUMBLINE_REQUESTS_PER_MINUTE": "0"}
    processes = [WebProcess(environment, home / f"web-{number}.log") for number in range(count)]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.end()


@dataclass
class Noticed:
    """What annotators met: `trouble` counts answers of the server, and none, that had a request sent again."""

    requests: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    waits_seconds: list[float] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)


class PatientAnnotator(PageAnnotator):
    """Sends again what got no answer."""

    def __init__(self, target: Target, secret: str, seen: Seen, noticed: Noticed, *, think: float) -> None:
        super().__init__(target, secret, seen, think=think)
        self.noticed = noticed

    @property
    def on_the_desk(self) -> set[int]:
        return {int(self.shown[0]), int(self.ahead[0])}

    async def timed(
        self, into: list[float], method: str, path: str, body: str = "", expects: int = 200, **more: str
    ) -> bytes:
        began = time.monotonic()
        self.noticed.requests += 1
        for wait in AGAIN_SECONDS:
            status, content = await self._tried(method, path, body, **more)
            if status == expects:
                break
            if status is not None and status < 500:
                raise RuntimeError(f"{method} {path} answered {status}: {content[:300]!r}")
            self.noticed.trouble["no answer" if status is None else str(status)] += 1
            await asyncio.sleep(wait)
        else:
            raise RuntimeError(f"{method} {path} was never answered")
        took = time.monotonic() - began
        into.append(took * 1000)
        self.noticed.waits_seconds.append(took)
        return content

    async def _tried(self, method: str, path: str, body: str, **more: str) -> tuple[int | None, bytes]:
        try:
            return await self.connection.request(method, path, body, **more)
        except (OSError, EOFError):
            self.connection.close()
            return None, b""

    async def cycle(self) -> None:
        assignment = int(self.shown[0])
        try:
            await super().cycle()
        except NothingLeft:
            self.shown, self.end = self.ahead, 0.0
        self.noticed.acknowledged.append(assignment)


async def restart_in_turn(processes: Sequence[WebProcess], turns: int, *, between: float) -> list[float]:
    """Seconds that each took to end."""
    took = []
    for _ in range(turns):
        for process in processes:
            await asyncio.sleep(between)
            took.append(await asyncio.to_thread(process.end))
            process.start()
            await process.ready()
    await asyncio.sleep(between)
    return took


@dataclass(frozen=True)
class Outcome:
    """`lost` were acknowledged and aren't there, `twice` are there more than once; `astray` are reserved and on
    nobody's desk, `gone` on somebody's desk and no longer reserved."""

    restarts: int
    requests: int
    acknowledged: int
    sent_again: dict[str, int]
    passed_over: int
    lost: int
    twice: int
    astray: int
    gone: int
    slowest_end_seconds: float
    p50_ms: float | None
    p99_ms: float | None
    longest_ms: float

    @property
    def is_whole(self) -> bool:
        return not (self.lost or self.twice or self.astray or self.gone)


async def roll(
    database_url: str,
    processes: Sequence[WebProcess],
    secrets: Sequence[str],
    *,
    turns: int,
    think: float,
    between: float,
) -> Outcome:
    """Annotators with these sessions work while each of the processes is restarted `turns` times."""
    noticed, seen = Noticed(), Seen()
    balancer = RoundRobin([process.address for process in processes])
    await asyncio.gather(*(process.ready() for process in processes))
    async with balancer.listening() as port:
        target = Target("page", port, SLUG, tuple(secrets))
        people = [PatientAnnotator(target, secret, seen, noticed, think=think) for secret in secrets]
        await asyncio.gather(*(person.arrive() for person in people))
        at_work = [asyncio.create_task(_work(person)) for person in people]
        ended = await restart_in_turn(processes, turns, between=between)
        for person in people:
            person.end = 0.0
        await asyncio.gather(*at_work)
    with psycopg.connect(database_url) as connection:
        stored = dict(connection.execute(STORED).fetchall())
        reserved = {row[0] for row in connection.execute(RESERVED)}
    desks = {assignment for person in people for assignment in person.on_the_desk}
    waits = [seconds * 1000 for seconds in noticed.waits_seconds]
    return Outcome(
        restarts=len(ended),
        requests=noticed.requests,
        acknowledged=len(noticed.acknowledged),
        sent_again=dict(noticed.trouble),
        passed_over=balancer.passed_over,
        lost=len(set(noticed.acknowledged) - stored.keys()),
        twice=sum(count > 1 for count in stored.values()),
        astray=len(reserved - desks),
        gone=len(desks - reserved),
        slowest_end_seconds=round(max(ended), 2),
        p50_ms=percentile(waits, 0.5),
        p99_ms=percentile(waits, 0.99),
        longest_ms=round(max(waits), 1),
    )


async def _work(person: PatientAnnotator) -> None:
    await person.work(0.0, float("inf"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="how many times each process is restarted")
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--think", type=float, default=2.0, help="seconds")
    parser.add_argument("--between", type=float, default=5.0, help="seconds from one restart to the next")
    parser.add_argument("--tasks", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-rolling-") as temporary, running(Path(temporary)) as url:
        prepare(url, Settings(starter=False))
        people = filled(url, arguments.tasks)["page"][: arguments.annotators]
        with web_processes(2, Path(temporary), url) as processes:
            sessions = [person.session for person in people]
            rolling = roll(
                url, processes, sessions, turns=arguments.turns, think=arguments.think, between=arguments.between
            )
            outcome = asyncio.run(rolling)
    print("whole" if outcome.is_whole else "NOT WHOLE")
    print(json.dumps({"bench": "rolling", **asdict(outcome)}))
    return 0 if outcome.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
