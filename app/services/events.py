"""Tell the pages that something changed. The payload says where to look; the tables say what is true."""

import json

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

CHANNEL = "plumbline"


async def notify(
    db: AsyncSession,
    *,
    project_id: int,
    run_id: int | None = None,
    round_id: int | None = None,
    errand_id: int | None = None,
) -> None:
    """Reaches the listeners when the transaction commits; equal ones of a transaction become one."""
    of_errand = {} if errand_id is None else {"errand": errand_id}
    payload = json.dumps({"project": project_id, "run": run_id, "round": round_id, **of_errand})
    await db.execute(select(func.pg_notify(CHANNEL, payload)))
