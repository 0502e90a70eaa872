"""The report on a reward model over REST, and what is sent to review from it."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from tests.api.conftest import As
from tests.browser.seed import Seeded
from tests.browser.seed.reward_report import examine

REPORT = "/api/v1/projects/everyday-help/models/reward/2/report"


async def test_a_program_reads_the_report_and_sends_a_pair_to_a_reviewer(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    owner = calling("owner")
    before = (await owner.get(REPORT)).json()
    assert (before["as_of"], before["is_awaited"], before["accuracy"]) == (None, True, [])
    project = (await db.scalars(select(Project).where(Project.id == seeded.project.id))).one()
    await examine(db, project)
    report = (await owner.get(REPORT)).json()
    assert report["as_of"] is not None
    assert {row["version"] for row in report["accuracy"]} == {2}
    assert (report["accuracy"][0]["kind"], report["accuracy"][0]["pairs"]) == ("all", 6), "a tie is left out"
    assert (report["human_agreement"], report["ceiling"]) == (None, None), "nobody judged what another had judged"
    assert [row["measure"] for row in report["certainty"]] == ["nll", "brier", "ece"]
    assert [row["n"] for row in report["best_of_n"]] == [1, 2, 4, 8, 16, 32, 64]
    assert len(report["probes"]) == 6
    assert report["changes"][0]["name"] == "all"
    (task, *_) = [row["task_id"] for row in report["disputed_pairs"]]
    sent = f"/api/v1/projects/everyday-help/tasks/{task}/review"
    assert (await owner.post(sent)).status_code == 204
    assert (await owner.post(sent)).status_code == 204, "sent again it changes nothing"
    taken = await calling("reviewer").post("/api/v1/projects/everyday-help/reviews")
    assert taken.status_code == 200
    assert (await calling("reviewer").get(REPORT)).status_code == 200
    assert (await calling("reviewer").post(sent)).status_code == 403
    assert (await owner.get(REPORT.replace("/2/", "/99/"))).status_code == 404
