"""A table says who is refused where; each guard that is taken away from any route changes it: none is forgotten.

The table is `tests/security/refusals.txt`. `python -m tests.security.mutate_guards` writes it anew, for whoever changes
who may do what, and takes every guard away from every route, as `make proof` does.
"""

import os
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db.tables import Member, Project
from app.security import Principal
from app.services import accounts
from app.services.projects import projects
from app.web.api import docs
from app.web.api import routes as api_routes
from tests.api.conftest import calling, database_url, seeded, seeded_template, seeded_url, site, tokens
from tests.api.test_access import BODIES, here
from tests.browser.seed import Seeded
from tests.security.guards import PEOPLE, Everybody, Guards, Mutant, Route, names_in, routes_of

__all__ = ["calling", "database_url", "here", "seeded", "seeded_template", "seeded_url", "site", "tokens"]

TABLE = Path(__file__).with_name("refusals.txt")
REFUSALS = {401, 403, 404}
GOES_ON = "-"
OWN = "elsewhere"
"""The project of the outsider, in which there is nothing."""
NUMBERS = {"run_id", "number", "user_id", "import_id", "served_model_id", "invitation_id", "prompt_id", "task_id"}
NUMBERS |= {"change_id", "target_id", "assignment_id", "errand_id", "webhook_id", "delivery_id"}
OTHER = "/projects/{slug}/"
FORMS: dict[str, dict[str, str]] = {
    "assignments/{assignment_id}/judgement": {"choice": "1", "idempotency_key": "once"},
    "review/{assignment_id}/judgement": {"choice": "1", "idempotency_key": "once"},
    "people/{user_id}/pause": {"paused": "true"},
    "people/{user_id}/role": {"role": "reviewer"},
    "quality/gold/{task_id}/use": {"use": "true"},
    "served-models/{served_model_id}/judge/runs": {"pairs": "1"},
    "served-models/{served_model_id}/runs": {"prompts": "1"},
    "served-models/{served_model_id}/test": {"prompt": "Hello"},
    "webhooks/{webhook_id}/switch": {"on": "true"},
}
EVERY = 19
"""Of the guards, so many apart are taken away in `make test`."""
WRITE = "WRITE_REFUSALS"


@pytest.fixture
async def everybody(
    site: FastAPI,
    engine: AsyncEngine,
    db: AsyncSession,
    seeded: Seeded,
    tokens: dict[str, str],
    here: dict[str, object],
) -> Everybody:
    own = select(Member.user_id).join(Project, Project.id == Member.project_id).where(Project.slug == OWN)
    outsider_id = (await db.scalars(own)).one()
    people = {"reviewer": seeded.reviewer.id, "annotator": seeded.annotator.id, "outsider": outsider_id}
    sessions = {
        role: await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, user_id))
        for role, user_id in people.items()
    }
    anybody = await accounts.create_user(db, name="May do all of it", is_admin=True)
    await projects.add_member(db, seeded.project, anybody.id, "owner")
    for scope in ("read", "manage"):
        tokens[scope] = await accounts.create_api_token(db, anybody.id, name=scope, scopes=[scope])
    await db.commit()
    owner = seeded.owner
    guards = Guards(Principal(owner.id, owner.name, is_admin=owner.is_admin, is_simulated=False))
    values = {"number": 2, "kind": "policy", "name": "tasks", "form": "json", "prompt_id": 1, "target_id": 1} | here
    operations = docs.operations(api_routes.openapi("test"))
    bodies = {Route(one.method, one.path): BODIES[one.anchor] for one in operations if one.anchor in BODIES}
    bodies |= {Route("POST", f"{OTHER}{path}"): form for path, form in FORMS.items()}
    bodies[Route("POST", "/api/v1/projects/{slug}/served-models/{served_model_id}/test")] = {"prompt": "Hello"}
    return Everybody(site, engine, guards, values, sessions, tokens, bodies)


# Behind each of these stands another one that refuses the same people, and no question tells the two apart.
GUARDED_TWICE = {
    "who is given work is looked up as a member": [
        Mutant("member", Route("GET", f"/{path}"))
        for path in (
            "api/v1/projects/{slug}/next-task",
            "projects/{slug}/annotate",
            "projects/{slug}/annotate/ahead",
            "projects/{slug}/annotate/next",
            "projects/{slug}/annotate/pairs/{assignment_id}",
        )
    ],
    "strangers don't find the project": [Mutant("role", Route("GET", "/api/v1/projects/{slug}"))],
    "accounts are put in by admins of the site": [
        Mutant(guard, Route("POST", "/api/v1/projects/{slug}/people")) for guard in ("role", "owner alone")
    ],
    "a link is made by who owns every project of its person": [
        Mutant(guard, Route("POST", path))
        for guard in ("role", "owner alone")
        for path in (
            "/api/v1/projects/{slug}/people/{user_id}/sign-in-link",
            "/projects/{slug}/people/{user_id}/link",
        )
    ],
    "the session itself is asked for": [
        Mutant("signed in", Route("GET", "/account")),
        Mutant("signed in", Route("POST", "/account/passkeys/options")),
        Mutant("signed in", Route("POST", "/account/passkeys/{passkey_id}/remove")),
    ],
    # Where it is everybody's, the test below looks.
    "making projects is the admins' by default": [
        Mutant(guard, Route("POST", "/projects/{slug}/settings/copy")) for guard in ("role", "owner alone")
    ],
}

Table = dict[Route, dict[str, str]]


async def test_who_is_refused_where_is_what_the_table_says(everybody: Everybody, site: FastAPI) -> None:
    with everybody.guards.in_place(site):
        if WRITE in os.environ:
            await write_table(everybody, site)
        table = read_table()
        found = {route: told | _told(await everybody.answers(route, _refused(told))) for route, told in table.items()}
    assert list(table) == routes_of(site)
    assert {route: told for route, told in found.items() if told != table[route]} == {}


async def test_a_guard_that_is_taken_away_is_noticed(everybody: Everybody, site: FastAPI) -> None:
    with everybody.guards.in_place(site):
        asked = routes_of(site)[::EVERY]
        for route in asked:
            await everybody.answers(route)
        mutants = sorted(everybody.guards.asked)
        assert len(mutants) > len(asked)
        assert set(await survivors(everybody, mutants)) <= known()


async def test_where_everybody_may_make_projects_only_owners_copy_one(everybody: Everybody, site: FastAPI) -> None:
    settings = site.state.settings
    site.state.settings = settings.model_copy(update={"project_creation": "everybody"})
    copying = [Route("POST", "/projects/{slug}/settings/copy"), Route("POST", "/api/v1/projects/{slug}/copy")]
    try:
        with everybody.guards.in_place(site):
            for route in copying:
                answers = await everybody.answers(route, ("nobody", "outsider", "annotator", "reviewer"))
                assert answers == {"nobody": 401, "outsider": 404, "annotator": 403, "reviewer": 403}, route
            mutants = sorted(mutant for mutant in everybody.guards.asked if mutant.guard in {"role", "owner alone"})
            assert {mutant.route for mutant in mutants} == set(copying)
            assert await survivors(everybody, mutants) == []
    finally:
        site.state.settings = settings


async def test_what_is_of_another_project_is_not_there_in_ones_own(everybody: Everybody, site: FastAPI) -> None:
    """An owner asks their own project for what is another one's, by its number."""
    asked = [route for route in routes_of(site) if {"slug", *NUMBERS} & set(names_in(route.path)) > {"slug"}]
    with everybody.guards.in_place(site):
        found = {
            route: await everybody.ask(
                route, "outsider", slug=OWN, kind="prompt" if "/erase/" in route.path else "policy"
            )
            for route in asked
        }
    assert len(found) > 90
    assert [f"{status} {route.method} {route.path}" for route, status in found.items() if status != 404] == []


@pytest.mark.slow
async def test_every_guard_that_is_taken_away_from_any_route_is_noticed(
    everybody: Everybody, site: FastAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    with everybody.guards.in_place(site):
        for route in routes_of(site):
            await everybody.answers(route)
        mutants = sorted(everybody.guards.asked)
        unnoticed = await survivors(everybody, mutants)
    with capsys.disabled():
        print(f"\n{len(mutants)} guards taken away, {len(unnoticed)} unnoticed", *unnoticed, sep="\n")  # noqa: T201 - a figure for docs/asvs.md
    assert set(unnoticed) == known()


async def survivors(everybody: Everybody, mutants: list[Mutant]) -> list[Mutant]:
    """Those without which everybody is refused as the table says."""
    table = read_table()
    found = []
    for mutant in mutants:
        everybody.guards.gone = mutant
        told = table[mutant.route]
        if told == told | _told(await everybody.answers(mutant.route, _refused(told))):
            found.append(mutant)
    everybody.guards.gone = None
    return found


def known() -> set[Mutant]:
    return {mutant for mutants in GUARDED_TWICE.values() for mutant in mutants}


async def write_table(everybody: Everybody, site: FastAPI) -> None:
    told = {route: _told(await everybody.answers(route)) for route in routes_of(site)}
    lines = [" ".join((route.method, route.path, *refused.values())) for route, refused in told.items()]
    TABLE.write_text("\n".join((" ".join(("method", "route", *PEOPLE)), *lines, "")))


def read_table() -> Table:
    """Route → person → the status by which they are refused."""
    rows = [line.split() for line in TABLE.read_text().splitlines()[1:]]
    return {Route(method, path): dict(zip(PEOPLE, told, strict=True)) for method, path, *told in rows}


def _refused(told: dict[str, str]) -> list[str]:
    return [person for person, status in told.items() if status != GOES_ON]


def _told(answers: dict[str, int]) -> dict[str, str]:
    return {person: str(status) if status in REFUSALS else GOES_ON for person, status in answers.items()}
