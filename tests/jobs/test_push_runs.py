"""Pushing a model is a run: queued by an owner, with its course, and its end in words."""

from pathlib import Path

import pytest

from app.db.session import SessionFactory, transaction
from app.db.tables import AuditEntry, Run
from app.errors import Invalid
from app.jobs import execution
from app.jobs.context import WorkerContext
from app.services.loop.models import models
from app.services.loop.runs import starting
from app.settings import Settings
from tests.browser.seed import Seeded
from tests.jobs.test_errands import context, database_url
from tests.seeded import seeded, seeded_template, seeded_url

__all__ = ["context", "database_url", "seeded", "seeded_template", "seeded_url"]


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Path:
    settings = Settings(home=home, push_to=str(tmp_path / "out"))
    monkeypatch.setattr("app.services.loop.stages.push.settings", lambda: settings)
    return tmp_path / "out"


async def push(sessions: SessionFactory, seeded: Seeded, place: str) -> int:
    async with transaction(sessions) as db:
        version = await models.numbered(db, seeded.project.id, "policy", 2)
        return (await starting.push(db, seeded.owner.id, seeded.project, version, place)).id


async def test_a_model_is_pushed_by_a_run(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, out: Path
) -> None:
    run_id = await push(sessions, seeded, "out/")
    await execution.execute(context, run_id)
    async with sessions() as db:
        run = await db.get_one(Run, run_id)
        assert (run.state, run.error) == ("succeeded", None)
        assert run.result is not None
        assert run.result["pushed_files"] == 3
        assert str(out) not in str(run.settings), "where it lies on this machine isn't told"
        noted = (await db.scalars(AuditEntry.__table__.select().with_only_columns(AuditEntry.after))).all()
        assert {"as": "out/"} in noted
    folder = out / f"{seeded.project.slug}-policy-2"
    assert {path.name for path in folder.iterdir()} == {"README.md", "manifest.json", "weights.txt"}


async def test_a_broken_model_and_a_place_that_is_gone_end_it_in_words(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, out: Path, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken, gone = await push(sessions, seeded, "out/"), await push(sessions, seeded, "out/")
    (home / "models" / "policy-2" / "weights.txt").write_text("policy X")
    await execution.execute(context, broken)
    monkeypatch.setattr("app.services.loop.stages.push.settings", lambda: Settings(home=home))
    await execution.execute(context, gone)
    async with sessions() as db:
        ends = [await db.get_one(Run, run_id) for run_id in (broken, gone)]
    assert [run.state for run in ends] == ["failed", "failed"]
    assert "weights.txt doesn't match its manifest" in str(ends[0].error)
    assert "Models can't be pushed there" in str(ends[1].error)
    with pytest.raises(Invalid, match="Models can't be pushed there"):
        await push(sessions, seeded, "out/")
