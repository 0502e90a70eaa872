"""Curves that several stages draw alike."""

import math
from collections.abc import Mapping

from app.phrases import phrase
from app.services.loop.stages.stage import Chart

PER_TOKEN = phrase("nats per token")
COIN = math.log(2)

# Figures of steps that stand behind the curves of every stage, for whoever wants to know.
OTHERS: Mapping[str, str] = {
    "seconds": phrase("Seconds of a step"),
    "tokens": phrase("Tokens of a step"),
    "tokens_per_second": phrase("Tokens a second"),
    "gemm_fraction": phrase("Use of the machine"),
    "eos_rate": phrase("Responses that end by themselves"),
    "gemm_gflops": phrase("What this machine can do at best, in GFLOP/s"),
    "teach_seconds": phrase("Seconds that the teacher took"),
    "prefix_loss": phrase("Distance from the teacher at every token"),
    "mismatch_loss": phrase("Loss of whose prompt it answers"),
    "mismatch_accuracy": phrase("Prompts told from others"),
    "distil_accuracy": phrase("Agreement of distillation on folds"),
    "distil_finetune_accuracy": phrase("Agreement of distillation and fine-tuning on folds"),
    "finetune_accuracy": phrase("Agreement of fine-tuning on folds"),
    "mismatch_finetune_accuracy": phrase("Agreement of mismatch and fine-tuning on folds"),
    "generate_seconds": phrase("Seconds of writing responses"),
    "score_seconds": phrase("Seconds of scoring responses"),
    "train_seconds": phrase("Seconds of learning"),
    "watch_seconds": phrase("Seconds of watching for reward hacking"),
    "held_out_seconds": phrase("Seconds of answering held-out prompts"),
    "score_variance": phrase("Variance of the scores"),
    "reward": phrase("Score less the price of KL"),
    "kl_k2": phrase("KL to the reference by another estimate (k2)"),
    "kl_k3": phrase("KL to the reference by another estimate (k3)"),
    "kl_coefficient": phrase("Price of KL"),
    "kl_loss": phrase("Loss of KL"),
    "ptx_loss": phrase("Loss of imitating demonstrations"),
    "policy_loss": phrase("Loss of the policy"),
    "update_kl": phrase("KL of the policy before an update to that after"),
    "first_ratio_error": phrase("Difference between sampling and training"),
    "engine_gap": phrase("Difference between the sampling engine and the policy"),
    "actor_gradient_norm": phrase("Gradient norm of the policy"),
    "critic_gradient_norm": phrase("Gradient norm of the critic"),
    "value_loss": phrase("Loss of the critic"),
    "value_clip_fraction": phrase("Clipped steps of the critic"),
    "cost_value_loss": phrase("Loss of the cost's critic"),
    "cost_value_clip_fraction": phrase("Clipped steps of the cost's critic"),
    "cost_critic_gradient_norm": phrase("Gradient norm of the cost's critic"),
    "cost_explained_variance": phrase("Variance that the cost's critic explains"),
    "multiplier_pinned": phrase("λ at its most with the limit broken"),
    "epochs_cut": phrase("Epochs left out because the policy had moved enough"),
    "held_out_reward": phrase("Reward on held-out prompts"),
    "held_out_kl": phrase("KL to the reference on held-out prompts"),
    "held_out_cost": phrase("Cost on held-out prompts"),
}

GRADIENT_NORM = Chart("gradient_norm", phrase("Gradient norm"), from_zero=True)
TRAINING_ACCURACY = Chart(
    "accuracy", phrase("Accuracy on training pairs"), from_zero=True, line=0.5, line_title=phrase("chance")
)
SAMPLE_LENGTH = Chart("length", phrase("Length of the policy's samples"), phrase("tokens"), from_zero=True)
PACE = (
    Chart("tokens_per_second", phrase("Tokens a second"), phrase("without padding"), from_zero=True),
    Chart("gemm_fraction", phrase("Use of the machine"), phrase("share of its fastest products"), from_zero=True),
)
