"""Every admin page and form, opened by everybody. The matrix is made from the routers: no new route is forgotten."""

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Member, User
from app.web.pages import (
    agreement,
    backups,
    browse,
    dataset_versions,
    datasets,
    erasure,
    exports,
    figures,
    imports,
    log,
    loop,
    model_files,
    models,
    people,
    playground,
    projects,
    quality,
    questions,
    reward_models,
    round_settings,
    rounds,
    runs,
    served_models,
    webhooks,
)
from app.web.serving import events
from tests.browser.seed import Seeded
from tests.factories import make_project
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

PAGES = (
    *(projects, browse, rounds, round_settings, runs, models, model_files, datasets, questions, quality, people),
    *(events, imports, exports, served_models, log, loop, figures, agreement, erasure, reward_models, backups),
    *(dataset_versions, playground, webhooks),
)
ROUTES = [route for page in PAGES for route in page.router.routes if isinstance(route, APIRoute)]
OF_A_PROJECT = [route for route in ROUTES if "{slug}" in route.path]
# Streams for ever: tests/browser/test_admin_live.py opens it, here only those who are refused do.
ENDLESS = {"stream"}
# Pages that reviewers don't see.
FOR_OWNERS = ("log", "erase", "webhooks")


@pytest.fixture
def here(seeded: Seeded) -> dict[str, object]:
    return {
        "slug": seeded.project.slug,
        "number": 2,
        "run_id": seeded.failed.id,
        "kind": "policy",
        "group": "ppo",
        "name": "tasks",
        "figure": "judgements-by-day",
        "form": "json",
        "prompt_id": 1,
        "change_id": 1,
        "user_id": seeded.annotator.id,
        "task_id": 1,
        "target_id": 99_999,
        "import_id": seeded.imported.id,
        "served_model_id": seeded.served.id,
        "invitation_id": 1,
        "errand_id": seeded.errand.id,
        "webhook_id": 1,
        "delivery_id": 1,
    }


async def test_who_is_signed_out_is_sent_to_the_door_and_nothing_happens(
    doors: dict[str, Door], here: dict[str, object]
) -> None:
    for route in ROUTES:
        answer = await doors["nobody"].open(route, here)
        if "GET" in (route.methods or ()):
            assert answer.status_code == 303, route.path
            assert answer.headers["location"].startswith("/sign-in?next="), route.path
        else:
            assert answer.status_code == 401, route.path


async def test_an_annotator_sees_no_admin_page(doors: dict[str, Door], here: dict[str, object]) -> None:
    answers = {(route.name, route.path): (await doors["annotator"].open(route, here)) for route in OF_A_PROJECT}
    assert {place: answer.status_code for place, answer in answers.items()} == dict.fromkeys(answers, 403)


async def test_a_reviewer_reads_every_page_but_the_log_and_may_send_no_form(
    doors: dict[str, Door], here: dict[str, object]
) -> None:
    for route in OF_A_PROJECT:
        if route.name in ENDLESS:
            continue
        answer = await doors["reviewer"].open(route, here)
        if "POST" in (route.methods or ()) or any(f"{{slug}}/{name}" in route.path for name in FOR_OWNERS):
            assert answer.status_code == 403, route.path
        else:
            # The seed's dataset versions are rows without a file, and a file that isn't there is a conflict.
            expected = {"download": 409, "download_folder": 409, "download_export": 404}.get(route.name, 200)
            assert answer.status_code == expected, route.path


async def test_no_page_shows_a_reviewer_a_form_that_would_be_refused(doors: dict[str, Door], seeded: Seeded) -> None:
    for page in (
        "",
        "/runs",
        f"/runs/{seeded.failed.id}",
        "/rounds/3",
        "/loop",
        "/models",
        "/imports",
        "/datasets",
        "/datasets/state",
        "/datasets/2",
        "/datasets/compare",
        "/people",
        "/served-models",
        f"/served-models/{seeded.served.id}",
    ):
        html = (await doors["reviewer"].send("GET", f"/projects/{seeded.project.slug}{page}")).text
        assert f'action="/projects/{seeded.project.slug}' not in html, page


async def test_what_is_somebody_elses_looks_the_same_as_what_is_not_there(
    doors: dict[str, Door], here: dict[str, object]
) -> None:
    missing = {**here, "slug": "no-such-project"}
    for route in OF_A_PROJECT:
        foreign, nothing = await doors["outsider"].open(route, here), await doors["outsider"].open(route, missing)
        assert foreign.status_code == nothing.status_code == 404, route.path
        assert _without_address(foreign) == _without_address(nothing), route.path


async def test_an_id_of_another_project_is_not_there(
    doors: dict[str, Door], here: dict[str, object], seeded: Seeded
) -> None:
    """The outsider's own project with the ids of the seeded one."""
    for route in OF_A_PROJECT:
        if {"run_id", "number", "user_id", "import_id", "served_model_id", "errand_id"} & set(route.param_convertors):
            answer = await doors["outsider"].open(route, {**here, "slug": "elsewhere"})
            assert answer.status_code == 404, route.path


async def test_a_form_sent_by_another_site_does_nothing(doors: dict[str, Door], seeded: Seeded) -> None:
    door = doors["owner"]
    cancel = f"/projects/{seeded.project.slug}/rounds/3/cancel"
    refused = await door.send("POST", cancel, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    assert "Round 3 is labelling" in (await door.send("GET", f"/projects/{seeded.project.slug}")).text


async def test_an_owner_signs_in_nobody_who_can_do_more(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    """A sign-in link is the whole account: it must not be a way to become an admin, or to enter other projects."""
    url = f"/projects/{seeded.project.slug}/people"
    assert "/sign-in/link/" in (await doors["owner"].send("POST", f"{url}/{seeded.annotator.id}/link")).text
    elsewhere = await make_project(db, "third")
    db.add(Member(project_id=elsewhere.id, user_id=seeded.annotator.id, role="annotator"))
    reviewer = await db.get_one(User, seeded.reviewer.id)
    reviewer.is_admin = True
    await db.commit()
    for user_id in (seeded.annotator.id, seeded.reviewer.id):
        refused = await doors["owner"].send("POST", f"{url}/{user_id}/link")
        assert refused.status_code == 403
        assert "/sign-in/link/" not in refused.text
    by_admin = await doors["reviewer"].send("POST", f"{url}/{seeded.annotator.id}/link")
    assert "/sign-in/link/" in by_admin.text


def _without_address(page: httpx.Response) -> str:
    """The page without what differs anyway: its request id, and its own address in the form of the menu."""
    return page.text.replace(page.headers["x-request-id"], "").replace("no-such-project", "everyday-help")
