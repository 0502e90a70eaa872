"""Webhooks of a project, or of the whole site: added, tried, changed, given a new secret; and what they were told."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Request, status
from pydantic import Field

from app.db.tables import Delivery, Webhook
from app.db.tables.hooks import DeliveryState, EventKind, OffBecause
from app.services.hooks import deliveries, webhooks
from app.services.hooks.webhooks import LONGEST_PAUSE_SECONDS, Description
from app.web.api.access import Admin, Caller, Id, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, PageQuery, Paging, read_page
from app.web.api.schemas import NO_NUL, In, Out
from app.web.serving.deps import Db, settings_of


async def _of_project(request: Request, project: OwnedProject) -> None:
    request.state.hooked_id = project.id


async def _of_site(request: Request, admin: Admin) -> None:
    request.state.hooked_id = None


async def _hooked_id(request: Request) -> int | None:
    hooked_id: int | None = request.state.hooked_id
    return hooked_id


# Every route is in both: what a project has for its owners, the site has for its admins.
router = APIRouter(prefix="/projects/{slug}/webhooks", tags=["webhooks"], dependencies=[Depends(_of_project)])
of_site = APIRouter(prefix="/webhooks", tags=["webhooks"], dependencies=[Depends(_of_site)])

HookedId = Annotated[int | None, Depends(_hooked_id)]

Address = Annotated[
    str,
    Field(min_length=1, max_length=2000, pattern=NO_NUL, description="Told by POST, `https://example.org/hooks`."),
]
Events = Annotated[list[EventKind], Field(min_length=1, max_length=50, description="What it is told of.")]
Pause = Annotated[
    int,
    Field(
        ge=1,
        le=LONGEST_PAUSE_SECONDS,
        description="Of `judgements.created` it is told once in so many seconds, at most.",
    ),
]


class WebhookIn(In):
    address: Address
    events: Events
    pause_seconds: Pause = 60

    def description(self) -> Description:
        return Description(self.address, self.events, self.pause_seconds)


class WebhookChange(In):
    """What is left out stays as it is."""

    address: Address | None = None
    events: Events | None = None
    pause_seconds: Pause | None = None
    is_on: Annotated[bool | None, Field(description="False: it is told nothing; true: what waits is sent.")] = None

    def description(self, webhook: Webhook) -> Description:
        return Description(
            self.address or webhook.address, self.events or webhook.events, self.pause_seconds or webhook.pause_seconds
        )


class WebhookOut(Out):
    id: int
    address: str
    events: list[EventKind]
    pause_seconds: int
    is_on: bool
    off_at: datetime | None
    off_because: OffBecause | None = Field(
        description="`owner` switched it off; `gone`: the receiver answered 410; `failing`: it couldn't be reached."
    )
    failing_since: datetime | None = Field(description="Nothing has reached it since then; null: the last one did.")
    previous_until: datetime | None = Field(description="The secret before this one signs, too, until then.")
    created_at: datetime

    @classmethod
    def of(cls, webhook: Webhook, **more: str) -> Self:
        return cls(**{name: getattr(webhook, name, None) for name in cls.model_fields} | _is_on(webhook) | more)


class WebhookMade(WebhookOut):
    secret: str = Field(description="`whsec_…`, by which messages are verified. It is shown here and never again.")


class TryOut(Out):
    at: datetime
    status: int | None = Field(description="Null where there was no answer: `problem` says why.")
    milliseconds: int
    said: str = Field(description="The first 500 bytes of the answer.")
    problem: str | None


class DeliveryOut(Out):
    id: int
    message_id: str = Field(description="The header `webhook-id`, the same at every try.")
    kind: EventKind
    about: dict[str, Any] = Field(description="`data` of the message, without `project` and `url`.")
    state: DeliveryState
    happened_at: datetime
    due_at: datetime = Field(description="Of one that waits: when it is tried next.")
    attempt: int
    tries: list[TryOut] = Field(description="The last 20.")
    ended_at: datetime | None


class DeliveriesQuery(PageQuery):
    """Which page, and of which deliveries."""

    state: Annotated[DeliveryState | None, Field(description="Only those.")] = None


@router.get("", summary="List webhooks")
@of_site.get("", summary="List webhooks of the site", name="list_site_webhooks")
async def list_webhooks(hooked_id: HookedId, db: Db, paging: Paging) -> Page[WebhookOut]:
    """Newest first; for owners and, of the site, admins, because an address may be a secret."""
    return await read_page(db, webhooks.all_of(hooked_id), Webhook.id, paging=paging, out=WebhookOut.of)


@router.post("", status_code=status.HTTP_201_CREATED, summary="Add a webhook")
@of_site.post("", status_code=status.HTTP_201_CREATED, summary="Add a webhook of the site", name="add_site_webhook")
async def add_webhook(hooked_id: HookedId, body: WebhookIn, caller: Caller, request: Request, db: Db) -> WebhookMade:
    """The answer holds its secret, which is never shown again. The address isn't tried: `test` does that."""
    home = settings_of(request).home
    webhook, secret = await webhooks.create(db, caller.user_id, hooked_id, body.description(), home=home)
    return WebhookMade.of(webhook, secret=secret)


@router.get("/{webhook_id}", summary="Read a webhook")
@of_site.get("/{webhook_id}", summary="Read a webhook of the site", name="read_site_webhook")
async def read_webhook(hooked_id: HookedId, webhook_id: Id, db: Db, read: Read) -> WebhookOut:
    """Where it is, what it is told of, and whether it can be reached."""
    webhook = await webhooks.get(db, hooked_id, webhook_id)
    await read.tell(db, webhook)
    return WebhookOut.of(webhook)


@router.patch("/{webhook_id}", summary="Change a webhook, or switch it off or on")
@of_site.patch(
    "/{webhook_id}", summary="Change a webhook of the site, or switch it off or on", name="change_site_webhook"
)
async def change_webhook(hooked_id: HookedId, webhook_id: Id, body: WebhookChange, db: Db, edit: Edit) -> WebhookOut:
    """What waits goes to the new address. One that was switched off hears nothing of what happened meanwhile."""
    webhook = await webhooks.get(db, hooked_id, webhook_id)
    await edit.require_current(db, webhook)
    await webhooks.change(db, webhook, body.description(webhook))
    if body.is_on is not None:
        await webhooks.switch(db, webhook, on=body.is_on)
    await edit.tell(db, webhook)
    return WebhookOut.of(webhook)


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Remove a webhook")
@of_site.delete(
    "/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Remove a webhook of the site",
    name="remove_site_webhook",
)
async def remove_webhook(hooked_id: HookedId, webhook_id: Id, db: Db) -> None:
    """With the log of what it was told."""
    await webhooks.remove(db, await webhooks.get(db, hooked_id, webhook_id))


@router.post("/{webhook_id}/secret", summary="Give a webhook a new secret")
@of_site.post(
    "/{webhook_id}/secret", summary="Give a webhook of the site a new secret", name="rotate_site_webhook_secret"
)
async def rotate_webhook_secret(hooked_id: HookedId, webhook_id: Id, request: Request, db: Db) -> WebhookMade:
    """Messages are signed with both for 24 hours; the answer holds the new one, which is never shown again."""
    webhook = await webhooks.get(db, hooked_id, webhook_id)
    secret = await webhooks.rotate(db, webhook, home=settings_of(request).home)
    return WebhookMade.of(webhook, secret=secret)


@router.post("/{webhook_id}/test", status_code=status.HTTP_202_ACCEPTED, summary="Send a test to a webhook")
@of_site.post(
    "/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Send a test to a webhook of the site",
    name="test_site_webhook",
)
async def test_webhook(hooked_id: HookedId, webhook_id: Id, db: Db) -> DeliveryOut:
    """A delivery of `webhook.test`, sent by a worker in one try; 409 for a webhook that is switched off."""
    webhook = await webhooks.get(db, hooked_id, webhook_id)
    return DeliveryOut.model_validate(await deliveries.send_test(db, webhook))


@router.get("/{webhook_id}/deliveries", summary="List what a webhook was told")
@of_site.get(
    "/{webhook_id}/deliveries", summary="List what a webhook of the site was told", name="list_site_deliveries"
)
async def list_deliveries(
    hooked_id: HookedId, webhook_id: Id, db: Db, asked: Annotated[DeliveriesQuery, Query()]
) -> Page[DeliveryOut]:
    """Newest first, of the last 30 days, each with its tries."""
    webhook = await webhooks.get(db, hooked_id, webhook_id)
    there = deliveries.log_of(webhook, asked.state)
    return await read_page(db, there, Delivery.id, paging=asked, out=DeliveryOut.model_validate)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Tell a webhook again",
)
@of_site.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Tell a webhook of the site again",
    name="redeliver_of_site",
)
async def redeliver(hooked_id: HookedId, webhook_id: Id, delivery_id: Id, db: Db) -> DeliveryOut:
    """At once and under the same id; 409 for a webhook that is switched off."""
    webhook = await webhooks.get(db, hooked_id, webhook_id)
    return DeliveryOut.model_validate(await deliveries.redeliver(db, webhook, delivery_id))


def _is_on(webhook: Webhook) -> dict[str, Any]:
    return {"is_on": webhook.off_at is None}
