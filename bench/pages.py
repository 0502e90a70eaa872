"""Every page of a site with years of judgements: `python -m bench.pages [--judgements 10000000] [--home DIR]`.

The starter project turns a round first, so that there are runs, models and dataset versions to look at; then its
database is filled by SQL (`bench.many_judgements`). An admin and an annotator follow all links from the start page on,
what pages load afterwards included, to a few addresses of each route; files and streams are left out. Reports that
they ask for are waited for. Then each address is asked for again, several times; the goal is 300 ms at p99 for each.
With `--home`, what was filled is kept and found by the next call.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from app.db.embedded import running
from app.db.session import create_engine, session_factory, transaction
from app.services import accounts
from app.services.starter import SLUG
from app.simulation.site import Site, running_site
from bench.many_judgements import fill
from bench.soak_crowd import Crowd
from bench.soak_site import SoakedSite, keep_turning, let_end, prepare, soaked_site
from bench.web_load import percentile

GOAL_MS = 300.0
REPEATS = 20
SINCE = 2_000
"""Judgements that are newer than the last dataset version."""
OF_EACH_ROUTE = 3
REQUEST_SECONDS = 300.0
REPORTS_SECONDS = 3600.0
ROUND_SECONDS = 900.0
LINK = re.compile(r'\b(?:href|hx-get|data-src)="([^"#]+)')
FILES = re.compile(
    r"/static/|/export(\?|$)|\.(csv|jsonl|svg|json|parquet)(\?|$)|/events(\?|$)|/manifest|/archive|/docs"
)


@dataclass
class Visitor:
    """Somebody who is signed in, and the addresses that they came by, each with how long its first answer took."""

    name: str
    client: httpx.Client
    first_ms: dict[str, float] = field(default_factory=dict)

    def explore(self) -> None:
        """Follows links breadth first, to no more than a few addresses of each shape."""
        seen: Counter[str] = Counter()
        waiting = ["/"]
        while waiting:
            address = waiting.pop(0)
            if address in self.first_ms or seen[shape(address)] >= OF_EACH_ROUTE:
                continue
            seen[shape(address)] += 1
            took, answer = self.ask(address)
            if answer.status_code == httpx.codes.OK and "text/html" in answer.headers.get("content-type", ""):
                self.first_ms[address] = took
                waiting += links_of(address, answer.text)

    def ask(self, address: str) -> tuple[float, httpx.Response]:
        """Milliseconds until the last byte, and the answer, which is no error of the site's."""
        begun = time.perf_counter()
        answer = self.client.get(address)
        took = (time.perf_counter() - begun) * 1000
        if answer.is_server_error:
            raise SystemExit(f"{address} answered {answer.status_code}: {answer.text[:300]}")
        return took, answer


def links_of(address: str, html: str) -> Iterator[str]:
    for found in LINK.findall(html):
        parts = urlsplit(urljoin(address, found.replace("&amp;", "&")))
        if not parts.netloc and not FILES.search(parts.path + (f"?{parts.query}" if parts.query else "")):
            yield parts.path + (f"?{parts.query}" if parts.query else "")


def shape(address: str) -> str:
    """What addresses of one route have in common: numbers are any, and of a question only its names count."""
    parts = urlsplit(address)
    names = ",".join(sorted({name for name, _ in parse_qsl(parts.query)}))
    return re.sub(r"\d+", "{}", parts.path) + "?" + names


async def turn_a_round(soaked: SoakedSite) -> None:
    """The first round, judged by simulated people, and none after it."""
    links = await prepare(soaked)
    let_end(soaked)
    working = asyncio.create_task(Crowd(SLUG, 0).work(soaked.site.url, links))
    deadline = time.monotonic() + ROUND_SECONDS
    try:
        while not soaked.asked("SELECT id FROM rounds WHERE finished_at IS NOT NULL"):
            if time.monotonic() > deadline:
                raise SystemExit(f"no round ended in {ROUND_SECONDS:.0f} s: see {soaked.home}")
            if not soaked.asked("SELECT id FROM rounds"):
                await keep_turning(soaked)
            await asyncio.sleep(1)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def visitors(site: Site) -> list[Visitor]:
    """An admin, and one of the project's annotators."""
    engine = create_engine(site.database_url, pool_size=1)
    found = SoakedSite(site).asked(
        "SELECT 'admin', max(id) FROM users WHERE is_admin"
        " UNION ALL SELECT 'annotator', max(id) FROM users WHERE name LIKE 'Person %'"
    )
    came = []
    async with transaction(session_factory(engine)) as db:
        for name, person in found:
            session = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, int(str(person))))
            client = httpx.Client(
                base_url=site.url, cookies={"session": session}, timeout=REQUEST_SECONDS, follow_redirects=True
            )
            came.append(Visitor(str(name), client))
    await engine.dispose()
    return came


def cut(home: Path, url: str) -> None:
    """A dataset version of all that is there, so that it isn't all new."""
    environment = os.environ | {"PLUMBLINE_HOME": str(home), "DATABASE_URL": url}
    plumbline = Path(sys.executable).with_name("plumbline")
    subprocess.run([plumbline, "dataset", "cut", "-p", SLUG], env=environment, check=True)


def wait_for_reports(site: Site) -> None:
    deadline = time.monotonic() + REPORTS_SECONDS
    while SoakedSite(site).asked("SELECT name FROM reports WHERE asked_at IS NOT NULL"):
        if time.monotonic() > deadline:
            raise SystemExit("reports are still being written")
        time.sleep(1)


def measure(came: list[Visitor]) -> dict[str, list[float]]:
    """Milliseconds of each address, asked for in turns, so that what else the machine does falls on all alike."""
    took: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        for visitor in came:
            for address in visitor.first_ms:
                took.setdefault(f"{visitor.name} {address}", []).append(visitor.ask(address)[0])
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=int, default=10_000_000)
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-pages-") as temporary:
        home = (asked.home or Path(temporary) / "home").resolve()
        if not home.exists():
            with soaked_site(home) as soaked:
                asyncio.run(turn_a_round(soaked))
            with running(home) as url:
                fill(url, SLUG, asked.judgements)
                cut(home, url)
                fill(url, SLUG, SINCE)
        with running_site(home, {"PLUMBLINE_STARTER": "false", "TMPDIR": str(home / "tmp")}) as site:
            came = asyncio.run(visitors(site))
            for visitor in came:
                visitor.explore()
            wait_for_reports(site)
            took = measure(came)
            for visitor in came:
                visitor.client.close()
    p99 = {address: percentile(measured, 0.99) or 0.0 for address, measured in took.items()}
    for address, longest in sorted(p99.items(), key=lambda entry: entry[1]):
        print(f"{percentile(took[address], 0.5):9.1f} ms median {longest:9.1f} ms p99  {address}")
    slow = [address for address, longest in p99.items() if longest > GOAL_MS]
    print(f"{len(p99)} addresses, {len(slow)} over {GOAL_MS:.0f} ms")
    outcome = {
        "bench": "pages",
        "ratio": round(GOAL_MS / max(p99.values()), 3),
        "goal": 1,
        "judgements": asked.judgements,
        "addresses": len(p99),
        "slow": {address: p99[address] for address in slow},
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
