"""Who said how much of what a dataset version holds, under a pseudonym: what raw rows add."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement


@dataclass(frozen=True)
class Annotation:
    """`strength` is in levels of the scale towards the chosen response, None where there was no scale; `annotator` is
    a pseudonym.
    """

    strength: int | None
    annotator: str


async def annotations_of(db: AsyncSession, version: DatasetVersion) -> dict[int, Annotation]:
    """What was said in a version, by judgement."""
    rows = await db.execute(
        select(Judgement.id, func.abs(Judgement.preference), Judgement.annotator_id)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .where(DatasetJudgement.dataset_version_id == version.id)
    )
    names = await pseudonyms(db, version.project_id)
    return {judgement_id: Annotation(strength, names[annotator_id]) for judgement_id, strength, annotator_id in rows}


async def pseudonyms(db: AsyncSession, project_id: int) -> dict[int | None, str]:
    """The people of a project, numbered by their first judgement in it; nobody is whom imported ones are by."""
    first = func.min(Judgement.id)
    people = await db.scalars(
        select(Judgement.annotator_id)
        .where(Judgement.project_id == project_id, Judgement.annotator_id.is_not(None))
        .group_by(Judgement.annotator_id)
        .order_by(first)
    )
    return {None: "imported"} | {person: f"annotator-{number}" for number, person in enumerate(people, 1)}
