"""The figures of a step, shaped as training shapes them."""

import math
import random
from typing import Any


def sft_figures(chance: random.Random) -> Any:
    return lambda step, total: (
        {
            "loss": 1.3 + 4.6 * math.exp(-step / 38) + chance.gauss(0, 0.05),
            "learning_rate": 3e-3 * (0.5 + 0.5 * math.cos(math.pi * step / total)),
            "gradient_norm": 0.6 + 1.4 * math.exp(-step / 20) + abs(chance.gauss(0, 0.1)),
            "tokens": 8_100 + chance.gauss(0, 200),
        }
        | ({"held_out_nll": 1.38 + 4.5 * math.exp(-step / 40)} if step % 20 == 0 else {})
    )


def reward_figures(chance: random.Random) -> Any:
    def figures(step: int, total: int) -> dict[str, float]:
        accuracy = 0.5 + 0.24 * (1 - math.exp(-step / 30))
        measured = {
            "loss": 0.49 + 0.2 * math.exp(-step / 30) + chance.gauss(0, 0.02),
            "accuracy": min(1.0, accuracy + 0.04 + chance.gauss(0, 0.03)),
            "gradient_norm": 1.1 + abs(chance.gauss(0, 0.3)),
        }
        if step % 10 == 0:
            measured |= {
                "validation_accuracy": accuracy,
                "validation_accuracy_low": accuracy - 0.045,
                "validation_accuracy_high": accuracy + 0.044,
            }
        return measured

    return figures


def ppo_figures(chance: random.Random) -> Any:
    return lambda step, total: {
        "score": 1.25 * (1 - math.exp(-step / 18)) - 0.05 + chance.gauss(0, 0.06),
        "kl": 4.6 * (1 - math.exp(-step / 25)) + abs(chance.gauss(0, 0.15)),
        "length": 38 + 6 * (1 - math.exp(-step / 30)) + chance.gauss(0, 1.2),
        "eos_rate": min(1.0, 0.985 + chance.gauss(0, 0.006)),
        "entropy": 1.9 - 0.5 * (1 - math.exp(-step / 30)) + chance.gauss(0, 0.03),
        "clip_fraction": 0.05 + 0.06 * math.exp(-step / 15) + abs(chance.gauss(0, 0.01)),
        "explained_variance": 0.72 * (1 - math.exp(-step / 12)) + chance.gauss(0, 0.03),
        "kl_coefficient": 0.05 + 0.01 * math.sin(step / 6),
        "value_loss": 0.3 + 0.6 * math.exp(-step / 12),
    }
