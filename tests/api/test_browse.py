"""Lists of what a project holds over REST, page by page, and changes of many rows with undo."""

import pytest

from app.services.browse.lists import LISTS
from app.services.loop.chores import changing
from tests.api.conftest import As
from tests.browser.seed import Seeded

HERE = "/api/v1/projects/everyday-help"


@pytest.mark.parametrize("name", LISTS)
async def test_every_list_is_read_to_its_end_by_its_cursor(name: str, calling: As) -> None:
    whole = (await calling("reviewer").get(f"{HERE}/{name}?limit=200")).json()
    assert whole["next_cursor"] is None or len(whole["items"]) == 200
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None and len(seen) < len(whole["items"]):
        paging = {"limit": "50", **({"cursor": cursor} if cursor else {})}
        page = (await calling("reviewer").get(f"{HERE}/{name}", params=paging)).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"]
    assert seen[: len(whole["items"])] == [row["id"] for row in whole["items"]]
    assert seen


async def test_rows_are_changed_and_put_back_by_a_program(calling: As) -> None:
    owner = calling("owner")
    (task, *_) = (await owner.get(f"{HERE}/tasks?state=open")).json()["items"]
    done = (await owner.post(f"{HERE}/changes", json={"change": "retire", "ids": [task["id"]]})).json()
    assert done["changed"] == 1
    retired = (await owner.get(f"{HERE}/tasks?state=retired")).json()["items"]
    assert [row["id"] for row in retired] == [task["id"]]
    assert (await owner.post(f"{HERE}/changes/{done['change_id']}/undo")).json()["changed"] == 1
    assert (await owner.get(f"{HERE}/tasks?state=retired")).json()["items"] == []
    assert (await owner.post(f"{HERE}/changes/{done['change_id']}/undo")).status_code == 409


async def test_a_program_changes_all_that_match_and_is_told_of_the_run_where_they_are_many(
    calling: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = calling("owner")
    asked = {"change": "priority", "value": "3", "matching": {"state": "open"}}
    few = await owner.post(f"{HERE}/changes", json=asked)
    assert (few.status_code, few.json()["run"]) == (200, None)
    assert few.json()["changed"] > 1
    monkeypatch.setattr(changing, "AT_ONCE", 1)
    many = await owner.post(f"{HERE}/changes", json=asked | {"value": "4"})
    assert (many.status_code, many.json()["changed"], many.json()["run"]["stage"]) == (202, 0, "change")
    assert (await owner.post(f"{HERE}/changes/{many.json()['change_id']}/undo")).status_code == 409
    undone = await owner.post(f"{HERE}/changes/{few.json()['change_id']}/undo")
    assert (undone.status_code, undone.json()["run"]["state"]) == (202, "queued")


@pytest.mark.parametrize(
    "wrong",
    [
        {"matching": {"stat": "open"}},
        {"matching": {"state": "gone"}},
        {"matching": {}, "ids": [1]},
        {"matching": {}, "value": "much"},
    ],
)
async def test_what_could_mean_other_rows_is_refused(wrong: dict[str, object], calling: As) -> None:
    answer = await calling("owner").post(f"{HERE}/changes", json={"change": "priority", "value": "3"} | wrong)
    assert answer.status_code == 422


async def test_a_program_gives_tasks_to_a_person_who_is_given_them_next(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    (task, *_) = (await owner.get(f"{HERE}/tasks?state=open&purpose=label")).json()["items"]
    asked = {"change": "give", "value": str(seeded.reviewer.id), "ids": [task["id"]]}
    assert (await owner.post(f"{HERE}/changes", json=asked)).json()["changed"] == 1
    for_them = {"given_to": seeded.reviewer.name, "until": "9999-12-31"}
    (given,) = (await owner.get(f"{HERE}/tasks", params=for_them)).json()["items"]
    assert (given["id"], given["given_to"]) == (task["id"], seeded.reviewer.name)
    assert (await owner.get(f"{HERE}/people/{seeded.reviewer.id}")).json()["kept"] == 1
    served = (await calling("reviewer").get(f"{HERE}/next-task")).json()
    assert (await owner.get(f"{HERE}/tasks", params={"given_to": seeded.reviewer.name})).json()["items"] == [given]
    here = f"/api/v1/assignments/{served['assignment_id']}/judgements"
    answered = await calling("reviewer").post(here, json={"choice": 2}, headers={"Idempotency-Key": "given"})
    assert answered.status_code == 201
    assert (await owner.get(f"{HERE}/tasks", params={"given_to": seeded.reviewer.name})).json()["items"] == []


@pytest.mark.parametrize("query", ["state=gone", "cursor=x", "limit=0", "since=yesterday", "search=a%00b"])
async def test_a_filter_that_is_none_is_refused(query: str, calling: As) -> None:
    assert (await calling("owner").get(f"{HERE}/tasks?{query}")).status_code == 422


async def test_a_program_asks_what_an_erasure_would_touch_and_then_has_it_done(calling: As) -> None:
    owner = calling("owner")
    (response, *_) = (await owner.get(f"{HERE}/responses?limit=1")).json()["items"]
    asked = {"kind": "response", "id": response["id"], "dry_run": True}
    told = await owner.post(f"{HERE}/erasures", json=asked)
    assert (told.status_code, told.json()["run"]) == (200, None)
    assert told.json()["responses"] >= 1
    done = await owner.post(f"{HERE}/erasures", json=asked | {"dry_run": False, "files": True})
    assert (done.status_code, done.json()["run"]["stage"]) == (202, "erase")
    assert (await owner.post(f"{HERE}/erasures", json=asked | {"id": 10**9})).status_code == 404
