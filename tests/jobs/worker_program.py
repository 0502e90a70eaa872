"""A worker as its own process, with the fake stage program in place of training: `HOME DATABASE_URL LEASE_SECONDS`."""

import asyncio
import os
import sys
from pathlib import Path

from app.db import session
from app.jobs import ray
from app.jobs.launch import LocalProcess
from app.jobs.worker import work
from app.settings import Settings

FAKE_TRAINING = Path(__file__).with_name("fake_training.py")
# A worker that is paused inside a transaction holds the others up for so long, which a test would sit out.
SILENT_TRANSACTION_SECONDS = 10


def main() -> None:
    home, database_url, lease_seconds = sys.argv[1:]
    settings = Settings(
        home=Path(home),
        run_lease_seconds=float(lease_seconds),
        cancel_grace_seconds=2,
        run_retry_seconds=0,
        disk_reserve_megabytes=int(os.environ.get("TEST_RESERVE_MEGABYTES", "0")),
        ray_url=os.environ.get("TEST_RAY_URL"),
        ray_token_file=os.environ.get("TEST_RAY_TOKEN_FILE"),
    )
    ray.POLL_SECONDS = 0.1
    session.SILENT_TRANSACTION_SECONDS = SILENT_TRANSACTION_SECONDS
    executor = LocalProcess((sys.executable, str(FAKE_TRAINING)))
    asyncio.run(work(settings, database_url, executor=executor))


if __name__ == "__main__":
    main()
