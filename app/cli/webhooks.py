"""Webhooks from the command line: of a project, or without one of the whole site."""

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import say, show
from app.db.tables import Delivery, Webhook
from app.services.hooks import deliveries, webhooks
from app.services.hooks.kinds import EVENTS
from app.services.hooks.webhooks import Description
from app.services.projects import projects
from app.settings import settings

ProjectName = Annotated[
    str | None,
    typer.Option("--project", "-p", help="The project's short name, as in its address; without it: the whole site's."),
]
WebhookId = Annotated[int, typer.Argument(min=1, help="Its number, as `plumbline webhook list` says it.")]

webhook_commands = typer.Typer(help="Webhooks: addresses that are told of what happens.", no_args_is_help=True)
app.add_typer(webhook_commands, name="webhook", rich_help_panel=THINGS)


@webhook_commands.command()
def add(
    address: Annotated[str, typer.Argument(help="Told by POST, https://example.org/hooks.")],
    project: ProjectName = None,
    event: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(EVENTS)}; without it: all.")] = None,
    pause: Annotated[int, typer.Option(help="Seconds between two messages about judgements, at least.")] = 60,
) -> None:
    """Add a webhook and print its secret, which is never shown again."""
    # All but the one that is a message for each judgement.
    events = event or [kind for kind in EVENTS if kind != "judgement.created"]

    async def create(db: AsyncSession) -> tuple[Webhook, str]:
        described = Description(address, events, pause)
        return await webhooks.create(db, None, await _project_id(db, project), described, home=settings().home)

    webhook, secret = in_transaction(create)
    told = {**_told(webhook), "secret": secret}
    say(f"Webhook {webhook.id} tells {webhook.address}. Its secret: {secret}", told)


@webhook_commands.command("list")
def list_webhooks(project: ProjectName = None) -> None:
    """List the webhooks of a project, or of the whole site."""

    async def read(db: AsyncSession) -> list[Webhook]:
        return list(await db.scalars(webhooks.all_of(await _project_id(db, project))))

    found = in_transaction(read)
    columns = {"id": "Number", "address": "Address", "standing": "Now", "events": "Told of"}
    show([_told(one) for one in found], columns, empty="There is no webhook.")


@webhook_commands.command()
def log(
    webhook_id: WebhookId,
    project: ProjectName = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
) -> None:
    """Print what a webhook was told, newest first, and what it answered."""

    async def read(db: AsyncSession) -> list[Delivery]:
        return await deliveries.newest(db, await _webhook(db, project, webhook_id), limit=limit)

    found = in_transaction(read)
    columns = {"id": "Number", "kind": "What", "state": "Now", "answer": "Last answer"}
    show([_delivery(one) for one in found], columns, empty="It was told nothing yet.")


@webhook_commands.command("test")
def try_out(webhook_id: WebhookId, project: ProjectName = None) -> None:
    """Have a worker send a test. `plumbline webhook log` says what came of it."""

    async def send(db: AsyncSession) -> Delivery:
        return await deliveries.send_test(db, await _webhook(db, project, webhook_id))

    say(f"{in_transaction(send).message_id} is on its way.")


@webhook_commands.command()
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[int, typer.Argument(min=1, help="Its number, as `plumbline webhook log` says it.")],
    project: ProjectName = None,
) -> None:
    """Have a worker send something again, under the same id."""

    async def send(db: AsyncSession) -> Delivery:
        return await deliveries.redeliver(db, await _webhook(db, project, webhook_id), delivery_id)

    say(f"{in_transaction(send).message_id} is on its way.")


@webhook_commands.command()
def switch(
    webhook_id: WebhookId,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it is to be told anything.")],
    project: ProjectName = None,
) -> None:
    """Switch a webhook off, or on again."""

    async def change(db: AsyncSession) -> None:
        await webhooks.switch(db, await _webhook(db, project, webhook_id), on=on)

    in_transaction(change)
    say(f"Webhook {webhook_id} is {'on' if on else 'off'}.")


@webhook_commands.command()
def rotate(webhook_id: WebhookId, project: ProjectName = None) -> None:
    """Give a webhook a new secret and print it; the one before signs, too, for 24 hours."""

    async def change(db: AsyncSession) -> str:
        return await webhooks.rotate(db, await _webhook(db, project, webhook_id), home=settings().home)

    say(in_transaction(change))


@webhook_commands.command()
def remove(webhook_id: WebhookId, project: ProjectName = None) -> None:
    """Remove a webhook, with the log of what it was told."""

    async def leave(db: AsyncSession) -> None:
        await webhooks.remove(db, await _webhook(db, project, webhook_id))

    in_transaction(leave)
    say(f"Webhook {webhook_id} is removed.")


async def _project_id(db: AsyncSession, project: str | None) -> int | None:
    return None if project is None else (await projects.named(db, project)).id


async def _webhook(db: AsyncSession, project: str | None, webhook_id: int) -> Webhook:
    return await webhooks.get(db, await _project_id(db, project), webhook_id)


def _told(webhook: Webhook) -> dict[str, Any]:
    columns = ("id", "address", "events", "pause_seconds", "off_because", "failing_since")
    standing = "off" if webhook.off_at else "failing" if webhook.failing_since else "on"
    return {**{name: getattr(webhook, name) for name in columns}, "standing": standing}


def _delivery(delivery: Delivery) -> dict[str, Any]:
    columns = ("id", "message_id", "kind", "about", "state", "happened_at", "attempt", "tries")
    last = delivery.tries[-1] if delivery.tries else None
    answer = f"{last['status'] or last['problem']} in {last['milliseconds']} ms" if last else ""
    return {**{name: getattr(delivery, name) for name in columns}, "answer": answer}
