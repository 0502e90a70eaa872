"""What is large goes through the site without being in its memory (R12)."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from bench.bulk_io import GOALS
from tests.browser.people import session_token
from tests.browser.serving import serving
from tests.factories import make_member, make_project, make_task
from tests.security.test_edges_processes import largest_bytes

LARGE_BYTES = 30_000_000
MOST_GROWTH_BYTES = 15_000_000
LONG_TEXT = "The quick brown fox jumps over the lazy dog.\n\n" * 2_000
MANY = 60

pytestmark = pytest.mark.e2e


def pieces() -> Iterator[bytes]:
    row = json.dumps({"prompt": "Tea?", "chosen": "Yes. " * 200, "rejected": "No."}).encode() + b"\n"
    for _ in range(LARGE_BYTES // len(row) // 100):
        yield row * 100


async def test_long_texts_and_large_files_are_looked_at_and_taken_in_in_bounded_memory(
    database_url: str, db: AsyncSession, home: Path
) -> None:
    project = await make_project(db, "eggs", overlap=2)
    owner = await make_member(db, project, "owner")
    for number in range(MANY):
        await make_task(db, project, f"{number} {LONG_TEXT}", f"{LONG_TEXT} {number}")
    session = await session_token(db, owner)
    token = await accounts.create_api_token(db, owner.user_id, name="test")
    await db.commit()
    with serving(database_url, PLUMBLINE_HOME=str(home), PLUMBLINE_TRUSTED_HOSTS="127.0.0.1") as address:
        uploaded, looked_at = await asyncio.to_thread(growth, address, session, token)
    assert uploaded < MOST_GROWTH_BYTES, "an upload goes to the disk as it comes"
    assert looked_at < MOST_GROWTH_BYTES, "a list shows the beginning of each text and reads no more"


def growth(address: str, session: str, token: str) -> tuple[int, int]:
    """Bytes that the site's process took more at most for a large upload, and for lists of long texts."""
    api = f"{address}/api/v1/projects/eggs"
    pages = [f"{address}/projects/eggs/browse/{name}" for name in ("prompts", "tasks")] + [f"{api}/next-task"]
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"session={session}"}
    with httpx.Client(headers=headers, timeout=120) as program:
        assert program.post(f"{api}/imports?name=small", content=b'{"prompt": "Tea?"}\n').status_code == 201
        for page in pages:
            assert program.get(f"{page}?text=nowhere").status_code == 200, page
        before = largest_bytes(address)
        assert program.post(f"{api}/imports?name=large", content=pieces()).status_code == 201
        after_upload = largest_bytes(address)
        for page in pages:
            assert program.get(page).status_code == 200, page
        return after_upload - before, largest_bytes(address) - after_upload


@pytest.mark.slow
def test_a_million_rows_come_in_and_are_cut_in_less_than_the_goal() -> None:
    bench = [sys.executable, "-m", "bench.bulk_io", "--rows", "1000000"]
    ran = subprocess.run(bench, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    (point,) = json.loads(ran.stdout.splitlines()[-1])["points"]
    assert point["megabytes"] < GOALS["megabytes"]
    assert point["cut_megabytes"] < GOALS["megabytes"]
    assert point["next_p99_ms"] < GOALS["next_p99_ms"]
