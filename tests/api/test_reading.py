"""Lists, pages, filters and fields of the API: everything once, nothing of others, and what a program can rely on."""

import html
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Member, ModelVersion, Project, Task
from app.services.loop.models import models
from app.services.projects import projects
from app.web.api import docs, routes
from app.web.api.schemas import SIDES
from tests.api.conftest import As
from tests.api.test_lists import pages
from tests.browser.seed import Seeded
from tests.cutting import cut_what_waits
from tests.factories import make_project, make_task
from tests.seeded import LABELS

PROJECT = "/api/v1/projects/everyday-help"
NEXT = f"{PROJECT}/next-task"


async def test_models_are_listed_by_kind_and_an_empty_list_is_a_page(calling: As) -> None:
    reviewer = calling("reviewer")
    by_kind = {}
    for kind in ("policy", "reward", "cost"):
        listed = await pages(reviewer, f"{PROJECT}/models?kind={kind}", 2)
        by_kind[kind] = [model["number"] for page in listed for model in page]
        assert {model["kind"] for page in listed for model in page} <= {kind}
    assert by_kind == {"policy": [3, 2, 1], "reward": [2, 1], "cost": []}
    assert (await reviewer.get(f"{PROJECT}/models?kind=poem")).status_code == 422
    assert (await calling("outsider").get("/api/v1/projects/elsewhere/models")).json() == {
        "items": [],
        "next_cursor": None,
    }


async def test_projects_are_those_of_the_caller_with_what_their_role_may_know(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    for number in range(3):
        project = await make_project(db, f"more-{number}")
        db.add(Member(project_id=project.id, user_id=seeded.annotator.id, role="annotator"))
    put_away = await db.scalar(select(Project).where(Project.slug == "more-1"))
    assert put_away is not None
    put_away.archived_at = datetime.now(UTC)
    await db.commit()
    listed = await pages(calling("annotator"), "/api/v1/projects", 1)
    assert [project["slug"] for page in listed for project in page] == ["more-2", "more-0", "everyday-help"]
    for role, sees in (("annotator", False), ("reviewer", True), ("owner", True)):
        seen = (await calling(role).get(PROJECT)).json()
        assert (seen["role"], seen["counts"] is not None) == (role, sees)
        assert seen["progress"]["open_for_me"] == 6
    assert seen["counts"]["judgements"] == LABELS
    assert seen["counts"]["prompts_by_split"] == {"train": 40, "validation": 8, "held_out": 12}


async def test_what_is_read_is_what_is_there_and_no_path_of_the_server(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    reviewer = calling("reviewer")
    policy = (await reviewer.get(f"{PROJECT}/models/policy/3")).json()
    row = await db.scalar(select(ModelVersion).where(ModelVersion.kind == "policy", ModelVersion.number == 3))
    assert row is not None
    for name in ("id", "state", "run_id", "parent_id", "reference_id", "reward_id", "manifest_sha256", "figures"):
        assert policy[name] == getattr(row, name), name
    assert datetime.fromisoformat(policy["created_at"]).utcoffset() == timedelta(0)
    assert row.folder not in str(policy)
    failed = (await reviewer.get(f"/api/v1/runs/{seeded.failed.id}")).json()
    assert (failed["stage"], failed["state"], failed["result"]) == ("reward", "failed", None)
    assert "signal 9" in failed["error"]
    stopped = (await reviewer.get(f"{PROJECT}/rounds/2")).json()
    assert (stopped["status"], stopped["step"]) == ("stopped", "policy_gate")
    assert stopped["reason"].startswith("Responses are 1.84 times")
    for path in ("/rounds/99", "/models/policy/99", "/models/cost/1", "/datasets/99", "/datasets/99/export"):
        assert (await reviewer.get(f"{PROJECT}{path}")).status_code == 404, path
    for after in ("-2", "soon"):
        assert (await reviewer.get(f"/api/v1/runs/{seeded.ppo.id}/metrics?after_step={after}")).status_code == 422


async def test_what_can_not_be_done_now_is_a_conflict_in_words(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    for path, body, status, said in (
        (f"{PROJECT}/rounds/2/cancel", None, 409, "This round is stopped."),
        (f"{PROJECT}/rounds/2/continue", None, 409, "stopped"),
        (f"/api/v1/runs/{seeded.sft.id}/cancel", None, 409, "This run is over already."),
        (f"/api/v1/runs/{seeded.ppo.id}/retry", None, 409, "this one is running"),
        (f"{PROJECT}/models/policy/2/promote", {}, 409, "in use already"),
        (f"{PROJECT}/models/policy/1/promote", {"reason": "x" * 2001}, 422, "reason"),
        (f"{PROJECT}/models/policy/1/promote", {"because": "x"}, 422, "because"),
        (f"{PROJECT}/roll-back", {"kind": "reward"}, 409, "no earlier version"),
        (f"{PROJECT}/roll-back", {"kind": "poem"}, 422, "kind"),
        (f"{PROJECT}/rounds", {"label_target": -1}, 422, "label_target"),
        (f"{PROJECT}/rounds", {"labels": 3}, 422, "labels"),
        ("/api/v1/projects/everyday-help/models/policy/99/promote", {}, 404, "nothing here"),
    ):
        answer = await owner.post(path, json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
        assert said in answer.json()["detail"], (path, answer.json())


async def test_a_cut_of_nothing_is_refused_and_an_export_takes_what_its_switches_say(
    db: AsyncSession, calling: As, seeded: Seeded, sessions: SessionFactory, tmp_path: Path
) -> None:
    bare = await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    await models.register(
        db, project_id=bare.id, kind="policy", run_id=None, folder="models/x", manifest_sha256="0" * 64, figures={}
    )
    await db.commit()
    owner = calling("owner")
    empty = await owner.post("/api/v1/projects/bare/datasets")
    assert (empty.status_code, "no judgement yet" in empty.json()["detail"]) == (409, True)
    undemonstrated = await owner.post("/api/v1/projects/bare/datasets", json={"kind": "demonstrations"})
    assert (undemonstrated.status_code, "no demonstration yet" in undemonstrated.json()["detail"]) == (409, True)
    asked = await owner.post(f"{PROJECT}/datasets")
    run = asked.json()["id"]
    assert (asked.status_code, (await owner.post(f"{PROJECT}/datasets")).status_code) == (202, 409)
    await cut_what_waits(sessions, tmp_path / "home")
    assert (await owner.get(f"/api/v1/runs/{run}")).json()["result"]["number"] == 3
    cut = (await owner.get(f"{PROJECT}/datasets/3")).json()
    assert (cut["number"], cut["kind"], cut["row_count"], cut["counts"]["human"]) == (3, "preferences", LABELS, LABELS)
    plain = (await owner.get(f"{PROJECT}/datasets/3/export?raw=0")).text
    raw = (await owner.get(f"{PROJECT}/datasets/3/export?raw=true")).text
    assert (plain.count("\n"), raw.count("\n")) == (raw.count('"strength"'), raw.count('"chosen_safe": ""'))
    assert "judgement_id" not in plain
    assert (await owner.get(f"{PROJECT}/datasets/3/export?raw=perhaps")).status_code == 422
    assert (await owner.get(f"{PROJECT}/datasets/2/judgements")).text == "", "a row of the seed that holds none"


async def test_a_judgement_by_the_api_is_the_one_that_the_page_would_have_made(
    db: AsyncSession, calling: As, seeded: Seeded, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await db.get_one(Project, seeded.project.id)
    project.question = {"criteria": ["kind", "true"], "asks_acceptable": True}
    await db.execute(update(Task).values(priority=0))
    await make_task(db, project, "one", "two", priority=9)
    await db.commit()
    annotator = calling("annotator")
    task = (await annotator.get(NEXT)).json()
    first = [pane["text"] for pane in task["panes"]].index("one")
    said = {"choice": 3, "criteria": {"kind": "B", "true": "tie"}, "acceptable": [True, None]}
    url = f"/api/v1/assignments/{task['assignment_id']}/judgements"
    for key in (None, "", "x" * 201):
        refused = await annotator.post(url, json=said, headers={} if key is None else {"Idempotency-Key": key})
        assert refused.status_code in {400, 422}
    answer = await annotator.post(url, json=said, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["verdict"]) == (201, None)
    await calling("owner").post(f"{PROJECT}/datasets")
    await cut_what_waits(sessions, tmp_path / "home")
    rows = (await calling("owner").get(f"{PROJECT}/datasets/3/judgements")).text.splitlines()
    assert f'"judgement_id": {answer.json()["id"]}' in rows[-1]
    sign = 1 if first == 0 else -1
    assert f'"preference": {sign}' in rows[-1]
    told = json.loads(rows[-1])
    assert json.loads(told["criteria"]) == {"kind": SIDES["B"] * sign, "true": 0}
    assert told["acceptable"] == (["yes", ""] if first == 0 else ["", "yes"])


async def test_the_documentation_shows_every_operation_with_its_fields_and_every_error(
    calling: As, site: FastAPI
) -> None:
    page = html.unescape((await calling("annotator").get("/api/docs")).text)
    for operation in docs.operations(routes.openapi(site.version)):
        assert f'id="{operation.anchor}"' in page, operation.anchor
        assert operation.summary in page
    for error in ("NotFound", "KeyReused", "LeaseExpired", "KeyMissing", "TooMany"):
        assert f'id="error-{error}"' in page, error
    shown = {operation.anchor: operation for operation in docs.operations(routes.openapi("1"))}
    choice = next(entry for entry in shown["submit_judgement"].body if entry.name == "choice")
    assert (choice.kind, choice.required) == ("integer 1–8 or null", False)
    key = next(entry for entry in shown["submit_judgement"].parameters if entry.name == "idempotency-key")
    assert key.required, "its absence is refused"
    ranks = next(entry for entry in shown["submit_judgement"].body if entry.name == "ranks")
    assert ranks.kind == "list of integer 1–9 or null or null"
    assert [answer.status for answer in shown["submit_judgement"].answers] == ["200", "201"]
    listed = {entry.name: entry.kind for entry in shown["list_models"].parameters}
    assert listed["kind"] == "policy | reward | cost or null"
