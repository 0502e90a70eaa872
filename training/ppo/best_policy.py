"""Which policy of a run is the best, by what it earns on prompts that nothing is learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from models.lora import learnt_weights, set_learnt_weights
from training.config import PpoConfig
from training.data.examples import Prompt
from training.engines.engine import Sampling
from training.ppo.models import PpoModels
from training.ppo.rollout import score_responses
from training.responses.written import written
from training.runtime.checkpoint import pack, unpack
from training.runtime.metrics import Measures, mean_of
from training.runtime.seeds import derived_seed


@dataclass(frozen=True, slots=True)
class Best:
    """After which iteration a policy earned most, and what; None until one lay within the bounds."""

    published_iteration: int | None = None
    held_out_reward: float | None = None


class BestPolicy:
    """Keeps the weights of the policy with the highest reward so far. Every policy answers with the same random
    numbers, so that they are compared on equal terms."""

    def __init__(self, config: PpoConfig, models: PpoModels, prompts: Sequence[Prompt]) -> None:
        self._config = config
        self._models = models
        self._prompts = prompts
        self._weights: dict[str, Tensor] = {}
        self._found = Best()

    def measure(self, iteration: int) -> Measures:
        """Measure the policy after so many iterations; keep it if it lies within the bounds of KL and cost and earns
        most.
        """
        config = self._config
        sampled = self._models.sampler.sample(
            [prompt.token_ids for prompt in self._prompts],
            Sampling(config.max_new_tokens, config.temperature),
            seed=derived_seed(config.seed, "held_out"),
            precision=config.precision,
        )
        responses = written(self._models.policy, sampled)
        scored = score_responses(self._models, self._prompts, responses, config)
        reward, kl = float(scored.reward_B.mean()), scored.kl_per_response
        cost = float(scored.cost_B.mean())
        within_bound = config.max_kl is None or kl <= config.max_kl
        within_bound = within_bound and (config.cost is None or cost <= config.cost_limit)
        if within_bound and (self._found.held_out_reward is None or reward > self._found.held_out_reward):
            self._found = Best(iteration, reward)
            self._weights = pack("best", learnt_weights(self._models.policy.model))
        count = len(self._prompts)
        measures: Measures = {"held_out_reward": mean_of(reward, count), "held_out_kl": mean_of(kl, count)}
        return measures if config.cost is None else measures | {"held_out_cost": mean_of(cost, count)}

    def put_in_place(self) -> None:
        """Give the policy the weights of the best; as it is if none was within the bounds."""
        if self._weights:
            set_learnt_weights(self._models.policy.model, unpack("best", self._weights))

    def summary(self) -> dict[str, object]:
        """The result's figures of it."""
        return asdict(self._found)

    @property
    def found(self) -> Best:
        """What a checkpoint holds of it beside `tensors`."""
        return self._found

    def tensors(self) -> dict[str, Tensor]:
        return self._weights

    def restore(self, tensors: Mapping[str, Tensor], found: Best) -> None:
        """Go on from `tensors` and `found` of a checkpoint."""
        self._weights = pack("best", unpack("best", tensors))
        self._found = found
