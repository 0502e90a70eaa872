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
    asked = [record for record in records if record.split == "validation" and not config.shard_weights]
    rehearse_policy(run, policy, config.policy)
    judged = JudgedPairs.of(config, policy, preferences)
    learner, reference_2N = learn(config, run, policy, judged, shown=first_prompts(policy, asked))
    result = summary(judged, reference_2N, each=learner.each)
    weights = learner.weights_to_publish(policy.dtype)
    run.finish(result, artifact=("policy", writer_of(policy, config, config.policy, weights)))
