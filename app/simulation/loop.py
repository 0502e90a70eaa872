"""The closed loop on a site of its own: simulated people judge, the worker trains, and gold says what came of it."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, create_engine, session_factory, transaction
from app.db.tables import DatasetVersion, ModelVersion, Project, Prompt, Round, Run, Task, User
from app.errors import DomainError
from app.services import accounts
from app.services.loop import round_rows
from app.services.loop.asking.selection_settings import RuleName, SelectionSettings
from app.services.loop.models import models
from app.services.loop.rounds import rounds
from app.services.loop.settings import settable
from app.services.projects import projects
from app.services.starter import SLUG
from app.simulation.crowd import CrowdReport, CrowdSettings, play
from app.simulation.found import Found, found_of
from app.simulation.judge import Judge, Verdict
from app.simulation.kinds import Kind
from app.simulation.site import Site, running_site

POLL_SECONDS = 0.5
# The worker chooses the next pairs meanwhile, and on a busy machine that takes its time.
PATIENCE_SECONDS = 300.0

Weigh = Literal["auto", "always", "never"]


class LoopError(DomainError):
    """The loop can't go on; the message says what failed and where its log is."""


class RoundRefusedError(LoopError):
    """A gate ended a round before it had a policy. `people` is what was found of them all the same."""

    def __init__(self, number: int, reason: str, people: tuple[Found, ...]) -> None:
        super().__init__(f"round {number} ended without a policy: {reason}")
        self.people = people


@dataclass(frozen=True)
class LoopSettings:
    rounds: int
    labels: int
    seed: int
    noise: float
    home: Path
    annotators: int = 2
    kinds: tuple[Kind, ...] = ("noisy",)
    votes: int = 1
    """People on each pair that is shared."""
    shared: float = 1.0
    """Of the pairs; the others are judged once."""
    weigh: Weigh = "auto"
    rule: RuleName = SelectionSettings().rule


@dataclass(frozen=True)
class RoundReport:
    """One turn of the loop. Shares are of 1, KL in nats per response, seconds by step of the round.

    `pairs` were judged in it. `weighs`: its reward model learnt from soft labels, by how far people are believed;
    `people` is what was found of them with all that they had said by its end.
    """

    round: int
    labels: int
    pairs: int
    reward_accuracy: float
    reward_accuracy_ci: tuple[float, float]
    gold_win_rate: float
    gold_win_rate_ci: tuple[float, float]
    win_rate_by_length_tercile: tuple[float, float, float]
    win_rate_on_unseen_topics: float
    win_rate_on_unseen_topics_ci: tuple[float, float]
    kl: float
    length_ratio: float
    eos_rate: float
    promoted: bool
    reason: str | None
    seconds: dict[str, float]
    weighs: bool
    people: tuple[Found, ...]


def report_json(seed: int, reports: list[RoundReport]) -> dict[str, Any]:
    return {"seed": seed, "rounds": [asdict(report) for report in reports]}


def run_loop(settings: LoopSettings, tell: Callable[[str], None]) -> list[RoundReport]:
    """All rounds on a fresh site. Raises LoopError, RoundRefusedError among them, SiteError or JudgeError."""
    began = time.monotonic()
    environment = {"PLUMBLINE_STARTER_SEED": str(settings.seed)}
    with running_site(settings.home, environment) as site:
        tell(f"The site runs at {site.url}; its data are in {settings.home}.")
        return asyncio.run(Loop(settings, site, tell, began).turn())


@dataclass(frozen=True)
class TurnedRound:
    """A round that has ended and is yet to be judged."""

    number: int
    round: Round
    crowd: CrowdReport
    policy: ModelVersion
    reward: ModelVersion
    reference: ModelVersion
    held_out: dict[str, str]
    seconds: dict[str, float]
    pairs: int
    weighs: bool
    people: tuple[Found, ...]


class Loop:
    def __init__(self, settings: LoopSettings, site: Site, tell: Callable[[str], None], began: float) -> None:
        self._settings = settings
        self._site = site
        self._tell = tell
        self._began = began
        self._engine = create_engine(site.database_url, pool_size=2)
        self._sessions: SessionFactory = session_factory(self._engine)
        self._draw = random.Random(settings.seed)
        self._people: dict[int, tuple[str, Kind]] = {}

    async def turn(self) -> list[RoundReport]:
        try:
            project_id = await self._prepare()
            judging: list[asyncio.Task[RoundReport]] = []
            for number in range(1, self._settings.rounds + 1):
                turned = await self._round(project_id, number)
                # While the next round waits for labels, the machine has time to judge this one.
                judging.append(asyncio.create_task(self._judge(turned)))
            return await asyncio.gather(*judging)
        finally:
            await self._engine.dispose()

    async def _prepare(self) -> int:
        """Wait for the SFT policy and its first responses; rounds are opened here, one by one."""
        async with transaction(self._sessions) as db:
            project_id = (await db.scalars(select(Project.id).where(Project.slug == SLUG))).one()
            project = await db.get_one(Project, project_id)
            project.opens_next_round = False
            project.overlap = self._settings.votes if self._settings.shared == 1 else 1
            settable.change(project, settable.group_named("people"), {"weigh": self._settings.weigh})
            settable.change(project, settable.group_named("selection"), {"rule": self._settings.rule})
            self._people = await self._invite(db, project)
        for stage in ("sft", "generate"):
            seconds = await self._wait_for_run(project_id, stage)
            self._say(f"{stage} took {seconds:.0f} s")
        return project_id

    async def _round(self, project_id: int, number: int) -> TurnedRound:
        round_id = await self._open(project_id)
        crowd, label_seconds = await self._label(round_id)
        await self._wait_for_round(round_id, "generate and done", lambda found: found.status != "active")
        async with transaction(self._sessions) as db:
            found = await db.get_one(Round, round_id)
            steps = await round_rows.step_runs(db, round_id)
            reference = await models.reference_policy(db, project_id)
            policy = await db.get(ModelVersion, found.policy_id) if found.policy_id else None
            reward = await db.get(ModelVersion, found.reward_id) if found.reward_id else None
            held_out = await self._held_out(db, project_id)
            pairs, weighs = await _learnt_from(db, found, reward)
            project = await db.get_one(Project, project_id)
            people = await found_of(db, project, self._site.home, self._people, noise=self._settings.noise)
        if policy is None or reward is None or reference is None:
            raise RoundRefusedError(number, found.reason or found.status, people)
        seconds = {"label": round(label_seconds, 1), **{step: _seconds(run) for step, run in steps.items()}}
        self._say(f"round {number} {found.status}")
        return TurnedRound(number, found, crowd, policy, reward, reference, held_out, seconds, pairs, weighs, people)

    async def _judge(self, turned: TurnedRound) -> RoundReport:
        began = time.monotonic()
        judge = Judge(self._settings.home / "judge", turned.held_out, seed=self._settings.seed)
        verdict = await asyncio.to_thread(
            judge.verdict,
            turned.number,
            policy=self._folder(turned.policy),
            reference=self._folder(turned.reference),
            reward=self._folder(turned.reward),
        )
        seconds = {**turned.seconds, "judge": round(time.monotonic() - began, 1)}
        promoted = turned.policy.promoted_at is not None
        report = _report(turned, verdict, promoted=promoted, seconds=seconds)
        self._say(f"round {turned.number}: gold win rate {report.gold_win_rate:.3f}")
        return report

    async def _open(self, project_id: int) -> int:
        async with transaction(self._sessions) as db:
            project = await db.get_one(Project, project_id)
            opened = await rounds.start(db, None, project, label_target=self._settings.labels)
            round_id = opened.id
        await self._wait_for_round(round_id, "select", lambda found: found.step != "select")
        return round_id

    async def _label(self, round_id: int) -> tuple[CrowdReport, float]:
        """Simulated people give exactly as many judgements as the round asked for."""
        given = self._settings
        settings = CrowdSettings(
            self._site.url, SLUG, given.labels, given.noise, given.seed, given.kinds, PATIENCE_SECONDS
        )
        async with transaction(self._sessions) as db:
            links = [await sign_in_path(db, user_id) for user_id in self._people]
        began = time.monotonic()
        sharing = asyncio.create_task(self._share(round_id))
        try:
            crowd = await play(links, settings)
        finally:
            sharing.cancel()
        if crowd.judgements < self._settings.labels:
            raise LoopError(f"only {crowd.judgements} of {settings.judgements} labels came in: {crowd.error_messages}")
        await self._wait_for_round(round_id, "label", lambda found: found.step not in ("select", "label"))
        return crowd, time.monotonic() - began

    async def _share(self, round_id: int) -> None:
        """Have several people judge a share of the round's pairs, as these are made; until it is cancelled."""
        given, seen = self._settings, 0
        while 0 < given.shared < 1:
            async with transaction(self._sessions) as db:
                seen = await share(db, round_id, after=seen, votes=given.votes, share_=given.shared, draw=self._draw)
            await asyncio.sleep(POLL_SECONDS)

    async def _invite(self, db: AsyncSession, project: Project) -> dict[int, tuple[str, Kind]]:
        """The people of all rounds: name and kind by id."""
        found = {}
        for place in range(self._settings.annotators):
            name = f"Simulated {place}"
            user_id = await add_simulated(db, project, name)
            found[user_id] = (name, self._settings.kinds[place % len(self._settings.kinds)])
        return found

    async def _wait_for_run(self, project_id: int, stage: str) -> float:
        while True:
            async with transaction(self._sessions) as db:
                run = await db.scalar(
                    select(Run).where(Run.project_id == project_id, Run.stage == stage).order_by(Run.id).limit(1)
                )
            if run is not None and run.state == "succeeded":
                return _seconds(run)
            if run is not None and run.state in ("failed", "cancelled"):
                folder = self._site.home / (run.folder or "")
                raise LoopError(f"{stage} {run.state}: {run.error}; its log is in {folder}")
            await asyncio.sleep(POLL_SECONDS)

    async def _wait_for_round(self, round_id: int, what: str, done: Callable[[Round], bool]) -> None:
        while True:
            async with transaction(self._sessions) as db:
                found = await db.get_one(Round, round_id)
                broken = [run for run in (await round_rows.step_runs(db, round_id)).values() if run.state == "failed"]
            if done(found):
                return
            if broken:
                raise LoopError(f"{what}: run {broken[0].id} ({broken[0].stage}) failed: {broken[0].error}")
            await asyncio.sleep(POLL_SECONDS)

    async def _held_out(self, db: AsyncSession, project_id: int) -> dict[str, str]:
        found = await db.scalars(
            select(Prompt).where(Prompt.project_id == project_id, Prompt.split == "held_out").order_by(Prompt.id)
        )
        return {str(prompt.id): prompt.messages[-1]["content"] for prompt in found}

    def _folder(self, version: ModelVersion) -> Path:
        return self._site.home / version.folder

    def _say(self, what: str) -> None:
        self._tell(f"[{time.monotonic() - self._began:5.0f} s] {what}")


async def invite(db: AsyncSession, project: Project, name: str) -> str:
    """A new simulated annotator of the project; the path of a one-time sign-in link."""
    return await sign_in_path(db, await add_simulated(db, project, name))


async def share(db: AsyncSession, round_id: int, *, after: int, votes: int, share_: float, draw: random.Random) -> int:
    """Have `votes` people judge some of the round's pairs made since the task `after`; the last of these pairs."""
    made = await db.scalars(select(Task.id).where(Task.round_id == round_id, Task.id > after).order_by(Task.id))
    task_ids = list(made)
    shared = [task_id for task_id in task_ids if draw.random() < share_]
    await db.execute(update(Task).where(Task.id.in_(shared)).values(quota=votes))
    return max(task_ids, default=after)


async def add_simulated(db: AsyncSession, project: Project, name: str) -> int:
    """A new simulated annotator of the project; their id."""
    user: User = await accounts.create_user(db, name=name, is_simulated=True)
    await projects.add_member(db, project, user.id, "annotator")
    return user.id


async def sign_in_path(db: AsyncSession, user_id: int) -> str:
    """Where somebody signs in once."""
    return f"/sign-in/link/{await accounts.create_sign_in_link(db, user_id)}"


async def _learnt_from(db: AsyncSession, round_: Round, reward: ModelVersion | None) -> tuple[int, bool]:
    """How many of the round's pairs were judged, and whether its reward model learnt from soft labels."""
    judged = select(func.count()).select_from(Task).where(Task.round_id == round_.id, Task.judged > 0)
    version_id = reward.dataset_version_id if reward else None
    version = await db.get(DatasetVersion, version_id) if version_id else None
    return await db.scalar(judged) or 0, version is not None and "believed" in version.settings


def _seconds(run: Run) -> float:
    if run.started_at is None or run.finished_at is None:
        return 0.0
    return round((run.finished_at - run.started_at).total_seconds(), 1)


def _report(turned: TurnedRound, verdict: Verdict, *, promoted: bool, seconds: dict[str, float]) -> RoundReport:
    return RoundReport(
        round=turned.number,
        labels=turned.crowd.judgements,
        pairs=turned.pairs,
        reward_accuracy=verdict.reward_accuracy,
        reward_accuracy_ci=verdict.reward_accuracy_ci,
        gold_win_rate=verdict.gold_win_rate.rate,
        gold_win_rate_ci=verdict.gold_win_rate.interval,
        win_rate_by_length_tercile=verdict.gold_win_rate.by_length_tercile,
        win_rate_on_unseen_topics=verdict.unseen_topics.rate,
        win_rate_on_unseen_topics_ci=verdict.unseen_topics.interval,
        kl=verdict.kl,
        length_ratio=verdict.length_ratio,
        eos_rate=verdict.eos_rate,
        promoted=promoted,
        reason=turned.round.reason,
        seconds=seconds,
        weighs=turned.weighs,
        people=turned.people,
    )
