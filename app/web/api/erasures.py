"""Texts erased for good."""

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, ConfigDict, Field

from app.services.erasure.targets import Kind, Target, reach_of
from app.services.erasure.touched import look
from app.services.loop.chores import erasing
from app.web.api.access import Caller, OwnedProject
from app.web.api.schemas import RunOut, Text
from app.web.serving.deps import Db

router = APIRouter(tags=["browse"])


class ErasureIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Kind
    id: int = Field(ge=1, le=2**63 - 1, description="Of the prompt, the response or the person.")
    files: bool = Field(
        default=False,
        description="Remove files of dataset versions and exports that hold it, and what records of runs say of it.",
    )
    reason: Text = Field(default="", description="For the log.")
    dry_run: bool = Field(default=False, description="Only say what would be touched.")


class VersionTouched(BaseModel):
    kind: str
    number: int
    has_file: bool


class ModelTouched(BaseModel):
    kind: str
    number: int


class ErasureOut(BaseModel):
    """What is touched, as it was before; `run` is null for a dry run."""

    prompts: int
    responses: int
    demonstrations: int
    words: int = Field(description="Reasons and explanations that people wrote.")
    tasks: int = Field(description="Given to nobody any more.")
    judgements: int = Field(description="Of those tasks; they stay.")
    leases: int = Field(description="Out now; they end.")
    versions: list[VersionTouched] = Field(description="Neither served nor trained on any more.")
    models: list[ModelTouched] = Field(description="Trained on those; they stay as they are.")
    exports: int = Field(description="Of the whole project, which may hold it.")
    runs: int = Field(description="Under way.")
    imports: list[int] = Field(description="That brought it.")
    waiting_files: int = Field(description="Uploaded and not brought in yet.")
    run: RunOut | None = None


@router.post(
    "/projects/{slug}/erasures",
    status_code=status.HTTP_202_ACCEPTED,
    responses={200: {"model": ErasureOut, "description": "A dry run: nothing was done."}},
    summary="Erase a text for good",
)
async def erase(project: OwnedProject, caller: Caller, db: Db, body: ErasureIn, response: Response) -> ErasureOut:
    """Has a worker erase a prompt, a response, or all that a person wrote in the project. Texts are overwritten with
    nothing, what people chose stays; dataset versions that held it are marked and refused from then on. 409 when
    nothing of it is left.
    """
    target = Target(body.kind, body.id)
    touched = await look(db, project, await reach_of(db, project, target))
    told = ErasureOut.model_validate(touched, from_attributes=True)
    if body.dry_run:
        response.status_code = status.HTTP_200_OK
        return told
    run = await erasing.start(
        db, caller.user_id, project, target, files=body.files, reason=body.reason, touched=touched
    )
    return told.model_copy(update={"run": RunOut.model_validate(run)})
