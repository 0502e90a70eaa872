"""Copy: the prompts of another project, with their splits."""

from sqlalchemy import insert, literal, select

from app.db.base import Json
from app.db.tables import Prompt
from app.phrases import phrase
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Work, WorkerStage

_COPIED = ("messages", "digest", "split", "topic", "source")


async def _perform(work: Work) -> Json:
    columns = [getattr(Prompt, name) for name in _COPIED]
    theirs = select(literal(work.project.id), *columns).where(
        Prompt.project_id == work.run.settings["source_id"], Prompt.erased_at.is_(None)
    )
    copied = await work.db.execute(insert(Prompt).from_select(["project_id", *_COPIED], theirs.order_by(Prompt.id)))
    return {"prompts_copied": copied.rowcount}  # type: ignore[attr-defined]  # of a cursor, which an insert returns


COPY = WorkerStage(
    name="copy",
    title=phrase("Copy prompts"),
    perform=_perform,
    own_figures={"prompts_copied": Words(phrase("Prompts copied"), "count")},
)
