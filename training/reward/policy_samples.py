"""What a policy writes to the prompts: what a reward model learns relevance from and is normalised over."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.generation import Response, sample_responses
from models.reward import RewardModel
from models.tokenization import decode_response
from training.config import InputError, RewardConfig
from training.data.examples import Example, Prompt
from training.runtime.seeds import derived_seed

BATCH = 128


class PolicySamples:
    """`reference_samples` responses, each prompt in turn, `BATCH` at a step."""

    def __init__(self, config: RewardConfig, policy: LanguageModel, prompts: Sequence[Prompt]) -> None:
        self._config = config
        self._policy = policy
        self._prompts = prompts
        self._read: Sequence[Example] | None = None
        self.drawn: list[Example] = []

    @property
    def steps(self) -> int:
        return -(-self._config.reference_samples // BATCH)

    def draw(self, step: int) -> list[Example]:
        """Sample the responses of one step."""
        begin = step * BATCH
        count = min(BATCH, self._config.reference_samples - begin)
        batch = [self._prompt(place) for place in range(begin, begin + count)]
        sampled = sample_responses(
            self._policy,
            [prompt.token_ids for prompt in batch],
            max_new_tokens=self._config.max_new_tokens,
            temperature=self._config.temperature,
            seed=derived_seed(self._config.seed, "reference", step),
            batch_size=BATCH,
        )
        return [
            Example(prompt.prompt_id, prompt.token_ids, self._as_learnt(response))
            for prompt, response in zip(batch, sampled, strict=True)
        ]

    def keep(self, drawn: Sequence[Example]) -> None:
        """Have the responses of the next step among the others."""
        self.drawn += drawn

    def _as_learnt(self, response: Response) -> tuple[int, ...]:
        """The ids with the end that judged responses have: the policy may end by several."""
        ids = response.token_ids
        return (*ids[:-1], cast(int, self._policy.tokenizer.eos_token_id)) if response.ended_with_eos else ids

    def as_read_by(self, reward_model: RewardModel) -> Sequence[Example]:
        """All samples, by the reward model's tokenizer; asked for once they are all there.

        Raises `InputError` where a decoder has too few positions: an encoder cuts what is too long.
        """
        if self._read is None:
            self._read = self.drawn if reward_model.reads_ids_of(self._policy) else self._encoded_by(reward_model)
            longest = max(map(len, self._read))
            if longest > reward_model.max_positions and not reward_model.is_encoder:
                raise InputError(f"base: it reads {reward_model.max_positions} tokens, and a sample has {longest}")
        return self._read

    def tensors(self) -> dict[str, Tensor]:
        """The responses drawn so far, for a checkpoint; whose prompts they answer follows from their places."""
        flat = [token for sample in self.drawn for token in sample.response_ids]
        return {
            "samples.tokens": torch.tensor(flat, dtype=torch.int32),
            "samples.lengths": torch.tensor([len(sample.response_ids) for sample in self.drawn], dtype=torch.int32),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the samples that `tensors` gave."""
        parts = tensors["samples.tokens"].split(tensors["samples.lengths"].tolist())
        prompts = [self._prompt(place) for place in range(len(parts))]
        self.drawn = [
            Example(prompt.prompt_id, prompt.token_ids, tuple(part.tolist()))
            for prompt, part in zip(prompts, parts, strict=True)
        ]

    def _encoded_by(self, reward_model: RewardModel) -> Sequence[Example]:
        """The samples' texts, encoded anew."""
        prompts = [self._prompt(place) for place in range(len(self.drawn))]
        encoded = reward_model.encode_samples(
            (prompt.conversation for prompt in prompts),
            [decode_response(self._policy.tokenizer, sample.response_ids) for sample in self.drawn],
            [sample.response_ids[-1] in self._policy.eos_ids for sample in self.drawn],
        )
        return [Example(prompt.prompt_id, *ids) for prompt, ids in zip(prompts, encoded, strict=True)]

    def _prompt(self, place: int) -> Prompt:
        return self._prompts[place % len(self._prompts)]
