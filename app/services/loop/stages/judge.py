"""Judge: a served model compares pairs in both orders, as an annotator that is marked as a machine."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, Judge, JudgeAnswer, Project, Prompt, ServedModel, Task, TaskCompletion
from app.errors import Conflict, Invalid
from app.phrases import phrase
from app.services.judging.machines import answers, asking, calibration
from app.services.judging.machines.answers import Answer, Reply
from app.services.judging.machines.asking import Order, Pair
from app.services.judging.machines.calibration import Calibration
from app.services.judging.machines.settings import JudgeSettings
from app.services.loop.asking import routing
from app.services.loop.asking.routing import Chosen, Wanted
from app.services.loop.stages.figures import Words
from app.services.loop.stages.parts import served_model, spent
from app.services.loop.stages.stage import Chart, Ending, Hold, LongStage, Measured, Work
from app.services.loop.storable import storable
from app.services.served import many, served_models
from app.services.served.client import Client, Endpoint, Spent
from app.services.served.many import Question, ask_all
from app.services.served.settings import Limits
from training.records import Message, PromptRecord

PAIRS = "pairs.json"
MOST_PAIRS = 100_000
LONGEST_KEPT = 20_000
"""Characters of a reply."""


@dataclass
class Progress:
    """How far a run is, in pairs; `missing` are those to which one reply at least didn't come."""

    total: int
    spent: Spent
    judged: int = 0
    flips: int = 0
    abstained: int = 0
    missing: int = 0
    last_reason: str | None = None

    def add(self, answered: Sequence[Answer]) -> None:
        self.judged += len(answered)
        self.flips += sum(answer.outcome == "flip" for answer in answered)
        self.abstained += sum(answer.outcome == "abstained" for answer in answered)

    @property
    def measured(self) -> Measured:
        figures = {
            "tokens": self.spent.tokens,
            "requests": self.spent.requests,
            "flips": self.flips,
            "abstained": self.abstained,
        }
        return Measured(self.judged + self.missing, self.total, figures)


@dataclass(frozen=True)
class Plan:
    """What an attempt does: `pairs` in the order in which they are asked, `orders` as drawn, and `halves`, replies that
    wait for the other order's. `spares_people`: what it judges is shown to people after everything else.
    """

    endpoint: Endpoint
    judge: Judge
    project: Project
    chosen: Mapping[int, Chosen]
    pairs: Sequence[Pair]
    orders: Mapping[int, Order]
    spares_people: bool
    progress: Progress
    halves: dict[int, many.Reply] = field(default_factory=dict)

    def questions(self) -> Iterator[Question]:
        """Both orders of a pair one after the other, so that little is lost when it ends between them."""
        for pair in self.pairs:
            for sample in range(2):
                asked = asking.messages(self.project, pair, self.order(pair.task_id, sample))
                yield Question(PromptRecord(str(pair.task_id), asked), sample)

    def order(self, task_id: int, sample: int) -> Order:
        first, second = self.orders[task_id]
        return (first, second) if sample == 0 else (second, first)

    def whole(self, replies: Sequence[many.Reply]) -> Iterator[tuple[many.Reply, many.Reply]]:
        """Both replies to each pair that has both now, the one in the drawn order first."""
        for reply in replies:
            task_id = int(reply.question.prompt.prompt_id)
            other = self.halves.pop(task_id, None)
            if other is None:
                self.halves[task_id] = reply
            else:
                yield (other, reply) if reply.question.sample == 1 else (reply, other)


async def inputs_for(db: AsyncSession, project: Project, judge: Judge, settings: JudgeSettings, *, pairs: int) -> Json:
    """What a run holds: a copy of how the model is asked. `pairs` are the open ones; those that people have judged and
    that it is still to be measured by come on top. Raises Invalid.
    """
    if pairs not in range(MOST_PAIRS + 1):
        raise Invalid("From 0 to %(most)s open pairs are judged at once.", most=f"{MOST_PAIRS:,}")
    served = await db.get_one(ServedModel, judge.served_model_id)
    how = served_models.described(served)
    return {
        "served_model_id": served.id,
        "judge_id": judge.id,
        "name": how.name,
        "address": how.address,
        "model": how.model,
        "protocol": how.protocol,
        "sampling": {"temperature": settings.temperature, "max_tokens": settings.max_tokens},
        "limits": how.limits.model_dump(mode="json"),
        "pairs": pairs,
        "judging": settings.model_dump(mode="json"),
    }


async def _perform(hold: Hold) -> Ending | None:
    # The coins in transactions of their own: people are given tasks meanwhile.
    while await hold.do(lambda work: routing.draw_arms(work.db, work.project.id, off_share=_settings(work).off_share)):
        pass
    plan = await hold.do(lambda work: _plan(work, hold.folder))
    progress = plan.progress

    async def store(replies: Sequence[many.Reply]) -> None:
        whole = list(plan.whole(replies))
        for two in whole:
            if why := next((reply.why for reply in two if reply.answer is None), None):
                progress.missing, progress.last_reason = progress.missing + 1, why
                hold.tell(f"task {two[0].question.prompt.prompt_id}: {why}")
        answered = [_answer(plan, two) for two in whole if all(reply.answer for reply in two)]
        progress.add(answered)
        if whole:
            await hold.do(lambda work: _store(work, plan, answered), progress.measured)

    async with Client(plan.endpoint, progress.spent) as client:
        done = await ask_all(
            client, plan.questions(), parallel=plan.endpoint.limits.parallel, store=store, interrupted=hold.interrupted
        )
    return await hold.do(lambda work: _ending(work, plan)) if done else None


def _settings(work: Work) -> JudgeSettings:
    """As they were when the run was queued."""
    return JudgeSettings.model_validate(work.run.settings["judging"])


async def _plan(work: Work, folder: Path) -> Plan:
    run = work.run
    judge = await work.db.get_one(Judge, run.settings["judge_id"])
    if judge.stopped_at is not None:
        raise Conflict("The served model is no judge any more.")
    served = await served_model(work)
    copied = {name: run.settings[name] for name in ("model", "protocol", "limits")}
    # Nothing of how it writes responses: only who it is, and how patiently it is asked.
    plain = {"system": "", "stop": (), "top_p": None, **run.settings["sampling"]}
    how = served_models.changed(served_models.described(served), {**copied, "sampling": plain})
    measured = await calibration.measure(work.db, judge, _settings(work))
    chosen = await _chosen(work, judge, folder / PAIRS, measured)
    answered = set(await work.db.scalars(select(JudgeAnswer.task_id).where(JudgeAnswer.judge_id == judge.id)))
    rng = work.random()
    return Plan(
        endpoint=served_models.endpoint_of(served, how, work.home),
        judge=judge,
        project=work.project,
        chosen={one.task_id: one for one in chosen},
        pairs=await _pairs(work.db, [one.task_id for one in chosen if one.task_id not in answered]),
        orders={one.task_id: (0, 1) if rng.random() < 0.5 else (1, 0) for one in chosen},
        spares_people=measured.is_calibrated and _settings(work).counts,
        progress=await _progress(work, len(chosen), how.limits),
    )


async def _chosen(work: Work, judge: Judge, path: Path, measured: Calibration) -> list[Chosen]:
    """Chosen once for the run, so that every attempt judges the same. Raises Conflict where there is nothing."""
    kept = await asyncio.to_thread(_kept, path)
    if kept is not None:
        return kept
    settings = _settings(work)
    wanted = Wanted(_shared_wanted(measured, settings), work.run.settings["pairs"], settings.open_share)
    rng = np.random.default_rng(work.seed)
    chosen = await routing.choose(work.db, work.project, judge, work.home, wanted, rng)
    if not chosen:
        raise Conflict("There is no pair that this judge may judge and hasn't.")
    await asyncio.to_thread(_keep, path, chosen)
    return chosen


def _shared_wanted(measured: Calibration, settings: JudgeSettings) -> int:
    """Enough to be measured by, and half as many again: of some people or the judge take no side."""
    return max(0, settings.shared_pairs * 3 // 2 - measured.shared)


def _kept(path: Path) -> list[Chosen] | None:
    return [Chosen(**row) for row in json.loads(path.read_bytes())] if path.exists() else None


def _keep(path: Path, chosen: Sequence[Chosen]) -> None:
    """In full or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps([asdict(one) for one in chosen]))
    part.replace(path)


async def _pairs(db: AsyncSession, task_ids: Sequence[int]) -> list[Pair]:
    """In the order of `task_ids`, without those that were erased meanwhile."""
    texts = (
        select(func.array_agg(aggregate_order_by(Completion.text, TaskCompletion.position)))
        .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
        .where(TaskCompletion.task_id == Task.id)
        .scalar_subquery()
    )
    rows = await db.execute(
        select(Task.id, Prompt.messages, texts)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.id.in_(task_ids), Task.erased_at.is_(None))
    )
    found = {
        task_id: Pair(task_id, tuple(Message.from_json(turn) for turn in turns), (responses[0], responses[1]))
        for task_id, turns, responses in rows
    }
    return [found[task_id] for task_id in task_ids if task_id in found]


async def _progress(work: Work, total: int, limits: Limits) -> Progress:
    """With what earlier attempts have done."""
    outcomes = list(await work.db.scalars(select(JudgeAnswer.outcome).where(JudgeAnswer.run_id == work.run.id)))
    return Progress(
        total, await spent(work, limits), len(outcomes), outcomes.count("flip"), outcomes.count("abstained")
    )


def _answer(plan: Plan, replies: tuple[many.Reply, many.Reply]) -> Answer:
    task_id = int(replies[0].question.prompt.prompt_id)
    chosen = plan.chosen[task_id]
    first, turned = (_reply(plan.order(task_id, sample), reply) for sample, reply in enumerate(replies))
    return Answer(task_id, chosen.chosen_as, chosen.probability, (first, turned))


def _reply(order: Order, reply: many.Reply) -> Reply:
    assert reply.answer is not None
    text = storable(reply.answer.text)[:LONGEST_KEPT]
    return Reply(order, asking.read(reply.answer.text, reply.answer.finish_reason), text, reply.answer.tokens)


async def _store(work: Work, plan: Plan, answered: Sequence[Answer]) -> None:
    judge = await work.db.get_one(Judge, plan.judge.id, with_for_update={"read": True}, populate_existing=True)
    if judge.stopped_at is not None:
        raise Conflict("The served model is no judge any more.")
    stored = await answers.store(
        work.db, judge, work.run.id, answered, guidelines_version=work.project.guidelines_version
    )
    spared = [answer.task_id for answer in stored if answer.judgement_id is not None and answer.chosen_as != "shared"]
    if plan.spares_people and spared:
        await routing.put_back(work.db, spared)


async def _ending(work: Work, plan: Plan) -> Ending:
    """Raises Conflict when nothing has come at all."""
    progress = await _progress(work, plan.progress.total, plan.endpoint.limits)
    progress.spent, progress.missing = plan.progress.spent, plan.progress.missing
    answered = (JudgeAnswer.judge_id == plan.judge.id, JudgeAnswer.task_id.in_(plan.chosen))
    there = await work.db.scalar(select(func.count()).select_from(JudgeAnswer).where(*answered)) or 0
    cap, left = progress.spent.cap(), progress.total - there
    remark = None
    if cap is not None and left > progress.missing:
        remark = f"Stopped at {cap}: {there:,} of {progress.total:,} pairs are judged."
    elif left and plan.progress.last_reason:
        remark = f"{left:,} of {progress.total:,} pairs weren't judged. The last reason: {plan.progress.last_reason}"
    if progress.judged == 0 and remark is not None:
        raise Conflict(remark)
    measured = await calibration.measure(work.db, plan.judge, _settings(work))
    return Ending(
        {
            "pairs_judged": progress.judged,
            "pairs_flipped": progress.flips,
            "pairs_abstained": progress.abstained,
            "pairs_unanswered": left,
            "pairs_shared": measured.shared,
            "requests": progress.spent.requests,
            "tokens": progress.spent.tokens,
        },
        remark,
    )


JUDGE = LongStage(
    name="judge",
    title=phrase("Judge pairs"),
    perform=_perform,
    charts=(
        Chart("tokens", phrase("Tokens used"), phrase("prompts and responses"), from_zero=True),
        Chart("requests", phrase("Requests"), from_zero=True),
        Chart("flips", phrase("Pairs on which it contradicted itself"), from_zero=True),
        Chart("abstained", phrase("Pairs with a reply that can’t be read"), from_zero=True),
    ),
    figures=("requests", "tokens"),
    own_figures={
        "pairs_judged": Words(phrase("Pairs judged"), "count"),
        "pairs_flipped": Words(phrase("Pairs on which it contradicted itself"), "count"),
        "pairs_abstained": Words(phrase("Pairs with a reply that can’t be read"), "count"),
        "pairs_unanswered": Words(phrase("Pairs that weren’t judged"), "count"),
        "pairs_shared": Words(phrase("Pairs that people judged, too"), "count"),
    },
)
