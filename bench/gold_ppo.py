"""PPO with the gold rule itself as the reward: the ceiling of what labels could teach in the same number of steps.

    python -m bench.gold_ppo --config run.json --out DIR

The config is PPO's own; its reward model seeds the critic alone. Gold and training meet here, never in the product.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch

from app.starter import gold
from models.backbone import LanguageModel
from models.generation import sample_responses
from models.saving import save_language_model
from training.config import PpoConfig, read_config
from training.data.encoding import encode_prompts
from training.data.examples import Prompt
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.ppo.loop import PpoLoop
from training.ppo.models import build_models
from training.records import PromptRecord
from training.responses.written import WrittenResponse, written
from training.runtime.artifact import lineage_of
from training.runtime.replicas import use_threads
from training.runtime.run import Cancellation, Run

REFERENCE_SAMPLES = 512


class GoldReward:
    """Gold scores with mean 0 and deviation 1 over samples of the reference, as a reward model's are."""

    def __init__(self) -> None:
        self.mean, self.deviation = 0.0, 1.0

    @classmethod
    def against(
        cls, reference: LanguageModel, prompts: Sequence[Prompt], *, max_new_tokens: int, temperature: float, seed: int
    ) -> Self:
        """Normalised over what the reference writes to the prompts."""
        reward = cls()
        drawn = [prompts[place % len(prompts)] for place in range(REFERENCE_SAMPLES)]
        sampled = sample_responses(
            reference,
            [prompt.token_ids for prompt in drawn],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        raw = reward(drawn, written(reference, sampled))
        reward.mean, reward.deviation = float(raw.mean()), float(raw.std())
        return reward

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> torch.Tensor:
        scores = [
            gold.score(prompt.conversation[-1].content, response.text)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return (torch.tensor(scores) - self.mean) / self.deviation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = read_config(arguments.config, PpoConfig)
    use_threads(torch.get_num_threads())
    parents = {"policy": config.policy, "reference": config.reference, "reward": config.reward}
    lineage = lineage_of("ppo", config, parents, {"prompts": config.prompts})
    run = Run(arguments.out, lineage, Cancellation())
    policy, reference = open_language_model(config.policy), open_language_model(config.reference)
    config = run.settle(config, facts_of(policy.model))
    prompts, _ = encode_prompts(policy, load(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens)
    reward = GoldReward.against(
        reference, prompts, max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed
    )
    loop = PpoLoop(
        config, build_models(config, policy, reference, open_reward_model(config.reward), reward), prompts, run
    )
    stopped_early = loop.train()
    summary = {**loop.summary(), "stopped_early": stopped_early}
    run.finish(summary, artifact=("policy", lambda folder: save_language_model(policy, folder)))


if __name__ == "__main__":
    main()
