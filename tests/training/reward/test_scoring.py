"""A reward model is asked at the token that it has learnt to be asked at, however a policy ended."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.generation import Response
from models.reward import reward_model_from_policy, scores
from models.tokenization import decode_response
from tests.training import tiny
from training.data.examples import Prompt
from training.records import conversation
from training.responses.written import WrittenResponse
from training.reward.scoring import RewardModelScorer

PROMPT = Prompt("p", conversation(("user", "Hello")), (5, 6, 7))


def test_an_end_of_the_policys_is_read_as_the_one_that_was_learnt(tmp_path: Path) -> None:
    policy = tiny.policy(tmp_path)
    reward_model = reward_model_from_policy(policy, seed=0)
    body, learnt = (70, 71, 72), reward_model.end_id
    other = next(end for end in policy.eos_ids if end != learnt)

    def said(ids: tuple[int, ...], *, ended: bool, text: str = "") -> WrittenResponse:
        return WrittenResponse(Response(ids, (-1.0,) * len(ids), ended), text)

    scorer = RewardModelScorer(reward_model, replace(policy, eos_ids=(learnt, other)))
    stopped = decode_response(policy.tokenizer, body)
    responses = [
        said((*body, learnt), ended=True),
        said((*body, other), ended=True),
        said((*body, *body), ended=True, text=stopped),
        said(body, ended=False),
    ]
    found = scorer([PROMPT] * len(responses), responses)
    with torch.no_grad():
        whole, cut = scores(reward_model, [(*PROMPT.token_ids, *body, learnt), (*PROMPT.token_ids, *body)]).tolist()
        (encoded,) = reward_model.encode_responses([stopped])
        (at_a_string,) = scores(reward_model, [(*PROMPT.token_ids, *encoded)]).tolist()
    assert found.tolist() == pytest.approx([whole, whole, at_a_string, cut], abs=1e-5)
    assert whole != pytest.approx(cut, abs=1e-3)
