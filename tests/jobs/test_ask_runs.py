"""Runs in which a served model writes responses: to the end, cut short, taken up again, by one worker and by two."""

import asyncio
import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Metric, Project, Prompt, Run, ServedModel, Task, TaskCompletion
from app.errors import Invalid
from app.jobs import execution
from app.services.judging import assignments
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.loop.runs import leases, runs, starting
from app.services.served import served_models
from app.services.served.served_models import Description, Key
from app.services.served.settings import Limits, Sampling
from tests.factories import make_member
from tests.jobs.conftest import StartWorker
from tests.jobs.loop import Loop, result_of
from tests.served_endpoint import KEY, Asked, Reply, ServedEndpoint, busy, cut, endpoint, loopback_allowed, of, says

__all__ = ["endpoint", "loopback_allowed"]

pytestmark = pytest.mark.usefixtures("loopback_allowed")


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.served.client.BACK_OFF_SECONDS", 0.0)


class Asking:
    """A project whose responses an endpoint writes."""

    def __init__(self, loop: Loop, home: Path) -> None:
        self.loop = loop
        self._home = home

    async def add(
        self, project: Project, endpoint: ServedEndpoint, name: str = "Vicuña", **settings: Any
    ) -> ServedModel:
        sampling = Sampling(**{name: value for name, value in settings.items() if name in Sampling.model_fields})
        limits = Limits(**{name: value for name, value in settings.items() if name in Limits.model_fields})
        description = Description(name, endpoint.address, "m", sampling=sampling, limits=limits)
        return await self.loop.do(lambda db: served_models.create(db, project, description, key=KEY, home=self._home))

    async def queue(self, project: Project, served: ServedModel, *compared: Writer, prompts: int = 100) -> Run:
        async def queue(db: AsyncSession) -> Run:
            return await starting.ask(
                db, None, await db.get_one(Project, project.id), served, prompts=prompts, compared=compared
            )

        return await self.loop.do(queue)

    async def responses(self, run: Run) -> list[Completion]:
        async def read(db: AsyncSession) -> list[Completion]:
            of_run = select(Completion).where(Completion.run_id == run.id)
            return list(await db.scalars(of_run.order_by(Completion.prompt_id, Completion.sample)))

        return await self.loop.do(read)

    async def pairs(self, project: Project) -> list[list[Completion]]:
        async def read(db: AsyncSession) -> list[list[Completion]]:
            rows = await db.execute(
                select(Task.id, Completion)
                .join(TaskCompletion, TaskCompletion.task_id == Task.id)
                .join(Completion, Completion.id == TaskCompletion.completion_id)
                .where(Task.project_id == project.id, Task.state == "open")
                .order_by(Task.id, TaskCompletion.position)
            )
            tasks: dict[int, list[Completion]] = {}
            for task_id, completion in rows:
                tasks.setdefault(task_id, []).append(completion)
            return list(tasks.values())

        return await self.loop.do(read)


@pytest.fixture
def asking(loop: Loop, home: Path) -> Asking:
    return Asking(loop, home)


def writer(served: ServedModel) -> Writer:
    return Writer("served", served.id)


async def test_a_served_model_writes_the_first_pairs_of_a_project_without_a_policy(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    project = await loop.make_project(prompts=6)
    served = await asking.add(project, endpoint, temperature=0.5, max_tokens=9)
    run = await asking.queue(project, served, writer(served))
    await loop.work_off()
    done = await loop.read(run)
    assert (done.state, done.error, done.step, done.total_steps) == ("succeeded", None, 12, 12)
    assert result_of(done) == {
        "responses": 12, "unanswered": 0, "requests": 12, "tokens": 12 * 12, "eos_rate": 1.0,
    }  # fmt: skip
    pairs = await asking.pairs(project)
    assert len(pairs) == 6
    assert all(a.prompt_id == b.prompt_id and a.text != b.text for a, b in pairs)

    async def next_task(db: AsyncSession) -> object:
        annotator = await make_member(db, project)
        return await assignments.lease_next(db, annotator, await db.get_one(Project, project.id))

    assert await loop.do(next_task) is not None


async def test_a_response_carries_who_wrote_it_and_with_what(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    endpoint.next = [says("Boil it and", reason="length")]
    endpoint.reply = lambda _: says("Gently.\x00", tokens=None)
    project = await loop.make_project(prompts=1)
    served = await asking.add(project, endpoint, temperature=0.5, max_tokens=9, parallel=1, system="Be brief.")
    run = await loop.execute(await asking.queue(project, served))
    first, second = await asking.responses(run)
    assert (first.source, first.served_model_id, first.model_version_id) == ("served", served.id, None)
    assert (first.text, first.token_count, first.ended_with_eos, first.temperature) == ("Boil it and", 5, False, 0.5)
    assert first.made_with == {
        "model": "m", "answered_by": "served-model-2026", "finish_reason": "length", "protocol": "chat",
        "address": endpoint.address, "temperature": 0.5, "top_p": None, "max_tokens": 9, "stop": [],
        "system": "Be brief.",
    }  # fmt: skip
    assert (second.text, second.token_count, second.ended_with_eos) == ("Gently.\ufffd", None, True)


async def test_two_served_models_are_compared_on_the_prompts_that_both_have_answered(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    project = await loop.make_project(prompts=20)
    one = await asking.add(project, endpoint, "one", responses_per_prompt=1)
    two = await asking.add(project, endpoint, "two", responses_per_prompt=1)
    await asking.queue(project, one, prompts=5)
    await loop.work_off()
    assert await asking.pairs(project) == []
    await asking.queue(project, two, writer(one), writer(two), prompts=5)
    await loop.work_off()
    pairs = await asking.pairs(project)
    assert len(pairs) == 5
    assert all({response.served_model_id for response in pair} == {one.id, two.id} for pair in pairs)
    assert {pair[0].served_model_id for pair in pairs} == {one.id, two.id}, "neither is always the first"


async def test_a_served_model_is_compared_with_the_policy_in_use(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    project = await loop.make_project(prompts=4, label_target=0)

    async def write(db: AsyncSession) -> int:
        policy = await models.register(
            db, project_id=project.id, kind="policy", run_id=None, folder="p", manifest_sha256="0", figures={}
        )
        await models.promote(db, None, policy)
        for prompt_id in await db.scalars(select(Prompt.id).where(Prompt.project_id == project.id)):
            db.add(Completion(prompt_id=prompt_id, text="Ours", source="policy", model_version_id=policy.id))
        return policy.id

    policy_id = await loop.do(write)
    served = await asking.add(project, endpoint, responses_per_prompt=1)
    await asking.queue(project, served, writer(served), Writer("policy", policy_id))
    await loop.work_off()
    pairs = await asking.pairs(project)
    assert len(pairs) == 4
    assert all({response.source for response in pair} == {"served", "policy"} for pair in pairs)


async def test_responses_to_each_other_need_as_many_as_a_task_compares(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    project = await loop.make_project()
    served = await asking.add(project, endpoint, responses_per_prompt=1)
    with pytest.raises(Invalid, match="2 responses to each prompt are needed; “Vicuña” is asked for 1"):
        await asking.queue(project, served, writer(served))
    with pytest.raises(Invalid, match="of this project"):
        await asking.queue(await loop.make_project(), served, writer(served))


async def test_what_endpoints_do_wrong_on_the_way_costs_nothing(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    endpoint.next = [busy(), cut(), of({"choices": []}), Reply(200, b"{"), Reply(503), of({"error": "loading"}, 500)]
    project = await loop.make_project(prompts=3)
    run = await loop.execute(await asking.queue(project, await asking.add(project, endpoint)))
    assert (run.state, result_of(run)["responses"], result_of(run)["requests"]) == ("succeeded", 6, 12)


async def test_a_prompt_that_gets_no_response_is_told_and_the_others_go_on(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint, home: Path
) -> None:
    endpoint.next = [of({"error": {"message": "too long"}}, 400), says(None)]
    project = await loop.make_project(prompts=4)
    run = await loop.execute(await asking.queue(project, await asking.add(project, endpoint, parallel=1)))
    assert (run.state, result_of(run)["responses"], result_of(run)["unanswered"]) == ("succeeded", 6, 2)
    assert run.error == "2 of 8 responses didn't come. The last reason: The response is empty."
    log = runs.log_tail(run, home).splitlines()
    assert [line.partition(": ")[2] for line in log] == [
        "The endpoint refuses the request (400): “too long”.",
        "The response is empty.",
    ]


async def test_a_wrong_key_fails_the_run_at_once_in_the_endpoints_words(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    endpoint.reply = lambda asked: of({"error": {"message": f"bad key {asked.headers['authorization']}"}}, 401)
    project = await loop.make_project()
    run = await loop.execute(await asking.queue(project, await asking.add(project, endpoint, parallel=1)))
    assert (run.state, run.attempt) == ("failed", 1)
    assert run.error == "The endpoint refuses us (401): “bad key Bearer …”."
    assert len(endpoint.asked) == 1


async def test_an_endpoint_that_fails_for_everybody_is_given_up_before_all_prompts_are_tried(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    endpoint.reply = lambda _: Reply(500, b"no")
    project = await loop.make_project(prompts=30)
    run = await loop.execute(await asking.queue(project, await asking.add(project, endpoint, parallel=2, retries=1)))
    assert run.state == "failed"
    assert run.error == "Asked 2 times. The last time: The endpoint failed (500): “no”."
    assert len(endpoint.asked) < 20


async def test_a_cap_ends_the_run_with_what_there_is(loop: Loop, asking: Asking, endpoint: ServedEndpoint) -> None:
    project = await loop.make_project(prompts=8)
    served = await asking.add(project, endpoint, most_requests=5)
    run = await loop.execute(await asking.queue(project, served, writer(served)))
    assert (run.state, len(endpoint.asked)) == ("succeeded", 5)
    assert run.error == "Stopped at the cap of 5 requests: 5 of 16 responses are there."


async def test_a_failed_run_that_is_retried_asks_only_for_what_is_missing_and_keeps_its_cap(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    endpoint.reply = lambda asked: of({}, 401) if len(endpoint.asked) > 5 else says(f"Answer {len(endpoint.asked)}")
    project = await loop.make_project(prompts=8)
    served = await asking.add(project, endpoint, parallel=1, most_requests=12)
    run = await loop.execute(await asking.queue(project, served))
    assert (run.state, len(await asking.responses(run))) == ("failed", 5)
    endpoint.reply = lambda asked: says(f"Answer {len(endpoint.asked)}")
    await loop.do(lambda db: retry(db, run.id))
    done = await loop.execute(run)
    assert done.state == "succeeded"
    assert len(await asking.responses(run)) == 11, "the refused request counts, too"
    assert done.error == "Stopped at the cap of 12 requests: 11 of 16 responses are there."
    asked = Counter(asked.prompt for asked in endpoint.asked)
    assert max(asked.values()) <= 3


async def test_a_run_asks_as_it_was_queued_whatever_is_changed_since(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint, home: Path
) -> None:
    project = await loop.make_project(prompts=1)
    served = await asking.add(project, endpoint, temperature=0.5)
    before, moved = await asking.queue(project, served), await asking.queue(project, served)
    other = Description("Other", endpoint.address, "other", sampling=Sampling(temperature=1.5))

    async def change(description: Description) -> None:
        await loop.do(lambda db: change_served(db, project, served.id, description, home))

    await change(other)
    await loop.execute(before)
    assert {(asked.body["model"], asked.body["temperature"]) for asked in endpoint.asked} == {("m", 0.5)}
    await change(Description("Other", "https://elsewhere.example/v1", "m"))
    refused = await loop.execute(moved)
    assert (refused.state, refused.error) == (
        "failed",
        "The served model has another address since this run was queued: start a new run.",
    )


async def test_a_removed_model_is_asked_no_more_and_stays_for_what_it_wrote(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    project = await loop.make_project(prompts=1)
    unused, used = await asking.add(project, endpoint, "unused"), await asking.add(project, endpoint, "used")
    run = await loop.execute(await asking.queue(project, used))
    late = await asking.queue(project, used)
    for served in (unused, used):
        await loop.do(lambda db, served=served: remove(db, served.id))  # type: ignore[misc]
    left = await loop.do(lambda db: db.scalars(select(ServedModel)))
    (kept,) = left
    assert (kept.id, kept.key_sealed, kept.removed_at is not None) == (used.id, None, True)
    assert [response.served_model_id for response in await asking.responses(run)] == [used.id, used.id]
    assert (await loop.execute(late)).error == "The served model was removed."
    with pytest.raises(IntegrityError, match="fk_completions_served_model_id"):
        await loop.do(lambda db: delete(db, used.id))


async def test_a_run_is_cancelled_while_it_waits_for_the_endpoint_and_keeps_what_it_has(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint
) -> None:
    never = threading.Event()
    endpoint.reply = holding_back(endpoint, never, after=5)
    project = await loop.make_project(prompts=20)
    run = await asking.queue(project, await asking.add(project, endpoint, parallel=2))
    working = asyncio.create_task(loop.execute(run))
    try:
        await loop.until_at_work(run, step=5)
        await loop.do(lambda db: runs.request_cancel(db, None, run))
        done = await working
    finally:
        never.set()
    assert (done.state, len(await asking.responses(run))) == ("cancelled", 5)
    endpoint.reply = lambda asked: says(f"Answer {len(endpoint.asked)}")
    await loop.do(lambda db: retry(db, run.id))
    done = await loop.execute(run)
    assert (done.state, result_of(done)["responses"]) == ("succeeded", 40)
    # Five were stored, two were under way when the run was cancelled.
    assert len(endpoint.asked) == 42


async def test_a_paused_worker_that_wakes_up_stores_nothing_and_its_successor_asks_for_nothing_twice(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint, start_worker: StartWorker
) -> None:
    released = threading.Event()
    endpoint.reply = holding_back(endpoint, released, after=2, text="late")
    project = await loop.make_project(prompts=4)
    run = await asking.queue(project, await asking.add(project, endpoint, parallel=1))
    zombie = start_worker()
    await loop.until_at_work(run, step=2)
    endpoint.until_asked(3)
    os.kill(zombie.pid, signal.SIGSTOP)
    endpoint.reply = lambda asked: says(f"Answer {len(endpoint.asked)}")
    start_worker()
    done = await loop.until_over(run)
    assert len(endpoint.asked) == 9, "eight responses, and the one that the paused worker waits for"
    released.set()
    os.kill(zombie.pid, signal.SIGCONT)
    again = await asking.queue(project, await asking.add(project, endpoint, "again"))
    assert (await loop.until_over(again)).state == "succeeded"
    assert (done.state, done.attempt) == ("succeeded", 2)
    assert [response.text for response in await asking.responses(run) if response.text == "late"] == []
    assert zombie.poll() is None


async def test_two_workers_that_take_the_same_run_ask_once(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint, home: Path
) -> None:
    project = await loop.make_project(prompts=5)
    run = await asking.queue(project, await asking.add(project, endpoint))
    assert await loop.do(lambda db: leases.claim(db, run.id, owner="other", lease_seconds=60))
    await execution.execute(loop.context, run.id)
    assert endpoint.asked == []
    await loop.let_lease_expire(run)
    assert (await loop.execute(run)).state == "succeeded"
    assert len(endpoint.asked) == 10


async def test_no_key_is_in_the_database_the_home_or_the_log(
    loop: Loop, asking: Asking, endpoint: ServedEndpoint, home: Path
) -> None:
    endpoint.next = [of({"error": {"message": f"no {KEY}"}}, 400)]
    project = await loop.make_project(prompts=2)
    await loop.execute(await asking.queue(project, await asking.add(project, endpoint)))
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in endpoint.asked)
    assert files_with(KEY, home) == []

    async def rows(db: AsyncSession) -> str:
        tables = (ServedModel, Run, Completion, Metric)
        return str([tuple(row) for table in tables for row in await db.execute(select(table.__table__))])

    assert KEY not in await loop.do(rows)


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def holding_back(endpoint: ServedEndpoint, event: threading.Event, *, after: int, text: str = "") -> Any:
    """Answers the first requests and holds back those that come after them."""

    def reply(_: Asked) -> Reply:
        count = len(endpoint.asked)
        if count <= after:
            return says(f"Answer {count}")
        return replace(says(text), waits=event)

    return reply


async def retry(db: AsyncSession, run_id: int) -> Run:
    return await runs.retry(db, None, await db.get_one(Run, run_id))


async def remove(db: AsyncSession, served_model_id: int) -> None:
    await served_models.remove(db, await db.get_one(ServedModel, served_model_id))


async def delete(db: AsyncSession, served_model_id: int) -> None:
    await db.delete(await db.get_one(ServedModel, served_model_id))


async def change_served(
    db: AsyncSession, project: Project, served_model_id: int, description: Description, home: Path
) -> None:
    served = await db.get_one(ServedModel, served_model_id)
    await served_models.change(db, project, served, description, Key(new=KEY), home=home)
