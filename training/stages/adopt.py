"""A model taken over as it is: checked, loaded once, and published as a policy."""

from pathlib import Path

from models.saving import save_language_model
from training.config.adopt import AdoptConfig
from training.data.introduction import introduced
from training.data.opening import open_probed
from training.data.rehearsal import rehearse_policy
from training.runtime.artifact import lineage_of
from training.runtime.run import Cancellation, Run


def run(config: AdoptConfig, out: Path, cancellation: Cancellation) -> None:
    """Publish the model with its lineage, so that everything after treats it like a policy that was trained here."""
    run = Run(out, lineage_of("adopt", config, {"model": config.model}, {}), cancellation)
    if run.finished:
        return
    policy, found = open_probed(config.model, config)
    rehearse_policy(run, policy, config.model)
    report = introduced(policy, config.model)
    result: dict[str, object] = {
        "parameters": report.parameters,
        "report": report.to_json(),
        "probe": found.to_json() if found is not None else None,
    }
    run.finish(result, artifact=("policy", lambda folder: save_language_model(policy, folder)))
