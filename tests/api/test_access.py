"""Every route of the API, called by everybody: the matrix is made from the routes, so a new one can't be forgotten."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.services import accounts
from app.web.api import docs, routes
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded
from tests.cutting import cut_what_waits
from tests.factories import principal_of_api_token

# What an annotator may call; everything else in the project is for those who manage it.
FOR_ANNOTATORS = {
    *("list_projects", "read_project", "next_task", "submit_judgement", "skip"),
    *("read_assignment", "list_own_judgements"),
}
# Whoever one is: one's own account, and what the calls of this file answer who has no such thing.
OF_ONESELF = {
    **dict.fromkeys(("read_me", "change_me", "list_own_tokens", "list_own_sessions"), 200),
    **dict.fromkeys(("revoke_own_token", "end_own_session"), 404),
    "retry_removal": 404,  # of a project of theirs that is stuck
}
NO_GOLD = {"read_gold", "change_gold"}  # the task that is asked about is none
NOT_THERE = {name for name, answer in OF_ONESELF.items() if answer == 404}
FOR_OWNERS = {
    *("start_run", "change_checks", "write_gold", "make_gold", "change_gold", "let_in", "add_prompts"),
    "cut",
    "start_export",
    *("change_dataset", "write_folder"),
    "start_round",
    "cancel_round",
    "continue_round",
    "override_gate",
    "cancel_run",
    "retry_run",
    "add_model",
    "check_model",
    "promote",
    "roll_back",
    "change_round_settings",
    "change_review",
    "send_to_review",
    "change_rows",
    "undo_change",
    "erase",
    "upload",
    "check_import",
    "load_import",
    "undo_import",
    "cancel_import",
    "discard_import",
    "add_served_model",
    "change_served_model",
    "remove_served_model",
    "try_served_model",
    "ask_served_model",
    *("make_judge", "judge_pairs", "stop_judge"),
    "make_pairs",
    *("generate", "score", "ask_writers", "make_task_of_errand", "push_model"),
    *("list_webhooks", "add_webhook", "read_webhook", "change_webhook", "remove_webhook"),
    *("rotate_webhook_secret", "test_webhook", "list_deliveries", "redeliver"),
    "create_project",
    "change_project",
    "copy_project",
    "archive_project",
    "take_project_out",
    "delete_project",
    "export_project",
    "download_project",
    "change_member",
    "release",
    "reopen",
    "create_member_link",
    "list_invitations",
    "invite",
    "renew_invitation",
    "revoke_invitation",
    "remove_member",
    "read_project_log",
    "export_project_log",
}
# Of the whole site, and what only its admins may do in a project.
FOR_ADMINS = {
    "add_person",
    *("read_health", "list_backups", "read_account", "read_group"),
    *("list_accounts", "change_account", "end_ways_in", "erase_person", "create_link", "read_log", "export_log"),
    *("list_groups", "create_group", "rename_group", "remove_group", "put_into_group", "take_out_of_group"),
    *("give_group", "withdraw_group", "list_people_of_group"),
    *("list_site_webhooks", "add_site_webhook", "read_site_webhook", "change_site_webhook", "remove_site_webhook"),
    *("rotate_site_webhook_secret", "test_site_webhook", "list_site_deliveries", "redeliver_of_site"),
    *("create_project", "copy_project", "send_project_file", "read_project_file", "make_project"),
    "discard_project_file",  # unless the site's setting lets everybody
}
# One's own assignments only, whatever one's role.
OF_THE_ANNOTATOR = {"submit_judgement", "skip", "read_assignment"}
BODIES: dict[str, dict[str, Any]] = {
    "submit_judgement": {"choice": 2},
    "add_model": {"location": "/nowhere"},
    "check_model": {"location": "/nowhere"},
    "promote": {},
    "roll_back": {},
    "override_gate": {},
    "skip": {},
    "start_export": {},
    "change_rows": {"change": "retire", "ids": []},
    "erase": {"kind": "prompt", "id": 1, "dry_run": True},
    "add_served_model": {"name": "n", "address": "https://models.example/v1", "model": "m"},
    "generate": {"messages": [{"role": "user", "content": "Hi"}], "wait_seconds": 0},
    "score": {"pairs": [{"messages": [{"role": "user", "content": "Hi"}], "response": "Ho"}], "wait_seconds": 0},
    "ask_writers": {"messages": [{"role": "user", "content": "Hi"}], "writers": ["policy:1"], "wait_seconds": 0},
    "push_model": {"place": "nowhere/"},
    "make_task_of_errand": {"answers": [0, 1]},
    "make_pairs": {"compared": ["served:1"], "pairs": 1},
    "judge_pairs": {"pairs": 1},
    "create_project": {"name": "New"},
    "copy_project": {"name": "Copy"},
    "invite": {"people": [{"name": "Kim"}]},
    "renew_invitation": {},
    "change_member": {"paused": False},
    "add_person": {"person": "Kim"},
    "change_account": {},
    "create_group": {"name": "All"},
    "rename_group": {"name": "All"},
    "give_group": {},
    "change_dataset": {},
    "add_webhook": {"address": "https://hooks.example/", "events": ["run.ended"]},
    "add_site_webhook": {"address": "https://hooks.example/", "events": ["run.ended"]},
    "change_me": {"name": "Kim"},
    "start_run": {"stage": "reward"},
    "write_gold": {"better": 0, "prompt": "Which?", "responses": ["This.", "That."]},
    "make_gold": {"better": 0},
    "add_prompts": {"prompts": [{"messages": [{"role": "user", "content": "Why?"}]}]},
}

# What removes comes last, so that the others find it.
ROUTES = sorted(docs.operations(routes.openapi("test")), key=lambda route: route.method == "DELETE")


@pytest.fixture
async def here(seeded: Seeded, calling: As, sessions: SessionFactory, tmp_path: Path) -> dict[str, object]:
    """Values for the path parameters that exist in the project."""
    assert (await calling("owner").post(f"/api/v1/projects/{seeded.project.slug}/datasets")).status_code == 202
    await cut_what_waits(sessions, tmp_path / "home")
    task = (await calling("annotator").get(f"/api/v1/projects/{seeded.project.slug}/next-task")).json()
    tasks = (await calling("owner").get(f"/api/v1/projects/{seeded.project.slug}/tasks?limit=50")).json()["items"]
    prompt = (await calling("owner").get(f"/api/v1/projects/{seeded.project.slug}/prompts?limit=1")).json()["items"][0]
    tagging = {"change": "tag", "ids": [prompt["id"]], "value": "seen"}
    change = await calling("owner").post(f"/api/v1/projects/{seeded.project.slug}/changes", json=tagging)
    return {
        "slug": seeded.project.slug,
        "assignment_id": task["assignment_id"],
        "errand_id": seeded.errand.id,
        "run_id": seeded.failed.id,
        "kind": "policy",
        "number": 1,
        "group": "ppo",
        "figure": "judgements-by-day",
        "change_id": change.json()["change_id"],
        "import_id": seeded.imported.id,
        "served_model_id": seeded.served.id,
        "user_id": seeded.annotator.id,
        "task_id": next(one["id"] for one in tasks if one["judged"]),
        "invitation_id": await _invitation(calling("owner"), seeded.project.slug),
        "group_id": 1,
        "file_id": 1,
        **await _webhook(calling("owner"), seeded.project.slug),
        "prompt_id": prompt["id"],
        "token_id": 99_999,
        "session_id": 99_999,
    }


async def _webhook(owner: Client, slug: str) -> dict[str, object]:
    """A webhook that has something to tell."""
    here = f"/api/v1/projects/{slug}/webhooks"
    made = (await owner.post(here, json=BODIES["add_webhook"])).json()
    test = (await owner.post(f"{here}/{made['id']}/test")).json()
    return {"webhook_id": made["id"], "delivery_id": test["id"]}


async def _invitation(owner: Client, slug: str) -> int:
    made = await owner.post(f"/api/v1/projects/{slug}/invitations", json={"people": [{"name": "Kim"}]})
    number: int = made.json()[0]["id"]
    return number


NOWHERE = {
    "errand_id": 99_999,
    **dict.fromkeys(("assignment_id", "run_id", "user_id", "invitation_id", "group_id"), 99_999),
    **dict.fromkeys(
        ("change_id", "import_id", "served_model_id", "file_id", "task_id", "webhook_id", "delivery_id"), 99_999
    ),
    **dict.fromkeys(("prompt_id", "token_id", "session_id"), 99_999),
    "slug": "no-such-project",
    "kind": "policy",
    "number": 1,
    "group": "ppo",
    "figure": "judgements-by-day",
}


async def test_nobody_gets_anything_without_a_token(calling: As, here: dict[str, object]) -> None:
    answers = {route.anchor: await call(calling("nobody"), route, here) for route in ROUTES}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {"Bearer"}


async def test_a_revoked_token_opens_nothing(
    db: AsyncSession, calling: As, here: dict[str, object], seeded: Seeded
) -> None:
    client = calling("owner")
    (token,) = await accounts.list_api_tokens(db, seeded.owner.id)
    owner = await principal_of_api_token(db, client.headers["Authorization"].removeprefix("Bearer "))
    assert owner is not None
    await accounts.revoke_api_token(db, owner, token.id)
    await db.commit()
    answers = {route.anchor: (await call(client, route, here)).status_code for route in ROUTES}
    assert answers == dict.fromkeys(answers, 401)


async def test_an_annotator_gets_what_is_needed_to_judge_and_nothing_about_models(
    calling: As, here: dict[str, object]
) -> None:
    answers = {route.anchor: (await call(calling("annotator"), route, here)).status_code for route in ROUTES}
    allowed = FOR_ANNOTATORS | OF_ONESELF.keys()
    assert {name for name, status in answers.items() if status == 403} == answers.keys() - allowed
    assert {name: answers[name] for name in OF_ONESELF} == OF_ONESELF
    assert {name: answers[name] for name in FOR_ANNOTATORS} == {
        "list_projects": 200,
        "read_project": 200,
        "read_assignment": 200,
        "list_own_judgements": 200,
        "next_task": 200,
        "submit_judgement": 201,
        "skip": 409,  # it has just been answered
    }


async def test_a_reviewer_reads_everything_and_changes_nothing(calling: As, here: dict[str, object]) -> None:
    answers = {route.anchor: (await call(calling("reviewer"), route, here)).status_code for route in ROUTES}
    assert {name for name, status in answers.items() if status == 403} == FOR_OWNERS | FOR_ADMINS
    assert {name for name, status in answers.items() if status == 404} == (
        OF_THE_ANNOTATOR | NOT_THERE | {"read_gold", "download_export"}
    )


async def test_an_owner_may_call_everything_of_the_project(calling: As, here: dict[str, object]) -> None:
    answers = {route.anchor: (await call(calling("owner"), route, here)).status_code for route in ROUTES}
    refused = {name for name, status in answers.items() if status in {401, 403, 404}}
    # The run whose file is asked for is no export.
    assert refused == OF_THE_ANNOTATOR | FOR_ADMINS | NOT_THERE | NO_GOLD | {"download_project", "download_export"}
    assert max(answers.values()) < 500


async def test_what_is_somebody_elses_looks_the_same_as_what_is_not_there(calling: As, here: dict[str, object]) -> None:
    outsider = calling("outsider")
    for route in ROUTES:
        if "{" not in route.path:
            continue
        if route.anchor in FOR_ADMINS - {"add_person", "copy_project"}:
            assert (await call(outsider, route, here)).status_code == 403, route.anchor
            continue
        foreign, missing = await call(outsider, route, here), await call(outsider, route, NOWHERE)
        assert foreign.status_code == missing.status_code == 404, route.anchor
        assert _without_id(foreign.json()) == _without_id(missing.json()), route.anchor


async def test_lists_hold_nothing_of_other_projects(calling: As, here: dict[str, object]) -> None:
    listed = (await calling("outsider").get("/api/v1/projects")).json()["items"]
    assert [project["slug"] for project in listed] == ["elsewhere"]


async def test_a_browser_that_is_signed_in_is_nobody_to_the_api(
    db: AsyncSession, calling: As, here: dict[str, object], seeded: Seeded
) -> None:
    cookie = await session_of(db, seeded.owner.id)
    client = calling("nobody")
    client.cookies.set("session", cookie)
    answers = {route.anchor: (await call(client, route, here)).status_code for route in ROUTES}
    assert answers == dict.fromkeys(answers, 401)


async def test_a_token_counts_and_the_cookie_beside_it_does_not(
    db: AsyncSession, calling: As, here: dict[str, object], seeded: Seeded
) -> None:
    client = calling("annotator")
    client.cookies.set("session", await session_of(db, seeded.owner.id))
    assert (await client.get(f"/api/v1/projects/{seeded.project.slug}")).json()["role"] == "annotator"
    assert (await client.get(f"/api/v1/projects/{seeded.project.slug}/models")).status_code == 403


async def call(client: Client, route: docs.Operation, values: dict[str, object]) -> Any:
    path = route.path.format(**values)
    # A fresh key each time: the matrix asks about access, other tests about replays.
    headers = {
        "If-Match": "*",
        "Idempotency-Key": f"{client.headers.get('authorization', 'nobody')[-8:]}-{route.anchor}",
    }
    body = BODIES.get(route.anchor, {}) if route.method in {"POST", "PATCH", "PUT"} else None
    return await client.request(route.method, path, json=body, headers=headers)


async def session_of(db: AsyncSession, user_id: int) -> str:
    token = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, user_id))
    await db.commit()
    return token


def _without_id(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}
