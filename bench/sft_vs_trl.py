"""How many times as fast as TRL's our SFT learns from people's demonstrations, to the same held-out loss.

    python -m bench.sft_vs_trl [--rows 256] [--threads 1,2] [--seeds 5] [--peers trl,trl-best] [--scale]

TRL 1.16.0's `SFTTrainer` as it comes (`trl`: batches at random) and at its best (`trl-best`: grouped by length), both
in float32 and without recomputing activations; `trl-packed` packs rows, `trl-bf16` is in bfloat16. Same weights,
demonstrations (the better sides of `bench.preference_world`'s pairs), rate and as many steps; the loss is on responses.
What is held out is the negative log-likelihood a response token, of the better sides: the lower the better.
"""

from pathlib import Path

import torch

from bench.preference_race import Race, main
from bench.preference_world import World
from models.backbone import load_language_model
from training.preferences.intervals import Interval, clustered
from training.stages.sft import loss_sum

LEARNING_RATE = 1e-3
BY_LENGTH: dict[str, object] = {"train_sampling_strategy": "group_by_length"}
OURS_TOO: dict[str, object] = {"learning_rate": LEARNING_RATE, "warmup_steps": 0.05, "weight_decay": 0.01}


def our_settings(world: World, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "model": str(world.policy),
        "demonstrations": str(world.demonstrations),
        "epochs": 1,
        "learning_rate": LEARNING_RATE,
        "batch_tokens": world.demonstration_batch_tokens,
        "checkpoint_steps": 10**6,
    }


@torch.inference_mode()
def held_out(world: World, model: Path) -> Interval:
    policy = load_language_model(model)
    told = [loss_sum(policy, [pair.a]) for pair in world.validation]
    return clustered([float(loss) / tokens for loss, tokens in told], [pair.a.prompt_id for pair in world.validation])


RACE = Race(
    stage="sft",
    goals={"trl": 1.5, "trl-best": 1.5},
    our_settings=our_settings,
    their_model=lambda world: world.policy,
    their_arguments={
        "trl": OURS_TOO,
        "trl-best": OURS_TOO | BY_LENGTH,
        "trl-packed": OURS_TOO | {"packing": True},
        "trl-bf16": OURS_TOO | BY_LENGTH | {"bf16": True},
    },
    phases=("sft",),
    held_out=held_out,
    tokens=lambda world: world.demonstration_tokens,
)

if __name__ == "__main__":
    main(RACE, __doc__)
