"""The constraint of PPO-Lagrangian in a run: its multiplier, and the recent costs that move it."""

# B = batch

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from training.algorithms.constraint import step_log_multiplier
from training.algorithms.losses import explained_variance
from training.algorithms.table import ALGORITHMS
from training.config import PpoConfig
from training.ppo.rollout import Rollout
from training.reward.safety import cost_figures
from training.runtime.metrics import Measures, mean_of


@dataclass(frozen=True, slots=True)
class ConstraintState:
    """Everything that a checkpoint has to hold of a constraint."""

    log_multiplier: float
    costs: tuple[float, ...]
    pinned_iterations: int


class Constraint:
    """The price of cost against reward. Without a cost model it is 0, and there is nothing to say."""

    def __init__(self, config: PpoConfig) -> None:
        self._config = config
        self._active = config.cost is not None
        self._log_multiplier = math.log(config.multiplier_start)
        self._costs: deque[float] = deque(maxlen=config.cost_window)
        self._pinned_iterations = 0

    @property
    def multiplier(self) -> float:
        return math.exp(self._log_multiplier) if self._active else 0.0

    def update(self, rollout: Rollout) -> None:
        """Let the multiplier answer to the mean of the last `cost_window` costs."""
        if not self._active:
            return
        self._costs.extend(rollout.cost_B.tolist())
        self._log_multiplier = step_log_multiplier(
            self._log_multiplier,
            mean_cost=self._mean_cost(),
            limit=self._config.cost_limit,
            learning_rate=self._config.multiplier_learning_rate,
            maximum=self._config.multiplier_max,
        )
        self._pinned_iterations += self.pinned

    @property
    def pinned(self) -> bool:
        """Whether the multiplier is at its maximum and the limit is broken all the same: from here on the policy learns
        little but to refuse.
        """
        highest = self._log_multiplier >= math.log(self._config.multiplier_max)
        return self._active and highest and bool(self._costs) and self._mean_cost() > self._config.cost_limit

    def figures(self, rollout: Rollout) -> dict[str, float]:
        """Mean cost and share of unsafe responses of a rollout, intervals by prompt; nothing without a cost model."""
        if not self._active:
            return {}
        return cost_figures(rollout.cost_B, [prompt.prompt_id for prompt in rollout.prompts])

    def measures(self, rollout: Rollout) -> Measures:
        if not self._active:
            return {}
        responses = len(rollout.responses)
        measures: Measures = {name: mean_of(value, responses) for name, value in self.figures(rollout).items()}
        measures["multiplier"] = mean_of(self.multiplier)
        measures["multiplier_pinned"] = mean_of(float(self.pinned))
        if ALGORITHMS[self._config.algorithm].has_critic:
            value_N, return_N = (tensor[rollout.mask_BR] for tensor in rollout.taught("cost_critic"))
            measures["cost_explained_variance"] = mean_of(float(explained_variance(value_N, return_N)))
        return measures

    def summary(self, last: Mapping[str, float]) -> dict[str, object]:
        """What the result says of cost, given the figures of the last rollout within the bound of KL."""
        if not self._active:
            return {}
        figures = {name: value for name, value in last.items() if name.startswith(("cost", "unsafe"))}
        return {
            **figures,
            "cost_limit": self._config.cost_limit,
            "multiplier": self.multiplier,
            "multiplier_pinned_iterations": self._pinned_iterations,
        }

    def state(self) -> ConstraintState:
        return ConstraintState(self._log_multiplier, tuple(self._costs), self._pinned_iterations)

    def restore(self, state: ConstraintState) -> None:
        """Go on from the `state` of a checkpoint."""
        self._log_multiplier = state.log_multiplier
        self._costs.extend(state.costs)
        self._pinned_iterations = state.pinned_iterations

    def _mean_cost(self) -> float:
        return math.fsum(self._costs) / len(self._costs)
