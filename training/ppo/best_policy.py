"""Which policy of a run is the best, by what it earns on prompts that nothing is learnt from."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from models.generation import sample_responses
from models.lora import learnt_weights, set_learnt_weights
from training.config import PpoConfig
from training.data.examples import Prompt
from training.ppo.models import Players
from training.ppo.rollout import score_responses
from training.responses.written import written
from training.runtime.checkpoint import pack, unpack
from training.runtime.metrics import Measures, mean_of
from training.runtime.seeds import derived_seed


class BestPolicy:
    """Keeps the weights of the policy with the highest reward so far. Every policy answers with the same random
    numbers, so that they are compared on equal terms."""

    def __init__(self, config: PpoConfig, players: Players, prompts: Sequence[Prompt]) -> None:
        self._config = config
        self._players = players
        self._prompts = prompts
        self._weights: dict[str, Tensor] = {}
        self._iteration: int | None = None
        self._reward: float | None = None

    def measure(self, iteration: int) -> Measures:
        """Measure the policy after so many iterations; keep it if it lies within the bounds of KL and cost and earns
        most.
        """
        config = self._config
        sampled = sample_responses(
            self._players.policy,
            [prompt.token_ids for prompt in self._prompts],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=derived_seed(config.seed, "held_out"),
        )
        responses = written(self._players.policy, sampled)
        scored = score_responses(self._players, self._prompts, responses, config)
        reward, kl = float(scored.reward_B.mean()), scored.kl_per_response
        cost = float(scored.cost_B.mean())
        within_bound = config.max_kl is None or kl <= config.max_kl
        within_bound = within_bound and (config.cost is None or cost <= config.cost_limit)
        if within_bound and (self._reward is None or reward > self._reward):
            self._reward, self._iteration = reward, iteration
            self._weights = pack("best", learnt_weights(self._players.policy.model))
        count = len(self._prompts)
        measures: Measures = {"held_out_reward": mean_of(reward, count), "held_out_kl": mean_of(kl, count)}
        return measures if config.cost is None else measures | {"held_out_cost": mean_of(cost, count)}

    def put_in_place(self) -> None:
        """Give the policy the weights of the best; as it is if none was within the bounds."""
        if self._weights:
            set_learnt_weights(self._players.policy.model, unpack("best", self._weights))

    def summary(self) -> dict[str, object]:
        return {"published_iteration": self._iteration, "held_out_reward": self._reward}

    def tensors(self) -> dict[str, Tensor]:
        return self._weights

    def restore(self, tensors: Mapping[str, Tensor], summary: Mapping[str, object]) -> None:
        """Go on from what `tensors` and `summary` gave."""
        self._weights = pack("best", unpack("best", tensors))
        iteration, reward = summary["published_iteration"], summary["held_out_reward"]
        self._iteration = iteration if isinstance(iteration, int) else None
        self._reward = reward if isinstance(reward, float) else None
