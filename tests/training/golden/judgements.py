"""Judged pairs and demonstrations that two programs can be given alike, for the models of `problem`.

Needs torch and transformers alone, so that the oracle's environment can read it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerFast

from tests.training.golden import problem

BETA = 0.3
POLICY, REFERENCE, REWARD = 1, 2, 7
"""Seeds of the models' weights."""


@dataclass(frozen=True)
class Judgement:
    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]
    """Both with EOS at their end."""


# No word 2, which stands for all unknown ones and so is broken up where a person types it.
JUDGEMENTS = tuple(
    Judgement(prompt, (*chosen, problem.EOS), (*rejected, problem.EOS))
    for prompt, chosen, rejected in (
        ((5, 6, 7), (3, 4), (9, 9, 8, 5)),
        ((3,), (11, 10, 5, 5, 5), (4,)),
        ((8, 9, 10, 11, 4, 5), (7,), (7, 7)),
        ((4, 3, 5, 5), (6, 11, 3), (6, 11, 3, 10)),
        ((10, 3, 8, 8, 5), (), (5, 4, 9)),
        ((11, 5), (3, 8, 4, 10, 9, 7, 6), (5, 5)),
    )
)

ALIKE = 4
"""Tokens of every response of these."""
OF_ONE_LENGTH = tuple(
    Judgement(prompt, (*chosen, problem.EOS), (*rejected, problem.EOS))
    for prompt, chosen, rejected in (
        ((5, 6, 7), (3, 4, 8), (9, 8, 5)),
        ((3,), (11, 10, 5), (4, 4, 3)),
        ((8, 9, 10, 11, 4, 5), (7, 6, 3), (7, 7, 10)),
        ((11, 5), (3, 8, 4), (5, 5, 9)),
    )
)


@dataclass(frozen=True)
class Variant:
    """Settings of one stage, in TRL's words and in ours, and how many times theirs our figures are."""

    stage: str
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    rows: Sequence[Judgement] = JUDGEMENTS
    times: Mapping[str, float] = field(default_factory=dict)


# TRL's IPO takes means over tokens, the paper and we take sums: with n tokens in every response
# (h - n / 2 beta)^2 = n^2 (h / n - 1 / 2 beta)^2, and our beta, of which rewards are multiples, is theirs / n.
_SUMS_OF_MEANS = {
    "loss": ALIKE**2,
    "gradient_norm": ALIKE**2,
    "chosen_reward": 1 / ALIKE,
    "rejected_reward": 1 / ALIKE,
    "margin": 1 / ALIKE,
}

VARIANTS = {
    "sft": Variant("sft"),
    "sft, full": Variant("sft", {"completion_only_loss": False}, {"loss": "full"}),
    "reward": Variant("reward"),
    "reward, centred": Variant("reward", {"center_rewards_coefficient": 0.05}, {"centering": 0.05}),
    "dpo": Variant("dpo"),
    "dpo, robust": Variant(
        "dpo", {"loss_type": ["robust"], "label_smoothing": 0.1}, {"loss": "robust", "label_noise": 0.1}
    ),
    "dpo, robust, noisier": Variant(
        "dpo", {"loss_type": ["robust"], "label_smoothing": 0.35}, {"loss": "robust", "label_noise": 0.35}
    ),
    "dpo, ipo": Variant(
        "dpo", {"loss_type": ["ipo"]}, {"loss": "ipo", "beta": BETA / ALIKE}, OF_ONE_LENGTH, _SUMS_OF_MEANS
    ),
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Of which ids are words, apart by spaces, and a conversation what was said in it."""
    made = problem.tokenizer()
    made.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return made


def text(token_ids: Sequence[int]) -> str:
    return " ".join(f"w{number}" for number in token_ids if number != problem.EOS)
