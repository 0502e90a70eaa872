"""Gate: whether a model version may be used, and why."""

from app.db.base import Json
from app.db.tables import Gate, ModelVersion
from app.phrases import phrase
from app.services.loop import gates
from app.services.loop.gates import PolicyBounds, RewardBounds
from app.services.loop.stages.parts import put_into_use
from app.services.loop.stages.stage import Work, WorkerStage


async def _perform(work: Work) -> Json:
    run = work.run
    version = await work.db.get_one(ModelVersion, run.settings["model_version_id"])
    if version.kind == "reward":
        rules = gates.reward_rules(version.figures, RewardBounds.model_validate(run.settings["bounds"]))
    else:
        rules = gates.policy_rules(version.figures, PolicyBounds.model_validate(run.settings["bounds"]))
    passed = gates.passed(rules)
    work.db.add(
        Gate(
            project_id=run.project_id,
            run_id=run.id,
            model_version_id=version.id,
            passed=passed,
            rules=[rule.to_json() for rule in rules],
        )
    )
    await work.db.flush()
    if passed and version.kind == "reward":
        # No person is asked about a reward model: what it leads to is what the policy's gate judges.
        await put_into_use(work, version)
    return {"model_version_id": version.id, "passed": passed, "reason": None if passed else gates.refusal(rules)}


GATE = WorkerStage(name="gate", title=phrase("Gate"), perform=_perform)
