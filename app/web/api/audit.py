"""The log of changes, for programs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.db.tables import AuditEntry
from app.db.tables.audit import AuditAction
from app.services import audit
from app.services.audit import Search
from app.web.api.access import Admin, OwnedProject
from app.web.api.paging import Page, PageQuery, read_page
from app.web.api.schemas import NO_NUL, Out
from app.web.serving.deps import Db, sessions_of
from app.web.serving.log_files import MEDIA_TYPES, LogFormat, log_file

router = APIRouter(tags=["log"])


class AuditOut(Out):
    id: int
    at: datetime
    actor_id: int | None = Field(description="Who; null for the command line, the worker and the database itself.")
    door: Literal["page", "api", "command", "worker", "database"]
    request_id: str | None = Field(description="The id that the server's log and the error pages have, too.")
    project_id: int | None
    kind: str = Field(description="The table whose row changed, or what was done: `export`, `sign_in`.")
    subject: str = Field(description="The key of the row.")
    action: AuditAction
    before: dict[str, Any] | None = Field(description="The columns that changed, as they were; “…” for a secret.")
    after: dict[str, Any] | None


class LogQuery(BaseModel):
    actor: Annotated[int | None, Field(ge=1, le=2**63 - 1, description="Id of who did it.")] = None
    kind: Annotated[str | None, Field(max_length=63, pattern=NO_NUL, description="Kind of thing.")] = None
    since: Annotated[datetime | None, Field(description="Not before this moment.")] = None
    until: Annotated[datetime | None, Field(description="Before this moment.")] = None
    text: Annotated[str, Field(max_length=200, pattern=NO_NUL, description="Beginnings of words of the values.")] = ""

    def search(self, project_id: int | None) -> Search:
        actors = None if self.actor is None else (self.actor,)
        return Search(project_id, actors, self.kind, self.since, self.until, self.text)


class LogPageQuery(LogQuery, PageQuery):
    """The search, and which page of what it finds."""


class LogExportQuery(LogQuery):
    """The search, and in which form."""

    form: Annotated[LogFormat, Field(alias="format", description="`jsonl` or `csv`.")] = "jsonl"


FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}, "description": "The entries, streamed."}
}


@router.get("/projects/{slug}/audit", summary="Read the log of a project")
async def read_project_log(project: OwnedProject, db: Db, asked: Annotated[LogPageQuery, Query()]) -> Page[AuditOut]:
    """Who changed what in the project, newest first; for owners."""
    return await _page(db, asked, project.id)


@router.get(
    "/projects/{slug}/audit/export", response_class=Response, responses=FILE, summary="Export the log of a project"
)
async def export_project_log(
    request: Request, project: OwnedProject, db: Db, asked: Annotated[LogExportQuery, Query()]
) -> Response:
    """Who changed what in the project, as a file; for owners."""
    await audit.note(db, "export", "log", {"format": asked.form}, project_id=project.id)
    return log_file(sessions_of(request), asked.search(project.id), asked.form, name=f"{project.slug}-log")


@router.get("/audit", summary="Read the log of the site")
async def read_log(admin: Admin, db: Db, asked: Annotated[LogPageQuery, Query()]) -> Page[AuditOut]:
    """Who changed what on the whole site, newest first; for admins."""
    return await _page(db, asked, None)


@router.get("/audit/export", response_class=Response, responses=FILE, summary="Export the log of the site")
async def export_log(request: Request, admin: Admin, db: Db, asked: Annotated[LogExportQuery, Query()]) -> Response:
    """Who changed what on the whole site, as a file; for admins."""
    await audit.note(db, "export", "log", {"format": asked.form})
    return log_file(sessions_of(request), asked.search(None), asked.form, name="log")


async def _page(db: Db, asked: LogPageQuery, project_id: int | None) -> Page[AuditOut]:
    found = audit.found(asked.search(project_id))
    return await read_page(db, found, AuditEntry.id, paging=asked, out=AuditOut.model_validate)
