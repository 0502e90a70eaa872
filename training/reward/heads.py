"""What each head of a reward model learns: an ensemble the same judgements in draws of its own, a criterion what people
said of it."""

# B = responses of a batch, H = heads

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from models.read_out import OVERALL, ReadOut
from models.reward import RewardModel, branch_scores_by_head
from training.config import InputError, RewardConfig
from training.data.examples import Pair
from training.preferences.comparisons import Comparison
from training.reward.objective import Objective, preference_loss, scored_loss
from training.runtime.metrics import Measures, merge
from training.runtime.seeds import derived_seed


@dataclass(frozen=True, slots=True)
class Lesson:
    """Judgements as one head hears them, each `times` over. All lessons of a model hold the same responses."""

    name: str
    comparisons: Sequence[Comparison]
    times: Sequence[float]

    @property
    def pairs(self) -> list[Pair]:
        return [pair for comparison in self.comparisons for pair in comparison.pairs]

    @property
    def heard(self) -> list[Comparison]:
        """The judgements with their weights multiplied."""
        return [
            Comparison(tuple(replace(pair, weight=pair.weight * times) for pair in comparison.pairs))
            for comparison, times in zip(self.comparisons, self.times, strict=True)
        ]


def read_out_of(config: RewardConfig, pairs: Sequence[Pair]) -> ReadOut:
    """The heads that the settings ask for and the training pairs can teach. Raises `InputError`."""
    criteria = decided_criteria(pairs) if config.learn_criteria else ()
    if config.learn_criteria and not criteria:
        raise InputError("learn_criteria: no training pair says which response is better by any criterion")
    if unknown := sorted(config.criteria_weights.keys() - {OVERALL, *criteria}):
        raise InputError(f"criteria_weights: no training pair decides {', '.join(unknown)}")
    return ReadOut(config.heads, criteria, config.read_out, config.variance_penalty, config.criteria_weights)


def lessons_of(config: RewardConfig, read_out: ReadOut, comparisons: Sequence[Comparison]) -> list[Lesson]:
    """One lesson for each head.

    Members of an ensemble hear each judgement as often as a Poisson draw of mean 1 says: a bootstrap (Breiman 1996)
    whose draws don't depend on each other (Oza and Russell 2001).
    """
    once = [1.0] * len(comparisons)
    draws = [
        _poisson(len(comparisons), derived_seed(config.seed, "bootstrap", member)) if config.bootstrap else once
        for member in range(read_out.members)
    ]
    overall = [Lesson(OVERALL, comparisons, once if read_out.members == 1 else times) for times in draws]
    return [*overall, *(Lesson(name, _by_criterion(comparisons, name), once) for name in read_out.criteria)]


def decided_criteria(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The criteria in which some response is better, sorted by name."""
    return tuple(sorted({name for pair in pairs for name, label in pair.criteria.items() if label != 0.5}))


def by_criterion(pair: Pair, name: str) -> Pair:
    """The pair with what was said of the criterion in the place of what was said overall; weightless where nothing was.
    How much better was asked overall alone."""
    if name not in pair.criteria:
        return replace(pair, preference=0.5, weight=0.0, strength=None)
    return replace(pair, preference=pair.criteria[name], strength=None)


def heads_loss(
    reward_model: RewardModel,
    batches: Sequence[Sequence[Comparison]],
    objective: Objective,
    *,
    share_prompts: bool = False,
) -> tuple[torch.Tensor, Measures]:
    """Mean over the ensemble of the heads' losses, plus that over the criteria: as `preference_loss` a sum, to be
    divided by the weight of the whole optimiser step. `batches` holds each head's own view of the same comparisons."""
    if len(batches) == 1:
        return preference_loss(reward_model, batches[0], objective, share_prompts=share_prompts)
    read_out = reward_model.read_out
    width = reward_model.width
    rows = [row for comparison in batches[0] for row in comparison.rows(width, share_prompts=share_prompts)]
    score_BH = branch_scores_by_head(reward_model, rows)
    sizes = [len(comparison.responses) for comparison in batches[0]]
    learnt = [scored_loss(score_BH[:, head].split(sizes), batch, objective) for head, batch in enumerate(batches)]
    loss_H = torch.stack([loss for loss, _ in learnt])
    measures = merge(*(head_measures for _, head_measures in learnt[: read_out.members]))
    heard = {name: (total, count) for name, (total, count) in measures.items() if count > 0}
    return (read_out.loss_shares().to(loss_H) * loss_H).sum(), heard


def _by_criterion(comparisons: Sequence[Comparison], name: str) -> list[Comparison]:
    return [Comparison(tuple(by_criterion(pair, name) for pair in comparison.pairs)) for comparison in comparisons]


def _poisson(count: int, seed: int) -> list[float]:
    return torch.poisson(torch.ones(count), generator=torch.Generator().manual_seed(seed)).tolist()
