"""Prompts, tasks, runs and gates one by one, and new prompts, by a program."""

from tests.api.conftest import As
from tests.browser.seed import Seeded

HERE = "/api/v1/projects/everyday-help"


def asking(text: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **more}


async def test_prompts_are_added_and_read_and_one_that_is_there_stays_as_it_is(calling: As) -> None:
    owner = calling("owner")
    sent = {"prompts": [asking("Why is bread brown?", topic="bread", split="train"), asking("And why is milk white?")]}
    ids = (await owner.post(f"{HERE}/prompts", json=sent)).json()["ids"]
    again = {"prompts": [asking("Why is bread brown?", topic="cake", split="held_out")]}
    assert (await owner.post(f"{HERE}/prompts", json=again)).json()["ids"] == ids[:1]
    prompt = (await owner.get(f"{HERE}/prompts/{ids[0]}")).json()
    assert (prompt["messages"][0]["content"], prompt["topic"], prompt["split"]) == (
        *("Why is bread brown?", "bread"),
        "train",
    )
    assert (prompt["responses"], prompt["tasks"], prompt["demonstrations"]) == ([], [], [])
    change = {"change": "exclude", "ids": ids[:1]}
    assert (await owner.post(f"{HERE}/changes", json=change)).json()["changed"] == 1
    assert (await owner.get(f"{HERE}/prompts/{ids[0]}")).json()["excluded"] is True


async def test_what_can_not_be_answered_is_no_prompt(calling: As) -> None:
    wrong = [
        [],
        [{"messages": []}],
        [{"messages": [{"role": "assistant", "content": "Because."}]}],
        [{"messages": [{"role": "user", "content": ""}]}],
        [asking("Why?")] * 101,
    ]
    for prompts in wrong:
        assert (await calling("owner").post(f"{HERE}/prompts", json={"prompts": prompts})).status_code == 422


async def test_a_task_is_read_with_all_that_was_said_of_it(calling: As) -> None:
    reviewer = calling("reviewer")
    listed = (await reviewer.get(f"{HERE}/tasks?limit=200")).json()["items"]
    judged = next(task for task in listed if task["judged"])
    task = (await reviewer.get(f"{HERE}/tasks/{judged['id']}")).json()
    assert len(task["responses"]) >= 2
    current = [one for one in task["judgements"] if one["judgement"]["superseded_by"] is None]
    assert len(current) >= judged["judged"]
    assert (await reviewer.get(f"{HERE}/prompts/{judged['prompt_id']}")).json()["id"] == task["prompt"]["id"]


async def test_a_person_finds_back_what_they_said(calling: As) -> None:
    annotator = calling("annotator")
    said = (await annotator.get(f"{HERE}/my-judgements")).json()["items"]
    assert len(said) > 1
    task = (await annotator.get(f"/api/v1/assignments/{said[0]['assignment_id']}")).json()
    assert (task["said"], task["state"]) == (said[0]["said"], "submitted")
    assert (await calling("owner").get(f"/api/v1/assignments/{said[0]['assignment_id']}")).status_code == 404


async def test_a_run_is_started_and_its_log_is_read(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    assert (await owner.post(f"{HERE}/runs", json={"stage": "bake"})).status_code == 422
    started = await owner.post(f"{HERE}/runs", json={"stage": "reward"})
    assert (started.status_code, started.json()["state"]) == (201, "queued")
    assert (await owner.get(f"/api/v1/runs/{seeded.failed.id}/log")).json()["text"] is not None


async def test_decisions_of_gates_are_listed_by_round(calling: As) -> None:
    reviewer = calling("reviewer")
    everything = (await reviewer.get(f"{HERE}/gates")).json()["items"]
    by_round = [
        gate
        for number in (1, 2, 3)
        for gate in (await reviewer.get(f"{HERE}/gates", params={"round": number})).json()["items"]
    ]
    assert everything
    assert {gate["id"] for gate in by_round} <= {gate["id"] for gate in everything}
    assert all(gate["rules"] for gate in everything)
