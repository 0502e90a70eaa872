"""Ask: a served model writes responses for people to compare."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Integer, Select, cast, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, Project, Prompt, Run, ServedModel, TaskCompletion
from app.errors import Conflict, Invalid
from app.phrases import phrase
from app.services import conditions
from app.services.loop.comparisons import writers as pens
from app.services.loop.comparisons.writers import Writer
from app.services.loop.stages.figures import Words
from app.services.loop.stages.parts import answerable, required, served_model, spent
from app.services.loop.stages.stage import Button, Chart, Ending, Hold, LongStage, Measured, Next, Settings, Work
from app.services.loop.storable import storable
from app.services.projects.question import question_of
from app.services.served import served_models
from app.services.served.client import Client, Endpoint, Spent
from app.services.served.many import Question, Reply, ask_all
from training.records import Message, PromptRecord, read_records, write_records

PROMPTS = "prompts.jsonl"
MOST_PROMPTS = 100_000


@dataclass
class Progress:
    """How far a run is. `there` are the responses that are stored, by prompt and sample."""

    total: int
    there: set[tuple[int, int]]
    spent: Spent
    unanswered: int = 0
    last_reason: str | None = None

    @property
    def measured(self) -> Measured:
        figures = {"tokens": self.spent.tokens, "requests": self.spent.requests, "unanswered": self.unanswered}
        return Measured(len(self.there) + self.unanswered, self.total, figures)


@dataclass(frozen=True)
class Plan:
    """What an attempt does. `made_with` is kept with every response."""

    endpoint: Endpoint
    prompts: Sequence[PromptRecord]
    progress: Progress
    made_with: Json = field(repr=False)

    def questions(self) -> Iterator[Question]:
        """What isn't there yet: every prompt once before any is asked twice."""
        for sample in range(self.endpoint.sampling.responses_per_prompt):
            for prompt in self.prompts:
                if (int(prompt.prompt_id), sample) not in self.progress.there:
                    yield Question(prompt, sample)


async def inputs_for(
    db: AsyncSession, project: Project, served: ServedModel, *, prompts: int, compared: Sequence[Writer] = ()
) -> Json:
    """What a run holds: a copy of how the model is asked, so that a change of it is none of this run.

    Pairs are made of what `compared` have written when the run is done. Raises Invalid where there could be none, and
    Conflict where there is nothing to answer.
    """
    how = served_models.described(served)
    if prompts not in range(1, MOST_PROMPTS + 1):
        raise Invalid("From 1 to %(most)s prompts are asked at once.", most=f"{MOST_PROMPTS:,}")
    if not await db.scalar(select(exists().where(*conditions.askable_in(project.id)))):
        raise Conflict("This project has no prompt to answer yet: import some first.")
    await pens.require(db, project, compared)
    size = question_of(project).size
    if len(set(compared)) == 1 and how.sampling.responses_per_prompt < size:
        raise Invalid(
            "To be compared with each other, %(size)s responses to each prompt are needed; “%(name)s” is asked for "
            "%(count)s.",
            size=size,
            name=served.name,
            count=how.sampling.responses_per_prompt,
        )
    return {
        "served_model_id": served.id,
        "name": how.name,
        "address": how.address,
        "model": how.model,
        "protocol": how.protocol,
        "sampling": how.sampling.model_dump(mode="json"),
        "limits": how.limits.model_dump(mode="json"),
        "prompts": prompts,
        "writers": [str(writer) for writer in dict.fromkeys(compared)],
    }


async def _by_hand(db: AsyncSession, project: Project, settings: Settings) -> Json:
    served = await served_models.list_served(db, project.id)
    if not served:
        raise Conflict("This project has no served model yet: add one first.")
    if len(served) > 1:
        raise Conflict("This project has several served models: say which one, on their page.")
    writer = Writer("served", served[0].id)
    return await inputs_for(db, project, served[0], prompts=settings.generate_prompts, compared=[writer])


async def _perform(hold: Hold) -> Ending | None:
    plan = await hold.do(lambda work: _plan(work, hold.folder))
    progress = plan.progress

    async def store(replies: Sequence[Reply]) -> None:
        for reply in replies:
            if reply.answer is not None:
                progress.there.add((int(reply.question.prompt.prompt_id), reply.question.sample))
                continue
            progress.unanswered += 1
            progress.last_reason = reply.why
            hold.tell(f"prompt {reply.question.prompt.prompt_id}, sample {reply.question.sample}: {reply.why}")
        await hold.do(lambda work: _insert(work, plan, replies), progress.measured)

    async with Client(plan.endpoint, progress.spent) as client:
        done = await ask_all(
            client,
            plan.questions(),
            parallel=plan.endpoint.limits.parallel,
            store=store,
            interrupted=hold.interrupted,
        )
    return await hold.do(lambda work: _ending(work, progress)) if done else None


async def _plan(work: Work, folder: Path) -> Plan:
    run = work.run
    served = await served_model(work)
    copied = {name: run.settings[name] for name in ("model", "protocol", "sampling", "limits")}
    how = served_models.changed(served_models.described(served), copied)
    sampling, limits = how.sampling, how.limits
    endpoint = served_models.endpoint_of(served, how, work.home)
    prompts = await _prompts(work, folder / PROMPTS)
    total = len(prompts) * sampling.responses_per_prompt
    made_with = {
        **{name: run.settings[name] for name in ("model", "address", "protocol")},
        **sampling.model_dump(mode="json", exclude={"responses_per_prompt"}),
    }
    return Plan(endpoint, prompts, Progress(total, await _there(work), await spent(work, limits)), made_with)


async def _prompts(work: Work, path: Path) -> list[PromptRecord]:
    """Chosen once for the run, so that every attempt asks the same."""
    chosen = await asyncio.to_thread(_kept, path)
    if chosen is None:
        rows = await work.db.execute(_chosen(work))
        chosen = [
            PromptRecord(str(prompt_id), tuple(Message.from_json(message) for message in messages))
            for prompt_id, messages in rows
        ]
        await asyncio.to_thread(write_records, path, required(chosen, "prompt to answer"))
    return chosen


def _kept(path: Path) -> list[PromptRecord] | None:
    return read_records(path, PromptRecord) if path.exists() else None


def _chosen(work: Work) -> Select[int, list[Json]]:
    """Prompts for which others wait to be compared with, then those that the model hasn't answered, at random."""
    settings = work.run.settings
    me = Writer("served", settings["served_model_id"])
    others = [writer for text in settings["writers"] if (writer := Writer.parse(text)) != me]
    in_a_task = exists().where(TaskCompletion.completion_id == Completion.id)
    waiting = [
        cast(exists().where(Completion.prompt_id == Prompt.id, pens.written_by([writer]), ~in_a_task), Integer)
        for writer in others
    ]
    answered = exists().where(Completion.prompt_id == Prompt.id, pens.written_by([me]))
    order = [sum(waiting[1:], waiting[0]).desc()] if waiting else []
    return (
        select(Prompt.id, Prompt.messages)
        .where(*conditions.askable_in(work.project.id))
        .order_by(*order, answered, func.md5(func.concat(Prompt.id, ":", work.seed)))
        .limit(settings["prompts"])
    )


async def _there(work: Work) -> set[tuple[int, int]]:
    rows = await work.db.execute(
        select(Completion.prompt_id, Completion.sample).where(Completion.run_id == work.run.id)
    )
    return {(prompt_id, sample) for prompt_id, sample in rows if sample is not None}


async def _insert(work: Work, plan: Plan, replies: Sequence[Reply]) -> None:
    there = await answerable(work, (int(reply.question.prompt.prompt_id) for reply in replies))
    found = [row for reply in replies if (row := _row(work.run, plan, reply)) is not None]
    rows = [row for row in found if row["prompt_id"] in there]
    if rows:
        await work.db.execute(insert(Completion).values(rows).on_conflict_do_nothing())


def _row(run: Run, plan: Plan, reply: Reply) -> Json | None:
    answer = reply.answer
    if answer is None:
        return None
    said = {"answered_by": answer.answered_by, "finish_reason": answer.finish_reason}
    return {
        "prompt_id": int(reply.question.prompt.prompt_id),
        "text": storable(answer.text),
        "source": "served",
        "served_model_id": run.settings["served_model_id"],
        "made_with": plan.made_with | storable(said),
        "run_id": run.id,
        "sample": reply.question.sample,
        "temperature": plan.endpoint.sampling.temperature,
        "token_count": answer.completion_tokens if answer.counted else None,
        "ended_with_eos": answer.ended_by_itself,
    }


async def _ending(work: Work, progress: Progress) -> Ending:
    """Raises Conflict when nothing has come at all."""
    there, cap = len(progress.there), progress.spent.cap()
    missing = progress.total - there
    remark = None
    if cap is not None and missing > progress.unanswered:
        remark = f"Stopped at {cap}: {there:,} of {progress.total:,} responses are there."
    elif missing:
        remark = f"{missing:,} of {progress.total:,} responses didn't come. The last reason: {progress.last_reason}"
    if there == 0:
        raise Conflict(remark or "Nothing was asked.")
    eos_rate = await work.db.scalar(
        select(func.avg(cast(Completion.ended_with_eos, Integer))).where(Completion.run_id == work.run.id)
    )
    result = {"responses": there, "unanswered": missing, **progress.measured.figures}
    result |= {"eos_rate": float(eos_rate)} if eos_rate is not None else {}
    return Ending(result | {"unanswered": missing}, remark, _pairs(work, there))


def _pairs(work: Work, most: int) -> Next | None:
    """Pairs of what the writers have written, open for people at once, with or without a policy."""
    writers = work.run.settings["writers"]
    return Next("select", work.run.started_by_id, {"writers": writers, "count": most}) if writers else None


ASK = LongStage(
    name="ask",
    title=phrase("Ask a served model"),
    by_hand=_by_hand,
    button=Button(
        title=phrase("Ask the served model"), about=phrase("for responses, and pairs of them for people to judge")
    ),
    perform=_perform,
    charts=(
        Chart("tokens", phrase("Tokens used"), phrase("prompts and responses"), from_zero=True),
        Chart("requests", phrase("Requests"), from_zero=True),
        Chart("unanswered", phrase("Requests without a usable response"), from_zero=True),
    ),
    figures=("eos_rate", "requests", "tokens"),
    own_figures={
        "responses": Words(phrase("Responses received"), "count"),
        "unanswered": Words(phrase("Responses that didn’t come"), "count"),
    },
)
