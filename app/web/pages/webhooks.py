"""Webhooks of a project: who is told of what happens here, what they were told, and whether they heard it."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project, Webhook
from app.errors import DomainError
from app.services.hooks import deliveries, webhooks
from app.services.hooks.kinds import EVENTS, GATHERED
from app.services.hooks.webhooks import Description
from app.web.locales import translated
from app.web.pages.access import Managed, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects/{slug}/webhooks", include_in_schema=False)

MOST_SHOWN = 50

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


class WebhookForm(BaseModel):
    """What was typed, so that what can't be used is shown again."""

    address: Annotated[str, Field(max_length=4000)] = ""
    events: list[Annotated[str, Field(max_length=40)]] = []
    pause_seconds: Annotated[str, Field(max_length=20)] = "60"

    @classmethod
    def fresh(cls) -> "WebhookForm":
        return cls(events=[GATHERED, "run.ended", "round.ended", "model.promoted", "alarm.raised"])

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookForm":
        return cls(address=webhook.address, events=webhook.events, pause_seconds=str(webhook.pause_seconds))

    def description(self) -> Description:
        """Raises Invalid."""
        pause = int(self.pause_seconds) if self.pause_seconds.isdecimal() else 0
        return Description(self.address, self.events, pause)


class Switch(BaseModel):
    on: bool


@router.get("")
async def list_webhooks(request: Request, project: OwnedProject, db: Db) -> Response:
    """Shows owners who is told of what happens here, with a form for one more."""
    return await _list(request, project, db, WebhookForm.fresh())


@router.post("")
async def add_webhook(
    request: Request, project: OwnedProject, form: Annotated[WebhookForm, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Answers with its page and not with a redirect: the secret is in this answer and nowhere else."""
    try:
        home = settings_of(request).home
        webhook, secret = await webhooks.create(db, principal.user_id, project.id, form.description(), home=home)
    except DomainError as error:
        return await _list(request, project, db, form, problem=error)
    return await _show(request, project, db, webhook, secret=secret)


@router.get("/{webhook_id}")
async def show_webhook(request: Request, webhook_id: Number, project: OwnedProject, db: Db) -> Response:
    """Shows owners what one was told and what it answered."""
    return await _show(request, project, db, await webhooks.get(db, project.id, webhook_id))


@router.post("/{webhook_id}")
async def change_webhook(
    request: Request, webhook_id: Number, project: OwnedProject, form: Annotated[WebhookForm, Form()], db: Db
) -> Response:
    """Changes where one is and what it is told of. What can't be used is said on the form."""
    webhook = await webhooks.get(db, project.id, webhook_id)
    try:
        await webhooks.change(db, webhook, form.description())
    except DomainError as error:
        return await _show(request, project, db, webhook, form=form, problem=error)
    return _back(project, webhook)


@router.post("/{webhook_id}/switch")
async def switch_webhook(
    webhook_id: Number, project: OwnedProject, form: Annotated[Switch, Form()], db: Db
) -> Response:
    """Switches one off, or on again."""
    webhook = await webhooks.get(db, project.id, webhook_id)
    await webhooks.switch(db, webhook, on=form.on)
    return _back(project, webhook)


@router.post("/{webhook_id}/secret")
async def rotate_secret(request: Request, webhook_id: Number, project: OwnedProject, db: Db) -> Response:
    """Makes a new secret and shows it, once."""
    webhook = await webhooks.get(db, project.id, webhook_id)
    secret = await webhooks.rotate(db, webhook, home=settings_of(request).home)
    return await _show(request, project, db, webhook, secret=secret)


@router.post("/{webhook_id}/test")
async def test_webhook(webhook_id: Number, project: OwnedProject, db: Db) -> Response:
    """Has a worker send a test. Raises Conflict for one that is switched off."""
    webhook = await webhooks.get(db, project.id, webhook_id)
    await deliveries.send_test(db, webhook)
    return _back(project, webhook)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
async def redeliver(webhook_id: Number, delivery_id: Number, project: OwnedProject, db: Db) -> Response:
    """Has a worker send one again, under the same id. Raises Conflict for a webhook that is switched off."""
    webhook = await webhooks.get(db, project.id, webhook_id)
    await deliveries.redeliver(db, webhook, delivery_id)
    return _back(project, webhook)


@router.post("/{webhook_id}/remove")
async def remove_webhook(webhook_id: Number, project: OwnedProject, db: Db) -> Response:
    """Removes one, with the log of what it was told."""
    await webhooks.remove(db, await webhooks.get(db, project.id, webhook_id))
    return render.redirect(f"/projects/{project.slug}/webhooks")


async def _list(
    request: Request, project: Project, db: AsyncSession, form: WebhookForm, *, problem: DomainError | None = None
) -> Response:
    return render.page(
        request,
        "webhooks/list.html",
        status_code=problem.status if problem else 200,
        managed=Managed(project, "owner"),
        webhooks=await webhooks.list_webhooks(db, project.id),
        form=form,
        problem=translated(problem) if problem else None,
        events=EVENTS,
    )


async def _show(
    request: Request,
    project: Project,
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
        managed=Managed(project, "owner"),
        webhook=webhook,
        deliveries=await deliveries.newest(db, webhook, limit=MOST_SHOWN),
        most=MOST_SHOWN,
        form=form or WebhookForm.of(webhook),
        problem=translated(problem) if problem else None,
        secret=secret,
        events=EVENTS,
    )


def _back(project: Project, webhook: Webhook) -> Response:
    return render.redirect(f"/projects/{project.slug}/webhooks/{webhook.id}")
