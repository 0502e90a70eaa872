"""Direct preference optimisation: from its settings to the policy that it publishes."""

from pathlib import Path

from training.config import DpoConfig
from training.data.opening import facts_of, load, open_language_model
from training.data.rehearsal import rehearse_policy
from training.direct.dpo import JudgedPairs, summary
from training.direct.loop import learn
from training.preferences.comparisons import load_preferences
from training.records import PreferenceRecord
from training.responses.texts import first_prompts
from training.runtime.artifact import lineage_of
from training.runtime.learning import hold
from training.runtime.publishing import require_publishable, writer_of
from training.runtime.run import Cancellation, Run


def run(config: DpoConfig, out: Path, cancellation: Cancellation) -> None:
    """Score with the reference, train, measure on the validation pairs, publish."""
    lineage = lineage_of(
        "dpo", config, {"policy": config.policy, "reference": config.reference}, {"preferences": config.preferences}
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    policy = open_language_model(config.policy, config)
    config = run.settle(config, facts_of(policy.model))
    require_publishable(config, config.policy)
    hold(policy, config)
    preferences = load_preferences(config.preferences, policy, max_length=config.max_length)
    records = load(config.preferences, PreferenceRecord)
    shown = first_prompts(policy, [record for record in records if record.split == "validation"])
    rehearse_policy(run, policy, config.policy)
    judged = JudgedPairs.of(config, policy, preferences)
    reference_2N = learn(config, run, policy, judged, shown=shown)
    run.finish(summary(judged, reference_2N), artifact=("policy", writer_of(policy, config, config.policy)))
