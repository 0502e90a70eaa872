"""What a dataset version came from, what people note about it, and what it has that another one hasn't."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, status

from app.db.tables.lineage import DatasetKind
from app.services.data import datasets, differences, manifests, notes
from app.services.data.differences import Change
from app.services.loop.chores import folders
from app.services.reports.counted import compared
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.edits import Edit
from app.web.api.paging import Page, decode, encode
from app.web.api.schemas import ComparisonOut, DatasetOut, DifferenceOut, NotesIn, Problem, RunOut, SummaryOut
from app.web.serving import downloads
from app.web.serving.deps import Db, settings_of

router = APIRouter(tags=["datasets"])

Kind = Annotated[DatasetKind, Query(description="Of demonstrations there are versions, too.")]
Since = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Unset: the version before it.")]


@router.get("/projects/{slug}/datasets/{number}/manifest", summary="Read a version's manifest")
async def read_manifest(project: ManagedProject, number: Id, db: Db, kind: Kind = "preferences") -> dict[str, Any]:
    """What the version came from, enough to cut it again: which judgements it holds and up to where, how they count,
    guidelines and question of then, what cut it, counts, and the SHA-256 of its file. What nobody kept is null.

    `plumbline dataset again NUMBER` cuts it again and says whether the bytes are the same, or why not.
    """
    return await manifests.manifest(db, project, await datasets.get_version(db, project, number, kind))


@router.patch("/projects/{slug}/datasets/{number}", summary="Note something about a version")
async def change_dataset(
    project: OwnedProject, number: Id, body: NotesIn, db: Db, edit: Edit, kind: Kind = "preferences"
) -> DatasetOut:
    """Changes its `note`, its `tags` or both. What it holds never changes."""
    version = await datasets.get_version(db, project, number, kind)
    await edit.require_current(db, version)
    notes.note(version, text=body.note, tags=body.tags)
    await edit.tell(db, version)
    return DatasetOut.model_validate(version)


@router.post(
    "/projects/{slug}/datasets/{number}/folder",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Write a version's folder",
    responses={status.HTTP_409_CONFLICT: {"model": Problem, "description": "Something in it was erased."}},
)
async def write_folder(project: OwnedProject, caller: Caller, number: Id, db: Db, kind: Kind = "preferences") -> RunOut:
    """A worker writes the folder that `datasets.load_dataset` and the Hugging Face Hub take: README.md with what the
    Hub reads, croissant.json, manifest.json and a Parquet file for each split. While one is written, that run."""
    version = await datasets.get_version(db, project, number, kind)
    return RunOut.model_validate(await folders.start(db, caller.user_id, project, version))


@router.get(
    "/projects/{slug}/datasets/{number}/folder",
    response_class=Response,
    summary="Download a version's folder",
    responses={
        200: {"content": {"application/zip": {}}, "description": "The folder, zipped."},
        206: {"content": {"application/zip": {}}, "description": "The part that `Range` asks for."},
        status.HTTP_409_CONFLICT: {"model": Problem, "description": "It isn't written yet, or something was erased."},
    },
)
async def download_folder(
    request: Request, project: ManagedProject, number: Id, db: Db, kind: Kind = "preferences"
) -> Response:
    """The one that was written last. `Range` and `If-Range` go on where a download broke off."""
    version = await datasets.get_version(db, project, number, kind)
    return await downloads.dataset_folder(db, version, settings_of(request).home)


@router.get("/projects/{slug}/datasets/{number}/comparison", summary="Compare two versions")
async def compare_datasets(project: ManagedProject, number: Id, db: Db, since: Since = None) -> ComparisonOut:
    """How many judgements came, went, moved to another split or weigh otherwise between two versions of the
    preferences, and how far people agree in each."""
    before, after = await differences.versions(db, project, number, since=since)
    known = await compared(db, project, before, after)
    found = (known.content if known else None) or await differences.compare(db, before, after)
    return ComparisonOut(
        since=before.number if before else None,
        number=after.number,
        judgements=SummaryOut.model_validate(found.summary),
        agreement_since=before.manifest.get("agreement") if before else None,
        agreement=after.manifest.get("agreement"),
        counts_since=before.counts if before else None,
        counts=after.counts,
    )


@router.get("/projects/{slug}/datasets/{number}/differences", summary="List what two versions differ by")
async def list_differences(
    project: ManagedProject,
    number: Id,
    db: Db,
    since: Since = None,
    change: Annotated[Change, Query(description="What came, what went, or what counts otherwise.")] = "added",
    limit: Annotated[int, Query(ge=1, le=differences.MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[DifferenceOut]:
    """Judgements that are in one of two versions alone, or count otherwise, oldest first."""
    before, after = await differences.versions(db, project, number, since=since)
    after_id = decode(cursor) if cursor is not None else 0
    known = await compared(db, project, before, after)
    rows = await differences.differences(
        db, before, after, change, after_id=after_id, most=limit + 1, found=known.content if known else None
    )
    following = encode(rows[limit - 1].judgement_id) if len(rows) > limit else None
    return Page(items=[DifferenceOut.model_validate(row) for row in rows[:limit]], next_cursor=following)
