"""The arithmetic of one iteration of PPO."""

from training.config import PpoConfig
from training.ppo.models import PpoModels
from training.ppo.rollout import Rollout
from training.reward.scoring import RewardModelScorer
from training.runtime.learning import passes_of
from training.runtime.metrics import Measures
from training.runtime.throughput import ADAPTER_PASSES, TRAINING_PASSES, Arithmetic


def ppo_flop(models: PpoModels, rollout: Rollout, measures: Measures, config: PpoConfig) -> float:
    """FLOP of one iteration: sampling, scoring and the updates that `measures` tells of.

    What a shared trunk computes for the policy serves the critic too.
    """
    lengths, predicted = sequence_lengths(rollout), int(rollout.mask_BR.sum())
    policy = Arithmetic.of(models.policy.model)
    policy_pass = policy.trunk_flop(lengths) + policy.logits_flop(predicted)
    actor_epochs, critic_epochs = (
        measures.get(name, (0.0, 0.0))[1] / predicted for name in ("update_kl", "value_loss")
    )
    flop = (2 + passes_of(config) * actor_epochs) * policy_pass  # the reference is of the policy's shape
    for critic in models.critics.values():
        shared = critic.trunk is models.policy.model.base_model
        frozen = not all(weight.requires_grad for weight in critic.trunk.parameters())
        passes = (ADAPTER_PASSES if frozen else TRAINING_PASSES) + config.gradient_checkpointing
        training = (critic_epochs - actor_epochs) if shared else passes * critic_epochs
        flop += (1 + training) * Arithmetic.of(critic.trunk).trunk_flop(lengths)
    for scorer in (models.reward, models.cost):
        if isinstance(scorer, RewardModelScorer):
            flop += Arithmetic.of(scorer.reward_model.model).trunk_flop(lengths)
    return flop


def sequence_lengths(rollout: Rollout) -> list[int]:
    """Tokens of prompt and response."""
    return [
        len(prompt.token_ids) + len(response.sampled.token_ids)
        for prompt, response in zip(rollout.prompts, rollout.responses, strict=True)
    ]
