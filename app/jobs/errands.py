"""What a worker does with an errand: it asks who is to write, stores what they say as it comes, and has it scored."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Errand, ModelVersion, ServedModel
from app.errors import DomainError
from app.jobs.context import WorkerContext
from app.jobs.resident import Resident
from app.services.loop.chores import errands
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.loop.models.artifacts import at_hand, require_registered
from app.services.served import served_models
from app.services.served.client import Client, Endpoint
from training.records import Message

TELL_SECONDS = 0.25
SPARE_SECONDS = 10.0
BROKE = "It broke off; the worker's log says more."

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Scorer:
    """A reward or cost model by its folder."""

    kind: str
    number: int
    folder: str


@dataclass
class Board:
    """The answers of an errand while they grow, put into its row now and then."""

    context: WorkerContext
    errand: Errand
    answers: list[Json]
    is_changed: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, writer: str) -> list[Json]:
        return [answer for answer in self.answers if answer["writer"] == writer]

    def changed(self) -> None:
        self.is_changed.set()

    async def keep_telling(self) -> None:
        """Until it is cancelled: in a transaction of its own each time."""
        while True:
            await self.is_changed.wait()
            self.is_changed.clear()
            await self.context.database.run(lambda db: errands.tell(db, self.errand, self.answers))
            await asyncio.sleep(TELL_SECONDS)


async def perform(context: WorkerContext, resident: Resident, errand_id: int) -> None:
    """Do an errand that nobody has; what goes wrong is told in its row."""
    errand = await context.database.run(lambda db: errands.take(db, errand_id))
    if errand is None:
        return
    board = Board(context, errand, [dict(answer) for answer in errand.answers])
    work = asyncio.create_task(_do(context, resident, board))
    await _first_of(work, context.stopping, seconds=errands.LONGEST.total_seconds() - SPARE_SECONDS)
    error: str | None = errands.LOST
    if work.done():
        error = _error_of(work)
    else:
        work.cancel()
        await asyncio.wait([work])
    await context.database.run(lambda db: errands.end(db, errand, board.answers, error))


async def _first_of(work: "asyncio.Task[None]", stopping: asyncio.Event, *, seconds: float) -> None:
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([work, asked], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()


def _error_of(work: "asyncio.Task[None]") -> str | None:
    try:
        work.result()
    except DomainError as refusal:
        return refusal.message
    except Exception:
        log.exception("errand_broke")
        return BROKE
    return None


async def _do(context: WorkerContext, resident: Resident, board: Board) -> None:
    if board.errand.kind == "score":
        board.answers = await _scores(context, resident, board.errand)
        return
    telling = asyncio.create_task(board.keep_telling())
    try:
        async with asyncio.TaskGroup() as group:
            for name in board.errand.asked["writers"]:
                group.create_task(_write(context, resident, board, Writer.parse(name)))
        await _reward(context, resident, board)
    finally:
        telling.cancel()
        await asyncio.wait([telling])


async def _write(context: WorkerContext, resident: Resident, board: Board, writer: Writer) -> None:
    """What goes wrong with one writer is told in its place: the others go on."""
    answers, started = board.of(str(writer)), time.monotonic()
    try:
        if writer.kind == "policy":
            await _by_policy(context, resident, board, writer.id, answers)
        else:
            await _by_served(context, board, writer.id, answers)
    except DomainError as refusal:
        for answer in answers:
            if answer["state"] != "done":
                answer |= {"state": "failed", "problem": refusal.message}
    for answer in answers:
        answer["seconds"] = round(time.monotonic() - started, 2)
    board.changed()


async def _by_policy(
    context: WorkerContext, resident: Resident, board: Board, version_id: int, answers: Sequence[Json]
) -> None:
    folder = await _folder(context, version_id)
    for answer in answers:
        answer["state"] = "waiting"

    def heard(part: Json) -> None:
        for answer, text in zip(answers, part["texts"], strict=True):
            answer |= {"state": "writing", "text": text}
        board.changed()

    asked = board.errand.asked
    config = {**asked["config"], "policy": folder, "prompts": "-"}
    said = await resident.ask({"do": "write", "config": config, "prompt": asked["messages"]}, heard)
    for answer, response in zip(answers, said["responses"], strict=True):
        answer |= {"state": "done", **response}


async def _by_served(context: WorkerContext, board: Board, served_model_id: int, answers: Sequence[Json]) -> None:
    asked = board.errand.asked
    endpoint = await context.database.run(lambda db: _endpoint(db, context.home, served_model_id, asked))
    prompt = [Message.from_json(turn) for turn in asked["messages"]]
    async with Client(endpoint) as client:
        for answer in answers:
            answer["state"] = "writing"
            board.changed()
            said = await client.ask(prompt)
            answer |= {
                "state": "done",
                "text": said.text,
                "token_count": said.completion_tokens if said.counted else None,
                "ended_with_eos": said.ended_by_itself,
                "temperature": endpoint.sampling.temperature,
                "max_tokens": endpoint.sampling.max_tokens,
            }
            board.changed()


async def _reward(context: WorkerContext, resident: Resident, board: Board) -> None:
    """Rewards beside what was written, by the reward model in use where there is one."""
    written = [answer for answer in board.answers if answer["state"] == "done" and answer["text"].strip()]
    if not written:
        return
    try:
        scorer = await _in_use(context, board.errand.project_id)
    except DomainError as refusal:
        log.warning("errand_unscored", errand_id=board.errand.id, reason=refusal.message)
        return
    if scorer is None:
        return
    pairs = [
        {
            "prompt": board.errand.asked["messages"],
            "response": answer["text"],
            "ended": answer.get("ended_with_eos") is not False,
        }
        for answer in written
    ]
    try:
        said = await resident.ask({"do": "score", "kind": scorer.kind, "model": scorer.folder, "pairs": pairs})
    except DomainError as refusal:
        log.warning("errand_unscored", errand_id=board.errand.id, reason=refusal.message)
        return
    for answer, scored in zip(written, said["scores"], strict=True):
        answer |= {"reward": scored["score"], "reward_by": scorer.number}


async def _scores(context: WorkerContext, resident: Resident, errand: Errand) -> list[Json]:
    asked = errand.asked
    folder = await _folder(context, asked["model_id"])
    pairs = [
        {"prompt": pair["messages"], "response": pair["response"], "ended": pair["ended"]} for pair in asked["pairs"]
    ]
    said = await resident.ask({"do": "score", "kind": asked["kind"], "model": folder, "pairs": pairs})
    scores: list[Json] = said["scores"]
    return scores


async def _folder(context: WorkerContext, version_id: int) -> str:
    """Raises ArtifactBroken; whoever opens it compares its files."""
    version = await context.database.run(lambda db: db.get_one(ModelVersion, version_id))
    folder = await asyncio.to_thread(at_hand, context.home, version.folder, version.manifest_sha256)
    await asyncio.to_thread(require_registered, folder, version.manifest_sha256)
    return str(folder)


async def _in_use(context: WorkerContext, project_id: int) -> Scorer | None:
    version = await context.database.run(lambda db: models.promoted(db, project_id, "reward"))
    if version is None:
        return None
    folder = await asyncio.to_thread(at_hand, context.home, version.folder, version.manifest_sha256)
    return Scorer("reward", version.number, str(folder))


async def _endpoint(db: AsyncSession, home: Path, served_model_id: int, asked: Json) -> Endpoint:
    """As it is asked at any other time, but for what the errand says itself."""
    served = await db.get_one(ServedModel, served_model_id)
    how = served_models.described(served)
    said = {"temperature": asked["temperature"], "max_tokens": asked["max_new_tokens"]}
    sampling = how.sampling.model_copy(update={name: value for name, value in said.items() if value is not None})
    limits = how.limits.model_copy(update={"retries": 1, "parallel": 1})
    endpoint = served_models.endpoint_of(served, how, home)
    return replace(endpoint, sampling=sampling, limits=limits)
