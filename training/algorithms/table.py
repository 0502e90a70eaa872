"""Algorithms of policy optimisation, each a row that says what it is made of; without torch, for settings read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from training.algorithms.choices import AlgorithmName, Estimator

_OF_CRITICS = (
    *("critic", "value_coefficient", "critic_learning_rate", "critic_warmup_iterations", "value_clip"),
    *("gamma", "gae_lambda", "whiten_rewards"),
)
_OF_RATIOS = ("clip_low", "clip_high", "dual_clip", "max_update_kl", "drop_distant_step")


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What differs from one algorithm to the next; all else of a run is the same."""

    title: str
    baseline: Literal["critic", "others", "group", "best"]
    """What a response's reward is compared with: a critic's values, token by token (Schulman et al. 2016); the mean of
    the other responses to its prompt (Kool et al. 2019); that of all of them (Shao et al. 2024); or their ranks, of
    which the first `imitated` count 1 and the others nothing (Dong et al. 2023)."""
    scale: Literal["rollout", "group", "none"]
    """What advantages are divided by: their deviation over the rollout, where `whiten_advantages` asks for it; that
    over the responses to the same prompt; nothing."""
    ratio: Literal["token", "response", "mean_token", "none"]
    """Of the policy to the one that sampled, in the surrogate: of each token; of the whole response, the product over
    its tokens; the geometric mean of these (Zheng et al. 2025). With none it is the likelihood that
    grows, and nothing is clipped."""
    average: Literal["tokens", "responses", "constant"]
    """How what is per token becomes one number: its mean over the tokens of the minibatch; over responses, of each the
    mean over its tokens; its sum by responses x `max_new_tokens`. A whole response's ratio always counts once."""
    kl_penalty: Literal["reward", "loss"]
    """Where the divergence is usually paid, and by which estimate."""
    kl_estimator: Estimator

    @property
    def has_critic(self) -> bool:
        return self.baseline == "critic"

    @property
    def unused(self) -> tuple[str, ...]:
        """Settings that it has no use for."""
        return (
            *(() if self.has_critic else _OF_CRITICS),
            *(() if self.scale == "rollout" else ("whiten_advantages",)),
            *(_OF_RATIOS if self.ratio == "none" else ()),
            *(() if self.baseline == "best" else ("imitated",)),
        )


ALGORITHMS: Mapping[AlgorithmName, Algorithm] = {
    "ppo": Algorithm(
        title="PPO",
        baseline="critic",
        scale="rollout",
        ratio="token",
        average="tokens",
        kl_penalty="reward",
        kl_estimator="k1",
    ),
    "rloo": Algorithm(
        title="RLOO",
        baseline="others",
        scale="rollout",
        ratio="response",
        average="tokens",
        kl_penalty="reward",
        kl_estimator="k1",
    ),
    "grpo": Algorithm(
        title="GRPO",
        baseline="group",
        scale="group",
        ratio="token",
        average="responses",
        kl_penalty="loss",
        kl_estimator="k3",
    ),
    "dr_grpo": Algorithm(
        title="Dr. GRPO",
        baseline="group",
        scale="none",
        ratio="token",
        average="constant",
        kl_penalty="loss",
        kl_estimator="k3",
    ),
    "gspo": Algorithm(
        title="GSPO",
        baseline="group",
        scale="group",
        ratio="mean_token",
        average="responses",
        kl_penalty="loss",
        kl_estimator="k3",
    ),
    "expert_iteration": Algorithm(
        title="Expert iteration",
        baseline="best",
        scale="none",
        ratio="none",
        average="tokens",
        kl_penalty="reward",
        kl_estimator="k1",
    ),
}
"""PPO: Schulman et al. 2017. RLOO: Ahmadian et al. 2024. GRPO: Shao et al. 2024, eq. 3. Dr. GRPO: Liu et al. 2025,
section 3.2. GSPO: Zheng et al. 2025, eq. 5. Expert iteration: Anthony et al. 2017; as RAFT, Dong et al. 2023,
algorithm 1, of a policy's own samples."""
