"""Who judges as a machine: a served model with an annotator of its own, which is a person in nothing."""

from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judge, Project, ServedModel, User
from app.errors import Conflict, NotFound


@dataclass(frozen=True)
class NamedJudge:
    """A judge under the name that its served model has today."""

    judge: Judge
    name: str


async def make(db: AsyncSession, project: Project, served: ServedModel) -> Judge:
    """Make a served model a judge. Raises Conflict where it is one."""
    await db.execute(select(ServedModel.id).where(ServedModel.id == served.id).with_for_update())
    if await of(db, served) is not None:
        raise Conflict("“%(name)s” is a judge already.", name=served.name)
    user = User(name=served.name, is_machine=True)
    db.add(user)
    await db.flush()
    judge = Judge(project_id=project.id, served_model_id=served.id, user_id=user.id)
    db.add(judge)
    await db.flush()
    return judge


async def stop(db: AsyncSession, judge: Judge) -> None:
    """Have it judge no more. What it said stays, and is learnt from no more."""
    judge.stopped_at = func.now()
    await db.flush()


async def of(db: AsyncSession, served: ServedModel) -> Judge | None:
    """The judge that a served model is now."""
    return await db.scalar(select(Judge).where(Judge.served_model_id == served.id, Judge.stopped_at.is_(None)))


async def required(db: AsyncSession, served: ServedModel) -> Judge:
    """Raises NotFound where it is none."""
    found = await of(db, served)
    if found is None:
        raise NotFound("“%(name)s” is no judge.", name=served.name)
    return found


async def working(db: AsyncSession, project_id: int) -> list[NamedJudge]:
    """Judges of a project that judge now, by name."""
    rows = await db.execute(
        select(Judge, ServedModel.name)
        .join(ServedModel, ServedModel.id == Judge.served_model_id)
        .where(Judge.project_id == project_id, Judge.stopped_at.is_(None))
        .order_by(ServedModel.name, Judge.id)
    )
    return [NamedJudge(judge, name) for judge, name in rows]


async def has_judged(db: AsyncSession, served: ServedModel) -> bool:
    """Whether it is or was a judge, so that its row has to stay."""
    return bool(await db.scalar(select(exists().where(Judge.served_model_id == served.id))))
