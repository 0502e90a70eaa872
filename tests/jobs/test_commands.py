"""The admin's buttons as commands."""

from sqlalchemy import select

from app.db.tables import Completion
from app.services.loop import round_rows
from app.services.loop.models import models
from tests.jobs.conftest import Command
from tests.jobs.loop import Loop


async def test_a_round_is_started_watched_and_cancelled(loop: Loop, command: Command) -> None:
    project = await loop.make_project()
    code, opened = await command("round", "start", "-p", project.slug, "--labels", "7")
    assert (code, opened.partition(". ")[0]) == (0, "Round 1 is open and waits for 7 judgements")
    assert "judgements in all are likely to be enough" in opened
    assert await command("round", "start", "-p", project.slug) == (4, "A round of this project is under way already.\n")
    (round_id,) = await loop.do(round_rows.all_active)
    await loop.advance(round_id)
    code, shown = await command("round", "status", "-p", project.slug)
    assert code == 0
    assert shown.splitlines()[0] == "Round 1: active, at select."
    assert "select: run 1 queued" in shown
    assert await command("round", "cancel", "-p", project.slug) == (0, "Round 1 is cancelled.\n")
    assert await command("round", "cancel", "-p", project.slug) == (3, "No round is under way.\n")


async def test_a_run_is_cancelled_retried_and_its_log_read(loop: Loop, command: Command) -> None:
    run_row = await loop.queue_sft(await loop.make_project())
    number = str(run_row.id)
    assert (await command("run", "cancel", number))[0] == 0
    assert (await loop.read(run_row)).state == "cancelled"
    assert (await command("run", "retry", number))[0] == 0
    assert (await loop.read(run_row)).state == "queued"
    await loop.execute(run_row)
    code, log = await command("run", "log", number)
    assert code == 0
    assert log.startswith("Attempt 1 of 3\nsft runs as ")
    assert await command("run", "start", "ppo", "-p", "nowhere") == (3, "There is no project nowhere.\n")
    code, refused = await command("run", "start", "shuffle", "-p", "nowhere")
    assert code == 2
    assert "shuffle" in refused
    assert await command("run", "retry", "999") == (3, "There is no run 999.\n")


async def test_a_version_is_promoted_and_rolled_back(loop: Loop, command: Command) -> None:
    project = await loop.make_project()
    for _ in range(2):
        await loop.execute(await loop.queue_sft(project))
    assert await command("promote", "2", "-p", project.slug, "--reason", "better") == (0, "The policy in use is 2.\n")
    assert await command("rollback", "-p", project.slug) == (0, "The policy in use is 1 again.\n")
    log = await loop.do(lambda db: models.promotions(db, project.id))
    assert [(entry.action, entry.reason) for entry in log] == [
        ("roll_back", ""),
        ("promote", "better"),
        ("promote", "The first policy."),
    ]
    await loop.work_off()
    written_by = select(Completion.model_version_id).distinct().order_by(Completion.model_version_id)
    versions = [version.id for version in await loop.versions(project)]
    assert list(await loop.do(lambda db: db.scalars(written_by))) == versions, "each wrote when it was put into use"
    assert await command("promote", "9", "-p", project.slug) == (3, "There is no policy 9.\n")
    assert await command("promote", "1", "-p", "nowhere") == (3, "There is no project nowhere.\n")
