"""What a project holds: a list for each kind of thing, with the filters of the page, and changes that can be undone."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.db.tables import Run
from app.errors import Invalid
from app.services.browse import changes
from app.services.browse.kinds import CHANGES, ChangeName
from app.services.browse.lists import LISTS, ListName
from app.services.loop.chores import changing
from app.services.projects.validation import validated
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.paging import Page, PageQuery, decode, encode
from app.web.api.schemas import RunOut, Text
from app.web.serving.deps import Db

router = APIRouter(tags=["browse"])


class Listed(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int


class PromptListed(Listed):
    asked: str | None = Field(description="The beginning of what the person asked last.")
    split: str
    topic: str | None
    tags: list[str]
    source: str
    excluded: bool = Field(description="What is said of it stays out of dataset versions.")
    responses: int
    created_at: datetime
    erased_at: datetime | None = Field(description="When its text was erased, for good; null: it was not.")


class ResponseListed(Listed):
    prompt_id: int
    text: str = Field(description="Its beginning.")
    characters: int
    source: str
    policy: int | None = Field(description="Number of the policy that wrote it.")
    created_at: datetime
    erased_at: datetime | None = Field(description="When its text was erased, for good; null: it was not.")


class TaskListed(Listed):
    prompt_id: int
    asked: str | None = Field(description="The beginning of what the person asked last.")
    state: str
    purpose: str
    judged: int
    quota: int
    skipped: int
    division: float | None = Field(
        description="Of all two people who judged it the share who said the opposite, a tie counting half; null:"
        " fewer than two."
    )
    priority: float
    round: int | None
    rule: str | None = Field(description="Why it was selected.")
    given_to: str | None = Field(description="Whom it is kept for: nobody else gets it before them.")
    created_at: datetime
    erased_at: datetime | None = Field(description="When something in it was erased, for good; null: it was not.")


class JudgementListed(Listed):
    task_id: int
    annotator: str | None
    kind: str
    answer_type: str
    choice: int | None
    preference: int | None = Field(description="Levels towards the first response as stored.")
    ranks: list[int | None] | None
    shown_order: list[int]
    rationale: str | None
    active_ms: int | None
    hurried: bool
    is_check: bool
    is_verdict: bool = Field(description="A reviewer's decision about the task; no label.")
    superseded_by: int | None
    submitted_at: datetime
    erased_at: datetime | None = Field(description="When the reason given was erased, for good; null: it was not.")


class DemonstrationListed(Listed):
    prompt_id: int
    text: str = Field(description="Its beginning.")
    source: str
    author: str | None
    created_at: datetime
    erased_at: datetime | None = Field(description="When its text was erased, for good; null: it was not.")


class ChangeIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    change: ChangeName
    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=changes.AT_ONCE)] = []
    matching: dict[str, Text | int] | None = Field(
        default=None,
        description="Instead of ids: all rows of the list (of tasks, or of prompts) that match these filters of it; {}"
        " for all there are. 200 or more are changed by a run, some at a time.",
    )
    value: Text = Field(
        default="", description="The tag, the split, the number or the person's id, where the change takes one."
    )


class ChangeOut(BaseModel):
    change_id: int | None = Field(description="To undo it by; null when nothing was changed.")
    changed: int
    left: dict[int, str] = Field(description="Rows that could not be changed, and why.")
    run: RunOut | None = Field(default=None, description="That does it, where it takes long; nothing is changed yet.")


OUT: dict[ListName, type[Listed]] = {
    "prompts": PromptListed,
    "responses": ResponseListed,
    "tasks": TaskListed,
    "judgements": JudgementListed,
    "demonstrations": DemonstrationListed,
}


def _reader(name: ListName, out: type[Listed]) -> Callable[..., Awaitable[Page[Any]]]:
    listing = LISTS[name]
    query: Any = create_model(f"{name.capitalize()}Query", __base__=(PageQuery, listing.filters))

    async def read(project: ManagedProject, db: Db, asked: Any) -> Page[Any]:
        after = decode(asked.cursor) if asked.cursor is not None else None
        found = await listing.page(db, project, asked, after=after, limit=asked.limit)
        following = encode(found.after) if found.after is not None else None
        return Page(items=[out.model_validate(row) for row in found.rows], next_cursor=following)

    read.__annotations__["asked"] = Annotated[query, Query()]
    return read


for _name, _out in OUT.items():
    router.add_api_route(
        f"/projects/{{slug}}/{_name}",
        _reader(_name, _out),
        methods=["GET"],
        name=f"list_{_name}",
        response_model=Page[_out],  # type: ignore[valid-type]
        summary=f"List {_name}",
        description=f"The project's {_name}, newest first, narrowed by what is asked; 403 for annotators.",
    )


QUEUED: dict[int | str, dict[str, Any]] = {202: {"model": ChangeOut, "description": "A run will do it."}}


@router.post("/projects/{slug}/changes", summary="Change many rows", responses=QUEUED)
async def change_rows(project: OwnedProject, caller: Caller, db: Db, body: ChangeIn, response: Response) -> ChangeOut:
    """Retire tasks or put them back, set quota or priority, give them to a person; tag prompts, move them to a split,
    keep them out of datasets. 422 for a value that can't be; rows of other projects are passed over."""
    if body.matching is None:
        return _told(await changes.change(db, caller.user_id, project, body.change, body.ids, body.value), response)
    if body.ids:
        raise Invalid("Either ids or what they match.")
    filters = LISTS[CHANGES[body.change].of].filters
    if unknown := sorted(body.matching.keys() - filters.model_fields.keys()):
        raise Invalid("There is no filter %(name)s.", name=unknown[0])
    meant = validated(filters, body.matching, "matching")
    done = await changing.change_matching(db, caller.user_id, project, body.change, meant, body.value)
    return _told(done, response)


@router.post("/projects/{slug}/changes/{change_id}/undo", summary="Undo a change of many rows", responses=QUEUED)
async def undo_change(project: OwnedProject, change_id: Id, caller: Caller, db: Db, response: Response) -> ChangeOut:
    """Puts back what stood there; what was changed again since is left. 409 when it is undone already, or is under way.
    More than 200 rows are put back by a run."""
    return _told(await changing.undo(db, caller.user_id, project, change_id), response)


def _told(done: changes.Outcome | Run, response: Response) -> ChangeOut:
    if isinstance(done, Run):
        response.status_code = status.HTTP_202_ACCEPTED
        change_id = done.settings["change_id"]
        return ChangeOut(change_id=change_id, changed=0, left={}, run=RunOut.model_validate(done))
    return ChangeOut(change_id=done.change_id, changed=done.changed, left=dict(done.left))
