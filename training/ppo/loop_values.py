"""What a checkpoint of PPO holds beside tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from training.hacking.alarms import Evaluation
from training.ppo.best_policy import Best
from training.ppo.constraint import ConstraintState


@dataclass(frozen=True, slots=True)
class LoopValues:
    """Where a loop stood after an iteration; each is what it or its way back has by that name."""

    layout: int
    kl_coefficient: float
    constraint: ConstraintState
    roll_backs: int
    history: list[dict[str, float]]
    quiet_iteration: int
    watch: tuple[Evaluation, ...]
    best: Best | None
    """None where the last policy is published."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave: a run reads nothing but what it wrote itself."""
        read = {
            "constraint": ConstraintState(**values["constraint"]),
            "watch": tuple(Evaluation.from_json(row) for row in values["watch"]),
            "best": None if values["best"] is None else Best(**values["best"]),
        }
        return cls(**{**values, **read})
