"""The webhooks of a project, or of the whole site: added, changed, switched off and on, given a new secret."""

import base64
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Webhook
from app.errors import Conflict, Invalid, NotFound
from app.security import of_form
from app.services.hooks.kinds import EVENTS
from app.services.served import addresses, keys

MOST_OF_A_PROJECT = 20
LONGEST_ADDRESS = 2000
LONGEST_PAUSE_SECONDS = 86_400
SECRET_PREFIX = "whsec_"  # noqa: S105 - of Standard Webhooks
SECRET_BYTES = 32
# A receiver may take so long to learn the new secret.
BOTH_SECRETS_FOR = timedelta(hours=24)
OF_A_WEBHOOK = "webhook"
OF_THE_SITE = 0


@dataclass(frozen=True)
class Description:
    """A webhook as somebody describes it. Raises Invalid, when it is made, for what none can be."""

    address: str
    events: Sequence[str]
    pause_seconds: int = 60

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _tidy(self.address))
        # In the table's order, whatever order they were named in.
        object.__setattr__(self, "events", [kind for kind in EVENTS if kind in self.events] if self._known() else [])
        if not self.events:
            raise Invalid("Choose one event at least that the webhook is told of.")
        if self.pause_seconds not in range(1, LONGEST_PAUSE_SECONDS + 1):
            raise Invalid("The pause has 1 to %(most)s seconds.", most=LONGEST_PAUSE_SECONDS)

    def _known(self) -> bool:
        unknown = next((kind for kind in self.events if kind not in EVENTS), None)
        if unknown is not None:
            raise Invalid("There is no event %(name)s.", name=unknown)
        return True


def all_of(project_id: int | None) -> Select[Webhook]:
    """Webhooks of a project, or with None those of the site, oldest first."""
    return select(Webhook).where(_of(project_id)).order_by(Webhook.id)


async def get(db: AsyncSession, project_id: int | None, webhook_id: int) -> Webhook:
    """Raises NotFound for one that is unknown or another project's."""
    found = await db.scalar(select(Webhook).where(_of(project_id), Webhook.id == webhook_id))
    if found is None:
        raise NotFound
    return found


async def create(
    db: AsyncSession,
    actor_id: int | None,
    project_id: int | None,
    description: Description,
    *,
    home: Path,
    form_key: str = "",
) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is shown now and never again. The same `form_key` makes one, however often it
    comes. Raises Conflict where there are too many."""
    drawn = of_form(form_key, "webhook", project_id, description)
    secret = _new_secret(drawn)
    # Of two at once the second waits here, and then finds what the first made.
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"webhooks of {project_id}"))))
    made = await _made_by(db, project_id, secret, home) if drawn else None
    if made is not None:
        return made, secret
    count = await db.scalar(select(func.count()).select_from(Webhook).where(_of(project_id)))
    if (count or 0) >= MOST_OF_A_PROJECT:
        raise Conflict("There are %(most)s webhooks already: remove one first.", most=MOST_OF_A_PROJECT)
    webhook = Webhook(
        project_id=project_id,
        address=description.address,
        events=list(description.events),
        pause_seconds=description.pause_seconds,
        secret_sealed=_seal(secret, project_id, home),
        created_by_id=actor_id,
    )
    db.add(webhook)
    await db.flush()
    await db.refresh(webhook)
    return webhook, secret


async def change(db: AsyncSession, webhook: Webhook, description: Description) -> None:
    """Tell another address, or of other events. What waits goes to the new address."""
    webhook.address = description.address
    webhook.events = list(description.events)
    webhook.pause_seconds = description.pause_seconds
    await db.flush()
    await db.refresh(webhook)


async def switch(db: AsyncSession, webhook: Webhook, *, on: bool) -> None:
    """Off: nothing that happens is kept for it, and what waits stays. On: what waits is sent, and its failures are
    forgotten.
    """
    if on:
        webhook.off_at = webhook.off_because = webhook.failing_since = None
    elif webhook.off_at is None:
        webhook.off_at, webhook.off_because = func.now(), "owner"
    await db.flush()
    await db.refresh(webhook)


async def rotate(db: AsyncSession, webhook: Webhook, *, home: Path) -> str:
    """A new secret, shown once. Messages are signed with the old one, too, for a day."""
    secret = _new_secret()
    webhook.previous_sealed = webhook.secret_sealed
    webhook.previous_until = func.now() + BOTH_SECRETS_FOR
    webhook.secret_sealed = _seal(secret, webhook.project_id, home)
    await db.flush()
    await db.refresh(webhook)
    return secret


async def remove(db: AsyncSession, webhook: Webhook) -> None:
    """With the log of what it was told."""
    await db.delete(webhook)
    await db.flush()


def unsealed(sealed: bytes, project_id: int | None, home: Path) -> str:
    """A secret in clear. Raises Conflict where another installation sealed it."""
    try:
        return keys.unseal(sealed, project_id=project_id or OF_THE_SITE, home=home, of=OF_A_WEBHOOK)
    except Conflict:
        raise Conflict("The secret was encrypted by another installation: make a new one.") from None


def _seal(secret: str, project_id: int | None, home: Path) -> bytes:
    return keys.seal(secret, project_id=project_id or OF_THE_SITE, home=home, of=OF_A_WEBHOOK)


def _new_secret(drawn: bytes | None = None) -> str:
    return SECRET_PREFIX + base64.b64encode(drawn or secrets.token_bytes(SECRET_BYTES)).decode()


async def _made_by(db: AsyncSession, project_id: int | None, secret: str, home: Path) -> Webhook | None:
    """The webhook with this secret."""
    for webhook in await db.scalars(all_of(project_id)):
        with suppress(Conflict):  # sealed by another installation
            if unsealed(webhook.secret_sealed, project_id, home) == secret:
                return webhook
    return None


def _tidy(typed: str) -> str:
    """The address, which may have a query: many receivers are known by one."""
    text = typed.strip()
    url = addresses.split(text)
    if url is None or len(text) > LONGEST_ADDRESS or not text.isascii():
        raise Invalid("An address looks like https://example.org/hooks, and this one doesn't.")
    if url.username is not None or url.password is not None or url.fragment:
        raise Invalid("The address must hold neither a name or password nor anything behind #.")
    return url._replace(netloc=url.netloc.lower(), path=url.path or "/").geturl()


def _of(project_id: int | None) -> ColumnElement[bool]:
    return Webhook.project_id.is_(None) if project_id is None else Webhook.project_id == project_id
