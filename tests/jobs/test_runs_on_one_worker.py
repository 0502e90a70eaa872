"""What becomes of a run, whatever its training process does."""

from pathlib import Path
from unittest.mock import ANY

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Run
from app.jobs import execution
from app.services.loop.models import models
from app.services.loop.runs import runs
from app.services.loop.stages.stage import seed_of
from tests.jobs.loop import Loop, uninterrupted


async def test_a_finished_sft_run_leaves_a_policy_in_use_whose_files_match_its_manifest(loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    run = await loop.execute(await loop.queue_sft(project))
    assert (run.state, run.error, run.attempt) == ("succeeded", None, 1)
    (policy,) = await loop.versions(project)
    assert (policy.state, policy.number, policy.run_id) == ("promoted", 1, run.id)
    assert (home / policy.folder / "manifest.json").is_file()
    assert not (home / f"runs/{run.id}/artifact").exists()


async def test_metrics_are_means_and_the_run_shows_how_far_it_is(loop: Loop) -> None:
    run = await loop.execute(await loop.queue_sft(await loop.make_project(), steps=4))
    rows = (await loop.do(lambda db: db.scalars(runs.metrics_since(run.id, 1)))).all()
    assert [(row.step, row.phase, row.figures) for row in rows] == [
        (2, "learning", {"loss": 0.5, "seconds": ANY}),
        (3, "learning", {"loss": pytest.approx(1 / 3), "seconds": ANY}),
        (4, "learning", {"loss": 0.25, "seconds": ANY}),
    ]
    assert (run.step, run.total_steps, run.phase) == (4, 4, "learning")


async def test_the_first_policy_writes_pairs_for_people_by_itself(loop: Loop) -> None:
    project = await loop.make_project(prompts=8, samples_per_prompt=2)
    await loop.queue_sft(project)
    await loop.work_off()
    assert await loop.do(lambda db: db.scalar(select(func.count()).select_from(Completion))) == 16
    latest = (await loop.do(lambda db: runs.list_runs(db, project.id)))[0]
    assert (latest.stage, latest.state) == ("select", "succeeded")
    assert latest.result is not None
    assert latest.result["pairs_made"] == 8


async def test_text_that_no_database_takes_is_mended_and_kept(loop: Loop) -> None:
    project = await loop.make_project(prompts=1, samples_per_prompt=2)
    await loop.queue_sft(project)
    await loop.work_off()
    texts = await loop.do(lambda db: db.scalars(select(Completion.text)))
    assert all(text.endswith("\ufffd") for text in texts)


async def test_bad_input_fails_at_once_and_says_why(loop: Loop) -> None:
    run = await loop.execute(await loop.queue_sft(await loop.make_project(), refuse=True))
    assert (run.state, run.error, run.attempt) == ("failed", "the config says no", 1)


async def test_a_crashed_process_goes_on_from_its_checkpoint_to_the_same_weights(loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    run = await loop.queue_sft(project, steps=6, crash_once_at=4)
    halfway = await loop.execute(run)
    assert (halfway.state, halfway.attempt, halfway.step) == ("queued", 1, 3)
    assert halfway.error == "The training process was killed (signal 9), by hand or because memory ran out."
    done = await loop.execute(run)
    assert (done.state, done.attempt, done.error) == ("succeeded", 2, None)
    (policy,) = await loop.versions(project)
    assert (home / policy.folder / "weights.txt").read_text() == uninterrupted(seed_of(run), steps=6)
    assert await loop.steps_of(run) == [1, 2, 3, 4, 5, 6]


async def test_a_poisoned_run_fails_after_its_last_attempt_and_the_next_run_goes_on(loop: Loop) -> None:
    project = await loop.make_project()
    poisoned = await loop.queue_sft(project, crash_at=2)
    for _ in range(5):
        await loop.execute(poisoned)
    run = await loop.read(poisoned)
    assert (run.state, run.attempt) == ("failed", 3)
    assert run.error == "Tried 3 times. The last time: RuntimeError: poisoned"
    assert (await loop.execute(await loop.queue_sft(project))).state == "succeeded"


async def test_a_failed_run_that_is_retried_goes_on_in_its_folder(loop: Loop) -> None:
    project = await loop.make_project()
    run = await loop.queue_sft(project, steps=4, crash_once_at=3)
    await loop.do(lambda db: db.execute(update(Run).where(Run.id == run.id).values(max_attempts=1)))
    assert (await loop.execute(run)).state == "failed"
    retried = await loop.do(lambda db: retry(db, run.id))
    assert (retried.state, retried.attempt, retried.error) == ("queued", 0, None)
    assert (await loop.execute(run)).state == "succeeded"
    assert await loop.steps_of(run) == [1, 2, 3, 4]


async def test_a_broken_model_is_not_published_but_made_again(loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    run = await loop.execute(await loop.queue_sft(project))
    other = await loop.queue_sft(project)
    artifact = home / f"runs/{other.id}/artifact"
    artifact.mkdir(parents=True)
    (artifact.parent / "result.json").write_text("{}")
    (artifact / "manifest.json").write_text('{"format": 1, "kind": "policy", "files": {"weights.txt": "00"}}')
    (artifact / "weights.txt").write_text("nonsense")
    broken = await loop.execute(other)
    assert broken.state == "queued"
    assert broken.error is not None
    assert "doesn't match its manifest" in broken.error
    assert (await loop.execute(other)).state == "succeeded"
    assert [version.run_id for version in await loop.versions(project)] == [run.id, other.id]


async def test_a_model_that_was_changed_after_it_was_registered_is_not_used(loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    (policy,) = await loop.versions(project)
    manifest = home / policy.folder / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    generate = (await loop.do(lambda db: runs.list_runs(db, project.id)))[0]
    refused = await loop.execute(generate)
    assert (refused.stage, refused.state, refused.attempt) == ("generate", "failed", 1)
    assert refused.error is not None
    assert "its manifest was changed" in refused.error


async def test_a_publication_that_broke_off_before_its_commit_is_found_again(
    loop: Loop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await loop.make_project()
    run = await loop.queue_sft(project)
    with monkeypatch.context() as patch:
        patch.setattr(models, "register", broken_connection)
        with pytest.raises(OperationalError):
            await loop.execute(run)
    target = home / "models" / project.slug / f"policy-run-{run.id}"
    assert target.is_dir()
    assert await loop.versions(project) == []
    await loop.let_lease_expire(run)
    assert (await loop.execute(run)).state == "succeeded"
    (policy,) = await loop.versions(project)
    assert home / policy.folder == target


async def test_executing_runs_that_are_over_changes_nothing(loop: Loop) -> None:
    project = await loop.make_project(samples_per_prompt=2)
    await loop.queue_sft(project)
    await loop.work_off()
    before = await loop.everything()
    for run in await loop.do(lambda db: runs.list_runs(db, project.id)):
        await execution.execute(loop.context, run.id)
    assert await loop.everything() == before


async def broken_connection(*_: object, **__: object) -> None:
    raise OperationalError("COMMIT", {}, ConnectionError())


async def retry(db: AsyncSession, run_id: int) -> Run:
    return await runs.retry(db, None, await db.get_one(Run, run_id))
