"""What gives a response its reward."""

# B = batch, H = heads, M = members of an ensemble

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.backbone import LanguageModel, hidden_states, pad_right
from models.generation import Response
from models.reward import RewardModel, scores_by_head
from models.tokenization import decode_response, encode_prompts, encode_responses, same_tokenizer
from training.data import Prompt, length_batches


@dataclass(frozen=True, slots=True)
class WrittenResponse:
    """A sampled response with its text."""

    sampled: Response
    text: str


class Reward(Protocol):
    """(B,) scores of responses to prompts: on any scale whose deviation is about one, the higher the better."""

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor: ...


class RewardModelScorer:
    """A reward model's normalised scores, (raw - mean) / deviation over samples of the policy.

    The sampled token ids themselves are scored when both models share a tokenizer; otherwise the text is
    encoded anew.
    """

    def __init__(self, reward_model: RewardModel, policy: LanguageModel, *, batch_tokens: int = 8192) -> None:
        self._reward_model = reward_model
        self._shares_ids = same_tokenizer(reward_model.tokenizer, policy.tokenizer)
        self._batch_tokens = batch_tokens

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        sequences = self._token_ids(prompts, responses)
        raw_B = batched_scores(self._reward_model, sequences, batch_tokens=self._batch_tokens)
        return (raw_B - self._reward_model.score_mean) / self._reward_model.score_std

    @property
    def reward_model(self) -> RewardModel:
        return self._reward_model

    @torch.inference_mode()
    def latents(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        """(B, D): what the head reads, the last hidden state of each response's last token."""
        sequences = self._token_ids(prompts, responses)
        latent_BD = torch.zeros(len(sequences), self._reward_model.head.in_features)
        for batch in length_batches([len(sequence) for sequence in sequences], batch_tokens=self._batch_tokens):
            ids_BT = pad_right([sequences[index] for index in batch], self._reward_model.pad_id)
            last_B = torch.tensor([len(sequences[index]) - 1 for index in batch])
            latent_BD[batch] = hidden_states(self._reward_model.model, ids_BT)[torch.arange(len(batch)), last_B]
        return latent_BD

    def by_member(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        """(B, M) what each member of the ensemble says, in deviations of the score from its own mean over samples of
        the policy: their deviation over members is how far they disagree. One column without an ensemble."""
        raw_BH = batched_scores_by_head(
            self._reward_model, self._token_ids(prompts, responses), batch_tokens=self._batch_tokens
        )
        centred_BM = self._reward_model.read_out.centred(raw_BH)
        mean = 0.0 if self._reward_model.read_out.centres else self._reward_model.score_mean
        return (centred_BM - mean) / self._reward_model.score_std

    def _token_ids(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> list[tuple[int, ...]]:
        if self._shares_ids:
            return [
                prompt.token_ids + response.sampled.token_ids
                for prompt, response in zip(prompts, responses, strict=True)
            ]
        tokenizer = self._reward_model.tokenizer
        prompt_ids = encode_prompts(tokenizer, (prompt.conversation for prompt in prompts))
        response_ids = encode_responses(tokenizer, [response.text for response in responses])
        return [
            prompt + (ids if response.sampled.ended_with_eos or len(ids) == 1 else ids[:-1])
            for prompt, ids, response in zip(prompt_ids, response_ids, responses, strict=True)
        ]


def batched_scores(
    reward_model: RewardModel, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192
) -> Tensor:
    """(B,) raw scores in order, computed in batches of similar length."""
    return reward_model.read_out.of(batched_scores_by_head(reward_model, sequences, batch_tokens=batch_tokens))


@torch.inference_mode()
def batched_scores_by_head(
    reward_model: RewardModel, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192
) -> Tensor:
    """(B, H): as `batched_scores`, of each head."""
    raw_BH = torch.zeros(len(sequences), reward_model.read_out.heads)
    for batch in length_batches([len(sequence) for sequence in sequences], batch_tokens=batch_tokens):
        raw_BH[batch] = scores_by_head(reward_model, [sequences[index] for index in batch])
    return raw_BH


def written(policy: LanguageModel, sampled: Sequence[Response]) -> list[WrittenResponse]:
    """Sampled responses with their texts."""
    return [WrittenResponse(response, decode_response(policy.tokenizer, response.token_ids)) for response in sampled]
