"""Gate: whether a model version may be used, and why."""

from app.db.base import Json
from app.db.tables import ModelVersion
from app.phrases import phrase
from app.services.loop.comparisons import duels
from app.services.loop.gates import gates
from app.services.loop.gates.gate_bounds import PolicyBounds, RewardBounds, VoteBounds
from app.services.loop.models import models
from app.services.loop.stages.parts import decide, put_into_use
from app.services.loop.stages.stage import Work, WorkerStage


async def _perform(work: Work) -> Json:
    run = work.run
    version = await work.db.get_one(ModelVersion, run.settings["model_version_id"])
    if version.kind == "reward":
        bounds = RewardBounds.model_validate(run.settings["bounds"])
        rules = gates.reward_rules(version.figures, bounds, await models.judgements_of(work.db, version))
    elif run.round_step == "vote_gate":
        assert run.round_id is not None
        bounds_of_votes = VoteBounds.model_validate(run.settings["bounds"])
        rules = gates.vote_rules(await duels.certify(work.db, run.round_id, bounds_of_votes))
    else:
        rules = gates.policy_rules(version.figures, PolicyBounds.model_validate(run.settings["bounds"]))
    passed = await decide(work, version, rules)
    if passed and version.kind == "reward":
        # No person is asked about a reward model: what it leads to is what the policy's gate judges.
        await put_into_use(work, version)
    return {"model_version_id": version.id, "passed": passed, "reason": None if passed else gates.refusal(rules)}


GATE = WorkerStage(name="gate", title=phrase("Gate"), perform=_perform)
