"""Lists of the API: in pages all of them, everything once, newest first."""

import base64
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import JudgeAnswer, Project, Run, ServedModel, Task, User
from app.services import accounts
from app.services.judging.machines import judges
from app.web.api import routes
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded

PROJECT = "/api/v1/projects/everyday-help"
# What an answer holds whole, by what keeps it short. A list that grows with the data isn't one of these.
BOUNDED = {
    "one for each row of a registry in the code": {
        *("list_figures", "FigureOut.columns", "FigureRowsOut.columns", "ExportPreviewOut.columns", "GateOut.rules"),
        *("read_round_settings", "round_settings__GroupOut.entries", "SettingOut.choices", "HealthOut.checks"),
        *("WebhookOut.events", "TokenOut.scopes", "QuestionOut.criteria", "QuestionOut.flags"),
    },
    "of one task: nine responses at most, and as many judgements as its quota and their changes": {
        *("TaskOut.panes", "AssignmentOut.panes", "TaskDetailOut.responses", "GoldOut.responses", "AnswerOut.ranks"),
        *("AnswerOut.acceptable", "AnswerOut.flags", "AnswerOut.flags[]", "AnswerOut.safe", "JudgementListed.ranks"),
        *("JudgementListed.shown_order", "TaskDetailOut.judgements", "TaskJudgementOut.held_by"),
        *("JudgeAnswerOut.replies", "JudgeReplyOut.order"),
    },
    "of one conversation": {"TaskOut.prompt", "AssignmentOut.prompt", "GoldOut.prompt", "PromptOut.messages"},
    "of one row, written by hand or by the code": {
        *("PromptDetailOut.messages", "PromptDetailOut.tags", "PromptOut.tags", "PromptListed.tags"),
        *("DatasetOut.tags", "DatasetOut.machines", "Sampling.stop", "directory__GroupOut.projects"),
        *("DifferenceOut.reasons", "DifferenceOut.learnt_before", "DifferenceOut.learnt_before[]"),
        *("DifferenceOut.learnt_after", "DifferenceOut.learnt_after[]"),
    },
    "the newest 200 of one prompt": {
        *("PromptDetailOut.responses", "PromptDetailOut.tasks", "PromptDetailOut.demonstrations"),
    },
    "the newest of one row, or days of a month": {"DeliveryOut.tries", "WorkOut.days"},
    "as many as the call asks for": {
        *("NewsOut.rows", "NewsOut.gone", "ExportPreviewOut.rows", "ErrandOut.answers"),
    },
    "one for each endpoint that an owner has set up, and each two": {"list_writers", "read_comparisons"},
    "the rows of a report that a worker wrote as one file": {
        *("FigureRowsOut.rows", "QualityOut.annotators", "QualityOut.groups", "AgreementOut.coefficients"),
        *("AgreementOut.pairs", "AgreementOut.tasks", "RewardReportOut.accuracy", "RewardReportOut.best_of_n"),
        *("RewardReportOut.certainty", "RewardReportOut.changes", "RewardReportOut.disputed_pairs"),
        "RewardReportOut.probes",
    },
}


def test_no_call_answers_a_list_whole_unless_something_keeps_it_short() -> None:
    found = {name for _, call in _reads() for name in _arrays(call) if not name.startswith("Page_")}
    told = set().union(*BOUNDED.values())
    assert found - told == set(), "answer a Page (app/web/api/paging.py), or say in BOUNDED what keeps it short"
    assert told - found == set(), "no call answers this any more"


def test_every_page_is_asked_for_by_a_limit_and_a_cursor() -> None:
    for path, call in _reads():
        if any(name.startswith("Page_") for name in _arrays(call)):
            asked = {entry["name"]: entry["schema"] for entry in call["parameters"]}
            assert (asked["limit"]["minimum"], asked["limit"]["maximum"]) == (1, 200), path
            assert "cursor" in asked, path


async def test_every_list_is_the_same_in_pages_of_any_size(db: AsyncSession, calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    places = await _have_two_of_everything(db, owner, seeded)
    several = set()
    for path, call in _reads():
        if not any(name.startswith("Page_") for name in _arrays(call)):
            continue
        of_site = {"webhook_id": places["of_site"]} if path.startswith("/api/v1/webhooks") else {}
        address = path.format(**places | of_site, number=2)
        whole = (await owner.get(address, params={"limit": 200})).json()
        assert whole.get("next_cursor", path) is None, whole
        read = await pages(owner, address, half := -(-len(whole["items"]) // 2) or 1)
        assert [item for page in read for item in page] == whole["items"], path
        assert [len(page) for page in read[:-1]] == [half] * (len(read) - 1), path
        assert len(read) <= 2, "no empty page at the end"
        if len(whole["items"]) > 1:
            several.add(call["operationId"])
    assert several >= {
        *("list_people", "list_groups", "list_people_of_group", "list_gold", "list_own_judgements", "read_metrics"),
        *("read_judge_answers", "list_invitations", "list_own_tokens", "list_own_sessions", "list_conduct"),
    }
    everything = (await owner.get(f"{PROJECT}/runs?limit=200")).json()["items"]
    assert len(everything) == len(list(await db.scalars(select(Run).where(Run.project_id == seeded.project.id))))


async def test_a_page_that_can_not_be_is_refused(calling: As) -> None:
    for wrong in ("limit=0", "limit=201", "limit=many", "cursor=", f"cursor={base64.b64encode(b'-1').decode()}"):
        assert (await calling("owner").get(f"{PROJECT}/runs?{wrong}")).status_code == 422, wrong


async def pages(client: Client, path: str, limit: int) -> list[list[Any]]:
    """Every page of a list, as a program that follows its cursors gets them."""
    found, cursor = [], ""
    while True:
        page = (await client.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor}")).json()
        found.append(page["items"])
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def _have_two_of_everything(db: AsyncSession, owner: Client, seeded: Seeded) -> dict[str, int | str]:
    """What the seeded project has one or none of; the places of paths by their names. The owner is an admin then, and
    has judged.
    """
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    for _ in range(2):
        await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, seeded.owner.id))
        await accounts.create_api_token(db, seeded.owner.id, name="another")
    project, served = await db.get_one(Project, seeded.project.id), await db.get_one(ServedModel, seeded.served.id)
    judge = await judges.make(db, project, served)
    for task_id in await db.scalars(select(Task.id).where(Task.project_id == seeded.project.id).limit(2)):
        reply = {"order": [0, 1], "said": None, "why": "silent", "text": ""}
        fields = {"outcome": "abstained", "chosen_as": "chance", "replies": [reply, reply], "tokens": 1}
        db.add(JudgeAnswer(judge_id=judge.id, task_id=task_id, **fields))
    await db.commit()
    for prompt in ("Which?", "And here?"):
        said = {"better": 1, "prompt": prompt, "responses": ["This one.", "That one."]}
        await owner.post(f"{PROJECT}/gold-tasks", json=said)
        group = (await owner.post("/api/v1/groups", json={"name": prompt})).json()["id"]
        await owner.post(f"{PROJECT}/invitations", json={"people": [{"name": prompt}]})
        task = (await owner.get(f"{PROJECT}/next-task")).json()["assignment_id"]
        key = {"Idempotency-Key": prompt}
        said = await owner.post(f"/api/v1/assignments/{task}/judgements", json={"choice": 7}, headers=key)
        assert said.status_code == 201, said.text
    for person in (seeded.annotator.id, seeded.reviewer.id):
        await owner.put(f"/api/v1/groups/{group}/people/{person}")
    hook = {"address": "https://example.org/hooks", "events": ["run.ended"]}
    webhook, of_site = [
        (await owner.post(f"{whose}/webhooks", json=hook)).json()["id"] for whose in (PROJECT, "/api/v1")
    ]
    return {
        "slug": seeded.project.slug,
        "run_id": seeded.ppo.id,
        "served_model_id": seeded.served.id,
        "group_id": group,
        "webhook_id": webhook,
        "of_site": of_site,
    }


def _reads() -> Iterator[tuple[str, dict[str, Any]]]:
    """The path of every call that reads, and its description."""
    for path, item in routes.openapi("test")["paths"].items():
        if "get" in item:
            yield path, item["get"]


def _arrays(call: dict[str, Any]) -> set[str]:
    """Every array of an answer, by its schema and field, or by the call where the answer is one."""
    schemas = routes.openapi("test")["components"]["schemas"]
    found, seen = set(), set()

    def look(schema: dict[str, Any], name: str) -> None:
        if reference := schema.get("$ref", "").rpartition("/")[2]:
            if reference not in seen:
                seen.add(reference)
                look(schemas[reference], reference.removeprefix("app__web__api__"))
            return
        for option in schema.get("anyOf", ()):
            look(option, name)
        if schema.get("type") == "array":
            found.add(name)
            look(schema.get("items", {}), f"{name}[]")
        for field, described in schema.get("properties", {}).items():
            look(described, f"{name}.{field}")

    for status, answer in call["responses"].items():
        if status.startswith("2"):
            look(answer.get("content", {}).get("application/json", {}).get("schema", {}), call["operationId"])
    return found
