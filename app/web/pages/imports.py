"""Data in: files that came in, how each is read, what it would bring, and the buttons that bring it in and undo it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import Import, Project, Run, User
from app.errors import Invalid, NoRoom, NotFound
from app.services.data.imports.formats.format import Columns
from app.services.data.imports.formats.registry import FORMATS
from app.services.data.storing import imports, uploads
from app.services.data.storing.imports import Preview, Reason
from app.services.data.storing.loads import MOST_BAD_TOLD
from app.services.data.storing.uploads import TooLarge, Upload
from app.services.loop.chores import importing
from app.services.loop.runs import runs
from app.services.loop.stages.importing import Action
from app.services.projects import projects
from app.web.locales import gettext, translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving import downloads
from app.web.serving.bodies import chunks_of
from app.web.serving.deps import CurrentUser, Db, sessions_of, settings_of
from app.web.words import imports as words
from app.web.words import pace
from app.web.words.imports import ShownRow, Standing

router = APIRouter(prefix="/projects/{slug}/imports", include_in_schema=False)

IMPORTS_SHOWN = 100
LONGEST_PASTE_BYTES = 20_000_000
PASTED = "pasted.txt"

ImportId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class LoadForm(BaseModel):
    skip_bad: bool = False


@dataclass(frozen=True)
class AskedReading:
    """What an owner says that rows are, and which column each field is read from, as the form holds it."""

    format: str | None
    columns: Columns
    is_stored: bool = True


@dataclass(frozen=True)
class ImportPage:
    """An import with all that its page shows; `preview` is None where the file can't be looked into, see `problem`."""

    standing: Standing
    reading: AskedReading
    progress: pace.Progress | None
    created_by: str | None
    preview: Preview | None = None
    rows: tuple[ShownRow, ...] = ()
    reasons: tuple[Reason, ...] = ()
    problem: str | None = None

    @property
    def most_told(self) -> int:
        """How many rows that can't be used are in the table of them."""
        return MOST_BAD_TOLD


@router.get("")
async def list_imports(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what came in, and owners the form for more."""
    return await _list(request, db, managed)


@router.post("")
async def upload(request: Request, slug: str, principal: CurrentUser) -> Response:
    """Stores a file or a pasted text for an owner and begins to check it. No transaction is open while it comes in."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        role = await projects.require_role(db, principal, project, "owner")
    home = settings_of(request).home
    try:
        async with request.form(max_files=1, max_fields=10, max_part_size=LONGEST_PASTE_BYTES) as form:
            stored = await _stored(request, form)
            return_to = _return_to(str(form.get("next", "")))
        with uploads.noted(home, stored):
            async with transaction(sessions_of(request)) as db:
                import_ = await imports.create(db, home, project, principal.user_id, stored, return_to=return_to)
                if import_.format is not None:
                    await importing.start(db, principal.user_id, project, import_, "check")
    except (Invalid, TooLarge, NoRoom) as error:
        async with transaction(sessions_of(request)) as db:
            return await _list(request, db, Managed(project, role), problem=translated(error), status_code=error.status)
    return _to(project, import_.id)


@router.get("/{import_id}")
async def show_import(request: Request, import_id: ImportId, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what a file holds, what it would bring or brought, and how it is read."""
    return await _show(request, db, managed, await imports.get(db, managed.project, import_id))


@router.get("/{import_id}/state")
async def show_state(
    request: Request, import_id: ImportId, managed: ManagedProject, db: Db, shown: str = ""
) -> Response:
    """The part of the page that moves; a page of another state than `shown` is loaded anew."""
    import_ = await imports.get(db, managed.project, import_id)
    if shown and shown != import_.state:
        return Response(headers={"HX-Refresh": "true"})
    return render.partial(request, "imports/_state.html", managed=managed, page=await _page(request, db, import_))


@router.post("/{import_id}/reading")
async def choose_reading(
    request: Request,
    import_id: ImportId,
    managed: ManagedProject,
    project: OwnedProject,
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Has the file read as an owner says, and checks it anew. What can't be read so is said on the page."""
    import_ = await imports.get(db, project, import_id, for_update=True)
    form = await request.form()
    name = str(form.get("format", ""))
    columns = {key.removeprefix("column-"): str(value) for key, value in form.items() if key.startswith("column-")}
    # The fields on the page are those of the format that it was shown with.
    of_another = name != form.get("shown")
    options = {"choice": form.get("choice", "2"), "demonstrate": form.get("demonstrate", "false")}
    try:
        async with db.begin_nested():
            await imports.choose(
                db, settings_of(request).home, import_,
                form=name, columns=None if of_another else columns, options=options,
            )  # fmt: skip
            await importing.start(db, principal.user_id, project, import_, "check")
    except Invalid as error:
        await db.refresh(import_)
        return await _show(
            request, db, managed, import_,
            asked=AskedReading(name, {} if of_another else columns, is_stored=False),
            problem=translated(error), status_code=error.status,
        )  # fmt: skip
    return _to(project, import_id)


@router.post("/{import_id}/load")
async def load(
    import_id: ImportId, project: OwnedProject, principal: CurrentUser, db: Db, form: Annotated[LoadForm, Form()]
) -> Response:
    """Brings the rows in for an owner, all of them or nothing."""
    import_ = await imports.get(db, project, import_id, for_update=True)
    import_.options = {**import_.options, "skip_bad": form.skip_bad}
    return await _start(db, principal.user_id, project, import_, "load")


@router.post("/{import_id}/check")
async def check(import_id: ImportId, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Counts for an owner what the file would bring now."""
    import_ = await imports.get(db, project, import_id, for_update=True)
    return await _start(db, principal.user_id, project, import_, "check")


@router.post("/{import_id}/undo")
async def undo(import_id: ImportId, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Takes an import back for an owner. Raises Conflict where a dataset version or people's work holds on to it."""
    import_ = await imports.get(db, project, import_id, for_update=True)
    return await _start(db, principal.user_id, project, import_, "undo")


@router.post("/{import_id}/cancel")
async def cancel(import_id: ImportId, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Ends what is being done with the import, for an owner; nothing of it stays. Raises Conflict if it is over."""
    import_ = await imports.get(db, project, import_id)
    run = await imports.run_of(db, import_)
    if run is None:
        raise NotFound
    await runs.request_cancel(db, principal, run)
    return _to(project, import_id)


@router.post("/{import_id}/discard")
async def discard(request: Request, import_id: ImportId, project: OwnedProject, db: Db) -> Response:
    """Removes a file that brought nothing, for an owner. Raises Conflict for one that did."""
    folder = await imports.discard(db, await imports.get(db, project, import_id, for_update=True))
    await db.commit()
    uploads.remove(settings_of(request).home, folder)
    return render.redirect(f"/projects/{project.slug}/imports")


@router.get("/{import_id}/bad-rows.csv")
async def download_bad_rows(request: Request, import_id: ImportId, managed: ManagedProject, db: Db) -> Response:
    """Sends owners and reviewers every row that can't be used, with its line, field and reason."""
    import_ = await imports.get(db, managed.project, import_id)
    return downloads.bad_rows(settings_of(request).home, managed.project, import_)


async def _start(db: AsyncSession, actor_id: int, project: Project, import_: Import, action: Action) -> Response:
    await importing.start(db, actor_id, project, import_, action)
    return _to(project, import_.id)


def _to(project: Project, import_id: int) -> Response:
    return render.redirect(f"/projects/{project.slug}/imports/{import_id}")


async def _stored(request: Request, form: FormData) -> Upload:
    """The file of a form, or else its pasted text. Raises Invalid where there is neither."""
    settings = settings_of(request)
    file, text = form.get("file"), form.get("text")
    if isinstance(file, UploadFile) and file.filename:
        return await uploads.keep(
            settings.home,
            file.filename,
            chunks_of(file),
            most_bytes=settings.upload_bytes,
            reserve_bytes=settings.disk_reserve_bytes,
        )
    if isinstance(text, str) and text.strip():
        return await uploads.keep(
            settings.home,
            PASTED,
            _of_text(text),
            most_bytes=settings.upload_bytes,
            reserve_bytes=settings.disk_reserve_bytes,
        )
    raise Invalid("Choose a file, or paste some rows.")


async def _of_text(text: str) -> AsyncIterator[bytes]:
    yield text.encode("utf-8", "replace")


def _return_to(path: str) -> str | None:
    """A page of this site that the finished import leads back to."""
    local = render.local_path(path)
    return local if local != "/" and len(local) <= imports.LONGEST_PATH else None


async def _list(
    request: Request, db: AsyncSession, managed: Managed, *, problem: str | None = None, status_code: int = 200
) -> Response:
    found = await db.execute(
        select(Import, Run)
        .outerjoin(Run, Run.id == Import.run_id)
        .where(Import.project_id == managed.project.id)
        .order_by(Import.id.desc())
        .limit(IMPORTS_SHOWN)
    )
    return render.page(
        request,
        "imports/list.html",
        status_code=status_code,
        managed=managed,
        entries=[Standing(import_, run) for import_, run in found],
        problem=problem,
        return_to=_return_to(request.query_params.get("next", "")),
        most_megabytes=settings_of(request).upload_megabytes,
    )


async def _show(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    import_: Import,
    *,
    asked: AskedReading | None = None,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    preview = None
    if import_.state in ("uploaded", "checked"):
        try:
            preview = await asyncio.to_thread(imports.preview, settings_of(request).home, import_)
        except Invalid as error:
            problem = problem or translated(error)
    return render.page(
        request,
        "imports/show.html",
        status_code=status_code,
        managed=managed,
        page=await _page(request, db, import_, preview=preview, asked=asked, problem=problem),
        versions=await imports.holding(db, import_),
        formats={form.name: form for form in FORMATS},
        # Recognised are the narrowest ones first; people look for the plainest.
        format_names={form.name: gettext(form.called) for form in reversed(FORMATS)},
        translate=gettext,
    )


async def _page(
    request: Request,
    db: AsyncSession,
    import_: Import,
    *,
    preview: Preview | None = None,
    asked: AskedReading | None = None,
    problem: str | None = None,
) -> ImportPage:
    run = await imports.run_of(db, import_)
    standing = Standing(import_, run)
    return ImportPage(
        standing=standing,
        reading=asked or AskedReading(import_.format, import_.columns),
        progress=await pace.of_run(db, run) if run is not None and standing.is_busy else None,
        created_by=await db.scalar(select(User.name).where(User.id == import_.created_by_id)),
        preview=preview,
        rows=tuple(words.shown(preview.rows)) if preview else (),
        reasons=await asyncio.to_thread(imports.reasons, settings_of(request).home, import_),
        problem=problem,
    )
