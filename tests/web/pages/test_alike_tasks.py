"""Nobody who judges can tell a task that checks, repeats, measures or decides something from an ordinary one.

Each kind is given to a new person of a project of its own, who has judged one pair before; then everything that the
site answers to them is compared with what it answers where the task is ordinary, byte by byte and header by header.
Only what is of no two sites is left out: ids, keys, times and the project's name. Numbers are compared, too.
"""

import random
import re
from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path
from typing import Any, Literal, get_args

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, ModelVersion, Project, Prompt, Round, Task
from app.security import Principal
from app.services import accounts
from app.services.data import datasets
from app.services.judging import check_tasks, gold
from app.services.judging.answers import Answer
from app.services.judging.gold import Known
from app.services.loop.asking import routing
from app.services.loop.comparisons import duels
from app.services.loop.gates.gate_bounds import VoteBounds
from app.services.projects import checks
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.services.judging.test_quality import answer as say
from tests.web.conftest import SITE, SignIn, app, sign_in
from tests.web.forms import judgement_form
from tests.web.pages.test_judge_pages import answer as machine_answers
from tests.web.pages.test_judge_pages import make_judge
from training.records import DuelRecord

__all__ = ["app", "sign_in"]

Kind = Literal[
    "gold", "repeat", "duel", "random slice", "chosen by a rule", "judged by a machine", "kept from machines",
    "calibrates a judge", "of several people",
]  # fmt: skip
KINDS = get_args(Kind)
HTMX = {"HX-Request": "true"}
ASKED = "How do I boil an egg?"
SAID = ("Gently.", "In a shoe.")
GOLD_PERCENT, REPEAT_PERCENT = 20, 20
DRAWS = {"gold": 0.0, "repeat": GOLD_PERCENT + 1.0}
"""Where in 0 to 100 the coin falls that decides on a check; elsewhere beyond both shares."""
NO_CHECK = 100.0
SPARE = 6
OF_THE_ANSWER = ("content-length", "x-request-id", "date")
"""Headers that follow from the body, or are of no two answers."""


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the coin for checks fall somewhere."""
    monkeypatch.setattr(check_tasks, "REPEAT_DISTANCE", 0)

    def falls(drawn: float) -> None:
        monkeypatch.setattr(check_tasks.random, "uniform", lambda _low, _high: drawn)

    return falls


async def test_no_byte_that_an_annotator_gets_tells_what_a_task_is_for(
    db: AsyncSession, app: FastAPI, sign_in: SignIn, chance: Callable[[float], None], tmp_path: Path
) -> None:
    ordinary = await seen(db, app, sign_in, chance, tmp_path, None)
    apart: list[str] = []
    for kind in KINDS:
        special = await seen(db, app, sign_in, chance, tmp_path, kind)
        assert ordinary.keys() == special.keys(), kind
        apart += [
            f"{kind}, {name}: {line}"
            for name in ordinary
            for line in unified_diff(ordinary[name].splitlines(), special[name].splitlines(), lineterm="", n=0)
        ]
    assert not apart, "\n".join(apart)


async def seen(
    db: AsyncSession,
    app: FastAPI,
    sign_in: SignIn,
    chance: Callable[[float], None],
    home: Path,
    kind: Kind | None,
) -> dict[str, str]:
    """All that somebody gets to see before, with, and after a task of that kind, by what they asked for."""
    project = await make_project(db)
    project.checks = checks.checked({"gold_percent": GOLD_PERCENT, "repeat_percent": REPEAT_PERCENT}).to_json()
    prompt = await make_prompt(db, project, ASKED)
    first = await make_task(db, project, *SAID, prompt=prompt, priority=100)
    for _ in range(SPARE):
        await make_task(db, project, *SAID, prompt=prompt, priority=-100)
    person = await make_member(db, project)
    token = await accounts.create_api_token(db, person.user_id, name="test")
    await judged(db, person, first)
    visitor = Visitor(project, person, await sign_in(person), caller(app, token))
    made = await ready(db, project, prompt, first, kind)
    await db.commit()
    chance(DRAWS.get(kind or "", NO_CHECK))
    await visitor.look()
    given, task_id = await purpose(db, person)
    assert given == (kind if kind in ("gold", "repeat") else "label")
    assert made is None or task_id == made
    chance(NO_CHECK)
    earlier = await visitor.judge()
    await visitor.look()
    await visitor.by_rest()
    await datasets.cut_preferences(db, project, home=home)
    await db.commit()
    await visitor.look()
    await visitor.change(earlier)
    return visitor.seen()


class Visitor:
    """Somebody who judges by the pages and by REST, and remembers all that the site answered."""

    def __init__(
        self, project: Project, person: Principal, browser: httpx.AsyncClient, script: httpx.AsyncClient
    ) -> None:
        self._slug, self._names = project.slug, (project.slug, project.name, person.name)
        self._browser, self._script = browser, script
        self._answers: list[tuple[str, httpx.Response]] = []

    async def look(self) -> None:
        """Everything that can be looked at while a task lies on the desk."""
        for path in ("/annotate", "/annotate/next", "/annotate/ahead", "/annotate/recent"):
            await self._ask(self._browser, "GET", path)
        await self._ask(self._browser, "GET", "/annotate/next", headers=HTMX)
        await self._get("/")
        await self._ask(self._script, "GET", "/next-task", api=True)

    async def judge(self) -> str:
        """By the form, then look at it again and change it; where it can be looked at."""
        page = await self._ask(self._browser, "GET", "/annotate")
        action, fields = judgement_form(page.text)
        saved = await self._send(action, {**fields, "choice": "2"})
        assert saved.status_code == 303
        after = await self._get(saved.headers["location"])
        (earlier,) = re.findall(r'id="undo" href="([^"]+)"', after.text)
        again = await self._get(earlier.replace("&amp;", "&"))
        action, fields = judgement_form(again.text)
        changed = await self._send(action, {**fields, "choice": "3"}, headers=HTMX)
        assert changed.status_code == 200
        self._said = action, {**fields, "choice": "4"}
        return earlier.replace("&amp;", "&")

    async def change(self, earlier: str) -> None:
        """What was judged, once a dataset version may hold it."""
        await self._get(earlier)
        action, fields = self._said
        refused = await self._send(action, {**fields, "idempotency_key": "another", "replaces": ""})
        assert refused.status_code == 409

    async def by_rest(self) -> None:
        """The next task by REST, answered and skipped."""
        for is_over in (False, True):
            task = (await self._ask(self._script, "GET", "/next-task", api=True)).json()
            path = f"/api/v1/assignments/{task['assignment_id']}"
            if is_over:
                skipped = await self._script.post(f"{path}/skip", json={"reason": "unclear"})
                self._answers.append(("skip", skipped))
            else:
                said = await self._script.post(
                    f"{path}/judgements",
                    json={"choice": 2},
                    headers={"Idempotency-Key": f"key-{task['assignment_id']}"},
                )
                self._answers.append(("judgement", said))

    def seen(self) -> dict[str, str]:
        """Status, headers and body of each answer, in the order in which they came."""
        told: dict[str, str] = {}
        for number, (name, answer) in enumerate(self._answers):
            place = f"{number} {name}"
            told[f"{place}: status"] = str(answer.status_code)
            told[f"{place}: body"] = self._alike(answer.text)
            told |= {
                f"{place}: {header}": self._alike(value)
                for header, value in answer.headers.items()
                if header not in OF_THE_ANSWER
            }
        return told

    async def _ask(
        self, client: httpx.AsyncClient, method: str, path: str, *, api: bool = False, **how: Any
    ) -> httpx.Response:
        answer = await client.request(method, f"{'/api/v1' if api else ''}/projects/{self._slug}{path}", **how)
        self._answers.append((f"{method} {path}", answer))
        assert answer.status_code in (200, 204), (path, answer.text)
        return answer

    async def _get(self, path: str) -> httpx.Response:
        answer = await self._browser.get(path, follow_redirects=True)
        self._answers.append(("GET", answer))
        return answer

    async def _send(self, path: str, fields: dict[str, str], **how: Any) -> httpx.Response:
        answer = await self._browser.post(path, data=fields, **how)
        self._answers.append(("POST", answer))
        return answer

    def _alike(self, told: str) -> str:
        """Panes are shown in an order that is drawn; lengths follow from the rest."""
        for said in SAID:
            told = told.replace(said, "…")
        for name in self._names:
            told = told.replace(name, "NAME")
        told = re.sub(r"(assignments?/|pairs/|assignment=|done=|known=|ahead=)\d+", r"\1ID", told)
        told = re.sub(r'(data-assignment=|data-person=|name="replaces" value=)"[1-9]\d*"', r"\1ID", told)
        told = re.sub(r'("(?:id|assignment_id)":)\d+', r"\1ID", told)
        told = re.sub(r"\d+ seconds? ago|just now", "AGO", told)
        told = re.sub(r"request [0-9a-f]{16}", "REQUEST", told)
        told = re.sub(r'(name="idempotency_key" value=)"[\w-]+"', r"\1", told)
        told = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-][\d:]+)?", "TIME", told)
        return re.sub(r"nonce-[\w-]+|nonce=\"[^\"]*\"", "NONCE", told)


def caller(app: FastAPI, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE, headers=headers)


async def purpose(db: AsyncSession, person: Principal) -> tuple[str, int]:
    """Of the task that lies before somebody, and its id."""
    given = select(Task.purpose, Task.id).join(Assignment, Assignment.task_id == Task.id)
    row = await db.execute(
        given.where(Assignment.annotator_id == person.user_id, Assignment.state == "leased")
        .order_by(Assignment.id)
        .limit(1)
    )
    await db.commit()  # or the next look would be at this moment
    return tuple(row.one())  # type: ignore[return-value]  # a row of two


async def ready(db: AsyncSession, project: Project, prompt: Prompt, first: Task, kind: Kind | None) -> int | None:
    """Make what is given next a task of that kind; its id, if there is one already."""
    if kind == "duel":
        return await make_duel(db, project, prompt)
    task = await make_task(db, project, *SAID, prompt=prompt, priority=50)
    owner = await make_member(db, project, "owner")
    match kind:
        case "gold":
            await gold.write(db, owner, project, ASKED, SAID, Known("gold", 0, "Because."))
            return None
        case "repeat":
            return None
        case "random slice" | "chosen by a rule":
            round_ = Round(project_id=project.id, number=1, label_target=5, step="label")
            db.add(round_)
            await db.flush()
            is_random = kind == "random slice"
            task.round_id = round_.id
            task.selection = {
                "rule": "uniform" if is_random else "thompson_d_optimal",
                "slice": "random" if is_random else "chosen",
                "propensity": 0.25 if is_random else None,
                "round": 1,
                "slot": 3,
            }
        case "judged by a machine":
            await machine_answers(db, await make_judge(db, project), task, "A", "B")
        case "kept from machines":
            await routing.draw_arms(db, project.id, off_share=1.0)
        case "calibrates a judge" | "of several people":
            task.quota = 2
            other = await make_member(db, project)
            await judged(db, other, task)
            if kind == "calibrates a judge":
                await machine_answers(db, await make_judge(db, project), task, "A", "B")
    await db.flush()
    return task.id


async def judged(db: AsyncSession, person: Principal, task: Task) -> None:
    await say(db, person, task, [0, 1], Answer(2))


async def make_duel(db: AsyncSession, project: Project, prompt: Prompt) -> int:
    new, in_use = [
        ModelVersion(
            project_id=project.id, kind="policy", number=number, folder="f", manifest_sha256="0" * 64, state="candidate"
        )
        for number in (2, 1)
    ]
    round_ = Round(project_id=project.id, number=1, label_target=0, step="vote")
    db.add_all([new, in_use, round_])
    await db.flush()
    record = DuelRecord(str(prompt.id), 0, *SAID, 5, 5, True, True, 1.0, 0.0, 1.0)
    rng = random.Random(1)
    made = await duels.make_tasks(
        db, project, round_, [record] * 3, VoteBounds(votes=10), policies=(new.id, in_use.id), run_id=None,
        propensity=1.0, rng=rng,
    )  # fmt: skip
    task_ids = list(await db.scalars(select(Task.id).where(Task.round_id == round_.id).order_by(Task.priority.desc())))
    assert made == len(task_ids)
    # As many are open as where an ordinary task is next.
    await db.execute(update(Task).where(Task.id.in_(task_ids[1:])).values(state="retired"))
    return task_ids[0]
