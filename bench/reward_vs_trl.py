"""How many times as fast as TRL's our reward model learns from people's comparisons, to the same held-out accuracy.

    python -m bench.reward_vs_trl [--rows 256] [--threads 1,2] [--seeds 5] [--peers trl,trl-best] [--scale]

TRL 1.16.0's `RewardTrainer` as it comes (`trl`: batches at random) and at its best (`trl-best`: grouped by length, for
which it wants some hundred rows), both in float32 and without recomputing activations; `trl-bf16` is its best in
bfloat16, `trl-defaults` leaves both at TRL's defaults. Same weights, pairs, rate and as many steps.
"""

from pathlib import Path

from bench.preference_race import Race, held_out_accuracy, main
from bench.preference_world import World
from models.reward import load_reward_model
from training.preferences.intervals import Interval
from training.reward.held_out import score_differences

LEARNING_RATE = 1e-4
BY_LENGTH = {"train_sampling_strategy": "group_by_length"}
OURS_TOO = {"learning_rate": LEARNING_RATE, "warmup_steps": 0.05, "adam_epsilon": 1e-5}


def our_settings(world: World, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "policy": str(world.policy),
        "preferences": str(world.preferences),
        "prompts": str(world.prompts),
        "method": "finetune",
        "finetune_learning_rate": LEARNING_RATE,
        "batch_tokens": world.batch_tokens,
        "reference_samples": 16,
        "max_new_tokens": 4,
        "checkpoint_steps": 10**6,
    }


def held_out(world: World, model: Path) -> Interval:
    return held_out_accuracy(world.validation, score_differences(load_reward_model(model), world.validation))


RACE = Race(
    stage="reward",
    goals={"trl": 4.0, "trl-best": 1.8},
    our_settings=our_settings,
    their_model=lambda world: world.reward,
    their_arguments={
        "trl": OURS_TOO,
        "trl-best": OURS_TOO | BY_LENGTH,
        "trl-bf16": OURS_TOO | BY_LENGTH | {"bf16": True},
        "trl-defaults": OURS_TOO | {"bf16": True, "gradient_checkpointing": True},
    },
    phases=("finetune",),
    held_out=held_out,
)

if __name__ == "__main__":
    main(RACE, __doc__)
