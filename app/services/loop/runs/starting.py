"""Runs outside of any round: by an owner's hand, or by themselves when people run out of pairs."""

from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judge, ModelVersion, Project, Round, Run, ServedModel
from app.errors import Invalid
from app.services import audit
from app.services.judging import labels
from app.services.loop.comparisons import writers as pens
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.loop.runs import runs
from app.services.loop.settings.round_settings import RoundSettings, settings_of, settings_of_round
from app.services.loop.stages import ask as stage_ask
from app.services.loop.stages import judge as stage_judge
from app.services.loop.stages import push as stage_push
from app.services.loop.stages.parts import is_short_of_pairs
from app.services.loop.stages.registry import STAGES
from app.services.loop.stages.stage import TrainingStage


async def start(
    db: AsyncSession, actor_id: int | None, project: Project, stage: str, *, inputs: Json | None = None
) -> Run:
    """Queue a run of the stage on `inputs`, by default what it works on when started by hand.

    Raises Conflict where something is missing that it needs.
    """
    settings = settings_of(project)
    by_hand = STAGES[stage].by_hand
    if inputs is None:
        inputs = await by_hand(db, project, settings) if by_hand is not None else {}
    wanted = run_settings(project, stage, settings, inputs)
    return await runs.queue_run(db, project_id=project.id, stage=stage, settings=wanted, started_by_id=actor_id)


async def ask(
    db: AsyncSession,
    actor_id: int | None,
    project: Project,
    served: ServedModel,
    *,
    prompts: int | None = None,
    compared: Sequence[Writer] = (),
) -> Run:
    """Queue the writing of responses by a served model to `prompts` prompts, by default as many as the policy answers.

    Raises Invalid.
    """
    count = settings_of(project).generate_prompts if prompts is None else prompts
    inputs = await stage_ask.inputs_for(db, project, served, prompts=count, compared=compared)
    return await start(db, actor_id, project, "ask", inputs=inputs)


async def compare(
    db: AsyncSession, actor_id: int | None, project: Project, compared: Sequence[Writer], *, pairs: int
) -> Run:
    """Queue the making of at most so many pairs of what these have written. Raises Invalid."""
    if not compared:
        raise Invalid("Say whose responses are to be compared.")
    if pairs not in range(1, stage_ask.MOST_PROMPTS + 1):
        raise Invalid("From 1 to %(most)s pairs are made at once.", most=f"{stage_ask.MOST_PROMPTS:,}")
    await pens.require(db, project, compared)
    writers = [str(writer) for writer in dict.fromkeys(compared)]
    return await start(db, actor_id, project, "select", inputs={"writers": writers, "count": pairs})


async def judge(db: AsyncSession, actor_id: int | None, project: Project, judge_: Judge, *, pairs: int) -> Run:
    """Queue the judging of at most so many open pairs by a machine, and of those it has to be measured by.

    Raises Invalid. Where two are queued, the second judges what the first leaves.
    """
    inputs = await stage_judge.inputs_for(db, project, judge_, settings_of(project).judges, pairs=pairs)
    return await start(db, actor_id, project, "judge", inputs=inputs)


async def push(db: AsyncSession, actor_id: int | None, project: Project, version: ModelVersion, called: str) -> Run:
    """Queue the sending of a model version to a place of this site's, by what it is called. Raises Invalid."""
    await audit.note(db, "export", f"{version.kind} {version.number}", {"as": called}, project_id=project.id)
    return await start(db, actor_id, project, "push", inputs=stage_push.inputs_for(version, called))


def run_settings(project: Project, stage: str, settings: RoundSettings, inputs: Json) -> Json:
    """Settings of a run: the ids of what it works on, `seed`, and for a training stage its `config`."""
    common: Json = {**inputs, "seed": settings.seed}
    found = STAGES[stage]
    return {**common, **found.run_settings(project, settings, inputs)} if isinstance(found, TrainingStage) else common


async def serve_pairs(db: AsyncSession, project: Project) -> Run | None:
    """Make tasks of the pool outside a round when people are about to run out of pairs."""
    if not await is_short_of_pairs(db, project, settings_of(project)):
        return None
    return await start(db, None, project, "select")


async def ask_for_pairs(db: AsyncSession, project: Project, round_: Round) -> bool:
    """Have the round's next pairs made where people are about to run out of them; whether any are on their way.

    Whoever calls holds the round's row, so that of two one finds the other's run. Once one has failed the round does
    with the pairs that it has.
    """
    if not await labels.wants_pairs(db, round_):
        return False
    if await is_on_its_way(db, project.id, "select"):
        return True
    of_round = (Run.project_id == project.id, Run.settings["for_round"].as_integer() == round_.id)
    last = await db.scalar(select(Run.state).where(*of_round).order_by(Run.id.desc()).limit(1))
    if last in ("failed", "cancelled"):
        return False
    inputs = {"for_round": round_.id}
    settings = run_settings(project, "select", settings_of_round(round_), inputs)
    await runs.queue_run(
        db, project_id=project.id, stage="select", settings=settings, started_by_id=round_.started_by_id
    )
    return True


async def replenish(db: AsyncSession, project: Project) -> Run | None:
    """Let the policy in use write more when people are about to run out of pairs and nothing is on its way."""
    if await is_on_its_way(db, project.id, "generate", "select") or await models.promoted(db, project.id) is None:
        return None
    if not await is_short_of_pairs(db, project, settings_of(project)):
        return None
    return await start(db, None, project, "generate")


async def is_on_its_way(db: AsyncSession, project_id: int, *stages: str) -> bool:
    """Whether a run of these stages waits or works."""
    unfinished = (Run.project_id == project_id, Run.stage.in_(stages), Run.state.in_(("queued", "running")))
    return bool(await db.scalar(select(exists().where(*unfinished))))
