"""Served models over the API: added, tried, asked, compared, changed and removed; the key goes in and never out."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Run, ServedModel
from app.jobs import execution
from app.services.loop.runs import leases
from app.web.api import routes
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded
from tests.jobs.conftest import make_context
from tests.served_endpoint import KEY, ServedEndpoint, endpoint, loopback_allowed, of, says

__all__ = ["endpoint", "loopback_allowed"]

pytestmark = pytest.mark.usefixtures("loopback_allowed")

PROJECT = "/api/v1/projects/everyday-help"
SERVED = f"{PROJECT}/served-models"


async def add(owner: Client, endpoint: ServedEndpoint, **fields: Any) -> dict[str, Any]:
    body = {"name": "Vicuña", "address": endpoint.address, "model": "m", "key": KEY, **fields}
    added = await owner.post(SERVED, json=body)
    assert added.status_code == 201, added.text
    found: dict[str, Any] = added.json()
    return found


async def test_a_program_adds_one_has_it_write_and_gets_pairs(
    calling: As, endpoint: ServedEndpoint, sessions: SessionFactory, tmp_path: Path
) -> None:
    owner = calling("owner")
    served = await add(owner, endpoint, sampling={"temperature": 0.5, "responses_per_prompt": 2})
    assert (served["has_key"], served["sampling"]["temperature"], served["limits"]["parallel"]) == (True, 0.5, 4)
    tried = await owner.post(f"{SERVED}/{served['id']}/test", json={"prompt": "Hello"})
    assert (tried.status_code, tried.json()["text"]) == (200, "Answer 1 to Hello")
    writer = f"served:{served['id']}"
    assert writer in [entry["writer"] for entry in (await owner.get(f"{PROJECT}/writers")).json()]
    asked = await owner.post(f"{SERVED}/{served['id']}/runs", json={"prompts": 3, "compared": [writer]})
    assert (asked.status_code, asked.json()["stage"], asked.json()["state"]) == (202, "ask", "queued")
    await work_off(sessions, tmp_path)
    done = (await owner.get(f"/api/v1/runs/{asked.json()['id']}")).json()
    assert (done["state"], done["result"]["responses"]) == ("succeeded", 6)
    made = next(run for run in (await owner.get(f"{PROJECT}/runs")).json()["items"] if run["stage"] == "select")
    assert made["result"]["pairs_made"] == 3
    assert (await owner.get(f"{PROJECT}/comparisons")).json() == []
    more = await owner.post(f"{PROJECT}/pairs", json={"compared": [writer], "pairs": 5})
    assert (more.status_code, more.json()["stage"]) == (202, "select")


async def test_a_program_makes_one_a_judge_has_it_judge_and_reads_what_it_said(
    calling: As, endpoint: ServedEndpoint, sessions: SessionFactory, tmp_path: Path
) -> None:
    owner = calling("owner")
    endpoint.reply = lambda asked: says("Bananas." if len(endpoint.asked) == 1 else "VERDICT: A")
    served = await add(owner, endpoint, limits={"parallel": 1})
    place = f"{SERVED}/{served['id']}/judge"
    assert (await owner.get(place)).json()["is_judge"] is False
    assert (await owner.post(f"{place}/runs", json={"pairs": 5})).status_code == 404
    made = await owner.post(place)
    assert (made.status_code, made.json()["is_judge"], made.json()["measured"]) == (201, True, None)
    assert (await owner.post(place)).status_code == 409
    asked = await owner.post(f"{place}/runs", json={"pairs": 100})
    assert (asked.status_code, asked.json()["stage"]) == (202, "judge")
    await work_off(sessions, tmp_path)
    done = (await owner.get(f"/api/v1/runs/{asked.json()['id']}")).json()
    judged, abstained = done["result"]["pairs_judged"], done["result"]["pairs_abstained"]
    assert (done["state"], abstained, done["result"]["pairs_flipped"]) == ("succeeded", 1, judged - 1)
    (unread,) = (await owner.get(f"{place}/answers?outcome=abstained")).json()["items"]
    assert [(reply["said"], reply["text"]) for reply in unread["replies"]] == [(None, "Bananas."), ("A", "VERDICT: A")]
    every = (await calling("reviewer").get(f"{place}/answers?limit=200")).json()["items"]
    assert len(every) == judged
    said = (await owner.get(f"{PROJECT}/judgements?kind=machine&limit=200")).json()["items"]
    assert len(said) == judged - abstained
    assert (await owner.delete(place)).status_code == 204
    assert (await owner.get(place)).json()["is_judge"] is False
    assert (await owner.delete(f"{SERVED}/{served['id']}")).status_code == 204
    assert await still_there(sessions, served["id"]), "what it said names it"


async def still_there(sessions: SessionFactory, served_model_id: int) -> bool:
    async with sessions() as db:
        return await db.get(ServedModel, served_model_id) is not None


async def test_no_answer_and_no_description_of_the_api_holds_the_key(calling: As, endpoint: ServedEndpoint) -> None:
    owner = calling("owner")
    endpoint.reply = lambda asked: of({"error": {"message": asked.headers["authorization"]}}, 401)
    served = await add(owner, endpoint)
    place = f"{SERVED}/{served['id']}"
    answers = [
        await owner.get(SERVED),
        await owner.get(place),
        await owner.patch(place, json={"name": "Other"}),
        await owner.post(f"{place}/test", json={"prompt": "Hello"}),
        await owner.post(SERVED, json={"name": "Other", "address": "ftp://x", "model": "m", "key": KEY}),
        await owner.post(SERVED, json={"name": "x", "address": "https://x.example", "model": "m", "key": [KEY]}),
        await owner.post(f"{place}/runs", json={}),
        await owner.get(f"{PROJECT}/runs"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 422, 422, 202, 200]
    assert all(KEY not in answer.text for answer in answers)
    fields = routes.openapi("test")["components"]["schemas"]["ServedModelOut"]["properties"]
    assert not [name for name in fields if "key" in name and name != "has_key"]
    assert answers[3].json()["detail"] == "The endpoint refuses us (401): “Bearer …”."


async def test_what_is_left_out_of_a_change_stays(calling: As, endpoint: ServedEndpoint, db: AsyncSession) -> None:
    owner = calling("owner")
    served = await add(owner, endpoint, sampling={"temperature": 0.5, "stop": ["END"]}, limits={"parallel": 9})
    place = f"{SERVED}/{served['id']}"
    changed = (await owner.patch(place, json={"model": "m2", "sampling": {"top_p": 0.5}})).json()
    assert (changed["name"], changed["model"], changed["has_key"]) == ("Vicuña", "m2", True)
    assert changed["sampling"] == {**served["sampling"], "top_p": 0.5}
    assert changed["limits"] == served["limits"]
    moved = await owner.patch(place, json={"address": "https://elsewhere.example/v1"})
    assert (moved.status_code, "give it again" in moved.json()["detail"]) == (422, True)
    moved = await owner.patch(place, json={"address": "https://elsewhere.example/v1", "forget_key": True})
    assert (moved.status_code, moved.json()["has_key"]) == (200, False)
    assert (await owner.patch(place, json={"name": "Mistral in the lab"})).status_code == 409
    assert (await owner.delete(place)).status_code == 204
    assert (await owner.get(place)).status_code == 404
    assert await db.get(ServedModel, served["id"]) is None


@pytest.mark.parametrize(
    "compared", [["judge:1"], ["served:999999"], ["policy:0"], ["served:" + "9" * 18], ["served:x"], [""], []]
)
async def test_only_writers_of_the_project_are_compared(calling: As, seeded: Seeded, compared: list[str]) -> None:
    answer = await calling("owner").post(f"{PROJECT}/pairs", json={"compared": compared, "pairs": 3})
    assert answer.status_code == 422, answer.text


async def work_off(sessions: SessionFactory, home: Path) -> None:
    context = make_context(sessions, home / "home")
    while True:
        async with sessions() as db:
            waiting: list[Run] = await leases.waiting(db)
        if not waiting:
            return
        for run in waiting:
            await execution.execute(context, run.id)
