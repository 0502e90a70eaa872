"""Rounds: one turn of the loop as a state machine in the database.

    select → label → snapshot → reward → reward_gate → [cost →] ppo → evaluate → policy_gate →
    [duel → vote → vote_gate →] promote → generate → done

`cost` is a step of the rounds that hold harm to a limit; `duel`, `vote` and `vote_gate` are of those in which people
vote on the new policy before it is promoted. Every step but `label` and `vote` is a run. `advance` looks at where a
round stands and moves it on as far as it goes; it may be called at any time, by anybody, twice. A failed or cancelled
run leaves the round where it is until the run is retried or the round is cancelled; a refusing gate stops the round
with its reasons, from which an owner may go on with a reason of their own.
"""

from pathlib import Path
from typing import get_args

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judgement, ModelVersion, Project, Round, Run
from app.db.tables.runs import RoundStatus, RoundStep
from app.errors import Conflict, Invalid
from app.security import Principal
from app.services import conditions, dispatch, events
from app.services.judging.labels import labels_at_hand
from app.services.loop.asking import selection
from app.services.loop.comparisons import duels
from app.services.loop.models import artifacts, models
from app.services.loop.rounds import round_steps
from app.services.loop.runs import runs, starting
from app.services.loop.settings.round_settings import RoundSettings, settings_of, settings_of_round
from app.services.loop.settings.triggers import AT_ONCE, BY_HAND, Trigger
from app.services.projects import projects

STEPS: tuple[RoundStep, ...] = get_args(RoundStep)
GATES: tuple[RoundStep, ...] = ("reward_gate", "policy_gate", "vote_gate")


def steps_of(settings: RoundSettings) -> tuple[RoundStep, ...]:
    """The steps that a round with such settings takes, the last of which is `done`."""
    left_out: set[RoundStep] = set() if settings.harmlessness else {"cost"}
    if not settings.vote_gate.asks_people:
        left_out |= {"duel", "vote", "vote_gate"}
    return tuple(step for step in STEPS if step not in left_out)


async def start(
    db: AsyncSession,
    actor_id: int | None,
    project: Project,
    *,
    label_target: int | None = None,
    settings: Json | None = None,
    trigger: Trigger = BY_HAND,
) -> Round:
    """Open the project's next round; `settings` go on top of the project's. Raises Conflict while one is active."""
    chosen = settings_of(project).overridden(settings or {})
    if label_target is not None:
        chosen = chosen.overridden({"label_target": label_target})
    last = await db.scalar(select(func.max(Round.number)).where(Round.project_id == project.id))
    round_ = Round(
        project_id=project.id,
        number=(last or 0) + 1,
        label_target=chosen.label_target,
        settings=chosen.to_json(),
        started_by_id=actor_id,
        trigger=trigger.name,
        trigger_figure=trigger.figure,
        trigger_bound=trigger.bound,
    )
    try:
        async with db.begin_nested():
            db.add(round_)
    except IntegrityError:
        raise Conflict("A round of this project is under way already.") from None
    await db.refresh(round_)
    await dispatch.defer_round(db, round_.id)
    await _announce(db, round_)
    return round_


async def cancel(db: AsyncSession, actor: Principal | None, round_: Round) -> None:
    """End the round and the runs of it that wait or work. What it has made stays. Raises Conflict if it is over."""
    await _require_owner(db, actor, round_)
    await _lock_active(db, round_)
    await _end(db, round_, "cancelled", reason="Cancelled.")
    unfinished = select(Run).where(Run.round_id == round_.id, Run.state.in_(("queued", "running")))
    for run in list(await db.scalars(unfinished)):
        try:
            await runs.request_cancel(db, None, run)
        except Conflict:
            continue  # it ended by itself in this moment


async def continue_now(db: AsyncSession, actor: Principal | None, round_: Round) -> None:
    """Go on with the labels or votes at hand. Raises Conflict at any other step, and when there is no label at all."""
    await _require_owner(db, actor, round_)
    await _lock_active(db, round_)
    if round_.step not in ("label", "vote"):
        raise Conflict("The round isn't waiting for labels.")
    if round_.step == "label" and not await db.scalar(
        select(Judgement.id).where(*conditions.labels_of(round_.project_id)).limit(1)
    ):
        raise Conflict("There is no judgement to learn from yet.")
    if round_.step == "vote":
        await duels.close(db, round_.id)
    steps = steps_of(settings_of_round(round_))
    round_.step = steps[steps.index(round_.step) + 1]
    await db.flush()
    await dispatch.defer_round(db, round_.id)
    await _announce(db, round_)


async def override(db: AsyncSession, actor: Principal | None, round_: Round, reason: str, *, home: Path) -> None:
    """Go on from a gate's refusal, whose figures stay as they are. Raises Conflict elsewhere and while another round is
    active, Invalid without a reason, ArtifactBroken for a reward model whose files were changed.
    """
    await _require_owner(db, actor, round_)
    await db.refresh(round_, with_for_update=True)
    if round_.status != "stopped" or round_.step not in GATES:
        raise Conflict("No gate has refused anything here.")
    if not reason.strip():
        raise Invalid("Say why the round is to go on all the same.")
    actor_id = actor.user_id if actor is not None else None
    if round_.step == "reward_gate":
        version = await db.get_one(ModelVersion, round_.reward_id)
        await artifacts.require_in_place(home, version.folder, version.manifest_sha256)
        await models.promote(db, actor_id, version, reason=reason)
    steps = steps_of(settings_of_round(round_))
    try:
        async with db.begin_nested():
            round_.overridden_step, round_.overridden_because = round_.step, reason.strip()
            round_.overridden_by_id = actor_id
            round_.step = steps[steps.index(round_.step) + 1]
            round_.status, round_.reason, round_.finished_at = "active", None, None
    except IntegrityError:
        raise Conflict("Another round of this project is under way.") from None
    await dispatch.defer_round(db, round_.id)
    await _announce(db, round_)


async def advance(db: AsyncSession, round_id: int) -> None:
    """Move the round on as far as it goes now. Changes nothing when it is over or has to wait."""
    round_ = await db.scalar(
        select(Round).where(Round.id == round_id).with_for_update().execution_options(populate_existing=True)
    )
    if round_ is None:
        return
    project = await db.get_one(Project, round_.project_id)
    while round_.status == "active" and await _take_step(db, project, round_):
        await db.flush()
        await _announce(db, round_)


async def _take_step(db: AsyncSession, project: Project, round_: Round) -> bool:
    """Leave the current step if it is done. False if the round has to wait."""
    if round_.step == "label":
        done = await _has_labels(db, project, round_)
    elif round_.step == "vote":
        done = await duels.is_decided(db, round_.id, settings_of_round(round_).vote_gate)
    else:
        done = await _run_is_done(db, project, round_)
    if not done or round_.status != "active":
        return False
    if round_.step == "vote":
        await duels.close(db, round_.id)
    steps = steps_of(settings_of_round(round_))
    round_.step = steps[steps.index(round_.step) + 1]
    if round_.step == "done":
        await _finish(db, project, round_)
    return True


async def _has_labels(db: AsyncSession, project: Project, round_: Round) -> bool:
    """Whether there are enough; where there aren't, and people need more pairs for that, these are asked for."""
    labels = await labels_at_hand(db, project.id)
    if labels >= round_.label_target:
        return True
    if await starting.ask_for_pairs(db, project, round_):
        return False
    # Skips may use places up, so that fewer labels can come than were counted on.
    return labels > 0 and await selection.open_places(db, project.id) == 0


async def _run_is_done(db: AsyncSession, project: Project, round_: Round) -> bool:
    run = await db.scalar(
        select(Run)
        .where(Run.round_id == round_.id, Run.round_step == round_.step)
        .order_by(Run.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    if run is None:
        lacking = await round_steps.lacking(db, round_)
        if lacking is None:
            await round_steps.queue_step(db, project, round_)
        else:
            await _stop(db, project, round_, reason=lacking)
        return False
    if run.state != "succeeded":
        return False
    refused = await round_steps.keep_result(db, round_, run)
    if refused is not None:
        await _stop(db, project, round_, reason=refused)
    return True


async def _finish(db: AsyncSession, project: Project, round_: Round) -> None:
    await _end(db, round_, "finished", reason=None)
    follows = project.opens_next_round and settings_of(project).triggers.at_once
    if follows and project.archived_at is None:
        await start(db, round_.started_by_id, project, trigger=AT_ONCE)
    else:
        await starting.serve_pairs(db, project)


async def _stop(db: AsyncSession, project: Project, round_: Round, *, reason: str) -> None:
    await _end(db, round_, "stopped", reason=reason)
    await starting.replenish(db, project)


async def _end(db: AsyncSession, round_: Round, status: RoundStatus, *, reason: str | None) -> None:
    round_.status = status
    round_.reason = reason
    round_.finished_at = func.now()
    await db.flush()
    await duels.close(db, round_.id)
    await db.refresh(round_)
    await _announce(db, round_)


async def _lock_active(db: AsyncSession, round_: Round) -> None:
    await db.refresh(round_, with_for_update=True)
    if round_.status != "active":
        raise Conflict(f"This round is {round_.status}.")


async def _require_owner(db: AsyncSession, actor: Principal | None, round_: Round) -> None:
    """Without an actor it is the system or the machine's own command line that asks."""
    if actor is not None:
        await projects.require_role(db, actor, await db.get_one(Project, round_.project_id), "owner")


async def _announce(db: AsyncSession, round_: Round) -> None:
    await events.notify(db, project_id=round_.project_id, round_id=round_.id)
