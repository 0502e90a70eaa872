"""The log of changes: of a project for its owners, of the whole site for its admins."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import AuditEntry
from app.services import audit
from app.services.audit import Search
from app.services.conditions import end_of
from app.web.pages.access import CurrentAdmin, Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import Db, sessions_of
from app.web.serving.log_files import LogFormat, log_file
from app.web.words import log
from app.web.words.log import Change

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50


class Asked(BaseModel):
    """The search as the form sends it: an empty field asks for nothing. Days are UTC days, both included."""

    person: Annotated[str, Field(max_length=320)] = ""
    kind: Annotated[str, Field(max_length=63)] = ""
    since: date | Literal[""] = ""
    until: date | Literal[""] = ""
    text: Annotated[str, Field(max_length=200)] = ""
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None

    def query(self, **more: object) -> str:
        """The search as the end of an address."""
        asked = {name: value for name, value in self.model_dump(exclude={"before"}).items() if value}
        return urlencode({**asked, **more})


@dataclass(frozen=True)
class Shown:
    """An entry with its words."""

    entry: AuditEntry
    actor: str | None
    subject: str
    project: str | None
    action: str
    door: str
    changes: list[Change]


AskedFor = Annotated[Asked, Query()]


@router.get("/projects/{slug}/log")
async def show_project_log(
    request: Request, managed: ManagedProject, project: OwnedProject, asked: AskedFor, db: Db
) -> Response:
    """Shows owners who changed what in the project, newest first."""
    return await _page(request, db, asked, managed)


@router.get("/projects/{slug}/log/export")
async def export_project_log(
    request: Request,
    project: OwnedProject,
    asked: AskedFor,
    db: Db,
    form: Annotated[LogFormat, Query(alias="format")] = "csv",
) -> Response:
    """Sends owners the log of the project, as far as they search it."""
    search = await _search(db, asked, project.id)
    await audit.note(db, "export", "log", {"format": form}, project_id=project.id)
    return log_file(sessions_of(request), search, form, name=f"{project.slug}-log")


@router.get("/log")
async def show_log(request: Request, admin: CurrentAdmin, asked: AskedFor, db: Db) -> Response:
    """Shows admins who changed what on the whole site, newest first."""
    return await _page(request, db, asked, None)


@router.get("/log/export")
async def export_log(
    request: Request,
    admin: CurrentAdmin,
    asked: AskedFor,
    db: Db,
    form: Annotated[LogFormat, Query(alias="format")] = "csv",
) -> Response:
    """Sends admins the log of the whole site, as far as they search it."""
    search = await _search(db, asked, None)
    await audit.note(db, "export", "log", {"format": form})
    return log_file(sessions_of(request), search, form, name="log")


async def _page(request: Request, db: AsyncSession, asked: Asked, managed: Managed | None) -> Response:
    search = await _search(db, asked, managed.project.id if managed else None)
    entries = await audit.page(db, search, size=PAGE_SIZE + 1, before=asked.before)
    shown, is_more = entries[:PAGE_SIZE], len(entries) > PAGE_SIZE
    names, slugs = await audit.names(db, shown), await audit.slugs(db, shown)
    return render.page(
        request,
        "log/project.html" if managed else "log/site.html",
        managed=managed,
        home=f"/projects/{managed.project.slug}/log" if managed else "/log",
        asked=asked,
        is_searched=bool(asked.query()),
        entries=[_shown(entry, names, slugs) for entry in shown],
        kinds=[(kind, log.kind_name(kind)) for kind in await audit.kinds(db, search)],
        older=asked.query(before=shown[-1].id) if is_more else None,
    )


def _shown(entry: AuditEntry, names: dict[int, str], slugs: dict[int, str]) -> Shown:
    return Shown(
        entry=entry,
        actor=names.get(entry.actor_id) if entry.actor_id is not None else None,
        subject=log.subject_name(entry, names, slugs),
        project=slugs.get(entry.project_id or 0),
        action=str(log.ACTIONS[entry.action]),
        door=str(log.DOORS.get(entry.door, entry.door)),
        changes=log.changes(entry, names),
    )


async def _search(db: AsyncSession, asked: Asked, project_id: int | None) -> Search:
    return Search(
        project_id=project_id,
        actor_ids=await audit.called(db, asked.person) if asked.person.strip() else None,
        kind=asked.kind or None,
        since=datetime.combine(asked.since, time(), UTC) if asked.since else None,
        until=end_of(asked.until) if asked.until else None,
        text=asked.text,
    )
