"""How the site is: its checks and its backups, for admins."""

from datetime import datetime, timedelta

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.db.tables import Backup
from app.services.backups import standing
from app.services.health import Name, State
from app.web.api.access import Admin
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import Out
from app.web.serving.deps import Db, settings_of
from app.web.serving.readiness import findings_of

router = APIRouter(tags=["site"])


class FindingOut(BaseModel):
    name: Name
    state: State
    sentence: str = Field(description="What was found, and what to do.")


class BackupStandingOut(BaseModel):
    place: str | None = Field(description="Where backups are scheduled to; null where nobody has.")
    last_whole_at: datetime | None
    age_seconds: int | None = Field(description="Of the last whole one.")
    is_late: bool


class HealthOut(BaseModel):
    checks: list[FindingOut]
    backups: BackupStandingOut


class BackupOut(Out):
    id: int
    place: str
    name: str | None = Field(description="Null for one that isn't whole.")
    began_at: datetime
    ended_at: datetime | None = Field(description="Null while it is under way.")
    size_bytes: int | None
    new_bytes: int | None = Field(description="Those of them that the place did not hold before.")
    lacking: int = Field(description="Files that were missing or damaged already.")
    problem: str | None


@router.get("/health", summary="Read how the site is")
async def read_health(request: Request, admin: Admin, db: Db) -> HealthOut:
    """Each check with what it found, and how old the last backup is; for admins."""
    stands = await standing.standing(db, settings_of(request))
    found = [
        FindingOut(name=one.name, state=one.state, sentence=one.sentence % one.named if one.named else one.sentence)
        for one in await findings_of(request)
    ]
    return HealthOut(
        checks=found,
        backups=BackupStandingOut(
            place=stands.place,
            last_whole_at=stands.last_whole.began_at if stands.last_whole else None,
            age_seconds=stands.age // timedelta(seconds=1) if stands.age is not None else None,
            is_late=stands.is_late,
        ),
    )


@router.get("/backups", summary="List backups")
async def list_backups(admin: Admin, db: Db, paging: Paging) -> Page[BackupOut]:
    """What came of every try, newest first; for admins."""
    return await read_page(db, select(Backup), Backup.id, paging=paging, out=BackupOut.model_validate)
