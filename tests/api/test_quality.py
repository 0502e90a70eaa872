"""How people are checked and how they do, read and changed by a program as on the page."""

import pytest

from tests.api.conftest import As
from tests.browser.seed import Seeded

HERE = "/api/v1/projects/everyday-help"


async def test_how_people_are_checked_is_read_and_changed_in_parts(calling: As) -> None:
    owner = calling("owner")
    before = (await owner.get(f"{HERE}/checks")).json()
    changed = (await owner.patch(f"{HERE}/checks", json={"gold_percent": 5})).json()
    assert changed == before | {"gold_percent": 5}
    assert (await owner.get(f"{HERE}/checks")).json() == changed
    too_many = await owner.patch(f"{HERE}/checks", json={"repeat_percent": 50})
    assert (too_many.status_code, (await owner.get(f"{HERE}/checks")).json()) == (422, changed)


async def test_a_gold_task_is_written_explained_and_taken_out_of_use(calling: As) -> None:
    owner = calling("owner")
    said = {"better": 1, "prompt": "Which one?", "responses": ["This one.", "That one."], "explanation": "It is."}
    task = (await owner.post(f"{HERE}/gold-tasks", json=said)).json()["task_id"]
    first = (await owner.get(f"{HERE}/gold-tasks")).json()["items"][0]
    assert (first["task_id"], first["responses"], first["better"], first["is_in_use"]) == (
        *(task, said["responses"], 1),
        True,
    )
    change = {"better": None, "is_in_use": False}
    assert (await owner.patch(f"{HERE}/gold-tasks/{task}", json=change)).status_code == 204
    changed = next(one for one in (await owner.get(f"{HERE}/gold-tasks")).json()["items"] if one["task_id"] == task)
    assert (changed["better"], changed["explanation"], changed["is_in_use"]) == (None, "It is.", False)
    assert (await owner.patch(f"{HERE}/gold-tasks/99999", json={})).status_code == 404


@pytest.mark.parametrize("wrong", [{"responses": ["one"]}, {"responses": ["same", "same"]}, {"better": 5}])
async def test_what_can_not_be_a_gold_task_is_refused(calling: As, wrong: dict[str, object]) -> None:
    said = {"better": 0, "prompt": "Which?", "responses": ["This.", "That."]} | wrong
    assert (await calling("owner").post(f"{HERE}/gold-tasks", json=said)).status_code == 422


async def test_a_gold_task_that_the_first_page_does_not_reach_is_read_all_the_same(calling: As) -> None:
    owner = calling("owner")
    made = []
    for prompt in ("Which one?", "And of these?"):
        said = {"better": 1, "prompt": prompt, "responses": ["This one.", "That one."]}
        made.append((await owner.post(f"{HERE}/gold-tasks", json=said)).json()["task_id"])
    listed = (await owner.get(f"{HERE}/gold-tasks?limit=1")).json()
    assert [one["task_id"] for one in listed["items"]] == made[1:]
    assert (await owner.get(f"{HERE}/gold-tasks/{made[0]}")).json()["task_id"] == made[0]


async def test_a_gold_task_is_made_like_another_task_once(calling: As) -> None:
    owner = calling("owner")
    task = (await owner.get(f"{HERE}/tasks?limit=1&state=open")).json()["items"][0]["id"]
    made = await owner.post(f"{HERE}/tasks/{task}/gold", json={"better": 0})
    assert (made.status_code, (await owner.post(f"{HERE}/tasks/{task}/gold", json={"better": 0})).status_code) == (
        201,
        409,
    )


async def test_how_each_works_is_told_and_somebody_is_spared_the_round(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    assert (await owner.post(f"{HERE}/people/{seeded.annotator.id}/let-in")).status_code == 204
    people = {one["user_id"]: one for one in (await calling("reviewer").get(f"{HERE}/quality/people")).json()["items"]}
    assert people[seeded.annotator.id]["judgements"] > 0
    assert people[seeded.annotator.id]["qualified_at"] is not None
