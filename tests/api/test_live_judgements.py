"""Judgements followed over the API: what a version cut now would hold, and nobody's answer settled by being read."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from tests.api.conftest import As
from tests.browser.seed import Seeded
from tests.exporting import held_by_a_cut

LIVE = "/api/v1/projects/everyday-help/judgements/live"


async def test_a_program_reads_everything_in_pages_and_then_what_comes(
    calling: As, seeded: Seeded, sessions: SessionFactory, tmp_path: Path
) -> None:
    reviewer, annotator = calling("reviewer"), calling("annotator")
    rows, answer = {}, (await reviewer.get(f"{LIVE}?limit=60")).json()
    assert answer["is_up_to_date"] is False
    while not answer["is_up_to_date"]:
        rows |= {row["judgement_id"]: row for row in answer["rows"]}
        assert not answer["gone"]
        answer = (await reviewer.get(LIVE, params={"after": answer["cursor"], "limit": 60})).json()
    assert rows == await held_by_a_cut(sessions, seeded.project, tmp_path)

    task = (await annotator.get("/api/v1/projects/everyday-help/next-task")).json()
    to = f"/api/v1/assignments/{task['assignment_id']}/judgements"
    sent = await annotator.post(to, json={"choice": 2}, headers={"Idempotency-Key": "one"})
    assert sent.status_code == 201
    answer = (await reviewer.get(LIVE, params={"after": answer["cursor"]})).json()
    (first,) = answer["rows"]
    assert (first["choice"], answer["gone"], answer["is_up_to_date"]) == (2, [], True)

    changed = await annotator.post(to, json={"choice": 6}, headers={"Idempotency-Key": "two"})
    assert changed.status_code == 201, "reading has settled nothing"
    answer = (await reviewer.get(LIVE, params={"after": answer["cursor"]})).json()
    (second,) = answer["rows"]
    assert (second["choice"], answer["gone"]) == (6, [first["judgement_id"]])


async def test_a_cursor_of_elsewhere_is_refused_in_words(calling: As, seeded: Seeded, db: AsyncSession) -> None:
    owner = calling("owner")
    refused = await owner.get(f"{LIVE}?after=nonsense")
    assert refused.status_code == 422
    assert refused.json()["detail"] == "`after` must be the `cursor` of an earlier answer."
    cursor = (await owner.get(LIVE)).json()["cursor"]
    seeded.project.review = {"prefers_verdicts": False}
    await db.merge(seeded.project)
    await db.commit()
    refused = await owner.get(LIVE, params={"after": cursor})
    assert refused.status_code == 409
    assert refused.json()["type"] == "/api/docs#error-BeginAgain"
    assert "Begin again without one" in refused.json()["detail"]
