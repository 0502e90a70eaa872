"""A site under blows: `python -m bench.soak --hours 0.5 [--seed 0] [--home DIR]`.

A site of its own turns rounds on the smallest settings, with two workers and simulated people, while one thing after
another is done to it (`bench.blows`), drawn by the seed. After each blow the site has to be ready again, and what must
always hold is looked at (`bench.invariants`, `bench.footprint`). At the end the round under way is let end, and nothing
may be left: no run, no half-written file, no shared memory. Prints a line for each blow, a table and one JSON object;
exit code 1 with what was violated and where to look, and then the home folder is kept.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from app.services.starter import SLUG
from bench import footprint, invariants
from bench.blows import BLOWS, Arm, order
from bench.footprint import Footprint, SharedMemory
from bench.invariants import History, Violation
from bench.soak_crowd import Crowd, Line
from bench.soak_site import SoakedSite, keep_turning, let_end, prepare, soaked_site

WARM_UP_SECONDS = 1800
END_SECONDS = 1800
PAUSE_SECONDS = (5.0, 25.0)
ROUND_SECONDS = 5.0


@dataclass
class Soak:
    """One soak. `seconds` is how long each kind of blow took the site to be ready again."""

    soaked: SoakedSite
    crowd: Crowd
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missed: int = 0
    history: History = field(default_factory=History)
    shared: SharedMemory = field(default_factory=SharedMemory)
    warm: Footprint | None = None
    last: Footprint | None = None

    async def run(self, seed: int, seconds: float) -> list[Violation]:
        """Until the time is over or something is violated."""
        links = await prepare(self.soaked)
        async with Line(self.soaked.site.url).up() as line:
            working = asyncio.create_task(self.crowd.work(line.url, links))
            turning = asyncio.create_task(self._turn())
            try:
                await self._warm_up()
                found = await self._strike(Arm(self.soaked, line, random.Random(seed)), time.monotonic() + seconds)
                return found or await self._end(turning)
            finally:
                for task in (working, turning):
                    task.cancel()
                await asyncio.gather(working, turning, return_exceptions=True)

    async def _turn(self) -> None:
        while True:
            with suppress(Exception):  # the database may be away, in any of many words
                await keep_turning(self.soaked)
            await asyncio.sleep(ROUND_SECONDS)

    async def _warm_up(self) -> None:
        """The first round, unharmed."""
        began = time.monotonic()
        while not await asyncio.to_thread(self._rounds):
            if time.monotonic() - began > WARM_UP_SECONDS:
                raise SystemExit(f"no round ended in {WARM_UP_SECONDS} s: see {self.soaked.home}")
            await asyncio.sleep(1)
        self.warm = await asyncio.to_thread(footprint.take, self.soaked.home, self.soaked.url)
        say(f"warmed up in {time.monotonic() - began:.0f} s: {asdict(self.warm)}")

    async def _strike(self, arm: Arm, end: float) -> list[Violation]:
        for kind in order(arm.draw):
            await asyncio.sleep(arm.draw.uniform(*PAUSE_SECONDS))
            if time.monotonic() > end:
                return []
            self.shared.look(self.soaked.home)
            done = await asyncio.to_thread(BLOWS[kind], arm)
            if done is None:
                self.missed += 1
                continue
            took = await asyncio.to_thread(self.soaked.wait_until_ready)
            found = [] if took is not None else [not_ready(self.soaked)]
            found += await asyncio.to_thread(self._look)
            self.seconds[kind].append(took or 0.0)
            said = f"{kind:18} {done:40} ready after {took or 0:5.1f} s, "
            say(f"{said}{len(self.crowd.told.acknowledged)} judgements, {len(found)} violations")
            if found:
                return found
        return []

    def _look(self) -> list[Violation]:
        """Everything that must hold. Where the database is away for once more, it is asked again."""
        for _ in range(5):
            try:
                found = invariants.violations(self.soaked.url, self.soaked.home, self.crowd.told, self.history)
                self.last = footprint.take(self.soaked.home, self.soaked.url)
                break
            except psycopg.OperationalError:
                time.sleep(2)
        else:
            return [not_ready(self.soaked)]
        assert self.warm is not None
        self.shared.look(self.soaked.home)
        return [
            *found,
            *footprint.leaks(self.warm, self.last),
            *footprint.doubles(self.soaked.home),
            *(Violation("no error without a word", said, "web.log") for said in self.crowd.mistakes),
            *self._broken_runs(),
        ]

    async def _end(self, turning: "asyncio.Task[None]") -> list[Violation]:
        """Let the last round end, and see that nothing is left."""
        turning.cancel()
        await asyncio.to_thread(let_end, self.soaked)
        deadline = time.monotonic() + END_SECONDS
        while await asyncio.to_thread(invariants.unended, self.soaked.url) and time.monotonic() < deadline:  # noqa: ASYNC110 - processes end them
            await asyncio.sleep(2)
        left = [
            *await asyncio.to_thread(invariants.unended, self.soaked.url),
            *(
                Violation("no leak", "was begun and is left", str(path))
                for path in footprint.parts_of(self.soaked.home)
            ),
            *(Violation("no leak", "nobody holds it", path) for path in sorted(self.shared.left(self.soaked.home))),
        ]
        return [*left, *await asyncio.to_thread(self._look)]

    def _broken_runs(self) -> list[Violation]:
        """None has used up its attempts, which are many: whatever breaks one would break it for anybody."""
        failed = self.soaked.asked("SELECT id, stage, error FROM runs WHERE state = 'failed'")
        return [
            Violation("every run ends well", f"run {run} ({stage}): {error}", f"runs/{run}")
            for run, stage, error in failed
        ]

    def _rounds(self) -> int:
        return len(self.soaked.asked("SELECT id FROM rounds WHERE finished_at IS NOT NULL"))

    def report(self, seed: int, seconds: float, found: Sequence[Violation]) -> dict[str, Any]:
        return {
            "bench": "soak",
            "seed": seed,
            "seconds": round(seconds),
            "blows": sum(len(taken) for taken in self.seconds.values()),
            "missed": self.missed,
            "rounds": self._rounds(),
            "runs": len(self.history.runs),
            "models": len(self.history.versions),
            "judgements": len(self.crowd.told.acknowledged),
            "given_up": self.crowd.given_up,
            "told": dict(self.crowd.refusals),
            "ready_after_seconds": {
                kind: sorted(round(one, 1) for one in taken) for kind, taken in self.seconds.items()
            },
            "footprint_warm": self.warm and asdict(self.warm),
            "footprint_last": self.last and asdict(self.last),
            "violations": [asdict(violation) for violation in found],
        }


def not_ready(soaked: SoakedSite) -> Violation:
    return Violation("ready again", soaked.why_not_ready(), "up.log and logs/")


def table(seconds: dict[str, list[float]]) -> str:
    """How often each kind of blow was dealt, and the median and the longest time until the site was ready."""
    lines = [f"{'blow':18} {'times':>5} {'median':>8} {'longest':>8}"]
    for kind, taken in sorted(seconds.items()):
        lines.append(f"{kind:18} {len(taken):5} {median(taken):6.1f} s {max(taken):6.1f} s")
    return "\n".join(lines)


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: argparse.Namespace) -> int:
    home = Path(arguments.home or tempfile.mkdtemp(prefix="plumbline-soak-")).resolve()
    home.chmod(0o755) if home.exists() else None
    began = time.monotonic()
    with soaked_site(home) as soaked:
        say(f"The site runs at {soaked.site.url}; its data are in {home}.")
        soak = Soak(soaked, Crowd(SLUG, arguments.seed))
        found = asyncio.run(soak.run(arguments.seed, arguments.hours * 3600))
        report = soak.report(arguments.seed, time.monotonic() - began, found)
    say(table(soak.seconds))
    for violation in found:
        say(f"VIOLATED {violation.promise}: {violation.found}; look at {violation.look_at} in {home}")
    say(json.dumps(report))
    if not found and arguments.home is None:
        shutil.rmtree(home)
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home")
    sys.exit(main(parser.parse_args()))
