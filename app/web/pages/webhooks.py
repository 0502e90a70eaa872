"""Webhooks of a project, or of the whole site: who is told of what happens here, what they were told, and whether they
heard it.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project, Webhook
from app.errors import DomainError
from app.security import new_token
from app.services.hooks import deliveries, webhooks
from app.services.hooks.kinds import EVENTS, GATHERED
from app.services.hooks.webhooks import Description
from app.web.locales import translated
from app.web.pages.access import CurrentAdmin, Managed, OwnedProject
from app.web.pages.seen import SeenForm, digest_of, require_seen
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

MOST_SHOWN = 50


async def _of_project(request: Request, project: OwnedProject) -> None:
    request.state.hooked = project


async def _of_site(request: Request, admin: CurrentAdmin) -> None:
    request.state.hooked = None


@dataclass(frozen=True)
class Hooked:
    """What has webhooks: a project or, without one, the whole site."""

    project: Project | None

    @property
    def id(self) -> int | None:
        return self.project.id if self.project else None

    @property
    def home(self) -> str:
        """Where its page is."""
        return f"/projects/{self.project.slug}/webhooks" if self.project else "/webhooks"

    @property
    def managed(self) -> Managed | None:
        return Managed(self.project, "owner") if self.project else None


async def _hooked(request: Request) -> Hooked:
    return Hooked(request.state.hooked)


# Every route is in both: what a project has for its owners, the site has for its admins.
router = APIRouter(prefix="/projects/{slug}/webhooks", include_in_schema=False, dependencies=[Depends(_of_project)])
of_site = APIRouter(prefix="/webhooks", include_in_schema=False, dependencies=[Depends(_of_site)])

Here = Annotated[Hooked, Depends(_hooked)]

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


class WebhookForm(SeenForm):
    """What was typed, so that what can't be used is shown again."""

    address: Annotated[str, Field(max_length=4000)] = ""
    events: list[Annotated[str, Field(max_length=40)]] = Field(default_factory=list)
    pause_seconds: Annotated[str, Field(max_length=20)] = "60"
    key: Annotated[str, Field(max_length=200)] = ""

    @classmethod
    def fresh(cls) -> "WebhookForm":
        return cls(events=[GATHERED, "run.ended", "round.ended", "model.promoted", "alarm.raised"])

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookForm":
        form = cls(address=webhook.address, events=webhook.events, pause_seconds=str(webhook.pause_seconds))
        return form.as_shown()

    def description(self) -> Description:
        """Raises Invalid."""
        pause = int(self.pause_seconds) if self.pause_seconds.isdecimal() else 0
        return Description(self.address, self.events, pause)


class Switch(BaseModel):
    on: bool


class Rotate(BaseModel):
    """`seen` is the digest of the secret that is to be replaced."""

    seen: str = ""


@router.get("")
@of_site.get("")
async def list_webhooks(request: Request, here: Here, db: Db) -> Response:
    """Shows owners, or admins, who is told of what happens here, with a form for one more."""
    return await _list(request, here, db, WebhookForm.fresh())


@router.post("")
@of_site.post("")
async def add_webhook(
    request: Request, here: Here, form: Annotated[WebhookForm, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Answers with its page and not with a redirect: the secret is in this answer and nowhere else."""
    try:
        home = settings_of(request).home
        webhook, secret = await webhooks.create(
            db, principal.user_id, here.id, form.description(), home=home, form_key=form.key
        )
    except DomainError as error:
        return await _list(request, here, db, form, problem=error)
    return await _show(request, here, db, webhook, secret=secret)


@router.get("/{webhook_id}")
@of_site.get("/{webhook_id}")
async def show_webhook(request: Request, webhook_id: Number, here: Here, db: Db) -> Response:
    """Shows owners, or admins, what one was told and what it answered."""
    return await _show(request, here, db, await webhooks.get(db, here.id, webhook_id))


@router.post("/{webhook_id}")
@of_site.post("/{webhook_id}")
async def change_webhook(
    request: Request, webhook_id: Number, here: Here, form: Annotated[WebhookForm, Form()], db: Db
) -> Response:
    """Changes where one is and what it is told of. What can't be used is said on the form."""
    webhook = await webhooks.get(db, here.id, webhook_id)
    try:
        await require_seen(db, webhook, form.seen, lambda now: WebhookForm.of(now).seen)
        await webhooks.change(db, webhook, form.description())
    except DomainError as error:
        form.seen = WebhookForm.of(webhook).seen
        return await _show(request, here, db, webhook, form=form, problem=error)
    return _back(here, webhook)


@router.post("/{webhook_id}/switch")
@of_site.post("/{webhook_id}/switch")
async def switch_webhook(webhook_id: Number, here: Here, form: Annotated[Switch, Form()], db: Db) -> Response:
    """Switches one off, or on again."""
    webhook = await webhooks.get(db, here.id, webhook_id)
    await webhooks.switch(db, webhook, on=form.on)
    return _back(here, webhook)


@router.post("/{webhook_id}/secret")
@of_site.post("/{webhook_id}/secret")
async def rotate_secret(
    request: Request, webhook_id: Number, here: Here, form: Annotated[Rotate, Form()], db: Db
) -> Response:
    """Makes a new secret and shows it, once: the same form sent again makes no other."""
    webhook = await webhooks.get(db, here.id, webhook_id)
    await db.refresh(webhook, with_for_update=True)
    if form.seen and form.seen != _seen(webhook):
        return _back(here, webhook)
    secret = await webhooks.rotate(db, webhook, home=settings_of(request).home)
    return await _show(request, here, db, webhook, secret=secret)


@router.post("/{webhook_id}/test")
@of_site.post("/{webhook_id}/test")
async def test_webhook(webhook_id: Number, here: Here, db: Db) -> Response:
    """Has a worker send a test. Raises Conflict for one that is switched off."""
    webhook = await webhooks.get(db, here.id, webhook_id)
    await deliveries.send_test(db, webhook)
    return _back(here, webhook)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
@of_site.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
async def redeliver(webhook_id: Number, delivery_id: Number, here: Here, db: Db) -> Response:
    """Has a worker send one again, under the same id. Raises Conflict for a webhook that is switched off."""
    webhook = await webhooks.get(db, here.id, webhook_id)
    await deliveries.redeliver(db, webhook, delivery_id)
    return _back(here, webhook)


@router.post("/{webhook_id}/remove")
@of_site.post("/{webhook_id}/remove")
async def remove_webhook(webhook_id: Number, here: Here, db: Db) -> Response:
    """Removes one, with the log of what it was told."""
    await webhooks.remove(db, await webhooks.get(db, here.id, webhook_id))
    return render.redirect(here.home)


async def _list(
    request: Request, here: Hooked, db: AsyncSession, form: WebhookForm, *, problem: DomainError | None = None
) -> Response:
    return render.page(
        request,
        "webhooks/list.html",
        status_code=problem.status if problem else 200,
        home=here.home,
        managed=here.managed,
        webhooks=list(await db.scalars(webhooks.all_of(here.id))),
        form=form,
        problem=translated(problem) if problem else None,
        events=EVENTS,
        key=new_token(),
    )


async def _show(
    request: Request,
    here: Hooked,
    db: AsyncSession,
    webhook: Webhook,
    *,
    form: WebhookForm | None = None,
    problem: DomainError | None = None,
    secret: str | None = None,
) -> Response:
    return render.page(
        request,
        "webhooks/show.html",
        status_code=problem.status if problem else 200,
        home=here.home,
        managed=here.managed,
        webhook=webhook,
        deliveries=await deliveries.newest(db, webhook, limit=MOST_SHOWN),
        most=MOST_SHOWN,
        form=form or WebhookForm.of(webhook),
        problem=translated(problem) if problem else None,
        secret=secret,
        seen=_seen(webhook),
        events=EVENTS,
    )


def _seen(webhook: Webhook) -> str:
    return digest_of(webhook.secret_sealed.hex())


def _back(here: Hooked, webhook: Webhook) -> Response:
    return render.redirect(f"{here.home}/{webhook.id}")
