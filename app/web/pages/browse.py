"""What a project holds: one list page for all lists, a page for each prompt and each task, and changes with undo."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.db.tables import Project, Run
from app.errors import Invalid
from app.services.browse import changes, details, documents
from app.services.browse.kinds import CHANGES, TAG_LENGTH, ChangeName
from app.services.browse.listing import Filters
from app.services.browse.lists import LISTS, ListName
from app.services.judging import reservations
from app.services.loop.chores import changing
from app.services.projects.validation import validated
from app.web.locales import gettext, ngettext
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db
from app.web.words import browse as words
from app.web.words import figures
from app.web.words.choices import said_as_stored

router = APIRouter(prefix="/projects/{slug}", include_in_schema=False)

ROWS = 50

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
After = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


class ChangeForm(BaseModel):
    """Rows that were ticked, or `all` that match `filters` (as in an address), what is to be done to them, and the list
    to come back to.
    """

    change: ChangeName
    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=changes.AT_ONCE)] = []
    all: bool = False
    filters: Annotated[str, Field(max_length=10_000)] = ""
    person: Annotated[str, Field(max_length=20)] = ""
    tag: Annotated[str, Field(max_length=TAG_LENGTH)] = ""
    split: Annotated[str, Field(max_length=20)] = ""
    number: Annotated[str, Field(max_length=20)] = ""
    back: Annotated[str, Field(max_length=2000)] = "/"


class UndoForm(BaseModel):
    back: Annotated[str, Field(max_length=2000)] = "/"


@router.get("/browse")
async def browse(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers the tasks, and where the other lists are."""
    return await _list(request, managed, db, "tasks", None)


@router.get("/browse/{name}")
async def show_list(request: Request, name: ListName, managed: ManagedProject, db: Db, after: After = None) -> Response:
    """Shows owners and reviewers a list, narrowed by what the address says."""
    return await _list(request, managed, db, name, after)


@router.get("/browse/{name}/matching")
async def show_matching(request: Request, name: ListName, managed: ManagedProject, db: Db) -> Response:
    """How many rows match, up to a bound, and the way to mean all of them: a part of the list's page."""
    listing = LISTS[name]
    given = _given(request, listing.filters)
    filters = validated(listing.filters, given, gettext("Filter"))
    count = await listing.count(db, managed.project, filters, most=changes.COUNTED)
    return render.partial(request, "browse/_matching.html", count=count, **_all_of(managed, name, given))


@router.post("/browse/changes")
async def change(
    project: OwnedProject, form: Annotated[ChangeForm, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Changes the rows that were ticked, for an owner, and comes back to the list, which offers to undo it. Where all
    are meant that match and they are many, leads to the run that changes them.
    """
    kind = CHANGES[form.change]
    value = getattr(form, kind.value) if kind.value else ""
    done: changes.Outcome | Run
    if form.all:
        filters = validated(LISTS[kind.of].filters, dict(parse_qsl(form.filters)), gettext("Filter"))
        done = await changing.change_matching(db, principal.user_id, project, form.change, filters, value)
    else:
        done = await changes.change(db, principal.user_id, project, form.change, form.ids, value)
    if isinstance(done, Run):
        return _to_run(project, done)
    said = {"changed": done.changed, "left": len(done.left), **({"undo": done.change_id} if done.change_id else {})}
    return render.redirect(_back(form.back, said))


@router.post("/browse/changes/{change_id}/undo")
async def undo(
    change_id: Id, project: OwnedProject, form: Annotated[UndoForm, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Puts back what a change replaced, for an owner; many rows by a run. Raises Conflict if that has been done."""
    done = await changing.undo(db, principal.user_id, project, change_id)
    if isinstance(done, Run):
        return _to_run(project, done)
    return render.redirect(_back(form.back, {"undone": done.changed, "left": len(done.left)}))


@router.get("/prompts/{prompt_id}")
async def show_prompt(request: Request, prompt_id: Id, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers a prompt with its responses, tasks and demonstrations."""
    detail = await details.prompt_of(db, managed.project, prompt_id)
    return render.page(
        request,
        "browse/prompt.html",
        detail=detail,
        most=details.MOST,
        **await _shared(request, db, managed, "prompts", f"/projects/{managed.project.slug}/prompts/{prompt_id}"),
    )


@router.get("/tasks/{task_id}")
async def show_task(request: Request, task_id: Id, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers a task with everything that was said of it, in the stored order of its responses."""
    detail = await details.task_of(db, managed.project, task_id)
    return render.page(
        request,
        "browse/task.html",
        detail=detail,
        as_stored=said_as_stored,
        **await _shared(request, db, managed, "tasks", f"/projects/{managed.project.slug}/tasks/{task_id}"),
    )


async def _list(request: Request, managed: ManagedProject, db: Db, name: ListName, after: int | None) -> Response:
    listing = LISTS[name]
    given = _given(request, listing.filters)
    problem = None
    filters: Filters = listing.filters()
    try:
        filters = validated(listing.filters, given, gettext("Filter"))
    except Invalid as refused:
        problem = str(refused)
    # Before the search: what is read in between would be missing from a list that says that it has everything.
    is_behind = "search" in given and listing.document is not None and await documents.is_behind(db, listing.document)
    found = await listing.page(db, managed.project, filters, after=after, limit=ROWS)
    is_all = request.query_params.get("all") == "yes" and managed.is_owner and problem is None
    matching = await listing.count(db, managed.project, filters, most=changes.COUNTED) if is_all else None
    here = f"/projects/{managed.project.slug}/browse/{name}"
    return render.page(
        request,
        "browse/list.html",
        status_code=422 if problem else 200,
        fields=words.filter_fields(listing.filters, given),
        is_narrowed=bool(given),
        problem=problem,
        is_behind=is_behind,
        lines=words.lines(name, found.rows),
        here=here,
        is_all=is_all,
        count=matching,
        first=f"{here}?{urlencode(given)}" if after is not None else None,
        next=f"{here}?{urlencode({**given, 'after': found.after})}" if found.after is not None else None,
        **_all_of(managed, name, given),
        **await _shared(request, db, managed, name, f"{here}?{urlencode(given | ({'after': after} if after else {}))}"),
    )


def _given(request: Request, filters: type[Filters]) -> dict[str, str]:
    return {key: value for key, value in request.query_params.items() if key in filters.model_fields and value}


def _all_of(managed: Managed, name: ListName, given: Mapping[str, str]) -> dict[str, Any]:
    """The filters as an address has them, and where all rows that match are meant."""
    here = f"/projects/{managed.project.slug}/browse/{name}"
    return {
        "query": urlencode(given),
        "all_path": f"{here}?{urlencode({**given, 'all': 'yes'})}",
        "counted": changes.COUNTED,
    }


async def _shared(request: Request, db: Db, managed: Managed, name: ListName, back: str) -> dict[str, Any]:
    """What every page of these shows: the lists, what can be done to rows of one, and what has just been done."""
    return {
        "managed": managed,
        "name": name,
        "names": words.TITLES,
        "values": words.WORDS,
        "word": words.word,
        "back": back,
        "offered": {known: kind for known, kind in CHANGES.items() if kind.of == name},
        "people": await reservations.candidates(db, managed.project) if managed.is_owner and name == "tasks" else (),
        "said": await _said(request, db, managed.project),
    }


async def _said(request: Request, db: Db, project: Project) -> dict[str, Any]:
    """What a change that has just been made did, from the address that it led back to."""
    given = {
        name: int(value)
        for name in ("changed", "undone", "left", "undo")
        if (value := request.query_params.get(name, "")).isdecimal() and len(value) < 19
    }
    if "changed" in given:
        text = ngettext("One row was changed.", "%(count)s rows were changed.", given["changed"])
    elif "undone" in given:
        text = ngettext("One row is as it was.", "%(count)s rows are as they were.", given["undone"])
    else:
        return {}
    said = [text % {"count": figures.count(given.get("changed", given.get("undone", 0)))}]
    kept = await changes.get(db, project, given["undo"]) if "undo" in given else None
    reasons = [f"{gettext(reason)} ({figures.count(count)})" for reason, count in (kept.left if kept else {}).items()]
    if given.get("left") and not reasons:
        left = ngettext(
            "One could not be: people have it, or it was changed since.",
            "%(count)s could not be: people have them, or they were changed since.",
            given["left"],
        )
        said.append(left % {"count": figures.count(given["left"])})
    return {"text": " ".join(said), "reasons": reasons, "undo": kept.id if kept and kept.changed else None}


def _to_run(project: Project, run: Run) -> Response:
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


def _back(path: str, said: Mapping[str, Any]) -> str:
    local = render.local_path(path)
    return f"{local}{'&' if '?' in local else '?'}{urlencode(said)}"
