"""One dataset version: what it came from, what people note about it, its folder; and two of them side by side."""

from dataclasses import dataclass
from typing import Annotated, Any, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response

from app.db.tables import DatasetVersion, Run
from app.db.tables.lineage import DatasetKind
from app.errors import DomainError, Invalid
from app.services.data import datasets, differences, manifests, notes
from app.services.data.differences import Change, Difference, Found
from app.services.loop.chores import folders
from app.services.reports.counted import compared
from app.services.reports.reports import Latest
from app.web.locales import lazy, translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.pages.seen import ChangedMeanwhile, SeenForm, require_seen
from app.web.rendering import render
from app.web.serving import downloads
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects/{slug}/datasets", include_in_schema=False)

PAGE_SIZE = 50
CHOICES = 200
"""Versions that can be chosen from, the newest."""

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
AnyNumber = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
CHANGES: dict[Change, str] = {
    "added": lazy("Came"),
    "gone": lazy("Went"),
    "changed": lazy("Count otherwise"),
}
REASONS: dict[differences.Reason, str] = {
    "new": lazy("judged since"),
    "let_in": lazy("counts again"),
    "replaced": lazy("replaced by another answer"),
    "erased": lazy("erased"),
    "held_out": lazy("its prompt is held out"),
    "excluded": lazy("its prompt is kept out of datasets"),
    "decided": lazy("decided by a reviewer"),
    "counted_otherwise": lazy("not counted by the settings of the later version"),
    "moved": lazy("moved to another split"),
    "weighed": lazy("weighs otherwise"),
}


class NotesForm(SeenForm):
    note: Annotated[str, Field(max_length=20_000)] = ""
    tags: Annotated[str, Field(max_length=5_000)] = ""

    @classmethod
    def of(cls, version: DatasetVersion) -> "NotesForm":
        return cls(note=version.note, tags=", ".join(version.tags)).as_shown()


@dataclass(frozen=True)
class Row:
    """A judgement that two versions differ by. Splits and weights are those of the earlier and the later one."""

    difference: Difference
    reasons: str
    weights: tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """Two versions, the earlier one None where everything is new, and what they differ by; None while a worker looks,
    as it does for large ones. `latest` is the report that says so."""

    before: DatasetVersion | None
    after: DatasetVersion
    found: Found | None
    latest: Latest[Found] | None


@router.get("/compare")
async def compare(
    request: Request,
    managed: ManagedProject,
    db: Db,
    number: AnyNumber = None,
    since: AnyNumber = None,
    change: Change = "added",
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
) -> Response:
    """Shows owners and reviewers what two versions differ by, without numbers the newest and the one before it."""
    choices = [one for one in await datasets.list_versions(db, managed.project.id, most=CHOICES)
               if one.kind == "preferences"]  # fmt: skip
    asked = number or (choices[0].number if choices else None)
    pair = await _pair(db, managed, asked, since) if asked else None
    rows: list[Difference] = []
    if pair is not None and pair.found is not None:
        rows = await differences.differences(
            db, pair.before, pair.after, change, after_id=after, most=PAGE_SIZE + 1, found=pair.found
        )
    return render.page(
        request,
        "datasets/compare.html",
        managed=managed,
        choices=choices,
        pair=pair,
        change=change,
        changes=CHANGES,
        rows=[_row(row) for row in rows[:PAGE_SIZE]],
        is_first=after == 0,
        next=rows[PAGE_SIZE - 1].judgement_id if len(rows) > PAGE_SIZE else None,
        address=_address,
    )


@router.get("/{number}")
async def show_version(
    request: Request, number: Number, managed: ManagedProject, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """Shows owners and reviewers what a version came from, and owners its note, its tags and how to get its folder."""
    return await _page(request, db, managed, await datasets.get_version(db, managed.project, number, kind))


@router.post("/{number}/notes")
async def note_version(
    request: Request,
    number: Number,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[NotesForm, Form()],
    db: Db,
    kind: DatasetKind = "preferences",
) -> Response:
    """Changes what people note about a version."""
    version = await datasets.get_version(db, project, number, kind)
    try:
        await require_seen(db, version, form.seen, lambda now: NotesForm.of(now).seen)
        async with db.begin_nested():
            notes.note(version, text=form.note, tags=notes.split_tags(form.tags))
    except (Invalid, ChangedMeanwhile) as error:
        await db.refresh(version)
        form.seen = NotesForm.of(version).seen
        return await _page(request, db, managed, version, error, form)
    return render.redirect(f"{_place(project.slug, version, saved='true')}")


@router.get("/{number}/manifest")
async def download_manifest(
    number: Number, managed: ManagedProject, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """Sends owners and reviewers what a version came from, as JSON."""
    version = await datasets.get_version(db, managed.project, number, kind)
    name = f"{managed.project.slug}-{version.kind}-{version.number}-manifest.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return JSONResponse(await manifests.manifest(db, managed.project, version), headers=headers)


@router.post("/{number}/folder")
async def write_folder(
    number: Number, project: OwnedProject, principal: CurrentUser, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """Has a worker write the folder of a version that the Hub takes."""
    version = await datasets.get_version(db, project, number, kind)
    await folders.start(db, principal.user_id, project, version)
    return render.redirect(f"{_place(project.slug, version)}#folder")


@router.get("/{number}/folder")
async def download_folder(
    request: Request, number: Number, managed: ManagedProject, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """Sends owners and reviewers the folder that was written last, as a zip."""
    version = await datasets.get_version(db, managed.project, number, kind)
    return await downloads.dataset_folder(db, version, settings_of(request).home)


async def _pair(db: AsyncSession, managed: Managed, number: int, since: int | None) -> Pair:
    before, after = await differences.versions(db, managed.project, number, since=since)
    latest = await compared(db, managed.project, before, after)
    found = latest.content if latest else await differences.compare(db, before, after)
    return Pair(before, after, found, latest)


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    version: DatasetVersion,
    error: DomainError | None = None,
    form: NotesForm | None = None,
) -> Response:
    run = await folders.latest(db, version)
    return render.page(
        request,
        "datasets/show.html",
        status_code=error.status if error else 200,
        managed=managed,
        version=version,
        manifest=await manifests.manifest(db, managed.project, version),
        form=form or NotesForm.of(version),
        run=run,
        is_written=await _is_written(request, db, version, run),
        of_kind=_of_kind(version),
        problem=translated(error) if error else None,
        saved=request.query_params.get("saved") == "true",
    )


async def _is_written(request: Request, db: AsyncSession, version: DatasetVersion, run: Run | None) -> bool:
    if run is None or version.erased_from_at is not None:
        return False
    return await folders.is_written(db, version, settings_of(request).home)


def _row(found: Difference) -> Row:
    reasons = ", ".join(str(REASONS[reason]) for reason in found.reasons)
    return Row(found, reasons, (_weights(found.learnt_before), _weights(found.learnt_after)))


def _weights(learnt: list[list[float]] | None) -> str:
    return "; ".join(f"{preference:.2f} × {weight:.2f}" for _, _, preference, weight in learnt or ())


def _address(pair: Pair, change: Change, after: int | None = None) -> str:
    asked: dict[str, Any] = {"number": pair.after.number, "change": change}
    if pair.before is not None:
        asked["since"] = pair.before.number
    return f"?{urlencode(asked | ({} if after is None else {'after': after}))}"


def _of_kind(version: DatasetVersion) -> dict[str, str]:
    kind = cast(DatasetKind, version.kind)
    return {} if kind == "preferences" else {"kind": kind}


def _place(slug: str, version: DatasetVersion, **more: str) -> str:
    asked = urlencode(_of_kind(version) | more)
    return f"/projects/{slug}/datasets/{version.number}" + (f"?{asked}" if asked else "")
