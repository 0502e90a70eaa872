"""What a project holds: a list for each kind of thing, with the filters of the page, and changes that can be undone."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.services.browse import changes
from app.services.browse.kinds import ChangeName
from app.services.browse.lists import LISTS, ListName
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.paging import Page, PageQuery, decode, encode
from app.web.api.schemas import Text
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
    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=changes.AT_ONCE)]
    value: Text = Field(default="", description="The tag, the split or the number, where the change takes one.")


class ChangeOut(BaseModel):
    change_id: int | None = Field(description="To undo it by; null when nothing was changed.")
    changed: int
    left: dict[int, str] = Field(description="Rows that could not be changed, and why.")


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


@router.post("/projects/{slug}/changes", summary="Change many rows")
async def change_rows(project: OwnedProject, caller: Caller, db: Db, body: ChangeIn) -> ChangeOut:
    """Retire tasks or put them back, set quota or priority; tag prompts, move them to a split, keep them out of
    datasets. 422 for a value that can't be; rows of other projects are passed over."""
    done = await changes.change(db, caller.user_id, project, body.change, body.ids, body.value)
    return ChangeOut(change_id=done.change_id, changed=done.changed, left=dict(done.left))


@router.post("/projects/{slug}/changes/{change_id}/undo", summary="Undo a change of many rows")
async def undo_change(project: OwnedProject, change_id: Id, db: Db) -> ChangeOut:
    """Puts back what stood there; what was changed again since is left. 409 when it is undone already."""
    done = await changes.undo(db, project, change_id)
    return ChangeOut(change_id=done.change_id, changed=done.changed, left=dict(done.left))
