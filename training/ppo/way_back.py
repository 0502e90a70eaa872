"""What a run of PPO goes back to when it leads astray: the last policy that is known to be good, and one that is known
to be quiet."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from models.lora import learnt_weights, set_learnt_weights
from training.config import PpoConfig
from training.ppo.learner import Learner
from training.runtime.checkpoint import pack, unpack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WayBack:
    """The last policy that wrote a rollout within the bound of KL is the good one, until an alarm: since the last
    evaluation it may have learnt to hack already, so that then it is the last one of which an evaluation raised none
    that acts, the quiet one."""

    def __init__(self, config: PpoConfig, learner: Learner, policy: "PreTrainedModel") -> None:
        self._config = config
        self._learner = learner
        self._policy = policy
        self._good = self._quiet = self._snapshot()
        self.quiet_iteration = 0
        self.roll_backs = 0

    def keep(self, iteration: int, *, is_quiet: bool) -> None:
        """Have the policy after so many iterations as the good one; `is_quiet` if an evaluation has just found so."""
        self._good = self._snapshot()
        if is_quiet and self._config.on_alarm != "report":
            self._quiet, self.quiet_iteration = self._good, iteration

    def distrust(self) -> None:
        """Have no policy since the quiet one as good."""
        self._good = self._quiet

    def take(self) -> None:
        """Give the policy the weights of the good one."""
        set_learnt_weights(self._policy, unpack("good.policy", self._good))

    def roll_back(self) -> bool:
        """Give everything that learns the state that it had with the good policy; false when that was done too
        often."""
        if self.roll_backs == self._config.kl_roll_backs:
            return False
        self._learner.restore(unpack("good", self._good))
        self.roll_backs += 1
        return True

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint has to hold of it beside its two numbers."""
        return {**self._good, **(pack("quiet", self._quiet) if self._config.on_alarm != "report" else {})}

    def restore(self, tensors: Mapping[str, Tensor], *, quiet_iteration: int, roll_backs: int) -> None:
        """Go on from what `tensors` gave and those numbers."""
        self._good = pack("good", unpack("good", tensors))
        self._quiet = unpack("quiet", tensors)
        self.quiet_iteration, self.roll_backs = quiet_iteration, roll_backs

    def _snapshot(self) -> dict[str, Tensor]:
        """The policy, or everything that learns where the run would go on from it."""
        if self._config.kl_roll_backs:
            return pack("good", self._learner.tensors())
        return pack("good.policy", learnt_weights(self._policy))
