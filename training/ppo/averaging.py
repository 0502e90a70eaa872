"""The mean of a run's policy and of the one in use: what is published where rounds are to add up."""

import torch

from models.backbone import LanguageModel
from training.config import PpoConfig
from training.data.opening import open_language_model
from training.runtime.publishing import round_published


def average_with(policy: LanguageModel, config: PpoConfig) -> float:
    """Move a policy that has learnt `averaged_share` of the way, in weights, to the model at `averaged`, and return
    that share (Ramé et al. 2024, WARP).

    0.0 where there is none, or one whose weights aren't the same tensors: of another shape, or adapters beside a base,
    whose products have no such mean.
    """
    if config.averaged is None or config.averaged_share == 0 or config.publish_as != "merged":
        return 0.0
    # Parameters and not the state's tensors: a weight that is tied is in there under two names.
    ours = dict(policy.model.named_parameters())
    theirs = dict(open_language_model(config.averaged).model.named_parameters())
    if {name: weight.shape for name, weight in ours.items()} != {name: weight.shape for name, weight in theirs.items()}:
        return 0.0
    with torch.no_grad():
        for name, weight in ours.items():
            weight.lerp_(theirs[name].to(weight), config.averaged_share)
    round_published(policy)
    return config.averaged_share
