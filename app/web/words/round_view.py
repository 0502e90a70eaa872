"""The loop as people see it: a round, its steps with their runs and gates, and where it stands."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Gate, ModelVersion, Project, Round, Run, User
from app.db.tables.runs import RoundStep
from app.services.judging import labels
from app.services.loop.comparisons import duels
from app.services.loop.rounds import rounds
from app.services.loop.settings.round_settings import RoundSettings, settings_of, settings_of_round
from app.web.words import pace
from app.web.words.charts import RingPlace, ring

StepState = Literal["done", "current", "ahead", "refused", "failed", "cancelled", "left_out"]


@dataclass(frozen=True)
class StepView:
    """One step: its place in the ring, its newest run, the decision of its gate."""

    name: RoundStep
    state: StepState
    place: RingPlace
    run: Run | None = None
    gate: Gate | None = None


@dataclass(frozen=True)
class RoundView:
    """A round with its steps. `progress` is that of the current step: labels or the run's steps, None when it has
    none.
    """

    round: Round
    steps: tuple[StepView, ...]
    progress: pace.Progress | None = None
    overridden_by: str | None = None
    """Who went on from a refusal, by name."""
    reward_number: int | None = None
    """The reward model that it made, whose report there is."""

    @property
    def current(self) -> StepView | None:
        return next((step for step in self.steps if step.state not in ("done", "ahead", "left_out")), None)

    @property
    def share(self) -> float:
        """How much of the round is done: whole steps, and of the current one what its own progress says."""
        done = sum(step.state == "done" for step in self.steps)
        return (done + (self.progress.share if self.progress else 0.0)) / len(self.steps)

    @property
    def gates(self) -> tuple[Gate, ...]:
        return tuple(step.gate for step in self.steps if step.gate is not None)


def no_round(project: Project) -> tuple[StepView, ...]:
    """The ring before there is a round."""
    steps = _steps(settings_of(project))
    return tuple(StepView(name, "ahead", place) for name, place in zip(steps, _ring(steps), strict=True))


async def view(db: AsyncSession, entry: Round) -> RoundView:
    """A round with its steps as people see it; for several, `views` asks less of the database."""
    (seen,) = await views(db, [entry])
    return seen


async def views(db: AsyncSession, entries: list[Round]) -> list[RoundView]:
    """Rounds with their steps, in four queries however many they are, and what the active one's progress takes."""
    ids = [entry.id for entry in entries]
    found = await db.scalars(select(Run).where(Run.round_id.in_(ids)).order_by(Run.id))
    # Of several runs of one step the newest is the one that counts.
    runs = {(run.round_id, run.round_step): run for run in found}
    gates = {
        gate.run_id: gate
        for gate in await db.scalars(select(Gate).where(Gate.run_id.in_([run.id for run in runs.values()])))
    }
    by_and_made = (
        select(Round.id, User.name, ModelVersion.number)
        .outerjoin(User, User.id == Round.overridden_by_id)
        .outerjoin(ModelVersion, ModelVersion.id == Round.reward_id)
        .where(Round.id.in_(ids))
    )
    told = {round_id: (name, number) for round_id, name, number in await db.execute(by_and_made)}
    views = []
    for entry in entries:
        by_step = {step: runs.get((entry.id, step)) for step in _steps(settings_of_round(entry))}
        seen = _step_views(entry, by_step, gates)
        views.append(RoundView(entry, seen, await _progress(db, entry, by_step), *told[entry.id]))
    return views


def _steps(settings: RoundSettings) -> tuple[RoundStep, ...]:
    """Those that are shown: a round that is done is at none."""
    return rounds.steps_of(settings)[:-1]


def _ring(steps: tuple[RoundStep, ...]) -> tuple[RingPlace, ...]:
    """In the drawing of templates/projects/_ring.html: a viewBox of 412 × 300 with room for labels at both sides."""
    return ring(len(steps), radius=100, centre=(206, 150), gap=19)


def _step_views(entry: Round, runs: dict[RoundStep, Run | None], gates: dict[int | None, Gate]) -> tuple[StepView, ...]:
    names = tuple(runs)
    reached = len(names) if entry.step == "done" else names.index(entry.step)
    steps = []
    for index, (name, place) in enumerate(zip(names, _ring(names), strict=True)):
        run = runs[name]
        gate = gates.get(run.id) if run else None
        steps.append(StepView(name, _state(entry, index - reached, run), place, run, gate))
    return tuple(steps)


def _state(entry: Round, steps_away: int, run: Run | None) -> StepState:
    if steps_away < 0:
        return "done"
    if entry.status == "finished":
        return "done" if steps_away == 0 else "left_out"
    if steps_away > 0:
        return "ahead" if entry.status == "active" else "left_out"
    if entry.status == "active":
        return "failed" if run is not None and run.state in ("failed", "cancelled") else "current"
    ended: dict[str, StepState] = {"stopped": "refused", "failed": "failed", "cancelled": "cancelled"}
    return ended[entry.status]


async def _progress(db: AsyncSession, entry: Round, runs: dict[RoundStep, Run | None]) -> pace.Progress | None:
    if entry.status != "active":
        return None
    if entry.step == "label":
        done = await labels.labels_at_hand(db, entry.project_id)
        return await pace.of_labelling(db, entry.project_id, done=done, target=entry.label_target)
    if entry.step == "vote":
        found = await duels.certify(db, entry.id, settings_of_round(entry).vote_gate)
        return pace.Progress(found.votes, found.budget)
    run = runs.get(entry.step)  # type: ignore[call-overload]  # CHECK step_known
    return await pace.of_run(db, run) if run else None
