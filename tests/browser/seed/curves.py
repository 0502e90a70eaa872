"""The figures of a step, shaped as training shapes them."""

import math
import random
from typing import Any


def sft_figures(chance: random.Random) -> Any:
    return lambda step, total: {
        "loss": 1.3 + 4.6 * math.exp(-step / 38) + chance.gauss(0, 0.05),
        "learning_rate": 3e-3 * (0.5 + 0.5 * math.cos(math.pi * step / total)),
        "gradient_norm": 0.6 + 1.4 * math.exp(-step / 20) + abs(chance.gauss(0, 0.1)),
        "tokens": 8_100 + chance.gauss(0, 200),
    }


def reward_figures(chance: random.Random) -> Any:
    def figures(step: int, total: int) -> dict[str, float]:
        accuracy = 0.54 + 0.24 * (1 - math.exp(-step / 30))
        return {
            "loss": 0.49 + 0.2 * math.exp(-step / 30) + chance.gauss(0, 0.02),
            "accuracy": min(1.0, accuracy + chance.gauss(0, 0.03)),
            "gradient_norm": 1.1 + abs(chance.gauss(0, 0.3)),
        }

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
