"""Kahneman-Tversky optimisation: from its settings to the policy that it publishes."""

from pathlib import Path

from training.config.kto import KtoConfig
from training.data.opening import facts_of, load, open_language_model
from training.data.rehearsal import rehearse_policy
from training.direct.kto import JudgedResponses, load_verdicts, summary
from training.direct.loop import learn
from training.records import UnpairedRecord
from training.responses.texts import first_prompts
from training.runtime.artifact import lineage_of
from training.runtime.learning import hold
from training.runtime.publishing import require_publishable, writer_of
from training.runtime.run import Cancellation, Run


def run(config: KtoConfig, out: Path, cancellation: Cancellation) -> None:
    """Score with the reference, train, measure on the validation responses, publish."""
    lineage = lineage_of(
        "kto", config, {"policy": config.policy, "reference": config.reference}, {"responses": config.responses}
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    policy = open_language_model(config.policy, config)
    config = run.settle(config, facts_of(policy.model))
    require_publishable(config, config.policy)
    hold(policy, config)
    verdicts = load_verdicts(config.responses, policy, max_length=config.max_length)
    records = load(config.responses, UnpairedRecord)
    shown = first_prompts(policy, [record for record in records if record.split == "validation"])
    rehearse_policy(run, policy, config.policy)
    responses = JudgedResponses.of(config, policy, verdicts)
    _, reference = learn(config, run, policy, responses, shown=shown)
    run.finish(summary(responses, reference), artifact=("policy", writer_of(policy, config, config.policy)))
