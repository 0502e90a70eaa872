"""What a stage is to the application: all that rounds, queue, worker, pages and command line ask of it.

Texts are in English and marked by `phrase`; whoever shows one translates it.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project, Run
from app.db.tables.lineage import ModelKind
from app.phrases import phrase
from app.services.judging.machines.settings import JudgeSettings
from app.services.loop.asking.people_settings import PeopleSettings
from app.services.loop.asking.selection_settings import SelectionSettings
from app.services.loop.gates.gate_bounds import FirstPolicyBounds, RewardBounds
from app.services.loop.models.artifacts import Manifest
from app.services.loop.stages.figures import Words
from training.records import Record

# Runs of one project differ in their seeds by their ids, projects by their own.
SEED_STRIDE = 1_000_000

T = TypeVar("T")


class Settings(Protocol):
    """What stages ask of the settings of a round."""

    @property
    def label_target(self) -> int: ...
    @property
    def samples_per_prompt(self) -> int: ...
    @property
    def generate_prompts(self) -> int: ...
    @property
    def evaluate_prompts(self) -> int: ...
    @property
    def harmlessness(self) -> bool: ...
    @property
    def selection(self) -> SelectionSettings: ...
    @property
    def people(self) -> PeopleSettings: ...
    @property
    def judges(self) -> JudgeSettings: ...
    @property
    def first_policy_gate(self) -> FirstPolicyBounds: ...
    @property
    def reward_gate(self) -> RewardBounds: ...
    def of_stage(self, name: str) -> Json: ...
    def pairs_wanted(self, overlap: int) -> int: ...


@dataclass(frozen=True)
class Work:
    """A run that a worker holds, in the transaction in which something of it is done."""

    db: AsyncSession
    home: Path
    project: Project
    run: Run
    settings: Settings
    """Those of the project; the run's own were fixed when it was queued."""

    @property
    def seed(self) -> int:
        return seed_of(self.run)

    def random(self) -> random.Random:
        """A generator that starts anew with every call."""
        return random.Random(self.seed)


def seed_of(run: Run) -> int:
    """The seed of everything that is drawn for the run."""
    return int(run.settings.get("seed", 0)) * SEED_STRIDE + run.id


@dataclass(frozen=True)
class Inputs:
    """What a training process is given. `config` names the `files`, records by role, without their suffix."""

    config: Json
    files: Mapping[str, Sequence[Record]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a training process has left, read and checked: its model is at `source` now and is to stay at `target`."""

    result: Json
    kind: ModelKind | None
    manifest: Manifest | None
    source: Path
    target: Path
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Next:
    """A stage that follows a run by itself, outside of any round; without `inputs` on what it works on by hand."""

    stage: str
    started_by_id: int | None = None
    inputs: Json | None = None


@dataclass(frozen=True)
class Measured:
    """How far a run is, and figures of this step for its curves."""

    step: int
    total_steps: int
    figures: Json


class Hold(Protocol):
    """A worker's hold on a run that takes many transactions."""

    @property
    def folder(self) -> Path:
        """The run's own, which is there and outlives the attempt."""

    async def do(self, act: Callable[[Work], Awaitable[T]], measured: Measured | None = None) -> T:
        """What `act` returns, done in one transaction in which the run is held, however long the database is away.

        Raises LeaseLost when the run is somebody else's by now; then nothing was done.
        """

    def tell(self, line: str) -> None:
        """Add a line to the run's log."""

    async def interrupted(self) -> None:
        """Returns when the run is to be cancelled, was lost, or the worker stops: finish what is begun and return."""


@dataclass(frozen=True)
class Ending:
    """The result of a run that is done, what is to be said of it for all that, and what is to follow."""

    result: Json
    remark: str | None = None
    follows: Next | None = None


@dataclass(frozen=True, kw_only=True)
class Button:
    """How the project's page offers to start a stage by hand."""

    title: str
    about: str
    about_with_harmlessness: str | None = None
    """Where the project's rounds hold harm to a limit; None: the same."""
    needs_harmlessness: bool = False


@dataclass(frozen=True)
class Chart:
    """One curve over the steps of a run.

    `figure` is the name in metrics; `<figure>_low` and `<figure>_high`, where measured, become its band. `unit`
    stands at the title; `from_zero` starts the axis there (counts and rates); `line` draws a reference value across.
    """

    figure: str
    title: str
    unit: str = ""
    from_zero: bool = False
    line: float | None = None
    line_title: str = ""
    of_cost: bool = False
    """Drawn for the runs that hold cost to a limit alone; a `line_title` is then that of the limit."""


@dataclass(frozen=True)
class Usual:
    """A setting that owners usually look at first: its title, and what more of it costs."""

    name: str
    title: str
    cost: str = ""


# What more of a setting costs.
TIME = phrase("Twice as much takes about twice as long.")
MEMORY = phrase("More needs more memory.")
PEOPLE = phrase("More is more work for people.")


ByHand = Callable[[AsyncSession, Project, Settings], Awaitable[Json]]
"""Ids of what a run outside of any round works on. Raises Conflict where something is missing."""

RunSettings = Callable[[Project, Settings, Json], Json]
"""What a run's settings hold beside the ids that it is given and its seed."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of run."""

    name: str
    title: str
    by_hand: ByHand | None = None
    button: Button | None = None
    """None where an owner can't start it: a round does, or another stage."""
    charts: tuple[Chart, ...] = ()
    """The first is the large one."""
    figures: tuple[str, ...] = ()
    """Those of its result that pages have words for: names in `figures.SHARED`."""
    own_figures: Mapping[str, Words] = field(default_factory=dict)
    """Words for what no other stage has."""
    fills_disk: bool = False
    """Whether it waits, and is interrupted, while the disk has too little room."""
    pairs_wait: bool = False
    """Whether people's next pairs follow it outside of rounds: they are made without it where it ended in vain."""


@dataclass(frozen=True, kw_only=True)
class WorkerStage(Stage):
    """A stage that the worker does by itself, in the transaction that also finishes its run."""

    perform: Callable[[Work], Awaitable[Json]]
    """The result. Raises DomainError in words."""


@dataclass(frozen=True)
class End:
    """How a stage ended that says it itself: `error` is why in vain, in one line.

    `leftovers` are files that nothing needs once the run is over, relative to the home folder.
    """

    result: Json
    error: str | None = None
    leftovers: tuple[str, ...] = ()


class Watch(Protocol):
    """Who looks on while a worker does a long stage."""

    def tell(self, done: int, total: int, phase: str) -> None:
        """How far it is."""

    def require_wanted(self) -> None:
        """Raises what ends the stage when it isn't to go on; all that it wrote is taken back then."""


@dataclass(frozen=True, kw_only=True)
class WatchedStage(Stage):
    """A stage that the worker does by itself, too, but that takes long: it tells how far it is, and can be cancelled.

    All of it is one transaction, which ends with the run. Taken up again, it starts anew.
    """

    perform: Callable[[Work, Watch], Awaitable[End]]
    """Raises DomainError in words."""


@dataclass(frozen=True, kw_only=True)
class LongStage(Stage):
    """A stage that the worker does by itself over many transactions, while it keeps the run's lease."""

    perform: Callable[[Hold], Awaitable[Ending | None]]
    """None when it was interrupted; what it stored until then stays, and the next attempt goes on from there. Raises
    DomainError in words where no attempt would help."""


@dataclass(frozen=True, kw_only=True)
class TrainingStage(Stage):
    """A stage that a process of `python -m training NAME` does, over files."""

    fills_disk: bool = True
    makes: ModelKind | None = None
    gather: Callable[[Work], Awaitable[Inputs]]
    """Raises Invalid in words where the project has not what the stage reads."""
    run_settings: RunSettings
    take_over: Callable[[Work, Outcome], Awaitable[Next | None]]
    """Put what was made into the database; what is to follow."""
    leaves: tuple[str, type[Record]] | None = None
    """A file of records beside the result that `take_over` reads."""
    usual: tuple[Usual, ...] = ()
    """The settings that its page shows first."""
    defaults: Json = field(default_factory=dict)
    """What the settings of a round hold for it unless somebody says otherwise."""
