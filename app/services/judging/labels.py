"""New labels, and the round that may wait for them."""

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement, Round, Task
from app.services import conditions, dispatch


async def labels_at_hand(db: AsyncSession, project_id: int) -> int:
    """Labels that people gave here (imported ones apart) since the last preferences snapshot, and that the next one can
    hold. Votes between policies are some, too, but no round waits for labels to get those.
    """
    last_snapshot = (
        select(DatasetVersion.id)
        .where(DatasetVersion.project_id == project_id, DatasetVersion.kind == "preferences")
        .order_by(DatasetVersion.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    # Ids grow, so all after the highest in the snapshot are new: a range of an index, however many there are in all.
    # Asked for by itself: only of a number does the server know how few they are.
    last_held = await db.scalar(
        select(func.coalesce(func.max(DatasetJudgement.judgement_id), 0)).where(
            DatasetJudgement.dataset_version_id == last_snapshot
        )
    )
    count = await db.scalar(
        select(func.count())
        .select_from(Judgement)
        .where(
            *conditions.labels_of(project_id),
            Judgement.kind != "imported",
            Judgement.id > last_held,
            conditions.is_left(),
            ~exists().where(Task.id == Judgement.task_id, conditions.is_duel()),
        )
    )
    return count or 0


async def labels_changed(db: AsyncSession, project_id: int) -> None:
    """Wake the round that waits for labels once it has enough of them, or wants more pairs; or that waits for votes. To
    be called with every new judgement.
    """
    waits = (Round.project_id == project_id, Round.status == "active", Round.step.in_(("label", "vote")))
    round_ = await db.scalar(select(Round).where(*waits))
    if round_ is None:
        return
    if (
        round_.step == "vote"
        or await labels_at_hand(db, project_id) >= round_.label_target
        or await wants_pairs(db, round_)
    ):
        await dispatch.defer_round(db, round_.id)


async def wants_pairs(db: AsyncSession, round_: Round) -> bool:
    """Whether it has slots to fill, and people are about to have taken what was chosen: less than a batch is left."""
    if round_.slots is None:
        return False
    filled, places = (
        await db.execute(
            select(
                func.count(Task.id).filter(Task.selection.has_key("slot")),
                # Those of the random slice are there from the start, those of late slots, too.
                func.coalesce(
                    func.sum(Task.quota - Task.taken).filter(
                        Task.state == "open", Task.selection["slice"].astext == "chosen"
                    ),
                    0,
                ),
            ).where(Task.round_id == round_.id)
        )
    ).one()
    return bool(filled < round_.slots and places < round_.settings["selection"]["batch"])
