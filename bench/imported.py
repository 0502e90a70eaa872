"""The whole loop on imported comparisons: from a file of hh-rlhf transcripts to new pairs by a policy that learned.

    python -m bench.imported FILE [--labels 200] [--home DIR]

On a site of its own: import, SFT on the chosen responses, a reward model on the imported judgements with its accuracy
on prompts that it never saw, responses of the policy to those prompts, judgements through the annotator's page, and a
round that retrains on both kinds and runs PPO. Nobody knows a gold rule for such prompts, so the simulated annotator
prefers the response with more different words; what is shown is the way, and the reward model's accuracy on what people
said. Prints one JSON object.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import create_engine, session_factory, transaction
from app.db.tables import Completion, ModelVersion, Round, Run, Task, TaskCompletion
from app.services.loop import round_rows
from app.services.projects import projects
from app.simulation.annotator import SimulatedAnnotator
from app.simulation.loop import invite
from app.simulation.page import SeenTask
from app.simulation.site import Site, running_site

SLUG = "imported"
POLL_SECONDS = 1.0

T = TypeVar("T")


class Imported:
    def __init__(self, site: Site, labels: int) -> None:
        self._site, self._labels = site, labels
        self._engine = create_engine(site.database_url, pool_size=2)
        self._sessions = session_factory(self._engine)
        self.seconds: dict[str, float] = {}

    async def turn(self, file: Path) -> dict[str, object]:
        try:
            print(self._plumbline("import", str(file), "-p", SLUG, "--create", "--skip-bad", "--demonstrate"))
            await self._do(self._arrange)
            await self._run("sft")
            reward = await self._run("reward")
            self._say_accuracy("imported judgements alone", reward)
            round_ = await self._round()
            again = await self._do(lambda db: _newest(db, "reward"))
            self._say_accuracy("with the page's judgements", again)
            evaluated = await self._do(lambda db: _newest(db, "evaluate"))
            return {
                "reward": _accuracy(reward),
                "reward_after_the_round": _accuracy(again),
                "policy": {name: (evaluated.result or {}).get(name) for name in ("kl", "length_ratio", "eos_rate")},
                "round": {"status": round_.status, "reason": round_.reason},
                "open_pairs_by_the_new_policy": await self._do(lambda db: _open_pairs(db, round_.policy_id)),
                "seconds": self.seconds,
            }
        finally:
            await self._engine.dispose()

    def _plumbline(self, *arguments: str) -> str:
        environment = {**os.environ, "PLUMBLINE_HOME": str(self._site.home), "DATABASE_URL": self._site.database_url}
        command = [str(Path(sys.executable).with_name("plumbline")), *arguments]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    async def _arrange(self, db: AsyncSession) -> None:
        """One round, and a reward model goes on to PPO even if it is no better than a coin, which its gate refuses."""
        project = await projects.named(db, SLUG)
        project.opens_next_round = False
        project.round_settings = {"first_policy_gate": {"unigram_gain": 0.0}, "reward_gate": {"accuracy_low": 0.0}}

    async def _run(self, stage: str) -> Run:
        self._plumbline("run", "start", stage, "-p", SLUG)
        while (found := await self._do(lambda db: _newest(db, stage))).state in ("queued", "running"):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        if found.state != "succeeded":
            raise SystemExit(f"{stage} {found.state}: {found.error}")
        self._note(stage, found)
        return found

    async def _round(self) -> Round:
        self._plumbline("round", "start", "-p", SLUG, "--labels", str(self._labels))
        await self._until(lambda found: found.step == "label")
        began = time.monotonic()
        link = await self._do(self._invite)
        async with httpx.AsyncClient(base_url=self._site.url, timeout=30) as client:
            annotator = SimulatedAnnotator(client, SLUG, more_different_words)
            await annotator.sign_in(link)
            for _ in range(self._labels):
                pair = await annotator.next_task()
                while pair is None:
                    await asyncio.sleep(POLL_SECONDS)
                    pair = await annotator.next_task()
                await annotator.judge(pair)
        self.seconds["label"] = round(time.monotonic() - began, 1)
        ended = await self._until(lambda found: found.status != "active")
        for step, run in (await self._steps(ended.id)).items():
            self._note(f"round {step}", run)
        return ended

    async def _steps(self, round_id: int) -> dict[str, Run]:
        return await self._do(lambda db: round_rows.step_runs(db, round_id))

    async def _invite(self, db: AsyncSession) -> str:
        return await invite(db, await projects.named(db, SLUG), "Simulated")

    async def _until(self, is_so: Callable[[Round], bool]) -> Round:
        while True:
            found = await self._do(lambda db: _latest_round(db))
            if is_so(found):
                return found
            for run in (await self._steps(found.id)).values():
                if run.state == "failed":
                    raise SystemExit(f"{run.stage}: {run.error}")
            await asyncio.sleep(POLL_SECONDS)

    async def _do(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async with transaction(self._sessions) as db:
            return await work(db)

    def _note(self, what: str, run: Run) -> None:
        if run.started_at and run.finished_at:
            self.seconds[what] = round((run.finished_at - run.started_at).total_seconds(), 1)

    def _say_accuracy(self, what: str, run: Run) -> None:
        print(f"Reward model, {what}: {_accuracy(run)}", flush=True)


def more_different_words(task: SeenTask) -> dict[str, str]:
    a, b = (len(set(text.split())) for text in task.responses)
    return {"choice": str(4 if a == b else 2 if a > b else 6)}


def _accuracy(run: Run) -> dict[str, object]:
    figures = run.result or {}
    names = ("train_pairs", "validation_pairs", "pairs_dropped", "method", "accuracy", "accuracy_low", "accuracy_high")
    return {name: figures.get(name) for name in names}


async def _newest(db: AsyncSession, stage: str) -> Run:
    return (await db.scalars(select(Run).where(Run.stage == stage).order_by(Run.id.desc()).limit(1))).one()


async def _latest_round(db: AsyncSession) -> Round:
    return (await db.scalars(select(Round).order_by(Round.id.desc()).limit(1))).one()


async def _open_pairs(db: AsyncSession, policy_id: int | None) -> int:
    """Open tasks of which both sides are by the policy, or by the one in use when the round brought none."""
    if policy_id is None:
        policy_id = await db.scalar(select(ModelVersion.id).where(ModelVersion.promoted_at.is_not(None)))
    sides = (
        select(TaskCompletion.task_id)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .where(Completion.model_version_id == policy_id)
        .group_by(TaskCompletion.task_id)
        .having(func.count() == 2)
    )
    return await db.scalar(select(func.count()).select_from(Task).where(Task.state == "open", Task.id.in_(sides))) or 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="plumbline-imported-") as temporary,
        running_site(arguments.home or Path(temporary), {"PLUMBLINE_STARTER": "false"}) as site,
    ):
        figures = asyncio.run(Imported(site, arguments.labels).turn(arguments.file))
    print(json.dumps({"bench": "imported", "labels": arguments.labels, **figures}))


if __name__ == "__main__":
    main()
