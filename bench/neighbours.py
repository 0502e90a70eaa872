"""What can be at work beside people: PPO as a worker runs it, PPO of one's own model, files in and versions out."""

import asyncio
import json
import time
from pathlib import Path
from typing import Protocol

from app.jobs.launch import Child, Launch, LocalProcess
from app.simulation.site import Site
from bench.bulk_io import pair
from bench.ppo_world import FASTEST, SIZES, our_settings, write_world
from bench.real_model import SETTINGS, SLUG, Doors, Watch, adopt, pairs_of, promote, run_of, train

UPDATES = 2_000
"""More than there is time for."""
START_SECONDS = 600.0
STOP_SECONDS = 120.0
LOOK_SECONDS = 0.2


class Neighbour(Protocol):
    """Does its work from `start` to `stop`, over and over."""

    async def start(self) -> None:
        """Returns once it is at work. Raises SystemExit with its last words where it doesn't come to that."""

    def done(self) -> int:
        """How much it has done since it was started, in steps or rows."""

    async def stop(self) -> None:
        """Returns once nothing of it is at work."""


class Training:
    """PPO that a worker would run: the same program, fence and environment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        world = write_world(folder, SIZES["1.6M"], seed=0, updates=UPDATES)
        self._config = folder / "run.json"
        self._config.write_text(json.dumps(our_settings(world, FASTEST, seed=0, updates=UPDATES)), encoding="utf-8")
        self._attempt = 0
        self._child: Child | None = None

    @property
    def _out(self) -> Path:
        return self._folder / f"run-{self._attempt}"

    async def start(self) -> None:
        self._attempt += 1
        log = self._folder / "log"
        self._child = await LocalProcess().start(Launch("ppo", self._config, self._out, self._attempt, log))
        deadline = time.monotonic() + START_SECONDS
        while self.done() < 2:
            if time.monotonic() > deadline:
                raise SystemExit(log.read_text(errors="replace")[-2000:] or "PPO did not start")
            await asyncio.sleep(LOOK_SECONDS)

    def done(self) -> int:
        return _lines(self._out / "metrics.jsonl")

    async def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                await asyncio.wait_for(self._child.wait(), STOP_SECONDS)
            except TimeoutError:
                self._child.kill()
                await self._child.wait()
            self._child = None


class OwnModel:
    """PPO by adapters of a model from a directory, brought and started through the doors that its owner would use."""

    def __init__(self, site: Site, model: Path) -> None:
        self._doors = Doors(site)
        watch = Watch(site.home)
        try:
            adopt(self._doors, watch, model, list(pairs_of(None)))
            self._doors.run("settings", "set", "reward", *SETTINGS["reward"], "--project", SLUG)
            train(self._doors, watch, "reward")
        finally:
            watch.end()
        promote(self._doors, "reward")
        changed = [setting for setting in SETTINGS["ppo"] if not setting.startswith("iterations=")]
        self._doors.run("settings", "set", "ppo", *changed, f"iterations={UPDATES}", "--project", SLUG)
        self._run = 0

    async def start(self) -> None:
        self._doors.run("run", "start", "ppo", "--project", SLUG)
        self._run = int(run_of(self._doors, "ppo")["id"])
        deadline = time.monotonic() + START_SECONDS
        while not self.done():
            if time.monotonic() > deadline or not self._is_under_way():
                raise SystemExit(self._doors.run("run", "log", str(self._run)))
            await asyncio.sleep(1)

    def done(self) -> int:
        return _lines(self._doors.home / "runs" / str(self._run) / "metrics.jsonl")

    async def stop(self) -> None:
        if self._run:
            self._doors.run("run", "cancel", str(self._run))
            while self._is_under_way():  # noqa: ASYNC110 - another process ends it
                await asyncio.sleep(LOOK_SECONDS)

    def _is_under_way(self) -> bool:
        return run_of(self._doors, "ppo")["state"] in ("queued", "running")


class Files:
    """One after the other, by REST and a worker: an import of pairs that nobody has seen, and a dataset version of all
    that came in."""

    ROWS = 20_000
    SLUG = "files"

    def __init__(self, site: Site, times: int) -> None:
        """`times` is how often it will be started at most."""
        self._doors = Doors(site)
        self._doors.run("create-user", "Keeper", "--admin")
        self._doors.run("project", "create", "Files", "--owner", "Keeper", "--slug", self.SLUG)
        self._doors.sign_in("Keeper")
        self._files = iter([self._file(number) for number in range(4 * times)])
        self._work: asyncio.Task[None] | None = None
        self._done = 0

    async def start(self) -> None:
        self._done = 0
        self._work = asyncio.create_task(self._go_on())
        await asyncio.sleep(LOOK_SECONDS)

    def done(self) -> int:
        return self._done * self.ROWS

    async def stop(self) -> None:
        """What it has begun is let end, so that the next start finds nothing at work."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            await self._over()
            self._work = None

    async def _go_on(self) -> None:
        path = f"/projects/{self.SLUG}"
        for file in self._files:
            sent = self._doors.api.post(f"{path}/imports", params={"name": "rows.jsonl"}, content=file)
            self._doors.post(f"{path}/imports/{sent.raise_for_status().json()['id']}/load", {})
            await self._over()
            self._doors.post(f"{path}/datasets")
            await self._over()
            self._done += 1
        raise SystemExit("there are no more files to bring")

    async def _over(self) -> None:
        """Returns once no run of the project is under way. Raises SystemExit if the last one failed."""
        while True:
            runs = self._doors.get(f"/projects/{self.SLUG}/runs", limit=1)["items"]
            if not runs or runs[0]["state"] == "succeeded":
                return
            if runs[0]["state"] not in ("queued", "running"):
                raise SystemExit(f"{runs[0]['stage']}: {runs[0]['error']}")
            await asyncio.sleep(LOOK_SECONDS)

    def _file(self, number: int) -> bytes:
        return b"".join(json.dumps(pair(place, number)).encode() + b"\n" for place in range(self.ROWS))


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
