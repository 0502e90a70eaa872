"""The teacher of a distilled reward model, kept beside it: by what PPO is paid.

A student knows its teacher's scores of what the policy wrote when it learnt. PPO leads elsewhere, and is drawn to where
the student is wrong; the teacher says there what it would have taught, and how sure it is. docs/decisions.md has what
that is worth.
"""

# B = responses, P = pairs, F = response features, D = prompt features, I = features with their products

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from torch import Tensor

from models.backbone import LanguageModel
from training.algorithms.components import Components
from training.config import InputError
from training.data.examples import Example
from training.reward.features import features_at_once
from training.reward.representation import Products
from training.reward.teacher import Teacher
from training.runtime.artifact import write_tensors

FILE = "teacher.safetensors"
FARTHEST = 4.0
"""Deviations: a linear model goes to any length outside of what it has seen."""


@dataclass(frozen=True)
class KeptTeacher:
    """Scores from frozen features of the policy that the teacher read, with mean 0 and deviation 1 over its samples."""

    products: Products
    deviation_I: Tensor
    coefficient_I: Tensor
    evidence_PI: Tensor
    """Float32: its inner product and the ridge are the posterior's precision (Laplace)."""
    strength: float
    centre_I: Tensor
    """Mean inputs of the samples, from which uncertainty is measured."""
    mean: float
    deviation: float
    doubt: float
    """Median uncertainty of the samples: a few may be like nothing else."""

    @classmethod
    def of(cls, teacher: Teacher, feature_BF: Tensor, prompt_BD: Tensor) -> Self:
        """A teacher as it scores samples of the policy by these features."""
        input_BI = teacher.inputs(feature_BF, prompt_BD)
        raw_B = input_BI @ teacher.coefficient_I
        kept = cls(
            teacher.products,
            teacher.deviation_I,
            teacher.coefficient_I,
            teacher.evidence_PI.float(),
            teacher.cross_validation.strength,
            input_BI.mean(0),
            float(raw_B.mean()),
            float(raw_B.std().clamp(min=1e-9)),
            0.0,
        )
        return replace(kept, doubt=float(kept._uncertainty(input_BI).median()))

    def scores(self, policy: LanguageModel, examples: Sequence[Example], *, pessimism: float) -> Tensor:
        """(B,) float64 of responses, read by the policy that the teacher read: less `pessimism` times the deviations by
        which the posterior is less sure of a response than it is of half of the samples, of which four count."""
        feature_BF, prompt_BD = features_at_once(policy, examples)
        input_BI = self.products.beside(feature_BF, prompt_BD) / self.deviation_I
        score_B = ((input_BI @ self.coefficient_I - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
        if pessimism == 0:
            return score_B
        # Bounded, too: what samples hardly ever vary in would cost a response any number of deviations, and a rollout
        # with one such response would teach of nothing else.
        return score_B - pessimism * (self._uncertainty(input_BI) - self.doubt).clamp(max=FARTHEST)

    def _uncertainty(self, input_BI: Tensor) -> Tensor:
        """(B,) posterior deviations of score differences to the mean sample, in deviations of the score.

        x' (E'E + s)^-1 x = (x'x - x'E' (EE' + s)^-1 E x) / s: of as many equations as there are pairs, not features.
        """
        x_BI = input_BI - self.centre_I
        seen_PB = torch.linalg.solve_triangular(self._factor, self.evidence_PI.double() @ x_BI.T, upper=False)
        variance_B = (x_BI.square().sum(1) - seen_PB.square().sum(0)).clamp(min=0) / self.strength
        uncertainty_B: Tensor = variance_B.sqrt() / self.deviation
        return uncertainty_B

    @cached_property
    def _factor(self) -> Tensor:
        """(P, P) Cholesky."""
        evidence_PI = self.evidence_PI.double()
        identity_PP = torch.eye(len(evidence_PI), dtype=torch.float64)
        factor_PP: Tensor = torch.linalg.cholesky(evidence_PI @ evidence_PI.T + self.strength * identity_PP)
        return factor_PP

    def tensors(self) -> dict[str, Tensor]:
        """What `of_tensors` makes it from again."""
        return {
            "prompt_mean": self.products.prompts.mean_F,
            "prompt_map": self.products.prompts.map_FK.contiguous(),
            "response_mean": self.products.responses.mean_F,
            "response_map": self.products.responses.map_FK.contiguous(),
            "deviation": self.deviation_I,
            "coefficient": self.coefficient_I,
            "evidence": self.evidence_PI,
            "centre": self.centre_I,
            "numbers": torch.tensor([self.strength, self.mean, self.deviation, self.doubt], dtype=torch.float64),
        }

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """The teacher that `tensors` told of."""
        prompts = Components(tensors["prompt_mean"], tensors["prompt_map"])
        responses = Components(tensors["response_mean"], tensors["response_map"])
        strength, mean, deviation, doubt = tensors["numbers"].tolist()
        return cls(
            Products(prompts, responses),
            tensors["deviation"],
            tensors["coefficient"],
            tensors["evidence"],
            strength,
            tensors["centre"],
            mean,
            deviation,
            doubt,
        )


def keep(teacher: KeptTeacher, folder: Path, *, policy: str, file: str = FILE) -> None:
    """Put the teacher into a reward model's folder; `policy` is the identity of the model that it reads."""
    write_tensors(folder / file, teacher.tensors(), metadata={"policy": policy})


def kept_teacher(location: str | Path, *, policy: str, file: str = FILE) -> KeptTeacher | None:
    """The teacher in a reward model's folder; None where there is none, or where it reads another policy than this.
    Raises `InputError` for a file that is none of ours."""
    path = Path(location) / file
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as tensors:
            if (tensors.metadata() or {}).get("policy") != policy:
                return None
            return KeptTeacher.of_tensors({name: tensors.get_tensor(name) for name in tensors.keys()})  # noqa: SIM118
    except Exception as error:
        raise InputError(f"cannot read the teacher of a reward model from {path}: {error}") from error
