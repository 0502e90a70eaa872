"""A round puts no model into use whose files aren't those that were registered, and nobody talks it into that (P5)."""

import pytest

from app.db.tables import Project, Round
from app.errors import Invalid
from app.jobs import execution
from app.services.loop.runs import leases
from tests.faults.test_models_in_use import flip_a_byte
from tests.jobs.conftest import context, home, loop
from tests.jobs.loop import Loop
from tests.jobs.test_rounds_turn import ready_project, turn
from tests.jobs.test_votes import override

__all__ = ["context", "home", "loop"]


async def until_it_waits(loop: Loop, project: Project, stage: str) -> Round:
    """A round that has come as far as a run of this stage, which waits."""
    round_ = await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, (await loop.read_round(round_)).label_target)
    while True:
        await loop.advance(round_.id)
        for run in await loop.do(leases.waiting):
            if run.stage == stage:
                return await loop.read_round(round_)
            await execution.execute(loop.context, run.id)


@pytest.mark.parametrize("kind", ["policy", "reward"])
async def test_a_round_stands_where_its_model_would_be_put_into_use_with_other_files(loop: Loop, kind: str) -> None:
    project = await ready_project(loop)
    round_ = await until_it_waits(loop, project, "promote" if kind == "policy" else "gate")
    version = (await loop.versions(project, kind))[-1]
    flip_a_byte(loop.context.home / version.folder)
    (run,) = [run for run in await loop.do(leases.waiting) if run.round_id == round_.id]
    ended = await loop.execute(run)
    assert (ended.state, ended.attempt) == ("failed", 1)
    assert "weights.txt doesn't match its manifest" in (ended.error or "")
    assert (await loop.versions(project, kind))[-1].state == "candidate"


async def test_a_reward_model_that_its_gate_refused_and_whose_files_were_changed_is_not_gone_on_with(
    loop: Loop,
) -> None:
    project = await ready_project(loop)
    round_ = await turn(loop, project, reward={"figures": {"accuracy_low": 0.45}})
    assert (round_.status, round_.step) == ("stopped", "reward_gate")
    (reward,) = await loop.versions(project, "reward")
    flip_a_byte(loop.context.home / reward.folder)
    with pytest.raises(Invalid, match="doesn't match its manifest"):
        await override(loop, None, round_, "We have no more people.")
    assert (await loop.read_round(round_)).status == "stopped"
    assert (await loop.versions(project, "reward"))[0].state == "candidate"
