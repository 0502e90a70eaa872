"""What a second web process brings: answers a second, and how long annotators wait, with one and with two.

    python -m bench.web_scale [--seconds 10] [--segments 4] [--annotators 16] [--think 0] [--tasks 20000]

Two web processes on one database. Annotators work through the API, which takes a task (next) and answers it (submit) by
a request each: in each segment once all on the first process and once half on each, in turns which comes first. Prints
a line for each half of a segment and, last, one JSON object. On a machine whose cores are taken it says little.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.db.embedded import running
from app.settings import Settings
from app.supervisor import prepare
from bench.load_client import Seen, Target, run_clients
from bench.load_site import SLUG, filled
from bench.rolling import WebProcess, web_processes
from bench.web_load import percentile


@dataclass(frozen=True)
class Half:
    """What was seen in one half of a segment, on so many processes."""

    processes: int
    next_ms: tuple[float, ...]
    submit_ms: tuple[float, ...]

    def line(self) -> str:
        told = [percentile(list(took), share) for took in (self.next_ms, self.submit_ms) for share in (0.5, 0.99)]
        return f"{self.processes:>9}{len(self.submit_ms):>9}" + "".join(f"{value!s:>12}" for value in told)


def work(processes: Sequence[WebProcess], secrets: Sequence[str], *, seconds: float, think: float) -> Half:
    """Annotators in as many crowds as there may be processes, each crowd on one of `processes`."""
    crowds = [tuple(secrets[place::2]) for place in range(2)]
    targets = [
        Target("api", processes[place % len(processes)].address[1], SLUG, crowd) for place, crowd in enumerate(crowds)
    ]
    with ThreadPoolExecutor() as threads:
        parts = list(threads.map(lambda target: _work(target, seconds, think), targets))
    next_ms, submit_ms = ([took for part in parts for took in getattr(part, name)] for name in ("next_ms", "submit_ms"))
    return Half(len(processes), tuple(next_ms), tuple(submit_ms))


def _work(target: Target, seconds: float, think: float) -> Seen:
    return run_clients(
        target, annotators=len(target.secrets), seconds=seconds, think=think, begins=lambda *moments: None
    )


def figures(halves: Sequence[Half], seconds: float) -> dict[str, float]:
    """Pairs a second and milliseconds with one process and with two, and two over one."""
    found: dict[str, float] = {}
    for processes in (1, 2):
        own = [half for half in halves if half.processes == processes]
        answered = sum(len(half.submit_ms) for half in own)
        found[f"pairs_per_second_{processes}"] = round(answered / (seconds * len(own)), 1)
        for what in ("next", "submit"):
            took = [ms for half in own for ms in getattr(half, f"{what}_ms")]
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                found[f"{what}_{name}_ms_{processes}"] = percentile(took, share) or 0.0
    for name in [name.removesuffix("_1") for name in found if name.endswith("_1")]:
        found[f"{name}_ratio"] = round(found[f"{name}_2"] / found[f"{name}_1"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each half of a segment")
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--think", type=float, default=0.0, help="seconds")
    parser.add_argument("--tasks", type=int, default=20_000)
    arguments = parser.parse_args()
    halves = []
    with tempfile.TemporaryDirectory(prefix="plumbline-web-scale-") as temporary, running(Path(temporary)) as url:
        prepare(url, Settings(starter=False))
        secrets = [person.api_token for person in filled(url, arguments.tasks)["api"][: arguments.annotators]]
        with web_processes(2, Path(temporary), url) as processes:
            for process in processes:
                asyncio.run(process.ready())
            print("processes    pairs    next p50      p99 ms  submit p50      p99 ms", flush=True)
            for segment in range(arguments.segments):
                for count in (1, 2) if segment % 2 == 0 else (2, 1):
                    halves.append(work(processes[:count], secrets, seconds=arguments.seconds, think=arguments.think))
                    print(halves[-1].line(), flush=True)
    found = figures(halves, arguments.seconds)
    outcome = {"bench": "web_scale", "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "figures": found}
    print(json.dumps(outcome))


if __name__ == "__main__":
    sys.exit(main())
