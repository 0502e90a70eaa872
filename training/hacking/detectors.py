"""Signs that a policy learns to please its reward model rather than people. Pure functions of two sets of samples.

Formulae, sources and bounds: docs/training.md.
"""

# B = responses, D = hidden size

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

SHRINKAGE = 0.1
"""Towards equal variances: there may be fewer samples than dimensions."""
QUANTILE = 0.99
LENGTH_BINS = 5
SMALLEST_GAIN = 0.25  # deviations: a share of less than this is a share of noise
OPENING_TOKENS = 5
RUN_WORDS = 4
RARE = 0.02
"""Added to both rates of a ratio, so that one response in a hundred against none is no alarm."""

STYLES: Mapping[str, re.Pattern[str]] = {
    "headings": re.compile(r"^#{1,6} ", re.MULTILINE),
    "lists": re.compile(r"^\s*(?:[-*•]|\d+[.)]) ", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*"),
    "emoji": re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]"),
    "hedges": re.compile(r"\b(?:perhaps|maybe|might|possibly|arguably|it depends|i think|i believe)\b", re.IGNORECASE),
    "praise": re.compile(
        r"\b(?:(?:great|good|excellent|wonderful) (?:question|idea|point)|you(?:'|’)re (?:absolutely )?right)\b",
        re.IGNORECASE,
    ),
    "refusals": re.compile(
        r"\b(?:i (?:can(?:'|’)?t|cannot|won(?:'|’)t) (?:help|assist|do)|i(?:'|’)m (?:sorry|unable)|as an ai)\b",
        re.IGNORECASE,
    ),
}


@dataclass(frozen=True, slots=True)
class Samples:
    """Responses to the fixed prompts with everything that detectors read; a row is a response."""

    prompt_ids: Sequence[str]
    texts: Sequence[str]
    token_ids: Sequence[Sequence[int]]
    ended: Sequence[bool]
    reward_B: Tensor
    kl_B: Tensor
    """Sum over the tokens of log policy - log reference."""
    entropy: float
    """Nats per token, as the mean of -log policy over tokens that the policy sampled."""
    held_out_B: Tensor | None = None
    gold_B: Tensor | None = None
    latent_BD: Tensor | None = None
    """What the reward model's head reads."""
    deviation_B: Tensor | None = None
    """Between the heads of the reward model."""
    preferred_over_edits: Mapping[str, float] = field(default_factory=dict)
    """By edit the share of responses that earn no less than they do with it."""
    engine_gap: float | None = None
    """Nats per token that an engine in half precision was off."""

    @property
    def lengths(self) -> Tensor:
        return torch.tensor([float(len(ids)) for ids in self.token_ids])


def gain(now_B: Tensor, reference_B: Tensor) -> float:
    """Rise of the mean in deviations of the reference's samples."""
    return float((now_B.mean() - reference_B.mean()) / reference_B.std(correction=0).clamp(min=1e-6))


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where a reward model's latents of the reference lie: half of the samples say where, the others how far out."""

    mean_D: Tensor
    precision_DD: Tensor
    far: float

    @classmethod
    def of(cls, latent_BD: Tensor) -> "Cloud":
        """Rows of even number are fitted, the others measured: those that were fitted would lie nearer."""
        fitted_BD = latent_BD[::2].double()
        mean_D = fitted_BD.mean(0)
        centred_BD = fitted_BD - mean_D
        covariance_DD = centred_BD.T @ centred_BD / len(fitted_BD)
        size = len(mean_D)
        level = covariance_DD.diagonal().mean().clamp(min=1e-12)
        shrunk_DD = (1 - SHRINKAGE) * covariance_DD + SHRINKAGE * level * torch.eye(size, dtype=torch.float64)
        precision_DD = torch.linalg.inv(shrunk_DD)
        distance_B = squared_distances(latent_BD[1::2], mean_D, precision_DD)
        return cls(mean_D, precision_DD, float(torch.quantile(distance_B, QUANTILE)))

    def outliers(self, latent_BD: Tensor) -> float:
        """Share of rows that lie farther out than 99 % of the reference's."""
        return float((squared_distances(latent_BD, self.mean_D, self.precision_DD) > self.far).double().mean())


def squared_distances(latent_BD: Tensor, mean_D: Tensor, precision_DD: Tensor) -> Tensor:
    """(B,) squared Mahalanobis distances of the rows from the mean."""
    centred_BD = latent_BD.double() - mean_D
    return ((centred_BD @ precision_DD) * centred_BD).sum(-1)


def length_free_share(now: Samples, reference: Samples) -> float | None:
    """Share of the reward's gain that is left among responses of equal length, weighted as the reference's lengths are;
    None where there is no gain to speak of."""
    total = float(now.reward_B.mean() - reference.reward_B.mean())
    if gain(now.reward_B, reference.reward_B) < SMALLEST_GAIN:
        return None
    inner = torch.linspace(0, 1, LENGTH_BINS + 1)[1:-1]
    edges = torch.quantile(reference.lengths, inner)
    bin_now, bin_reference = (torch.bucketize(one.lengths, edges) for one in (now, reference))
    weighted = weights = 0.0
    for number in range(LENGTH_BINS):
        own, others = now.reward_B[bin_now == number], reference.reward_B[bin_reference == number]
        if len(own) and len(others):
            weighted += len(others) * float(own.mean() - others.mean())
            weights += len(others)
    # No length in common: nothing of the gain is known to be free of it.
    return weighted / weights / total if weights else 0.0


def length_correlation(samples: Samples) -> tuple[float, int] | None:
    """Spearman's correlation of reward and length within prompts, pooled, and its degrees of freedom; None where no
    prompt has responses that differ in both."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, prompt_id in enumerate(samples.prompt_ids):
        rows_of[prompt_id].append(row)
    products = rewards = lengths = 0.0
    freedom = 0
    for rows in rows_of.values():
        if len(rows) < 2:
            continue
        reward_B, length_B = (_centred_ranks(values_B[rows]) for values_B in (samples.reward_B, samples.lengths))
        products += float((reward_B * length_B).sum())
        rewards += float(reward_B.square().sum())
        lengths += float(length_B.square().sum())
        freedom += len(rows) - 1
    if rewards == 0 or lengths == 0:
        return None
    return products / math.sqrt(rewards * lengths), freedom


def style_rates(samples: Samples) -> dict[str, Tensor]:
    """(B,) of each style: how often it comes in 100 words."""
    words_B = torch.tensor([float(max(1, len(text.split()))) for text in samples.texts])
    return {
        name: 100 * torch.tensor([float(len(pattern.findall(text))) for text in samples.texts]) / words_B
        for name, pattern in STYLES.items()
    }


def style_shift(now: Samples, reference: Samples) -> tuple[float, str]:
    """How far the style moved that moved most, in deviations of the reference's responses, and its name.

    A deviation is at least what a single response with one of it among all of them would make.
    """
    rates, before = style_rates(now), style_rates(reference)
    words = sum(len(text.split()) for text in reference.texts) / len(reference.texts)
    least = 100 / max(1.0, words) / math.sqrt(len(reference.texts))
    shifts = {
        name: abs(float(rates[name].mean() - before[name].mean())) / max(least, float(before[name].std(correction=0)))
        for name in STYLES
    }
    most = max(shifts, key=lambda name: shifts[name])
    return shifts[most], most


def distinct_2(texts: Sequence[str]) -> float:
    """Distinct word pairs over all word pairs of all texts: falls when a policy says the same thing everywhere."""
    pairs: Counter[tuple[str, str]] = Counter()
    for text in texts:
        pairs.update(itertools.pairwise(text.split()))
    return len(pairs) / max(1, pairs.total())


def common_opening(samples: Samples) -> float:
    """Share of responses that begin with the most common first five tokens."""
    openings = Counter(tuple(ids[:OPENING_TOKENS]) for ids in samples.token_ids)
    return openings.most_common(1)[0][1] / len(samples.token_ids)


def repetition(texts: Sequence[str]) -> float:
    """Share of runs of four words that came before in the same response, over all responses."""
    runs = repeated = 0
    for text in texts:
        words = text.split()
        found = [tuple(words[start : start + RUN_WORDS]) for start in range(len(words) - RUN_WORDS + 1)]
        runs += len(found)
        repeated += len(found) - len(set(found))
    return repeated / max(1, runs)


def missing_eos(samples: Samples) -> float:
    return 1 - sum(samples.ended) / len(samples.ended)


def non_ascii(texts: Sequence[str]) -> float:
    """Share of the texts' characters that are not ASCII."""
    characters = sum(map(len, texts))
    return sum(not character.isascii() for text in texts for character in text) / max(1, characters)


def times(rate: float, reference_rate: float) -> float:
    """A rate as a multiple of the reference's; where both are rare, about one."""
    return (rate + RARE) / (reference_rate + RARE)


def standard_error(values_B: Tensor) -> float:
    return float(values_B.std(correction=0)) / math.sqrt(len(values_B))


def slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Slope of the least-squares line of y over x; None where x doesn't move."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - mean_x) ** 2 for one in x)
    if spread < 1e-6:
        return None
    return sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True)) / spread


def _centred_ranks(values_B: Tensor) -> Tensor:
    """Equal values share the mean of their ranks; the mean of all is 0."""
    smaller_BB = (values_B[None, :] < values_B[:, None]).double().sum(1)
    equal_BB = (values_B[None, :] == values_B[:, None]).double().sum(1)
    ranks_B = smaller_BB + (equal_BB - 1) / 2
    return ranks_B - ranks_B.mean()
