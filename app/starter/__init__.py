"""The starter project: everyday prompts, responses of graded quality, and the rule that knows which is better."""

from app.starter.prompts import StarterPrompt, prompts
from app.starter.responses import DEFAULT_WEIGHTS, StarterResponse
from app.starter.samples import comparisons, demonstrations, held_out_pairs

__all__ = [
    "DEFAULT_WEIGHTS",
    "StarterPrompt",
    "StarterResponse",
    "comparisons",
    "demonstrations",
    "held_out_pairs",
    "prompts",
]
