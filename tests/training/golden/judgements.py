"""Judged pairs and demonstrations that two programs can be given alike, for the models of `problem`.

Needs torch and transformers alone, so that the oracle's environment can read it too.
"""

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Variant:
    """Settings of one stage, in TRL's words and in ours."""

    stage: str
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "sft": Variant("sft"),
    "reward": Variant("reward"),
    "reward, centred": Variant("reward", {"center_rewards_coefficient": 0.05}, {"centering": 0.05}),
    "dpo": Variant("dpo"),
    "dpo, robust": Variant(
        "dpo", {"loss_type": ["robust"], "label_smoothing": 0.1}, {"loss": "robust", "label_noise": 0.1}
    ),
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Of which ids are words, apart by spaces, and a conversation what was said in it."""
    made = problem.tokenizer()
    made.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return made


def text(token_ids: Sequence[int]) -> str:
    return " ".join(f"w{number}" for number in token_ids if number != problem.EOS)
