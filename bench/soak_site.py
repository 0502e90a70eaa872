"""The site that is soaked: the starter project on the smallest settings, and a second worker."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from sqlalchemy import select

from app.db.base import Json
from app.db.session import create_engine, session_factory, transaction
from app.db.tables import Project, Round
from app.errors import Conflict
from app.services.loop.rounds import rounds
from app.services.starter import SLUG, ensure_starter
from app.simulation.loop import add_simulated, sign_in_path
from app.simulation.site import Site, running_site
from bench.moved_clock import NO_CLOCK, Clock

PEOPLE = 3
OVERLAP = 2
LEASE_SECONDS = 10
READY_SECONDS = 180
POLL_SECONDS = 0.5
SHARED_LOOK_SECONDS = 2.2
"""All who ask within two seconds are told by one look."""
# Of what is free on the disk: what is kept, and what a file takes that makes it short. Training goes on at 1.1 times
# what is kept, so others may take 17 % of what is free meanwhile.
KEPT_SHARE, BALLAST_SHARE = 0.75, 0.3

# Everything small, and no gate that a small model fails.
_SHORT: Json = {"max_new_tokens": 24}
ROUND_SETTINGS: Json = {
    "label_target": 24,
    "pairs_per_round": 60,
    "generate_prompts": 60,
    "samples_per_prompt": 2,
    "evaluate_prompts": 8,
    "selection": {"batch": 120},
    "first_policy_gate": {"unigram_gain": -100.0},
    "reward_gate": {"min_pairs": 0, "accuracy_low": 0.0, "accuracy_loss": 1.0},
    "policy_gate": {
        "win_rate_low": 0.0,
        "kl": 1e6,
        "eos_rate": 0.0,
        "length_ratio_low": 0.0,
        "length_ratio_high": 1e6,
        "distinct_2_kept": 0.0,
    },
    "sft": {"epochs": 1, "max_tokens": 15_000, "checkpoint_steps": 10},
    "reward": {"method": "distil", "reference_samples": 64, "distil_steps": 30, "checkpoint_steps": 5, **_SHORT},
    "ppo": {
        "iterations": 4,
        "batch_size": 16,
        "minibatch_size": 8,
        "epochs": 1,
        "critic_warmup_iterations": 1,
        "detector_responses": 0,
        "checkpoint_steps": 1,
        "max_kl": None,
        **_SHORT,
    },
    "generate": _SHORT,
    "evaluate": _SHORT,
}


@dataclass(frozen=True)
class SoakedSite:
    site: Site
    ballast_bytes: int = 0
    clock: Clock = NO_CLOCK
    """Of all its processes but the database's."""

    @property
    def home(self) -> Path:
        return self.site.home

    @property
    def url(self) -> str:
        return self.site.database_url

    def date(self) -> str:
        """What day it is by a web process's clock."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.site.url}/healthz", timeout=5).headers.get("date", "?")[5:16]
        return "?"

    def is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.site.url}/readyz", timeout=5).is_success
        return False

    def why_not_ready(self) -> str:
        try:
            return httpx.get(f"{self.site.url}/readyz", timeout=5).text[:300]
        except httpx.HTTPError as error:
            return type(error).__name__

    def wait_until_ready(self) -> float | None:
        """Seconds that it took, None where it took too long. It has to say so twice, by two looks of its own."""
        began = time.monotonic()
        while time.monotonic() - began < READY_SECONDS:
            if self.is_ready():
                took = time.monotonic() - began
                time.sleep(SHARED_LOOK_SECONDS)
                if self.is_ready():
                    return took
            time.sleep(POLL_SECONDS)
        return None

    def asked(self, question: str) -> list[tuple[object, ...]]:
        """The rows of a question, on a connection of its own."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(question).fetchall()


@contextmanager
def soaked_site(home: Path) -> Iterator[SoakedSite]:
    """A site whose project is yet to be made."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "tmp").mkdir(exist_ok=True)
    (home / "tmp").chmod(0o1777)
    free_bytes = shutil.disk_usage(home).free
    settings = {
        "PLUMBLINE_STARTER": "false",
        "PLUMBLINE_RUN_LEASE_SECONDS": str(LEASE_SECONDS),
        "PLUMBLINE_RUN_RETRY_SECONDS": "1",
        "PLUMBLINE_RUN_ATTEMPTS": "30",
        "PLUMBLINE_TRAINING_THREADS": "1",
        "PLUMBLINE_DISK_RESERVE_MEGABYTES": str(int(KEPT_SHARE * free_bytes / 1e6)),
        "PLUMBLINE_ASSIGNMENT_LEASE_SECONDS": "60",
        "TMPDIR": str(home / "tmp"),
    }
    clock = Clock.made_in(home)
    settings |= clock.environment
    with running_site(home, settings) as site, _second_worker(site, settings):
        yield SoakedSite(site, int(BALLAST_SHARE * free_bytes), clock)


async def prepare(soaked: SoakedSite) -> dict[int, str]:
    """The starter project, its first run and its people: paths of sign-in links by id."""
    engine = create_engine(soaked.url, pool_size=1)
    async with transaction(session_factory(engine)) as db:
        await ensure_starter(db, ROUND_SETTINGS)
        project = (await db.scalars(select(Project).where(Project.slug == SLUG))).one()
        project.overlap = OVERLAP
        people = [await add_simulated(db, project, f"Simulated {number}") for number in range(PEOPLE)]
        links = {person: await sign_in_path(db, person) for person in people}
    await engine.dispose()
    return links


async def keep_turning(soaked: SoakedSite) -> None:
    """Open a round whenever none is under way: what an owner does after a gate's refusal."""
    engine = create_engine(soaked.url, pool_size=1)
    try:
        async with transaction(session_factory(engine)) as db:
            project = (await db.scalars(select(Project).where(Project.slug == SLUG))).one()
            is_under_way = await db.scalar(select(Round.id).where(Round.status == "active").limit(1))
            if is_under_way is None:
                with suppress(Conflict):
                    await rounds.start(db, None, project)
    finally:
        await engine.dispose()


def let_end(soaked: SoakedSite) -> None:
    """No round follows the one that is under way."""
    with psycopg.connect(soaked.url) as connection:
        connection.execute("UPDATE projects SET opens_next_round = false")


@contextmanager
def _second_worker(site: Site, settings: dict[str, str]) -> Iterator[None]:
    """Another `app.jobs.worker`, which takes over what the first one drops; started again whenever it ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    environment |= {**settings, "PLUMBLINE_HOME": str(site.home), "DATABASE_URL": site.database_url}
    script = 'trap "kill \\$!; wait \\$!; exit" TERM; while :; do "$@" & wait $!; sleep 1; done'
    with (site.home / "logs" / "second-worker.log").open("ab") as log:
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, "keeper", sys.executable, "-m", "app.jobs.worker"],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait()
