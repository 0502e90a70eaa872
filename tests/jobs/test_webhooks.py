"""Webhooks: what happens in a project arrives at a receiver, signed, once or again under the same id."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import func, select, text, update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.db.session import SessionFactory
from app.db.tables import AuditEntry, Delivery, Project, Round, Run, Webhook
from app.db.tables.hooks import EventKind
from app.jobs import hooks
from app.jobs.context import WorkerContext
from app.services.hooks import deliveries, sending, webhooks
from app.services.hooks.kinds import EVENTS, TEST
from app.services.hooks.webhooks import Description
from app.services.loop.rounds import rounds
from app.services.loop.runs import leases, runs
from app.settings import Settings, settings
from tests.jobs.conftest import InProcess, make_context
from tests.jobs.loop import Loop
from tests.jobs.test_rounds_turn import ready_project, turn
from tests.served_endpoint import Asked, Reply, ServedEndpoint, endpoint, loopback_allowed

__all__ = ["endpoint", "loopback_allowed"]

pytestmark = pytest.mark.usefixtures("loopback_allowed")

ALL = tuple(EVENTS)
EVERYTHING = (
    "SELECT json_agg(webhooks)::text FROM webhooks",
    "SELECT json_agg(webhook_deliveries)::text FROM webhook_deliveries",
    "SELECT json_agg(audit_entries)::text FROM audit_entries",
)


@pytest.fixture
def context(context: WorkerContext) -> WorkerContext:
    return replace(context, executor=InProcess())


@pytest.fixture(autouse=True)
def _taken(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: Reply(204)


@dataclass(frozen=True)
class Scene:
    """A project whose webhook, of which `secret` is known, is told at `endpoint`."""

    loop: Loop
    project: Project
    webhook_id: int
    secret: str
    endpoint: ServedEndpoint

    async def tell(self, context: WorkerContext | None = None) -> int:
        """What a worker does until nothing is due; how many messages that took."""
        here = context or self.loop.context
        await self.loop.do(deliveries.gather)
        sent = 0
        while await hooks.tell_next(here, settings(), hooks.Busy()):
            sent += 1
        return sent

    def heard(self) -> list[dict[str, Any]]:
        """Every message that arrived, its signature checked by the specification's own package."""
        return [verified(asked, self.secret) for asked in self.endpoint.asked]

    async def webhook(self) -> Webhook:
        return await self.loop.do(lambda db: db.get_one(Webhook, self.webhook_id))

    async def log(self) -> list[Delivery]:
        async with self.loop.sessions() as db:
            return await deliveries.newest(db, await db.get_one(Webhook, self.webhook_id))

    async def test(self) -> Delivery:
        async with self.loop.sessions.begin() as db:
            return await deliveries.send_test(db, await db.get_one(Webhook, self.webhook_id))

    async def let_time_pass(self) -> None:
        """As if whatever is put off were due now."""
        await self.loop.do(lambda db: db.execute(update(Delivery).values(due_at=func.now())))


def verified(asked: Asked, secret: str) -> dict[str, Any]:
    told: dict[str, Any] = Verifier(secret).verify(asked.raw, asked.headers)
    return told


async def cancel(loop: Loop, round_: Round) -> None:
    async with loop.sessions.begin() as db:
        await rounds.cancel(db, None, await db.get_one(Round, round_.id))


async def scene_of(
    loop: Loop, endpoint: ServedEndpoint, project: Project, events: Sequence[str] = ALL, *, of_site: bool = False
) -> Scene:
    described = Description(f"http://127.0.0.1:{endpoint.port}/hooks?at=night", events, pause_seconds=60)
    of = None if of_site else project.id
    webhook, secret = await loop.do(lambda db: webhooks.create(db, None, of, described, home=loop.context.home))
    return Scene(loop, project, webhook.id, secret, endpoint)


@pytest.fixture
async def scene(loop: Loop, endpoint: ServedEndpoint) -> Scene:
    return await scene_of(loop, endpoint, await loop.make_project())


async def test_a_whole_round_is_told_as_it_happens(loop: Loop, endpoint: ServedEndpoint) -> None:
    project = await ready_project(loop)
    scene = await scene_of(loop, endpoint, project)
    round_ = await turn(loop, project)
    await scene.tell()
    heard = scene.heard()
    kinds = [told["type"] for told in heard]
    assert set(kinds) == set(ALL) - {"model.rolled_back", "alarm.raised"}
    assert kinds.count("judgement.created") == 4
    (together,) = (told["data"] for told in heard if told["type"] == "judgements.created")
    each = [told["data"]["judgement_id"] for told in heard if told["type"] == "judgement.created"]
    assert together["count"] == 4
    assert (together["first_judgement_id"], together["last_judgement_id"]) == (min(each), max(each))
    assert kinds.index("round.started") < kinds.index("round.ended")
    (ended,) = (told["data"] for told in heard if told["type"] == "round.ended")
    assert (ended["round_id"], ended["status"]) == (round_.id, "finished")
    assert ended["url"] == f"{settings().site_url}/projects/{project.slug}/rounds/1"
    assert {told["data"]["passed"] for told in heard if told["type"] == "gate.decided"} == {True}
    stages = {told["data"]["stage"] for told in heard if told["type"] == "run.ended"}
    assert stages >= {"select", "snapshot", "reward", "gate", "ppo", "evaluate", "promote", "generate"}
    assert {asked.path for asked in endpoint.asked} == {"/hooks?at=night"}
    assert len({asked.headers["webhook-id"] for asked in endpoint.asked}) == len(heard)
    words = b"".join(asked.raw for asked in endpoint.asked)
    assert b"Boil it." not in words, "ids and counts, and nobody's text"


async def test_alarms_and_a_cancelled_round_are_told_too(scene: Scene, loop: Loop) -> None:
    run = await loop.queue_sft(scene.project)
    token = await loop.do(lambda db: leases.claim(db, run.id, owner="w", lease_seconds=60))
    assert token is not None
    await loop.do(lambda db: leases.finish(db, run.id, token, "succeeded", result={"alarms": 2}))
    round_ = await loop.start_round(scene.project)
    await cancel(loop, round_)
    await scene.tell()
    told = {one["type"]: one["data"] for one in scene.heard()}
    assert (told["alarm.raised"]["run_id"], told["alarm.raised"]["detectors"]) == (run.id, 2)
    assert told["round.ended"]["status"] == "cancelled"


async def test_what_is_rolled_back_is_told_to_nobody(scene: Scene, loop: Loop, sessions: SessionFactory) -> None:
    async with sessions() as db:
        await rounds.start(db, None, await db.get_one(Project, scene.project.id))
        assert await db.scalar(select(func.count()).select_from(Delivery)) == 1
        await db.rollback()
    assert await scene.tell() == 0


async def test_only_chosen_events_of_its_own_project_are_told_and_all_projects_to_the_sites(
    loop: Loop, endpoint: ServedEndpoint
) -> None:
    mine, other = await loop.make_project(), await loop.make_project()
    await scene_of(loop, endpoint, mine, ["round.ended"])
    site = await scene_of(loop, endpoint, mine, ["round.started"], of_site=True)
    await loop.start_round(other)
    await loop.start_round(mine)
    assert await site.tell() == 2
    assert [told["data"]["project"] for told in site.heard()] == [other.slug, mine.slug]


async def test_a_busy_project_is_one_message_in_a_minute(loop: Loop, endpoint: ServedEndpoint) -> None:
    project = await ready_project(loop)
    scene = await scene_of(loop, endpoint, project, ["judgements.created"])
    await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, 2)
    assert await scene.tell() == 1
    await loop.judge(project, 1)
    await loop.judge(project, 1)
    assert await scene.tell() == 0, "the pause isn't over"
    past = func.now() - timedelta(minutes=1)
    await loop.do(lambda db: db.execute(update(Webhook).values(gathered_at=past)))
    await asyncio.gather(*(loop.do(deliveries.gather) for _ in range(4)))
    assert await scene.tell() == 1, "and four workers made one message of it"
    assert [told["data"]["count"] for told in scene.heard()] == [2, 2]


async def test_a_failure_is_tried_again_later_under_the_same_id(scene: Scene) -> None:
    scene.endpoint.next = [Reply(500, b"\0no" + b"o" * 9000), Reply(302, headers={"Location": "http://127.0.0.1/"})]
    await scene.loop.start_round(scene.project)
    assert await scene.tell() == 1
    assert await scene.tell() == 0, "not at once"
    (failing,) = await scene.log()
    assert (failing.state, failing.attempt, failing.tries[0]["status"]) == ("waiting", 1, 500)
    assert failing.tries[0]["said"].startswith("�noo")
    assert len(failing.tries[0]["said"]) == 500
    assert (await scene.webhook()).failing_since is not None
    for _ in range(2):
        await scene.let_time_pass()
        await scene.tell()
    (done,) = await scene.log()
    assert [one["status"] for one in done.tries] == [500, 302, 204], "a redirect is followed nowhere"
    assert (done.state, (await scene.webhook()).failing_since) == ("delivered", None)
    assert len({asked.headers["webhook-id"] for asked in scene.endpoint.asked}) == 1
    assert len({asked.raw for asked in scene.endpoint.asked}) == 1
    assert len(scene.heard()) == 3, "each is signed for its own moment"


async def test_a_worker_that_dies_between_sending_and_noting_has_it_sent_again_under_the_same_id(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> bool:
        raise KeyboardInterrupt

    await scene.loop.start_round(scene.project)
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "note", die)
        with pytest.raises(KeyboardInterrupt):
            await scene.tell()
    assert await scene.tell() == 0, "it is still held"
    await scene.let_time_pass()
    assert await scene.tell() == 1
    first, second = scene.endpoint.asked
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [one.state for one in await scene.log()] == ["delivered"]


async def test_two_workers_take_up_one_delivery_once_and_a_late_one_notes_nothing(
    scene: Scene, sessions: SessionFactory
) -> None:
    loop, home = scene.loop, scene.loop.context.home
    await loop.start_round(scene.project)
    claims = await asyncio.gather(*(loop.do(lambda db: deliveries.claim(db, home=home)) for _ in range(6)))
    (held,) = (claim for claim in claims if claim is not None)
    await scene.let_time_pass()
    again = await loop.do(lambda db: deliveries.claim(db, home=home))
    assert again is not None
    taken, refused = deliveries.Answered(5, status=204), deliveries.Answered(5, status=500)
    assert await loop.do(lambda db: deliveries.note(db, again, taken))
    assert not await loop.do(lambda db: deliveries.note(db, held, refused))
    other = make_context(sessions, home, "there")
    assert sum(await asyncio.gather(scene.tell(), scene.tell(other))) == 0
    (done,) = await scene.log()
    assert (done.state, len(done.tries)) == ("delivered", 1)


async def test_what_takes_long_holds_up_no_message_and_removing_a_webhook_ends_one_under_way(
    scene: Scene, sessions: SessionFactory
) -> None:
    loop, home = scene.loop, scene.loop.context.home
    await scene.test()
    async with sessions() as long:
        await rounds.start(long, None, await long.get_one(Project, scene.project.id))
        async with asyncio.timeout(30):
            assert await scene.tell() == 1, "while that transaction is open"
        await long.commit()
    under_way = await loop.do(lambda db: deliveries.claim(db, home=home))
    assert under_way is not None
    async with sessions.begin() as db:
        await webhooks.remove(db, await db.get_one(Webhook, scene.webhook_id))
    taken = deliveries.Answered(5, status=204)
    assert not await loop.do(lambda db: deliveries.note(db, under_way, taken))
    assert await scene.tell() == 0


async def test_a_receiver_that_says_gone_is_told_no_more(scene: Scene) -> None:
    scene.endpoint.next = [Reply(410)]
    round_ = await scene.loop.start_round(scene.project)
    await scene.tell()
    assert (await scene.webhook()).off_because == "gone"
    await cancel(scene.loop, round_)
    assert await scene.tell() == 0
    assert len(await scene.log()) == 1, "nothing is kept for it"
    noted = select(AuditEntry.after).where(AuditEntry.kind == "webhooks").order_by(AuditEntry.id.desc()).limit(1)
    after = await scene.loop.do(lambda db: db.scalar(noted))
    assert after is not None
    assert after["off_because"] == "gone"


async def test_after_ten_tries_in_two_days_a_webhook_is_switched_off_until_an_owner_switches_it_on(
    scene: Scene,
) -> None:
    assert 1.9 < sum(deliveries.PAUSES_SECONDS) / 86_400 < 2.1
    scene.endpoint.reply = lambda _: Reply(503, headers={"Retry-After": "99999999"})
    await scene.loop.start_round(scene.project)
    await scene.tell()
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    await scene.loop.do(lambda db: db.execute(update(Webhook).values(failing_since=two_days_ago)))
    for _ in range(deliveries.TRIES):
        await scene.let_time_pass()
        await scene.tell()
    assert len(scene.endpoint.asked) == deliveries.TRIES
    (given_up,) = await scene.log()
    assert (given_up.state, (await scene.webhook()).off_because) == ("failed", "failing")
    async with scene.loop.sessions.begin() as db:
        webhook = await db.get_one(Webhook, scene.webhook_id)
        await webhooks.switch(db, webhook, on=True)
        await deliveries.redeliver(db, webhook, given_up.id)
    scene.endpoint.reply = lambda _: Reply(200)
    assert await scene.tell() == 1
    assert (await scene.log())[0].state == "delivered"
    assert len({asked.headers["webhook-id"] for asked in scene.endpoint.asked}) == 1


async def test_a_new_secret_signs_beside_the_old_one_for_a_day(scene: Scene) -> None:
    async with scene.loop.sessions.begin() as db:
        webhook = await db.get_one(Webhook, scene.webhook_id)
        fresh = await webhooks.rotate(db, webhook, home=scene.loop.context.home)
    await scene.test()
    await scene.tell()
    for secret in (scene.secret, fresh):
        assert verified(scene.endpoint.asked[-1], secret)["type"] == TEST
    past = func.now() - timedelta(seconds=1)
    await scene.loop.do(lambda db: db.execute(update(Webhook).values(previous_until=past)))
    await scene.test()
    await scene.tell()
    assert verified(scene.endpoint.asked[-1], fresh)["type"] == TEST
    with pytest.raises(WebhookVerificationError):
        verified(scene.endpoint.asked[-1], scene.secret)


async def test_secrets_are_in_neither_the_tables_nor_the_log(scene: Scene) -> None:
    await scene.test()
    for every in EVERYTHING:
        rows = await scene.loop.do(lambda db, every=every: db.scalar(text(every)))  # type: ignore[misc]
        assert rows
        assert scene.secret not in rows
        assert scene.secret.encode().hex() not in rows


@pytest.mark.parametrize(
    "address",
    ["https://169.254.169.254/latest", "https://[::ffff:10.0.0.1]/", "http://10.1.2.3/", "https://0x7f.1.invalid/"],
)
async def test_what_only_this_machine_reaches_is_not_reached(
    loop: Loop, endpoint: ServedEndpoint, address: str
) -> None:
    scene = await scene_of(loop, endpoint, await loop.make_project())
    described = Description(address, ALL)
    async with loop.sessions.begin() as db:
        await webhooks.change(db, await db.get_one(Webhook, scene.webhook_id), described)
    await scene.test()
    await scene.tell()
    (tried,) = await scene.log()
    assert tried.state == "failed", "a test is one try"
    assert tried.tries[0]["status"] is None
    assert "isn't a public address" in tried.tries[0]["problem"] or "isn't known" in tried.tries[0]["problem"]
    assert not endpoint.asked


async def test_this_machine_itself_is_refused_unless_the_site_allows_it(scene: Scene) -> None:
    await scene.test()
    strict = Settings(home=scene.loop.context.home)
    assert await hooks.tell_next(scene.loop.context, strict, hooks.Busy())
    (tried,) = await scene.log()
    assert "127.0.0.1 isn't a public address" in tried.tries[0]["problem"]
    assert not scene.endpoint.asked


async def test_a_worker_tells_by_itself_and_stops_when_asked(scene: Scene) -> None:
    context = scene.loop.context
    telling = asyncio.create_task(hooks.keep_telling(context, settings()))
    run = await scene.loop.queue_sft(scene.project)
    async with scene.loop.sessions.begin() as db:
        await runs.request_cancel(db, None, await db.get_one(Run, run.id))
    await asyncio.to_thread(scene.endpoint.until_asked, 1)
    context.stopping.set()
    await telling
    assert scene.heard()[0]["data"] == {
        "project": scene.project.slug,
        "url": f"{settings().site_url}/projects/{scene.project.slug}/runs/{run.id}",
        "run_id": run.id,
        "stage": "sft",
        "state": "cancelled",
        "round_id": None,
    }


async def test_a_receiver_that_is_silent_holds_up_no_other_and_is_given_up_in_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, never = scene.loop, threading.Event()
    scene.endpoint.reply = lambda _: Reply(204, waits=never)
    quick = ServedEndpoint()
    quick.reply = lambda _: Reply(204)
    with quick.serving():
        other = await scene_of(loop, quick, scene.project)
        for _ in range(2 * hooks.LANES):
            await scene.test()
        await other.test()
        telling = asyncio.create_task(hooks.keep_telling(loop.context, settings()))
        await asyncio.to_thread(quick.until_asked, 1)
        assert len(scene.endpoint.asked) == 1, "no other lane waits for it"
        loop.context.stopping.set()
        never.set()
        await telling
    with monkeypatch.context() as patch:
        patch.setattr(sending, "ANSWER_SECONDS", 0.2)
        silent = threading.Event()
        scene.endpoint.reply = lambda _: Reply(204, waits=silent)
        answered = await sending.post(
            f"http://127.0.0.1:{scene.endpoint.port}/", b"{}", {}, allowed=settings().private_networks
        )
        silent.set()
    assert answered.problem == "No answer within 0.2 s."


async def test_what_is_a_month_old_is_forgotten(scene: Scene) -> None:
    await scene.test()
    old = func.now() - timedelta(days=31)
    await scene.loop.do(lambda db: db.execute(update(Delivery).values(happened_at=old)))
    await scene.test()
    await scene.loop.do(deliveries.tidy)
    assert len(await scene.log()) == 1


def test_every_kind_of_event_is_offered_in_words() -> None:
    assert set(get_args(EventKind)) - {TEST} == set(EVENTS)
