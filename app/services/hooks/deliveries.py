"""What webhooks are told: taken up, sent and noted by workers, looked at and sent again by people.

A worker claims a delivery in one transaction, sends it in none, and notes what came of it in another. Claiming moves
the moment on at which it is due: one whose worker died in between is due again then, under the same id. `attempt` is
the hold on it: a worker that comes too late notes nothing.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Select, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Delivery, Project, Webhook
from app.db.tables.hooks import DeliveryState
from app.errors import Conflict, NotFound
from app.services.hooks import webhooks
from app.services.hooks.kinds import TEST
from app.services.hooks.messages import Message
from app.services.hooks.sending import ANSWER_SECONDS, Answered
from app.settings import settings

# After each try, how long until the next: ten tries in two days.
PAUSES_SECONDS = (5, 60, 300, 1_800, 2 * 3600, 5 * 3600, 8 * 3600, 14 * 3600, 18 * 3600)
TRIES = len(PAUSES_SECONDS) + 1
LONGEST_ASKED_SECONDS = 3600.0
# So long nothing may have reached a webhook when a delivery is given up, or it is switched off.
FAILING_FOR = timedelta(hours=24)
GONE = 410
TRIES_KEPT = 20
KEPT_FOR = timedelta(days=30)
# Longer than a try may take.
CLAIMED_SECONDS = 4 * ANSWER_SECONDS

GATHER = text("""
    WITH due AS (
        SELECT id FROM webhooks
        WHERE off_at IS NULL AND (gathered_at IS NULL OR gathered_at + make_interval(secs => pause_seconds) <= now())
          AND EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = webhooks.id AND state = 'gathering')
        FOR NO KEY UPDATE SKIP LOCKED
    ), told AS (
        UPDATE webhooks SET gathered_at = now() FROM due WHERE webhooks.id = due.id
    ), gone AS (
        DELETE FROM webhook_deliveries USING due WHERE webhook_id = due.id AND state = 'gathering'
        RETURNING webhook_id, project_id, kind, (about ->> 'judgement_id')::bigint AS judgement_id, happened_at
    )
    INSERT INTO webhook_deliveries (webhook_id, project_id, kind, happened_at, about)
    SELECT webhook_id, project_id, kind, max(happened_at), jsonb_build_object(
        'count', count(*), 'first_judgement_id', min(judgement_id), 'last_judgement_id', max(judgement_id))
    FROM gone GROUP BY webhook_id, project_id, kind
""")


@dataclass(frozen=True)
class Claimed:
    """A delivery in the hands of a worker: all that it takes to send it. `attempt` is the hold on it.

    `problem` in place of secrets: they can't be opened here.
    """

    delivery_id: int
    webhook_id: int
    attempt: int
    address: str
    secrets: tuple[str, ...]
    message: Message
    problem: str | None = None


async def gather(db: AsyncSession) -> None:
    """Make one delivery of all judgements that a webhook is to be told of, where its pause is over."""
    await db.execute(GATHER)


async def claim(db: AsyncSession, *, home: Path, but: frozenset[int] = frozenset()) -> Claimed | None:
    """Take up the delivery that has been due for longest, of no webhook in `but`; None if none is due."""
    due = (
        select(Delivery.id)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(
            Delivery.state == "waiting",
            Delivery.due_at <= func.now(),
            Webhook.off_at.is_(None),
            Delivery.webhook_id.not_in(but),
        )
        .order_by(Delivery.due_at, Delivery.id)
        .limit(1)
        .with_for_update(of=Delivery, skip_locked=True)
    )
    delivery = await db.scalar(
        update(Delivery)
        .where(Delivery.id == due.scalar_subquery())
        .values(attempt=Delivery.attempt + 1, due_at=func.now() + timedelta(seconds=CLAIMED_SECONDS))
        .returning(Delivery)
    )
    return None if delivery is None else await _claimed(db, delivery, home)


async def note(db: AsyncSession, claimed: Claimed, answered: Answered) -> bool:
    """Write down what came of a try. False, and nothing changed, where somebody else has taken it up since, or the
    webhook was removed.
    """
    # Before its delivery, as removing it does, and so that transactions in which it is told something don't wait.
    webhook = await db.get(Webhook, claimed.webhook_id, with_for_update={"key_share": True}, populate_existing=True)
    delivery = await db.scalar(
        select(Delivery)
        .where(Delivery.id == claimed.delivery_id, Delivery.attempt == claimed.attempt, Delivery.state == "waiting")
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if webhook is None or delivery is None:
        return False
    now = await _now(db)
    delivery.tries = [*delivery.tries, _told(answered, now)][-TRIES_KEPT:]
    if answered.is_taken:
        _end(delivery, "delivered")
        webhook.failing_since = None
    else:
        _fail(delivery, webhook, answered, now)
    await db.flush()
    return True


async def send_test(db: AsyncSession, webhook: Webhook) -> Delivery:
    """Have it told that this is a test, in one try. Raises Conflict for one that is switched off."""
    _require_on(webhook)
    delivery = Delivery(
        webhook_id=webhook.id, project_id=webhook.project_id, kind=TEST, about={"webhook_id": webhook.id}
    )
    delivery.attempt = TRIES - 1
    db.add(delivery)
    await db.flush()
    await db.refresh(delivery)
    return delivery


async def redeliver(db: AsyncSession, webhook: Webhook, delivery_id: int) -> Delivery:
    """Send one again, at once and under the same id; a try of one that had ended is its last.

    Raises NotFound for another webhook's, Conflict where the webhook is switched off.
    """
    _require_on(webhook)
    delivery = await _of(db, webhook, delivery_id)
    if delivery.state == "gathering":
        raise NotFound
    if delivery.ended_at is not None:
        delivery.attempt = max(delivery.attempt, TRIES - 1)
        delivery.state, delivery.ended_at = "waiting", None
    delivery.due_at = func.now()
    await db.flush()
    await db.refresh(delivery)
    return delivery


async def newest(
    db: AsyncSession, webhook: Webhook, *, limit: int = 50, state: DeliveryState | None = None
) -> list[Delivery]:
    """The log of a webhook, newest first."""
    return list(await db.scalars(log_of(webhook, state).order_by(Delivery.id.desc()).limit(limit)))


def log_of(webhook: Webhook, state: DeliveryState | None = None) -> Select[Delivery]:
    """What a webhook was told and is to be told, in no order; of one state where that is asked."""
    found = select(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.state != "gathering")
    return found if state is None else found.where(Delivery.state == state)


async def are_given_up(db: AsyncSession, project_id: int | None) -> bool:
    """Whether a webhook of the project, or with None of the site, was switched off because it couldn't be reached, or
    its receiver is gone.
    """
    off = webhooks.all_of(project_id).where(Webhook.off_because.in_(("gone", "failing")))
    return bool(await db.scalar(select(off.exists())))


async def tidy(db: AsyncSession) -> None:
    """Forget what was told, or should have been, a month ago."""
    await db.execute(text("DELETE FROM webhook_deliveries WHERE happened_at < now() - :kept").bindparams(kept=KEPT_FOR))


async def _claimed(db: AsyncSession, delivery: Delivery, home: Path) -> Claimed:
    webhook = await db.get_one(Webhook, delivery.webhook_id)
    slug = None
    if delivery.project_id is not None:
        slug = await db.scalar(select(Project.slug).where(Project.id == delivery.project_id))
    message = Message(
        delivery.message_id, delivery.kind, delivery.happened_at, delivery.about, slug, settings().site_url
    )
    now = delivery.due_at - timedelta(seconds=CLAIMED_SECONDS)  # by the database's clock, of which it was claimed
    secrets, problem = _secrets_of(webhook, home, now)
    return Claimed(delivery.id, webhook.id, delivery.attempt, webhook.address, secrets, message, problem)


def _secrets_of(webhook: Webhook, home: Path, now: datetime) -> tuple[tuple[str, ...], str | None]:
    """The secrets that sign now, or why there are none."""
    sealed = [webhook.secret_sealed]
    if webhook.previous_sealed is not None and webhook.previous_until is not None and webhook.previous_until > now:
        sealed.append(webhook.previous_sealed)
    try:
        return tuple(webhooks.unsealed(one, webhook.project_id, home) for one in sealed), None
    except Conflict as error:
        return (), error.message


def _fail(delivery: Delivery, webhook: Webhook, answered: Answered, now: datetime) -> None:
    webhook.failing_since = webhook.failing_since or now
    is_last = delivery.attempt >= TRIES
    if answered.status == GONE:
        _end(delivery, "failed")
        _switch_off(webhook, "gone")
    elif is_last:
        _end(delivery, "failed")
        if delivery.kind != TEST and webhook.failing_since <= now - FAILING_FOR:
            _switch_off(webhook, "failing")
    else:
        delivery.due_at = func.now() + timedelta(seconds=_pause_seconds(delivery.attempt, answered))


def _pause_seconds(attempt: int, answered: Answered) -> float:
    """Some more or less, so that not all come at once, and no less than the receiver asks for, within an hour."""
    asked = min(answered.after_seconds or 0.0, LONGEST_ASKED_SECONDS)
    return max(asked, PAUSES_SECONDS[attempt - 1] * random.uniform(0.9, 1.1))


def _end(delivery: Delivery, state: DeliveryState) -> None:
    delivery.state, delivery.ended_at = state, func.now()


def _switch_off(webhook: Webhook, because: str) -> None:
    if webhook.off_at is None:
        webhook.off_at, webhook.off_because = func.now(), because


def _told(answered: Answered, now: datetime) -> Json:
    return {
        "at": now.isoformat(timespec="seconds"),
        "status": answered.status,
        "milliseconds": answered.milliseconds,
        "said": answered.said,
        "problem": answered.problem,
    }


async def _of(db: AsyncSession, webhook: Webhook, delivery_id: int) -> Delivery:
    found = await db.scalar(
        select(Delivery).where(Delivery.id == delivery_id, Delivery.webhook_id == webhook.id).with_for_update()
    )
    if found is None:
        raise NotFound
    return found


def _require_on(webhook: Webhook) -> None:
    if webhook.off_at is not None:
        raise Conflict("This webhook is switched off.")


async def _now(db: AsyncSession) -> datetime:
    """By the database's clock, as everything that is due."""
    now: datetime = (await db.execute(select(func.now()))).scalar_one()
    return now
