"""From judgements that differ to a verdict and a dataset that prefers it, by plain forms and over REST."""

import re
from html import unescape
from pathlib import Path

import httpx
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Judgement, Project, Task
from app.services import accounts
from app.services.reports import reports
from tests.browser.conversations import TEN
from tests.browser.people import arrange
from tests.cutting import cut_what_waits
from tests.factories import make_member
from tests.web.conftest import SignIn
from tests.web.forms import judgement_form


async def read(client: httpx.AsyncClient, address: str) -> str:
    """The words of a page."""
    answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def judge(client: httpx.AsyncClient, project: Project, wanted: dict[str, int]) -> None:
    """Answer every pair, by the side in the stored order that `wanted` has of its question; “Yes” is stored first."""
    while "Nothing to compare right now" not in (html := (await client.get(f"/projects/{project.slug}/annotate")).text):
        action, fields = judgement_form(html)
        (question,) = re.findall(r"(Question \d+)\?", html)[:1]
        yes_is_a = "Yes" in re.findall(r'id="pane-a".*?</article>', html, flags=re.DOTALL)[0]
        choice = wanted.get(question, 2)
        answer = await client.post(action, data={**fields, "choice": str(choice if yes_is_a else 8 - choice)})
        assert answer.status_code == 303


async def test_from_judgements_that_differ_to_a_verdict_that_a_dataset_prefers(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, tmp_path: Path
) -> None:
    project, one = await arrange(db, TEN, overlap=2)
    other, reviewer = await make_member(db, project), await make_member(db, project, "owner")
    await db.commit()
    home = f"/projects/{project.slug}"
    # Tasks have the project's places; the two differ on the third question and half on the seventh.
    await judge(await sign_in(one), project, {"Question 3": 1})
    await judge(await sign_in(other), project, {"Question 3": 6, "Question 7": 4})
    client = await sign_in(reviewer)

    assert "How far people agree is being computed." in await read(client, f"{home}/agreement")
    async with transaction(sessions) as own:
        await reports.write(own, project.id, "agreement")
    page = await read(client, f"{home}/agreement")
    assert "Two people say the same of 80 % of what both judged." in page.replace("80%", "80 %")
    assert "10 tasks that two people or more judged, 20 judgements, 2 people." in page
    assert "Cohen’s kappa" in page
    assert re.search(rf"{one.name} · {other.name} 10 80%", page)
    assert re.search(r"Question 3\? 100% A 1 · tie 0 · B 1 .*Question 7\? 50% A 1 · tie 1 · B 0", page)
    assert "2 divided tasks wait for your verdict." in page
    told = (await client.get(f"{home}/figures/divided-tasks.csv")).text.splitlines()
    assert told[0] == "task_id,division,judgements,for_first,ties,for_second"
    assert [line.split(",", 1)[1] for line in told[1:]] == ["1.0,2,1,0,1", "0.5,2,1,1,0"]

    # Blind: the reviewer sees what an annotator sees; the verdict leads on to the next, and the first can be changed.
    html = (await client.get(f"{home}/review")).text
    assert "Question 3?" in html
    assert "What people said" not in html
    action, fields = judgement_form(html)
    assert action.startswith(f"{home}/review/")
    refused = await client.post(action, data={**fields, "choice": "9"})
    assert refused.status_code == 422
    answer = await client.post(action, data={**fields, "choice": "1"})
    page = await read(client, answer.headers["location"])
    assert "Saved: A is much better" in page
    assert "Question 7?" in page
    earlier = (await client.get(f"{home}/review?assignment={action.split('/')[-2]}")).text
    assert "What people said" in earlier
    assert one.name in earlier
    action, fields = judgement_form(earlier)
    await client.post(action, data={**fields, "choice": "7"})
    said = list(await db.scalars(select(Judgement).where(Judgement.is_verdict).order_by(Judgement.id)))
    assert [(verdict.choice, verdict.superseded_by is None) for verdict in said] == [(1, False), (7, True)]
    task = await db.get_one(Task, said[0].task_id)
    assert (task.quota, task.taken, task.judged) == (2, 2, 2)
    page = await read(client, f"{home}/tasks/{task.id}")
    assert re.search(rf"{reviewer.name} .* verdict", page)
    assert f"{home}/tasks/{task.id}" in (await client.get(f"{home}/browse/tasks?decided=yes")).text
    assert "verdict" in await read(client, f"{home}/browse/judgements?standing=verdict")

    # Open: what was said stands beside the next one. Annotators get nothing of all that.
    assert (await client.post(f"{home}/agreement", data={"shows_judgements": "true"})).status_code == 303
    html = (await client.get(f"{home}/review")).text
    assert "What people said" in html
    assert "Both are equally good" in html
    stranger = await sign_in(one)
    for address in ("review", "agreement"):
        assert (await stranger.get(f"{home}/{address}")).status_code == 403
    assert (await stranger.post(action, data={**fields, "choice": "4"})).status_code == 403

    # The form of datasets offers what the project has: unticked, people's words count and the verdict doesn't.
    assert 'value="none" selected' in (await client.get(f"{home}/datasets")).text
    token = await accounts.create_api_token(db, reviewer.user_id, name="test")
    await db.commit()
    api = {"Authorization": f"Bearer {token}"}
    await client.post(f"/api/v1{home}/datasets", json={}, headers=api)
    await cut_what_waits(sessions, tmp_path / "home")
    cut = await client.get(f"/api/v1{home}/datasets/1", headers=api)
    assert (cut.json()["row_count"], cut.json()["prefers_verdicts"]) == (20, False)
    changed = await client.patch(
        f"/api/v1{home}/review", json={"prefers_verdicts": True}, headers=api | {"If-Match": "*"}
    )
    assert changed.json() == {"shows_judgements": True, "prefers_verdicts": True}
    assert (await client.post(f"{home}/datasets", data={"verdicts": "alone"})).status_code == 303
    await cut_what_waits(sessions, tmp_path / "home")
    page = await read(client, f"{home}/datasets")
    assert "19" in page
    assert "verdicts alone" in page
    rows = (await client.get(f"{home}/datasets/2/judgements")).text.splitlines()
    assert len(rows) == 19
    assert sum('"is_verdict":true' in row.replace(" ", "") for row in rows) == 1
    found = (await client.get(f"/api/v1{home}/agreement", headers=api)).json()
    assert [row["name"] for row in found["coefficients"]][:2] == ["per_cent", "cohen"]
    assert found["tasks"][0]["task_id"] == task.id
    taken = await client.post(f"/api/v1{home}/reviews", headers=api)
    assert taken.status_code == 200
    done = await client.post(
        f"/api/v1/assignments/{taken.json()['assignment_id']}/judgements",
        json={"choice": 4},
        headers={**api, "Idempotency-Key": "of-this-verdict"},
    )
    assert done.status_code == 201
    assert (await client.post(f"/api/v1{home}/reviews", headers=api)).status_code == 204
    assert "No divided task waits for you" in await read(client, f"{home}/review")


async def test_where_nobody_judged_what_somebody_else_did_the_page_says_so(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, TEN[:3], overlap=1)
    owner = await make_member(db, project, "owner")
    await db.commit()
    address = f"/projects/{project.slug}/agreement"
    client = await sign_in(owner)
    for judgements in (0, 3):
        await read(client, address)  # asks for the figures
        async with transaction(sessions) as own:
            await reports.write(own, project.id, "agreement")
        assert "No task has been judged by two people" in await read(client, address), judgements
        await judge(await sign_in(annotator), project, {})
