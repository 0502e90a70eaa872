"""Whether a site stands a shift of many annotators: `python -m bench.shift [--annotators 200] [--minutes 30]`.

One site of its own with PLUMBLINE_WEB_PROCESSES processes. Its annotators work on the annotate page as browsers do (one
POST saves an answer and brings the task after the next) and think between answers. Any answer but the expected one ends
it with exit code 1. Prints a line for each window, what the site's processes took before and after, and, last, one JSON
object.
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import footprint
from bench.load_client import Target, run_clients
from bench.load_site import SLUG, loaded_site
from bench.web_load import percentile

GOAL_MS = 100.0
WINDOW_SECONDS = 300.0
MARGIN = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--think", type=float, default=10.0, help="seconds between two answers of one annotator")
    asked = parser.parse_args()
    seconds = min(WINDOW_SECONDS, asked.minutes * 60)
    windows = round(asked.minutes * 60 / seconds)
    pairs = int(MARGIN * asked.annotators * (asked.minutes * 60 / asked.think + 4 * windows))
    took: list[float] = []
    busy_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="plumbline-shift-") as temporary:
        home = Path(temporary)
        with loaded_site(home, pairs, people=asked.annotators) as loaded:
            secrets = tuple(person.session for person in loaded.people["page"])
            target = Target("page", loaded.port, SLUG, secrets)
            before = footprint.take(home, loaded.site.database_url)
            print(f"{'minute':>6}{'pairs/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'longest':>9}", flush=True)
            for window in range(windows):
                seen = run_clients(
                    target,
                    annotators=asked.annotators,
                    seconds=seconds,
                    think=asked.think,
                    begins=lambda *moments: None,
                ).submit_ms
                took += seen
                told = (percentile(seen, 0.5), percentile(seen, 0.99), max(seen))
                minute = round((window + 1) * seconds / 60)
                print(f"{minute:>6}{len(seen) / seconds:>9.1f}" + "".join(f"{ms:>9.1f}" for ms in told), flush=True)
            after = footprint.take(home, loaded.site.database_url)
    p99 = percentile(took, 0.99) or 0.0
    print(f"before {before}\nafter  {after}")
    print(f"p99 {p99} ms of {len(took)} answers, goal {GOAL_MS}: {'met' if p99 <= GOAL_MS else 'NOT MET'}")
    outcome = {
        "bench": "shift",
        "ratio": round(GOAL_MS / p99, 2),
        "goal": 1,
        "annotators": asked.annotators,
        "think_seconds": asked.think,
        "seconds": windows * seconds,
        "answers": len(took),
        "p50_ms": percentile(took, 0.5),
        "p99_ms": p99,
        "longest_ms": round(max(took), 1),
        "load_before": round(busy_before, 2),
        "before": asdict(before),
        "after": asdict(after),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
