"""What two writers wrote to the same prompt, to be read by whoever decides between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Project, Prompt, ServedModel
from app.services.loop.comparisons import writers
from app.services.loop.comparisons.writers import NamedWriter, Writer


@dataclass(frozen=True)
class SideBySide:
    """The `place`-th, from 1 on, of `prompts` prompts that both answered, with the newest response of each."""

    prompt: Prompt
    first: Completion
    second: Completion
    place: int
    prompts: int


async def written(db: AsyncSession, project: Project) -> list[NamedWriter]:
    """Policies and served models that have written here, the newest policy first."""
    policies = await db.execute(
        select(ModelVersion.id, ModelVersion.number)
        .where(
            ModelVersion.project_id == project.id,
            ModelVersion.kind == "policy",
            exists().where(Completion.model_version_id == ModelVersion.id),
        )
        .order_by(ModelVersion.number.desc())
    )
    served = await db.execute(
        select(ServedModel.id, ServedModel.name)
        .where(ServedModel.project_id == project.id, exists().where(Completion.served_model_id == ServedModel.id))
        .order_by(ServedModel.name, ServedModel.id)
    )
    named = [NamedWriter(Writer("policy", identity), str(number)) for identity, number in policies]
    return named + [NamedWriter(Writer("served", identity), name) for identity, name in served]


async def shown(db: AsyncSession, project: Project, both: Sequence[Writer], place: int) -> SideBySide | None:
    """None where there are no two, or no prompt that both have answered; a place beyond the last is the last."""
    if len(both) < 2:
        return None
    first, second = both
    of_both = (
        Prompt.project_id == project.id,
        Prompt.erased_at.is_(None),
        *(exists().where(Completion.prompt_id == Prompt.id, _by(writer)) for writer in (first, second)),
    )
    count = await db.scalar(select(func.count()).select_from(Prompt).where(*of_both)) or 0
    if not count:
        return None
    place = max(1, min(place, count))
    prompt = (await db.scalars(select(Prompt).where(*of_both).order_by(Prompt.id).offset(place - 1).limit(1))).one()
    newest = [
        (
            await db.scalars(
                select(Completion)
                .where(Completion.prompt_id == prompt.id, _by(writer))
                .order_by(Completion.id.desc())
                .limit(2)
            )
        ).all()
        for writer in (first, second)
    ]
    # Of one writer twice: two different responses, where there are.
    other = newest[1][-1] if first == second else newest[1][0]
    return SideBySide(prompt, newest[0][0], other, place, count)


def _by(writer: Writer) -> ColumnElement[bool]:
    return writers.written_by([writer]) & Completion.erased_at.is_(None)
