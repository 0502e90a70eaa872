"""How the raw scores of several heads on one trunk become the one score that is used."""

# B = responses, T = tokens, H = heads, M = members of the ensemble

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from models.choices import ReadOutKind

OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class ReadOut:
    """The first `members` heads are an ensemble of what is better overall, the others judge one of the `criteria` each.

    `mean`; `worst`, the minimum (WCO), or `conservative`, mean - `variance_penalty` x variance (UWO) of Coste et al.
    2023, section 3.2. The labels say nothing of where a head's scores lie, so members are compared from their own
    `centres` and in units of the `deviation` of their mean, both over what scores are normalised over.

    `weights` mix the ensemble, by the name `overall`, and the criteria; without any the ensemble alone counts.
    """

    members: int = 1
    criteria: tuple[str, ...] = ()
    kind: ReadOutKind = "mean"
    variance_penalty: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    centres: tuple[float, ...] = ()
    deviation: float = 1.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "criteria": tuple(value["criteria"]), "centres": tuple(value["centres"])})

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "criteria": list(self.criteria), "centres": list(self.centres)}

    @property
    def heads(self) -> int:
        return self.members + len(self.criteria)

    @property
    def is_linear(self) -> bool:
        """Whether one head with `linear_weights` of the heads gives the same score."""
        return self.kind == "mean" or self.members == 1

    @property
    def elsewhere(self) -> str | None:
        """What a tool that knows one linear head gets in the score's place, in one line; None if it is the score."""
        if self.is_linear:
            return None
        return (
            f"its {self.members} heads are read by {self.kind}, which a plain model can't do: "
            "any other tool that opens it gets their mean instead"
        )

    def linear_weights(self) -> Tensor:
        """(H,) what each head weighs where members are averaged."""
        shares = [self._weight(OVERALL) / self.members] * self.members
        return torch.tensor([*shares, *(self._weight(name) for name in self.criteria)])

    def loss_shares(self) -> Tensor:
        """(H,) what each head's loss weighs: the ensemble as much as all criteria together."""
        shares = [1 / self.members] * self.members
        return torch.tensor([*shares, *([1 / len(self.criteria)] * len(self.criteria) if self.criteria else [])])

    def of(self, score_BH: Tensor) -> Tensor:
        """(B,) scores from the heads' (B, H), or (B, T) from (B, T, H)."""
        if self.heads == 1:
            return score_BH.squeeze(-1)
        if self.is_linear:
            return score_BH @ self.linear_weights().to(score_BH)
        mixed = self._weight(OVERALL) * self._cautious(score_BH[..., : self.members])
        for place, name in enumerate(self.criteria, start=self.members):
            mixed = mixed + self._weight(name) * score_BH[..., place]
        return mixed

    def centred(self, score_BH: Tensor) -> Tensor:
        """(B, M) scores of the members, each with mean 0 over what scores are normalised over."""
        score_BM = score_BH[..., : self.members]
        return score_BM - score_BM.new_tensor(self.centres) if self.centres else score_BM

    def centred_on(self, score_BH: Tensor) -> Self:
        """A copy that knows where the members' scores of the (B, H) reference lie, and the deviation of their mean."""
        score_BM = score_BH[:, : self.members]
        return replace(self, centres=tuple(score_BM.mean(0).tolist()), deviation=float(score_BM.mean(1).std()))

    def _cautious(self, score_BM: Tensor) -> Tensor:
        """Never above the mean of the members, and equal to it where they agree."""
        centred_BM = self.centred(score_BM)
        mean_B = score_BM.mean(-1)
        if self.kind == "worst":
            return mean_B - (centred_BM.mean(-1) - centred_BM.amin(-1))
        return mean_B - self.variance_penalty * centred_BM.var(-1, correction=0) / self.deviation

    def _weight(self, name: str) -> float:
        return self.weights.get(name, 0.0) if self.weights else float(name == OVERALL)
