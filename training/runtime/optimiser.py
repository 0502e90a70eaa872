"""The optimiser step that all stages share."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from training.config import InputError
from training.runtime.ranks import ranks


class Trainer:
    """AdamW over a model's parameters with clipped gradients and a learning rate given at each step."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, epsilon: float, gradient_clip: float, weight_decay: float = 0.0
    ) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._gradient_clip = gradient_clip
        decayed = [parameter for parameter in self._parameters if parameter.ndim > 1]
        plain = [parameter for parameter in self._parameters if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = AdamW(
            [group for group in groups if group["params"]], eps=epsilon, betas=(0.9, 0.999), fused=True
        )

    def step(self, learning_rate: float) -> float:
        """Apply the accumulated gradients and clear them; returns their norm before clipping.

        Raises `InputError` when it is not finite: nothing that could follow would be worth publishing.
        """
        norm = float(self._clipped())
        if not math.isfinite(norm):
            raise InputError("training diverged: a gradient is not finite (lower the learning rate)")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.discard()
        return norm

    def _clipped(self) -> Tensor:
        """Add up all processes' gradients and cut them; their norm before that."""
        ranks().add_gradients(self._parameters)
        return torch.nn.utils.clip_grad_norm_(self._parameters, self._gradient_clip)

    def discard(self) -> None:
        """Forget the accumulated gradients."""
        self.optimizer.zero_grad(set_to_none=True)


def cosine_schedule(step: int, total_steps: int, *, peak: float, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine to zero; never zero at a step that is taken."""
    warmup = max(1, round(total_steps * warmup_fraction))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def linear_schedule(step: int, total_steps: int, *, peak: float) -> float:
    """From the peak at step 0 to zero just after the last one."""
    return peak * (1 - step / total_steps)
