"""Formulae that settings choose from by name, declared without torch, for settings load none."""

from typing import Literal

DirectLoss = Literal["sigmoid", "ipo", "robust"]
UnpairedLoss = Literal["kto", "apo_zero_unpaired"]
Estimator = Literal["k1", "k2", "k3"]
"""Of a divergence."""
AlgorithmName = Literal["ppo", "rloo", "grpo", "dr_grpo", "gspo", "expert_iteration"]
"""Of policy optimisation; `table` has what each is made of."""
