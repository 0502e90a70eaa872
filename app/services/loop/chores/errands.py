"""Errands: what models are asked at once, for somebody who waits: responses to a prompt, scores of responses.

The row is the truth about one, and holds its answers while they grow; whoever did it is gone afterwards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Errand, ModelVersion, Project, ServedModel
from app.errors import Invalid, NotFound, TooMany
from app.services import dispatch, events
from app.services.loop.comparisons import writers
from app.services.loop.comparisons.writers import NamedWriter, Writer
from app.services.loop.settings.round_settings import settings_of
from app.services.loop.storable import storable
from training.records import Message

LONGEST = timedelta(minutes=5)
"""How long a worker may take for one, opening models included."""
PATIENCE = timedelta(minutes=10)
"""How long one waits for a worker."""
KEPT = timedelta(days=1)
SILENT_SECONDS = 60
MOST_WAITING = 20
MOST_WRITERS = 6
MOST_SAMPLES = 8
MOST_TOKENS = 1_024
MOST_PAIRS = 64
MOST_CHARACTERS = 20_000

NOBODY_CAME = "No worker took it. One with “training” among its queues has to run."
LOST = "It took too long, or the worker was lost with it. Ask again."


@dataclass(frozen=True)
class Writing:
    """Responses of each of the `writers` to one prompt. `temperature` and `max_new_tokens`: None leaves them to the
    project's settings, and to a served model's own."""

    messages: Sequence[Message]
    writers: Sequence[Writer]
    samples: int = 1
    max_new_tokens: int | None = None
    temperature: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """A response to be scored, and whether it ended by itself."""

    messages: Sequence[Message]
    response: str
    ended: bool = True


async def write(db: AsyncSession, actor_id: int | None, project: Project, writing: Writing) -> Errand:
    """Have responses written. Raises Invalid, and TooMany while many errands wait."""
    _require_messages(writing.messages)
    chosen = list(dict.fromkeys(writing.writers))
    if not 1 <= len(chosen) <= MOST_WRITERS:
        raise Invalid("Choose 1 to %(most)s writers.", most=MOST_WRITERS)
    if not 1 <= writing.samples <= MOST_SAMPLES:
        raise Invalid("From 1 to %(most)s responses are written by each.", most=MOST_SAMPLES)
    if writing.max_new_tokens is not None and not 1 <= writing.max_new_tokens <= MOST_TOKENS:
        raise Invalid("A response has 1 to %(most)s tokens.", most=MOST_TOKENS)
    if writing.temperature is not None and not 0.01 <= writing.temperature <= 2:
        raise Invalid("The temperature lies from 0.01 to 2.")
    named = await _named(db, project, chosen)
    answers = [
        {"writer": str(one.writer), "name": one.name, "state": "waiting", "text": ""}
        for one in named
        for _ in range(writing.samples)
    ]
    config = {
        **settings_of(project).of_stage("generate"),
        **({} if writing.max_new_tokens is None else {"max_new_tokens": writing.max_new_tokens}),
        **({} if writing.temperature is None else {"temperature": writing.temperature}),
        "samples_per_prompt": writing.samples,
        "seed": writing.seed,
    }
    asked = {
        "messages": [message.to_json() for message in writing.messages],
        "writers": [str(writer) for writer in chosen],
        "samples": writing.samples,
        "max_new_tokens": writing.max_new_tokens,
        "temperature": writing.temperature,
        "config": config,
    }
    return await _put(db, actor_id, project, "write", asked, answers)


async def score(
    db: AsyncSession, actor_id: int | None, project: Project, version: ModelVersion, pairs: Sequence[Pair]
) -> Errand:
    """Have responses scored by a reward or cost model. Raises Invalid, and TooMany while many errands wait."""
    if not 1 <= len(pairs) <= MOST_PAIRS:
        raise Invalid("From 1 to %(most)s responses are scored at once.", most=MOST_PAIRS)
    for pair in pairs:
        _require_messages(pair.messages)
        if len(pair.response) > MOST_CHARACTERS:
            raise Invalid("A response has at most %(most)s characters.", most=MOST_CHARACTERS)
    asked = {"model_id": version.id, "kind": version.kind, "pairs": [_pair(pair) for pair in pairs]}
    return await _put(db, actor_id, project, "score", asked, [])


async def get(db: AsyncSession, project: Project, errand_id: int) -> Errand:
    """Raises NotFound, also a day later."""
    found = await db.scalar(
        select(Errand)
        .where(Errand.id == errand_id, Errand.project_id == project.id)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound
    return found


async def options(db: AsyncSession, project: Project) -> list[NamedWriter]:
    """Who can be asked to write: the newest policies and the one in use, and the served models."""
    policies = await db.execute(
        select(ModelVersion.id, ModelVersion.number)
        .where(ModelVersion.project_id == project.id, ModelVersion.kind == "policy")
        .order_by((ModelVersion.state == "promoted").desc(), ModelVersion.number.desc())
        .limit(20)
    )
    served = await db.execute(
        select(ServedModel.id, ServedModel.name)
        .where(ServedModel.project_id == project.id, ServedModel.removed_at.is_(None))
        .order_by(ServedModel.name, ServedModel.id)
    )
    named = [NamedWriter(Writer("policy", identity), str(number)) for identity, number in policies]
    return named + [NamedWriter(Writer("served", identity), name) for identity, name in served]


async def is_anybody_there(db: AsyncSession) -> bool:
    """Whether a worker, of whatever queue, has reported within a minute."""
    beat = "SELECT extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers"
    silent_seconds = await db.scalar(text(beat))
    return silent_seconds is not None and silent_seconds < SILENT_SECONDS


async def take(db: AsyncSession, errand_id: int) -> Errand | None:
    """The errand, which is the caller's now; None where it is over or somebody else's."""
    return await db.scalar(
        update(Errand)
        .where(Errand.id == errand_id, Errand.state == "queued")
        .values(state="running", started_at=func.now(), expires_at=func.now() + LONGEST)
        .returning(Errand)
    )


async def tell(db: AsyncSession, errand: Errand, answers: Sequence[Json]) -> bool:
    """Store how far it is; False where nobody waits for it any more."""
    return await _change(db, errand, answers=storable(list(answers)))


async def end(db: AsyncSession, errand: Errand, answers: Sequence[Json], error: str | None = None) -> bool:
    """Store what came of it, in full."""
    state: Literal["succeeded", "failed"] = "succeeded" if error is None else "failed"
    return await _change(
        db,
        errand,
        answers=storable(list(answers)),
        state=state,
        error=error and storable(error),
        ended_at=func.now(),
        expires_at=None,
    )


async def tidy(db: AsyncSession) -> None:
    """End what nobody takes or ends, and forget what is a day old."""
    over = {"state": "failed", "ended_at": func.now(), "expires_at": None}
    lost = update(Errand).where(Errand.state == "running", Errand.expires_at < func.now())
    await db.execute(lost.values(error=LOST, **over))
    untaken = update(Errand).where(Errand.state == "queued", Errand.created_at < func.now() - PATIENCE)
    await db.execute(untaken.values(error=NOBODY_CAME, **over))
    await db.execute(delete(Errand).where(Errand.ended_at < func.now() - KEPT))


async def _change(db: AsyncSession, errand: Errand, **values: object) -> bool:
    ours = (Errand.id == errand.id, Errand.state == "running", Errand.started_at == errand.started_at)
    found = await db.scalar(update(Errand).where(*ours).values(**values).returning(Errand.id))
    await events.notify(db, project_id=errand.project_id, errand_id=errand.id)
    return found is not None


async def _put(
    db: AsyncSession, actor_id: int | None, project: Project, kind: str, asked: Json, answers: list[Json]
) -> Errand:
    waiting = select(func.count()).select_from(Errand)
    waiting = waiting.where(Errand.project_id == project.id, Errand.state.in_(("queued", "running")))
    if (await db.scalar(waiting) or 0) >= MOST_WAITING:
        raise TooMany("Many such questions wait here already. Try again in a minute.")
    errand = Errand(
        project_id=project.id, asked_by_id=actor_id, kind=kind, asked=storable(asked), answers=storable(answers)
    )
    db.add(errand)
    await db.flush()
    await db.refresh(errand)
    await dispatch.defer_errand(db, errand.id)
    return errand


async def _named(db: AsyncSession, project: Project, chosen: Sequence[Writer]) -> list[NamedWriter]:
    """Raises Invalid for who isn't of the project, and for served models that were removed."""
    await writers.require(db, project, chosen)
    named = []
    for writer in chosen:
        if writer.kind == "policy":
            version = await db.get_one(ModelVersion, writer.id)
            if version.kind != "policy":
                raise Invalid("A writer is a policy or a served model of this project.")
            named.append(NamedWriter(writer, str(version.number)))
            continue
        served = await db.get_one(ServedModel, writer.id)
        if served.removed_at is not None:
            raise Invalid("A writer is a policy or a served model of this project.")
        named.append(NamedWriter(writer, served.name))
    return named


def _require_messages(messages: Sequence[Message]) -> None:
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise Invalid("A prompt ends with what a user says.")
    if sum(len(message.content) for message in messages) > MOST_CHARACTERS:
        raise Invalid("A prompt has at most %(most)s characters.", most=MOST_CHARACTERS)


def _pair(pair: Pair) -> Json:
    return {**asdict(pair), "messages": [message.to_json() for message in pair.messages]}
