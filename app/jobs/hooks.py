"""Webhooks told of what happened: every worker of the short steps sends what is due and notes the answers.

Not jobs of the queue, which are lost with the worker that had them: the rows themselves say what is due.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from app.db.away import AWAY
from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services.hooks import deliveries, sending
from app.services.hooks.deliveries import Claimed
from app.services.hooks.sending import Answered
from app.settings import Settings

# So many are sent at once, by each worker; one receiver that is slow holds up one of them.
LANES = 4
LOOK_SECONDS = 2.0
TIDY_SECONDS = 3600.0

log = structlog.get_logger(__name__)


async def keep_telling(context: WorkerContext, settings: Settings) -> None:
    """Until the worker is asked to stop, every other second: gather judgements, and send what is due."""
    if "steps" not in settings.queues:
        await context.stopping.wait()
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_gathering(context))
        group.create_task(_keep_tidying(context))
        busy = Busy()
        for _ in range(LANES):
            group.create_task(_keep_sending(context, settings, busy))


@dataclass
class Busy:
    """The webhooks that this worker is telling something."""

    webhook_ids: set[int] = field(default_factory=set)
    # From looking who is busy until that is written down: two that look at once would both take the same receiver's.
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


async def tell_next(context: WorkerContext, settings: Settings, busy: Busy) -> bool:
    """Send one delivery of a webhook that nobody is busy with; False if none is due."""
    async with busy.looking:
        but = frozenset(busy.webhook_ids)
        claimed = await context.database.once(lambda db: deliveries.claim(db, home=context.home, but=but))
        if claimed is None:
            return False
        busy.webhook_ids.add(claimed.webhook_id)
    try:
        answered = await _send(claimed, settings)
        # Not twice: what wasn't noted is sent again, and the receiver knows it by its id.
        await context.database.once(lambda db: deliveries.note(db, claimed, answered))
    finally:
        busy.webhook_ids.discard(claimed.webhook_id)
    return True


async def _send(claimed: Claimed, settings: Settings) -> Answered:
    if claimed.problem is not None:
        return Answered(0, problem=claimed.problem)
    body = claimed.message.body()
    headers = claimed.message.headers(body, claimed.secrets, datetime.now(UTC))
    answered = await sending.post(claimed.address, body, headers, allowed=settings.private_networks)
    log.info("webhook_told", webhook=claimed.webhook_id, kind=claimed.message.kind, status=answered.status)
    return answered


async def _keep_sending(context: WorkerContext, settings: Settings, busy: Busy) -> None:
    while not context.stopping.is_set():
        sent = False
        with suppress(*AWAY):  # it is due again by itself
            sent = await tell_next(context, settings, busy)
        if not sent:
            await pause(context.stopping, LOOK_SECONDS)


async def _keep_gathering(context: WorkerContext) -> None:
    while not context.stopping.is_set():
        with suppress(*AWAY):
            await context.database.once(deliveries.gather)
        await pause(context.stopping, LOOK_SECONDS)


async def _keep_tidying(context: WorkerContext) -> None:
    while not context.stopping.is_set():
        with suppress(*AWAY):
            await context.database.once(deliveries.tidy)
        await pause(context.stopping, TIDY_SECONDS)
