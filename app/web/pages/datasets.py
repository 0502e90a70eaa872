"""Dataset versions: what they hold, where to get them, and the button that has the next cut."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import DatasetVersion, Project, Run
from app.db.tables.lineage import DatasetKind
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.services.data import datasets
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import FORMATS
from app.services.judging import reviews
from app.services.loop.chores import cutting
from app.services.projects.review import Review
from app.services.reports.counted import counted
from app.web.locales import gettext, lazy
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving import downloads
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.serving.export_query import AskedFor
from app.web.words import pace
from app.web.words.browse import WORDS
from app.web.words.figures import count

router = APIRouter(prefix="/projects/{slug}/datasets", include_in_schema=False)

PAGE_SIZE = 50

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]

RAW = lazy("raw rows")
HELD: dict[str, str] = {
    **{name: WORDS[name] for name in ("train", "validation")},
    "ties": lazy("ties"),
    "safe_responses": lazy("responses called safe"),
    "unsafe_responses": lazy("responses called unsafe"),
    **{name: WORDS[name] for name in ("human", "simulated", "imported", "machine")},
    "unpaired": lazy("of single responses"),
}
"""What a version counts of its rows, in words."""


@dataclass(frozen=True)
class Cutting:
    """The run that cuts a version by hand, or did last; `progress` is None once it is over."""

    run: Run
    progress: pace.Progress | None


class CutForm(BaseModel):
    """`verdicts`: where a reviewer has decided, the verdict counts `alone` or not at all (`none`)."""

    kind: DatasetKind = "preferences"
    verdicts: Literal["alone", "none"] | None = None


@dataclass(frozen=True)
class Download:
    """What a version can be had as. `address` follows that of the version."""

    address: str
    called: str


@router.get("")
async def list_datasets(
    request: Request,
    managed: ManagedProject,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    tag: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    """Shows owners and reviewers the newest versions or those `before` one, of those with a tag if one is asked for,
    what each holds, its files, and how many judgements are new since the newest.
    """
    versions = await datasets.list_versions(db, managed.project.id, most=PAGE_SIZE + 1, before=before, tag=tag)
    known = await counted(db, managed.project)
    return render.page(
        request,
        "datasets/list.html",
        managed=managed,
        versions=versions[:PAGE_SIZE],
        newest=await datasets.newest(db, managed.project.id),
        before=before,
        tag=tag,
        site_url=settings_of(request).site_url,
        of_tag=urlencode({"tag": tag}) if tag else "",
        older=versions[PAGE_SIZE - 1].id if len(versions) > PAGE_SIZE else None,
        downloads=_downloads,
        counted=_counted,
        known=known,
        unused=known.overview.judgements_since_snapshot,
        judgements=known.overview.judgements,
        demonstrations=known.overview.demonstrations,
        review=Review.of(managed.project.review),
        has_verdicts=await reviews.has_verdicts(db, managed.project),
        cutting=await _cutting(db, managed.project),
    )


@router.get("/state")
async def show_cutting(request: Request, managed: ManagedProject, db: Db) -> Response:
    """How far the version is that is being cut; once it is there, the page is loaded anew."""
    found = await _cutting(db, managed.project)
    if found is None or found.progress is None:
        return Response(headers={"HX-Refresh": "true"})
    return render.partial(request, "datasets/_cutting.html", managed=managed, cutting=found)


@router.post("")
async def cut(project: OwnedProject, principal: CurrentUser, form: Annotated[CutForm, Form()], db: Db) -> Response:
    """Has a worker cut the next version for an owner; without new judgements it is the newest one again."""
    prefers = form.verdicts and form.verdicts == "alone"
    await cutting.start(db, principal.user_id, project, kind=form.kind, prefers_verdicts=prefers)
    return render.redirect(f"/projects/{project.slug}/datasets")


@router.get("/{number}/judgements")
async def download_judgements(request: Request, number: Number, managed: ManagedProject, db: Db) -> Response:
    """Sends owners and reviewers a line for each judgement of a version, ties too."""
    version = await datasets.get_version(db, managed.project, number)
    return await downloads.dataset(request, db, managed.project, version, Asked(schema="judgements"))


@router.get("/{number}/export")
async def download(request: Request, number: Number, managed: ManagedProject, db: Db, query: AskedFor) -> Response:
    """Sends owners and reviewers the rows of a version as they ask for them."""
    version = await datasets.get_version(db, managed.project, number, query.kind)
    return await downloads.dataset(request, db, managed.project, version, query.asked)


async def _cutting(db: AsyncSession, project: Project) -> Cutting | None:
    run = await cutting.latest(db, project)
    if run is None:
        return None
    return Cutting(run, None if run.state in TERMINAL_RUN_STATES else await pace.of_run(db, run))


def _downloads(version: DatasetVersion) -> Iterator[Download]:
    """The usual schema in each format, and of preferences what raw rows and judgements hold."""
    of_kind = {"kind": version.kind} if version.kind != "preferences" else {}
    for name, form in FORMATS.items():
        yield Download(_export(format=name, **of_kind), form.title)
    if version.kind == "preferences":
        yield Download(_export(format="jsonl", schema="raw"), RAW)
        yield Download("judgements", gettext("judgements"))


def _counted(version: DatasetVersion) -> str:
    """What its rows are: “412 training, 40 validation, 12 ties, 452 by a person”."""
    return ", ".join(f"{count(version.counts[name])} {word}" for name, word in HELD.items() if version.counts.get(name))


def _export(**asked: str) -> str:
    return f"export?{urlencode(asked)}"
