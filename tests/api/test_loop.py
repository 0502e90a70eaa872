"""Rounds, runs and models over the API, and what all its answers have in common."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from tests.api.conftest import As
from tests.browser.seed import Seeded
from tests.browser.seed.hacking import write_report
from tests.seeded import site
from tests.services.loop.test_base_models import write_model

__all__ = ["site"]

PROJECT = "/api/v1/projects/everyday-help"


async def test_a_second_round_has_to_wait_for_the_first(calling: As) -> None:
    owner = calling("owner")
    busy = await owner.post(f"{PROJECT}/rounds", json={"label_target": 5})
    assert busy.status_code == 409
    cancelled = await owner.post(f"{PROJECT}/rounds/3/cancel")
    assert cancelled.json()["status"] == "cancelled"
    started = await owner.post(f"{PROJECT}/rounds", json={"label_target": 5})
    assert started.status_code == 201
    assert {name: started.json()[name] for name in ("number", "status", "label_target")} == {
        "number": 4,
        "status": "active",
        "label_target": 5,
    }


async def test_an_owner_goes_on_with_the_labels_at_hand(calling: As) -> None:
    continued = await calling("owner").post(f"{PROJECT}/rounds/3/continue")
    assert continued.json()["step"] == "snapshot"
    again = await calling("owner").post(f"{PROJECT}/rounds/3/continue")
    assert again.status_code == 409


async def test_how_many_judgements_are_likely_to_be_enough_is_told(calling: As) -> None:
    told = await calling("reviewer").get(f"{PROJECT}/label-advice")
    assert told.json()["enough"] == 812
    assert told.json()["sentence"].startswith("Reward model 2 was clearly better than its gate asks with 812")
    assert (await calling("annotator").get(f"{PROJECT}/label-advice")).status_code == 403


async def test_a_model_is_looked_at_and_brought(calling: As, site: FastAPI, tmp_path: Path) -> None:
    model = {"location": str(write_model(tmp_path / "model"))}
    owner = calling("owner")
    assert (await owner.post(f"{PROJECT}/models", json=model)).status_code == 422, "not from anywhere"
    site.state.settings = site.state.settings.model_copy(update={"model_folders": str(tmp_path)})
    card = (await owner.post(f"{PROJECT}/models/check", json=model)).json()["card"]
    assert (card["model_type"], card["parameters"], card["licence"]) == ("llama", 264, "apache-2.0")
    brought = await owner.post(f"{PROJECT}/models", json=model)
    assert (brought.status_code, brought.json()["stage"], brought.json()["state"]) == (202, "adopt", "queued")


async def test_promoting_and_rolling_back(calling: As) -> None:
    owner = calling("owner")
    refused = await owner.post(f"{PROJECT}/models/policy/3/promote", json={"reason": " "})
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "Its gate refused this version. Say why it is to be used all the same.",
    )
    promoted = await owner.post(f"{PROJECT}/models/policy/3/promote", json={"reason": "Reads better."})
    assert promoted.json()["state"] == "promoted"
    assert (await owner.get(f"{PROJECT}/models/policy/2")).json()["state"] == "archived"
    back = await owner.post(f"{PROJECT}/roll-back", json={})
    assert (back.json()["kind"], back.json()["number"], back.json()["state"]) == ("policy", 2, "promoted")
    assert (await owner.get(f"{PROJECT}/models/policy/3")).json()["state"] == "archived"


async def test_a_failed_run_is_put_back_into_the_queue(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    retried = await owner.post(f"/api/v1/runs/{seeded.failed.id}/retry")
    assert (retried.status_code, retried.json()["state"]) == (200, "queued")
    cancelled = await owner.post(f"/api/v1/runs/{seeded.failed.id}/cancel")
    assert cancelled.json()["state"] == "cancelled"


async def test_the_report_on_reward_hacking_is_there_after_the_first_evaluation(
    calling: As, seeded: Seeded, site: FastAPI
) -> None:
    address = f"/api/v1/runs/{seeded.ppo.id}/reward-hacking"
    assert (await calling("owner").get(address)).json() is None
    write_report(site.state.settings.home, seeded.ppo)
    report = (await calling("reviewer").get(address)).json()
    assert [row["iteration"] for row in report["evaluations"]] == [0, 5, 10, 15, 20, 25, 30]
    assert report["evaluations"][-1]["alarms"][0]["detector"] == "divergence"
    assert (await calling("annotator").get(address)).status_code in (403, 404)


async def test_the_metrics_of_a_run_can_be_followed(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    every = (await owner.get(f"/api/v1/runs/{seeded.ppo.id}/metrics")).json()["items"]
    assert [metric["step"] for metric in every] == list(range(34, 0, -1)), "newest first"
    assert every[0]["figures"]["kl"] >= 0
    later = (await owner.get(f"/api/v1/runs/{seeded.ppo.id}/metrics?after_step=30")).json()["items"]
    assert later == every[:4]


async def test_pages_hold_everything_once_while_new_things_arrive(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    owner = calling("owner")
    whole = [run["id"] for run in (await owner.get(f"{PROJECT}/runs?limit=200")).json()["items"]]
    assert whole == sorted(whole, reverse=True)
    read, cursor = [], ""
    while True:
        page = (await owner.get(f"{PROJECT}/runs?limit=4{cursor}")).json()
        read += [run["id"] for run in page["items"]]
        if not cursor:
            await owner.post(f"/api/v1/projects/{seeded.project.slug}/rounds/3/cancel")
            assert (await owner.post(f"{PROJECT}/rounds", json={})).status_code == 201
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert read == whole


@pytest.mark.parametrize("cursor", ["x", "%00", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "a" * 101])
async def test_a_cursor_that_is_none_of_ours_is_refused(calling: As, cursor: str) -> None:
    assert (await calling("owner").get(f"{PROJECT}/runs?cursor={cursor}")).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/projects/%00",
        "/api/v1/projects/a%00b/runs",
        "/api/v1/projects/" + "x" * 5_000,
        f"/api/v1/runs/{10**30}",
        "/api/v1/runs/-1",
        f"{PROJECT}/models/policy/{10**19}",
        f"{PROJECT}/models/secret/1",
        f"{PROJECT}/runs?limit=100000",
        "/api/v1/nothing",
    ],
)
async def test_nonsense_is_answered_by_a_problem_and_never_by_a_crash(calling: As, path: str) -> None:
    answer = await calling("owner").get(path)
    assert answer.status_code in {404, 422}
    assert_problem(answer)


async def test_a_nul_in_a_text_is_refused(calling: As) -> None:
    answer = await calling("owner").post(f"{PROJECT}/models/policy/3/promote", json={"reason": "a\x00b"})
    assert answer.status_code == 422
    assert_problem(answer)


async def test_the_description_is_for_those_who_are_signed_in_and_for_programs(
    db: AsyncSession, calling: As, seeded: Seeded, site: FastAPI
) -> None:
    nobody = calling("nobody")
    for path in ("/api/v1/openapi.json", "/api/docs"):
        assert (await nobody.get(path)).status_code == 401
        assert (await calling("annotator").get(path)).status_code == 200
    token = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, seeded.annotator.id))
    await db.commit()
    nobody.cookies.set("session", token)
    page = (await nobody.get("/api/docs")).text
    assert "Say which response is better" in page
    assert "<style" not in page
    assert 'style="' not in page
    assert (await nobody.get("/api/v1/openapi.json")).json()["info"]["title"] == "Plumbline"


async def test_the_description_covers_the_api_and_names_no_secret(calling: As) -> None:
    document = (await calling("owner").get("/api/v1/openapi.json")).json()
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert all(operation["summary"] and operation["security"] for operation in operations)
    fields = {field for schema in document["components"]["schemas"].values() for field in schema.get("properties", {})}
    assert not fields & {"token_digest", "password_hash", "folder", "path", "lease_token", "settings"}


def assert_problem(answer: Any) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "request_id"} <= set(body)
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
