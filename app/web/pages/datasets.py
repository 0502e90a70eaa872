"""Dataset versions: what they hold, where to get them, and the button that cuts the next."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from app.db.tables.lineage import DatasetKind
from app.services.data import datasets
from app.services.projects import standing
from app.web.pages import exports
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import Db, settings_of

router = APIRouter(prefix="/projects/{slug}/datasets", include_in_schema=False)

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("")
async def list_datasets(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers each version, what it holds, its files, and how many judgements are new since."""
    overview = await standing.overview(db, managed.project)
    return render.page(
        request,
        "datasets/list.html",
        managed=managed,
        versions=await datasets.list_versions(db, managed.project.id),
        demonstrations=await datasets.list_versions(db, managed.project.id, "demonstrations"),
        unused=overview.judgements_since_snapshot,
        judgements=overview.judgements,
    )


@router.post("")
async def cut(request: Request, project: OwnedProject, db: Db) -> Response:
    """Cuts the next version of the preferences for an owner; without new judgements it is the newest one again."""
    version = await datasets.cut_preferences(db, project, home=settings_of(request).home)
    return render.redirect(f"/projects/{project.slug}/datasets#{version.kind}-{version.number}")


@router.get("/{number}/judgements")
async def download_judgements(number: Number, managed: ManagedProject, db: Db) -> Response:
    """Sends owners and reviewers a line for each judgement of a version, ties too."""
    version = await datasets.get_version(db, managed.project, number)
    return await exports.export_judgements(db, managed.project, version)


@router.get("/{number}/export")
async def download(
    request: Request,
    number: Number,
    managed: ManagedProject,
    db: Db,
    kind: DatasetKind = "preferences",
    form: Annotated[exports.Format, Query(alias="format")] = "jsonl",
    raw: bool = False,
) -> Response:
    """Sends owners and reviewers the rows of a version, `raw` ones with who said how much."""
    version = await datasets.get_version(db, managed.project, number, kind)
    return await exports.export(db, managed.project, version, settings_of(request).home, form=form, raw=raw)
