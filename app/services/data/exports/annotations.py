"""Who said how much of what a dataset version holds, under a pseudonym: what raw rows add."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement

IMPORTED = "imported"


@dataclass(frozen=True)
class Annotation:
    """`strength` is in levels of the scale towards the chosen response, None where there was no scale, or none that an
    imported file told of; `annotator` is a pseudonym.
    """

    strength: int | None
    annotator: str


async def annotations_from(
    db: AsyncSession, version: DatasetVersion, names: Mapping[int, str], judgement_ids: Sequence[int]
) -> dict[int, Annotation]:
    """What was said in these judgements of a version. `names` are the pseudonyms."""
    is_said = (Judgement.kind != "imported") | Judgement.strength_said
    strength = case((is_said, func.abs(Judgement.preference)))
    rows = await db.execute(
        select(Judgement.id, strength, Judgement.annotator_id, Judgement.source_annotator)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .where(DatasetJudgement.dataset_version_id == version.id, Judgement.id.in_(judgement_ids))
    )
    return {
        judgement_id: Annotation(strength, called(names, annotator_id, source))
        for judgement_id, strength, annotator_id, source in rows
    }


def called(names: Mapping[int, str], annotator_id: int | None, source_annotator: str | None) -> str:
    """Who said it, in an export: a pseudonym, or the name that an imported file had for them, after "imported:"."""
    if annotator_id is not None:
        return names[annotator_id]
    return IMPORTED if source_annotator is None else f"{IMPORTED}:{source_annotator}"


async def pseudonyms(db: AsyncSession, project_id: int) -> dict[int, str]:
    """The people of a project, numbered by their first judgement in it, and its machines beside them."""
    # From one person to the next by an index, however much each has said.
    theirs = (Judgement.project_id == project_id, Judgement.annotator_id.is_not(None))
    who = select(func.min(Judgement.annotator_id).label("id")).where(*theirs).cte("who", recursive=True)
    following = select(func.min(Judgement.annotator_id)).where(*theirs, Judgement.annotator_id > who.c.id)
    who = who.union_all(select(following.correlate(who).scalar_subquery()).where(who.c.id.is_not(None)))
    first = (
        select(Judgement.id, (Judgement.kind == "machine").label("is_machine"))
        .where(*theirs, Judgement.annotator_id == who.c.id)
        .order_by(Judgement.id)
        .limit(1)
        .lateral()
    )
    rows = await db.execute(select(who.c.id, first.c.is_machine).join(first, true()).order_by(first.c.id))
    names: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for annotator_id, machine in rows:
        kind = "machine" if machine else "annotator"
        counts[kind] += 1
        names[annotator_id] = f"{kind}-{counts[kind]}"
    return names
