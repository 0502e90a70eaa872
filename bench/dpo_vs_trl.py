"""How many times as fast as TRL's our DPO learns from people's comparisons, to the same held-out accuracy.

    python -m bench.dpo_vs_trl [--rows 256] [--threads 1,2] [--seeds 5] [--peers trl,trl-best] [--scale]

TRL 1.16.0's `DPOTrainer` as it comes (`trl`: batches at random, the reference beside the policy) and at its best
(`trl-best`: grouped by length, for which it wants some hundred rows, and the reference computed before), both in
float32 and without recomputing activations; `trl-bf16` is its best in bfloat16, `trl-defaults` leaves both at TRL's
defaults. Same weights, pairs, rate and as many steps; the time of the reference counts for all.
"""

from pathlib import Path

import torch
from torch import Tensor

from bench.preference_race import Race, held_out_accuracy, main
from bench.preference_world import World
from models.backbone import LanguageModel, load_language_model
from training.data.batches import length_batches
from training.direct.dpo import pair_log_probabilities
from training.preferences.intervals import Interval

LEARNING_RATE = 3e-4
BEST = {"train_sampling_strategy": "group_by_length", "precompute_ref_log_probs": True}
OURS_TOO = {"learning_rate": LEARNING_RATE, "warmup_steps": 0.1, "adam_epsilon": 1e-8, "beta": 0.1}


def our_settings(world: World, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "policy": str(world.policy),
        "preferences": str(world.preferences),
        "learning_rate": LEARNING_RATE,
        "batch_tokens": world.batch_tokens,
        "checkpoint_steps": 10**6,
    }


def held_out(world: World, model: Path) -> Interval:
    """Of implicit rewards."""
    learnt, reference = (_log_probabilities(load_language_model(folder), world) for folder in (model, world.policy))
    ratio_a, ratio_b = (learnt - reference).unbind()
    return held_out_accuracy(world.validation, (ratio_a - ratio_b).tolist())


@torch.inference_mode()
def _log_probabilities(policy: LanguageModel, world: World) -> Tensor:
    pairs = world.validation
    found = torch.zeros(2, len(pairs))
    for batch in length_batches([2 * max(len(pair.a), len(pair.b)) for pair in pairs], batch_tokens=4096):
        found[:, batch] = pair_log_probabilities(policy, [pairs[index] for index in batch], 1.0)
    return found


RACE = Race(
    stage="dpo",
    goals={"trl": 3.0, "trl-best": 1.5},
    our_settings=our_settings,
    their_model=lambda world: world.policy,
    their_arguments={
        "trl": OURS_TOO,
        "trl-best": OURS_TOO | BEST,
        "trl-bf16": OURS_TOO | BEST | {"bf16": True},
        "trl-defaults": OURS_TOO | {"bf16": True, "gradient_checkpointing": True},
    },
    phases=("reference", "dpo"),
    held_out=held_out,
)

if __name__ == "__main__":
    main(RACE, __doc__)
