"""What a training stage reads: its config and JSONL files, written from the database into the run's folder.

Written once per run and in full or not at all, so that a resumed attempt reads the same, and an attempt that was taken
for dead can't change what the next one reads.
"""

import asyncio
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, ModelVersion, Project, Prompt, Run
from app.errors import Invalid
from app.jobs.context import WorkerContext
from app.services.data import datasets
from app.services.loop import artifacts, leases
from training.records import Message, PromptRecord, Record, write_records

FOLDER = "inputs"
CONFIG = "config.json"

# What DPO's reference says of a dataset version, by the digests of both: shared by the runs of a home folder, and
# computed again if it is deleted.
REFERENCE_CACHE = "cache/reference"

# Runs of one project differ in their seeds by their ids, projects by their own.
SEED_STRIDE = 1_000_000

# Enough to tell a policy that got better from one that collapsed, at the price of one rollout; and to see signs of
# reward hacking.
PPO_HELD_OUT_PROMPTS = 64

T = TypeVar("T")


@dataclass(frozen=True)
class StageInputs:
    """`config` names the files relative to itself."""

    config: Json
    files: Mapping[str, Sequence[Record]]


async def prepare(context: WorkerContext, run: Run, token: int) -> Path:
    """The run's config, written now unless an earlier attempt has. Raises Invalid in words, LeaseLost."""
    assert run.folder is not None
    folder = context.home / run.folder / FOLDER
    if not (folder / CONFIG).exists():
        inputs = await context.database.run(lambda db: _gather(db, context.home, run.id, token))
        await asyncio.to_thread(_write, folder, inputs, token)
    return folder / CONFIG


def discard(context: WorkerContext, run: Run) -> None:
    """Forget the inputs, so that a retry writes them anew."""
    assert run.folder is not None
    shutil.rmtree(context.home / run.folder / FOLDER, ignore_errors=True)


def seed_of(run: Run) -> int:
    return int(run.settings.get("seed", 0)) * SEED_STRIDE + run.id


def _write(folder: Path, inputs: StageInputs, token: int) -> None:
    temporary = folder.with_name(f".{FOLDER}-{token}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, records in inputs.files.items():
            write_records(temporary / name, records)
        (temporary / CONFIG).write_text(json.dumps(inputs.config, indent=1) + "\n", encoding="utf-8")
        temporary.rename(folder)
    except OSError:
        if not (folder / CONFIG).exists():  # else another attempt was faster, with the same
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


async def _gather(db: AsyncSession, home: Path, run_id: int, token: int) -> StageInputs:
    run = await leases.hold(db, run_id, token)
    project = await db.get_one(Project, run.project_id)
    rng = random.Random(seed_of(run))
    match run.stage:
        case "sft":
            config, files = await _sft(db, home, project, run)
        case "reward" | "cost":
            config, files = await _reward(db, home, project, run)
        case "dpo":
            config, files = await _dpo(db, home, project, run), {}
        case "ppo":
            config = await _models(db, home, run, "policy", "reference", "reward", "cost", "held_out_reward")
            files = await _ppo(db, run, rng)
            if config["cost"] is not None and "held_out_prompts" in files:
                # The last policy may lie on either side of the limit, as the price of cost happens to stand.
                config["publish"] = "best"
        case "generate":
            prompts = _required(await _prompts(db, run.project_id, "train", "validation"), "prompt to answer")
            config = await _models(db, home, run, "policy")
            files = {"prompts": _sample(prompts, run.settings["prompts"], rng)}
        case "evaluate":
            prompts = await _prompts(db, run.project_id, "validation") or await _prompts(db, run.project_id, "train")
            config = await _models(db, home, run, "policy", "reference", "reward", "cost")
            files = {"prompts": _sample(_required(prompts, "prompt to answer"), run.settings["prompts"], rng)}
        case stage:
            raise AssertionError(f"{stage} is no training stage")
    names = {role: f"{role}.jsonl" for role in files}
    config = {**config, **names, **run.settings["config"], "seed": seed_of(run)}
    return StageInputs(config, {names[role]: records for role, records in files.items()})


async def _sft(db: AsyncSession, home: Path, project: Project, run: Run) -> tuple[Json, dict[str, Sequence[Record]]]:
    dataset = await datasets.cut_demonstrations(db, project, home=home, run_id=run.id)
    run.settings = {**run.settings, "dataset_version_id": dataset.id}
    held_out = await datasets.demonstrations(db, run.project_id, "validation")
    config = {"model": run.settings["model"], "demonstrations": str(home / dataset.path)}
    return config, {"held_out": held_out} if held_out else {}


async def _reward(db: AsyncSession, home: Path, project: Project, run: Run) -> tuple[Json, dict[str, Sequence[Record]]]:
    """Of a reward model, or of a cost model, which is compared with none before it."""
    preferences = await _preferences(db, home, project, run)
    roles = ("policy", "previous_reward") if run.stage == "reward" else ("policy",)
    config = await _models(db, home, run, *roles)
    prompts = _required(await _prompts(db, run.project_id, "train"), "prompt to train on")
    files: dict[str, Sequence[Record]] = {"prompts": prompts}
    if run.settings["config"].get("normalise_over") == "demonstrations":
        shown = _required(await datasets.demonstrations(db, run.project_id, "train"), "demonstration to normalise over")
        files["demonstrations"] = shown
    return {**config, "preferences": str(preferences)}, files


async def _dpo(db: AsyncSession, home: Path, project: Project, run: Run) -> Json:
    preferences = await _preferences(db, home, project, run)
    config = await _models(db, home, run, "policy", "reference")
    return {**config, "preferences": str(preferences), "reference_cache": str(home / REFERENCE_CACHE)}


async def _preferences(db: AsyncSession, home: Path, project: Project, run: Run) -> Path:
    """The run's dataset version; a single run cuts one."""
    dataset_version_id = run.settings["dataset_version_id"]
    if dataset_version_id is None:
        dataset = await datasets.cut_preferences(db, project, home=home, run_id=run.id)
        run.settings = {**run.settings, "dataset_version_id": dataset.id}
    else:
        dataset = await db.get_one(DatasetVersion, dataset_version_id)
    return datasets.verify(dataset, home)


async def _ppo(db: AsyncSession, run: Run, rng: random.Random) -> dict[str, Sequence[Record]]:
    """Prompts, and what the settings ask for beside them."""
    prompts = _required(await _prompts(db, run.project_id, "train"), "prompt to train on")
    files: dict[str, Sequence[Record]] = {"prompts": prompts}
    settings = run.settings["config"]
    held_out = await _prompts(db, run.project_id, "validation")
    if settings.get("publish") == "best":
        _required(held_out, "prompt to compare policies on")
    if held_out:
        files["held_out_prompts"] = _sample(held_out, PPO_HELD_OUT_PROMPTS, rng)
    if settings.get("ptx_coefficient"):
        imitated = _required(await datasets.demonstrations(db, run.project_id, "train"), "demonstration to learn from")
        files["demonstrations"] = imitated
    return files


async def _models(db: AsyncSession, home: Path, run: Run, *roles: str) -> dict[str, Any]:
    """Folders of the versions that the run works on, by role."""
    folders: dict[str, Any] = {}
    for role in roles:
        version_id = run.settings.get(f"{role}_id")
        folders[role] = None
        if version_id is not None:
            version = await db.get_one(ModelVersion, version_id)
            artifacts.require_registered(home / version.folder, version.manifest_sha256)
            folders[role] = str(home / version.folder)
    return folders


async def _prompts(db: AsyncSession, project_id: int, *splits: str) -> list[PromptRecord]:
    rows = await db.execute(
        select(Prompt.id, Prompt.messages)
        .where(Prompt.project_id == project_id, Prompt.split.in_(splits))
        .order_by(Prompt.id)
    )
    return [PromptRecord(str(prompt_id), _conversation(messages)) for prompt_id, messages in rows]


def _conversation(messages: list[Json]) -> tuple[Message, ...]:
    return tuple(Message.from_json(message) for message in messages)


def _sample(prompts: list[PromptRecord], count: int, rng: random.Random) -> list[PromptRecord]:
    """At most `count` of them, in their own order."""
    if len(prompts) <= count:
        return prompts
    return [prompts[index] for index in sorted(rng.sample(range(len(prompts)), count))]


def _required(records: list[T], noun: str) -> list[T]:
    if not records:
        raise Invalid(f"This project has no {noun}.")
    return records
