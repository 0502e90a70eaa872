"""What the files of the stages share."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, Gate, Metric, ModelVersion, Project, Prompt, ServedModel
from app.db.tables.content import Split
from app.errors import Conflict, Invalid
from app.services import conditions
from app.services.data import datasets
from app.services.loop.asking import annotators, selection
from app.services.loop.gates import gates
from app.services.loop.gates.gate_rule import Rule
from app.services.loop.models import artifacts, models
from app.services.loop.stages.stage import Next, Outcome, Settings, Work
from app.services.served.client import Spent
from app.services.served.settings import Limits
from training.records import Message, PromptRecord

# What a reference says of a dataset version, by the digests of both: shared by the runs of a home folder, and computed
# again if it is deleted.
REFERENCE_CACHE = "cache/reference"

T = TypeVar("T")


async def reference(db: AsyncSession, project: Project) -> ModelVersion:
    """The policy that others are held near. Raises Conflict."""
    found = await models.reference_policy(db, project.id)
    if found is None:
        raise Conflict("There is no policy in use yet: train one first.")
    return found


async def policy_in_use(db: AsyncSession, project: Project) -> ModelVersion:
    """Raises Conflict."""
    found = await models.promoted(db, project.id)
    if found is None:
        raise Conflict("There is no policy in use yet: train one first.")
    return found


async def to_use(db: AsyncSession, project: Project, kind: Literal["reward", "cost"]) -> ModelVersion:
    """The model in use, or the newest one when none is. Raises Conflict."""
    model = await models.promoted(db, project.id, kind) or await models.newest(db, project.id, kind)
    if model is None and kind == "cost":
        raise Conflict("There is no cost model yet: train one first.")
    if model is None:
        raise Conflict("There is no reward model yet: train one first.")
    return model


async def require_judgements(db: AsyncSession, project: Project) -> None:
    """Raises Conflict."""
    judged = exists().where(*conditions.labels_of(project.id))
    if not await db.scalar(select(judged)):
        raise Conflict("There is no judgement to learn from.")


def with_config(name: str, _project: Project, settings: Settings, _inputs: Json) -> Json:
    """The stage's own settings as they stand."""
    return {"config": settings.of_stage(name)}


async def model_folders(work: Work, *roles: str) -> dict[str, Any]:
    """Folders of the versions that the run works on, by role; None where it has none."""
    folders: dict[str, Any] = {}
    for role in roles:
        version_id = work.run.settings.get(f"{role}_id")
        folders[role] = None
        if version_id is not None:
            version = await work.db.get_one(ModelVersion, version_id)
            folder = await artifacts.at_hand(work.home, version.folder, version.manifest_sha256)
            artifacts.require_registered(folder, version.manifest_sha256)
            folders[role] = str(folder)
    return folders


async def dataset_of(work: Work) -> DatasetVersion:
    """The run's dataset version; a single run cuts one."""
    dataset_version_id = work.run.settings["dataset_version_id"]
    if dataset_version_id is not None:
        return await work.db.get_one(DatasetVersion, dataset_version_id)
    beliefs = await annotators.beliefs(work.db, work.project, work.home, work.settings.people.weigh)
    dataset = await datasets.cut_preferences(work.db, work.project, home=work.home, run_id=work.run.id, beliefs=beliefs)
    work.run.settings = {**work.run.settings, "dataset_version_id": dataset.id}
    return dataset


async def preferences(work: Work) -> Path:
    """The file of the run's dataset version, verified."""
    return datasets.verify(await dataset_of(work), work.home)


async def prompts(work: Work, *splits: Split) -> list[PromptRecord]:
    """Prompts of these splits that models may be asked about."""
    rows = await work.db.execute(
        select(Prompt.id, Prompt.messages).where(*conditions.askable_in(work.project.id, splits)).order_by(Prompt.id)
    )
    return [
        PromptRecord(str(prompt_id), tuple(Message.from_json(message) for message in messages))
        for prompt_id, messages in rows
    ]


async def answerable(work: Work, prompt_ids: Iterable[int]) -> set[int]:
    """The prompts that were not erased since the run read them; erasing one waits until this transaction ends."""
    there = select(Prompt.id).where(Prompt.id.in_(set(prompt_ids)), Prompt.erased_at.is_(None)).order_by(Prompt.id)
    return set(await work.db.scalars(there.with_for_update(read=True, key_share=True)))


async def served_model(work: Work) -> ServedModel:
    """The one that the run asks. Raises Conflict where that isn't what it was when the run was queued."""
    served = await work.db.get(ServedModel, work.run.settings["served_model_id"])
    if served is None or served.removed_at is not None:
        raise Conflict("The served model was removed.")
    if served.address != work.run.settings["address"]:
        raise Conflict("The served model has another address since this run was queued: start a new run.")
    return served


async def spent(work: Work, limits: Limits) -> Spent:
    """What earlier attempts have spent: the caps are the run's."""
    requests, tokens = (func.max(Metric.figures[name].as_integer()) for name in ("requests", "tokens"))
    row = (await work.db.execute(select(requests, tokens).where(Metric.run_id == work.run.id))).one()
    return Spent(limits, row[0] or 0, row[1] or 0)


def sample(work: Work, records: Sequence[T], count: int) -> Sequence[T]:
    """At most `count` of them, in their own order."""
    if len(records) <= count:
        return records
    return [records[index] for index in sorted(work.random().sample(range(len(records)), count))]


def required(records: Sequence[T], noun: str) -> Sequence[T]:
    """Raises Invalid where there is none."""
    if not records:
        raise Invalid(f"This project has no {noun}.")
    return records


async def register(work: Work, outcome: Outcome) -> ModelVersion:
    """Publish the model that the run has made and enter it as a candidate."""
    assert outcome.kind is not None
    assert outcome.manifest is not None
    artifacts.move(outcome.source, outcome.target)
    made_from = work.run.settings
    return await models.register(
        work.db,
        project_id=work.run.project_id,
        kind=outcome.kind,
        run_id=work.run.id,
        folder=outcome.target.relative_to(work.home).as_posix(),
        manifest_sha256=outcome.manifest.sha256,
        parent_id=made_from.get("policy_id"),
        reference_id=made_from.get("reference_id"),
        reward_id=made_from.get("reward_id"),
        cost_id=made_from.get("cost_id"),
        dataset_version_id=made_from.get("dataset_version_id"),
        figures=outcome.result,
    )


async def add_candidate(work: Work, outcome: Outcome) -> Next | None:
    """Enter a model that waits to be chosen."""
    await register(work, outcome)
    return None


async def decide(work: Work, version: ModelVersion, rules: Sequence[Rule]) -> bool:
    """Write down what the gate of the work's run says of a version; whether it passed."""
    passed = gates.passed(rules)
    work.db.add(
        Gate(
            project_id=work.run.project_id,
            run_id=work.run.id,
            model_version_id=version.id,
            passed=passed,
            rules=[rule.to_json() for rule in rules],
        )
    )
    await work.db.flush()
    return passed


async def put_into_use(
    work: Work, version: ModelVersion, *, reason: str | None = None, actor_id: int | None = None
) -> None:
    """A version that passed its gate, or for somebody's `reason`; nothing where it is in use already. Raises
    Broken where its files aren't those that were registered."""
    current = await models.promoted(work.db, version.project_id, "reward" if version.kind == "reward" else "policy")
    if current is None or current.id != version.id:
        said = reason or "Passed its gate."
        await artifacts.require_in_place(work.home, version.folder, version.manifest_sha256)
        await models.promote(work.db, actor_id or work.run.started_by_id, version, reason=said)


async def is_short_of_pairs(db: AsyncSession, project: Project, settings: Settings) -> bool:
    """Whether the open tasks can take fewer judgements than a round asks for."""
    return await selection.open_places(db, project.id) < settings.label_target
