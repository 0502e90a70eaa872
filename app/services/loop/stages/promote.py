"""Promote: a policy that passed its gate is put into use."""

from app.db.base import Json
from app.db.tables import ModelVersion
from app.phrases import phrase
from app.services.loop.stages.parts import put_into_use
from app.services.loop.stages.stage import Work, WorkerStage


async def _perform(work: Work) -> Json:
    version = await work.db.get_one(ModelVersion, work.run.settings["model_version_id"])
    # Of a person who went on from a refusal, else the gate is the reason.
    await put_into_use(work, version, reason=work.run.settings.get("reason"), actor_id=work.run.settings.get("by_id"))
    return {"model_version_id": version.id, "number": version.number}


PROMOTE = WorkerStage(name="promote", title=phrase("Promote"), perform=_perform)
