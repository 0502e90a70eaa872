"""What gives a response its reward."""

# B = batch, D = hidden size, H = heads, M = members of an ensemble

from collections.abc import Sequence
from copy import copy
from typing import Protocol, Self

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.placement import HOST, moved
from models.reward import RewardModel, scores_by_head
from training.data.batches import length_batches
from training.data.examples import Example, Prompt
from training.responses.written import WrittenResponse
from training.reward.features import batched_latents
from training.reward.kept_teacher import KeptTeacher
from training.runtime.ranks import Ranks, ranks

BATCH_TOKENS = 2048


class Reward(Protocol):
    """(B,) scores of responses to prompts, on the host, on any scale whose deviation is about one, the higher the
    better."""

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor: ...


class RewardModelScorer:
    """A reward model's normalised scores, (raw - mean) / deviation.

    The sampled token ids themselves are scored when the reward model reads them; otherwise, as by an encoder, the text
    is encoded anew. With a teacher, scores are its own, less `pessimism`, of what the policy `reads` makes of them.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        policy: LanguageModel,
        *,
        teacher: KeptTeacher | None = None,
        reads: LanguageModel | None = None,
        pessimism: float = 0.0,
    ) -> None:
        self._reward_model = reward_model
        self._teacher = teacher
        self._reads = reads or policy
        self._pessimism = pessimism
        self._shares_ids = reward_model.reads_ids_of(policy)
        self._ends = policy.eos_ids

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        if self._teacher is not None:
            examples = self._examples(prompts, responses)
            return self._teacher.scores(self._reads, examples, pessimism=self._pessimism).float()
        sequences = self._token_ids(prompts, responses)
        raw_B = batched_scores(self._reward_model, sequences)
        return (raw_B - self._reward_model.score_mean) / self._reward_model.score_std

    def by(self, teacher: KeptTeacher, reads: LanguageModel) -> Self:
        """What a teacher says of the same responses, in the place of the reward model."""
        found = copy(self)
        found._teacher, found._reads, found._pessimism = teacher, reads, 0.0
        return found

    @property
    def reward_model(self) -> RewardModel:
        return self._reward_model

    def latents(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        """What the heads read of each response, (B, D)."""
        return batched_latents(self._reward_model, self._token_ids(prompts, responses), batch_tokens=BATCH_TOKENS)

    @torch.no_grad()
    def by_member(self, latent_BD: Tensor) -> Tensor:
        """(B, M) raw scores of the ensemble's members, which read latents, each from its own mean over what scores are
        normalised over: their deviation over members is how far they disagree. One column without an ensemble."""
        score_BH = self._reward_model.head(moved(latent_BD, self._reward_model.device)).to(HOST)
        return self._reward_model.read_out.centred(score_BH)

    def _token_ids(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> list[tuple[int, ...]]:
        if self._shares_ids:
            return [
                prompt.token_ids + self._as_learnt(response)
                for prompt, response in zip(prompts, responses, strict=True)
            ]
        encoded = self._reward_model.encode_samples(
            (prompt.conversation for prompt in prompts),
            [response.text for response in responses],
            [response.sampled.ended_with_eos for response in responses],
        )
        return [prompt + response for prompt, response in encoded]

    def _examples(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> list[Example]:
        return [
            Example(prompt.prompt_id, prompt.token_ids, self._as_learnt(response))
            for prompt, response in zip(prompts, responses, strict=True)
        ]

    def _as_learnt(self, response: WrittenResponse) -> tuple[int, ...]:
        """The ids of a response whose end is the one that the reward model has learnt: a policy may have several."""
        ids = response.sampled.token_ids
        if not response.sampled.ended_with_eos:
            return ids
        if ids[-1] in self._ends:
            return (*ids[:-1], self._reward_model.end_id)
        (stopped,) = self._reward_model.encode_responses([response.text])
        return stopped


def shared_rewards(reward: Reward, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    """(B,) as the reward gives them, up to rounding, the responses shared out between the processes of a run, all of
    which ask."""

    def earned(rows: Sequence[int]) -> list[Tensor]:
        return [reward([prompts[row] for row in rows], [responses[row] for row in rows])]

    (earned_B,) = ranks().by_rows(earned, len(prompts))
    return earned_B


def batched_scores(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Raw scores in order, (B,), on the host, computed in batches of similar length."""
    return reward_model.read_out.of(_by_head(reward_model, sequences, Ranks()))


def shared_scores(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Raw scores as `batched_scores` computes them, the batches shared out between the processes of a run, all of which
    ask."""
    return reward_model.read_out.of(shared_scores_by_head(reward_model, sequences))


def shared_scores_by_head(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Raw scores of each head, (B, H), as `shared_scores` computes them."""
    return _by_head(reward_model, sequences, ranks())


@torch.inference_mode()
def _by_head(reward_model: RewardModel, sequences: Sequence[Sequence[int]], by: Ranks) -> Tensor:
    def scores(batch: Sequence[int]) -> Tensor:
        return scores_by_head(reward_model, [sequences[index] for index in batch]).to(HOST)

    raw_BH = torch.zeros(len(sequences), reward_model.read_out.heads)
    batches = length_batches([len(sequence) for sequence in sequences], batch_tokens=BATCH_TOKENS)
    for batch, found_BH in zip(batches, by.each(scores, batches), strict=True):
        raw_BH[batch] = found_BH
    return raw_BH
