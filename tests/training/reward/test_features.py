"""What linear teachers read, against plain loops; and scores that depend on nothing but the response."""

import math

import pytest
import torch

from models.backbone import LanguageModel
from models.generation import sample_responses
from models.read_out import ReadOut
from models.reward import RewardModel, reward_model_from_policy
from tests.training import tiny
from training.config import InputError
from training.data.examples import Example
from training.responses.written import WrittenResponse, written
from training.reward import features, scoring
from training.reward.features import (
    LIKELIHOOD_FEATURES,
    embed,
    likelihood_so_far,
    pooled_so_far,
    prefix_features,
    prompt_features,
    response_features,
)
from training.reward.normalisation import centre, normalise
from training.reward.scoring import RewardModelScorer, batched_scores

EXAMPLES = tiny.examples()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return tiny.policy(tmp_path_factory.mktemp("policy") / "model")


@pytest.fixture
def reward_model(policy: LanguageModel) -> RewardModel:
    return reward_model_from_policy(policy, seed=0)


def test_running_means_and_maxima_are_those_of_the_tokens_so_far() -> None:
    state_ND = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    pooled = pooled_so_far(state_ND)
    for count in range(1, 8):
        column_wise = list(zip(*state_ND[:count].tolist(), strict=True))
        expected = [sum(one) / count for one in column_wise] + [max(one) for one in column_wise]
        assert pooled[count - 1].tolist() == pytest.approx(expected, abs=1e-5)


def test_what_a_policy_finds_likely_is_told_of_the_tokens_so_far() -> None:
    generator = torch.Generator().manual_seed(1)
    logits_NV = 3 * torch.randn(9, 20, generator=generator)
    token_N = torch.randint(20, (9,), generator=generator)
    told = likelihood_so_far(logits_NV, token_N)
    logs = []
    for row, token in zip(logits_NV.tolist(), token_N.tolist(), strict=True):
        logs.append(row[token] - math.log(sum(math.exp(one) for one in row)))
        mean = sum(logs) / len(logs)
        deviation = math.sqrt(sum((one - mean) ** 2 for one in logs) / len(logs))
        unlikely = sum(one < -4 for one in logs)
        somewhat = sum(one < -3 for one in logs) / len(logs)
        expected = [mean, min(logs), deviation, sum(logs), unlikely, somewhat, len(logs)]
        assert told[len(logs) - 1].tolist() == pytest.approx(expected, abs=1e-3)
    assert told.shape[1] == LIKELIHOOD_FEATURES


def test_features_of_a_response_are_those_of_its_last_prefix_and_of_its_length_so_far(policy: LanguageModel) -> None:
    found = list(prefix_features(policy, EXAMPLES))
    assert [len(one) for one in found] == [len(one.response_ids) for one in EXAMPLES]
    whole_BF = response_features(policy, EXAMPLES)
    torch.testing.assert_close(whole_BF, torch.stack([one[-1] for one in found]))
    assert whole_BF.shape == (len(EXAMPLES), 2 * policy.width + LIKELIHOOD_FEATURES)
    assert whole_BF[:, -1].tolist() == [len(one.response_ids) for one in EXAMPLES]


def test_a_prefix_has_the_features_of_a_response_that_ended_there(policy: LanguageModel) -> None:
    (whole,) = prefix_features(policy, EXAMPLES[:1])
    example = EXAMPLES[0]
    for count in range(1, len(example.response_ids) + 1):
        cut = Example(example.prompt_id, example.prompt_ids, example.response_ids[:count])
        torch.testing.assert_close(response_features(policy, [cut])[0], whole[count - 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 20, 8192])
def test_features_depend_on_neither_batch_nor_neighbours(
    policy: LanguageModel, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_BF = response_features(policy, EXAMPLES)
    monkeypatch.setattr(features, "BATCH_TOKENS", batch_tokens)
    told = [one[-1] for one in prefix_features(policy, EXAMPLES[::-1])][::-1]
    torch.testing.assert_close(torch.stack(told), expected_BF, atol=1e-4, rtol=1e-4)


def test_features_of_a_prompt_know_nothing_of_its_response(policy: LanguageModel) -> None:
    other = [Example(one.prompt_id, one.prompt_ids, (7, 0)) for one in EXAMPLES]
    found_BD = prompt_features(policy, EXAMPLES)
    assert torch.equal(prompt_features(policy, other), found_BD)
    for row, example in enumerate(EXAMPLES):
        torch.testing.assert_close(prompt_features(policy, [example])[0], found_BD[row], atol=1e-4, rtol=1e-4)


def test_what_the_heads_read_gives_their_scores(reward_model: RewardModel) -> None:
    read_BD = embed(reward_model, EXAMPLES)
    raw_B = batched_scores(reward_model, [one.token_ids for one in EXAMPLES])
    with torch.no_grad():
        torch.testing.assert_close(reward_model.head(read_BD).squeeze(-1), raw_B, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 25, 4096])
def test_scores_are_in_order_whatever_the_batches(
    reward_model: RewardModel, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = [one.token_ids for one in EXAMPLES]
    alone = [float(batched_scores(reward_model, [one])) for one in sequences]
    monkeypatch.setattr(scoring, "BATCH_TOKENS", batch_tokens)
    assert batched_scores(reward_model, sequences).tolist() == pytest.approx(alone, abs=1e-4)


def responses_of(policy: LanguageModel) -> list[WrittenResponse]:
    prompts = [prompt.token_ids for prompt in tiny.prompts()]
    return written(policy, sample_responses(policy, prompts, max_new_tokens=6, temperature=1.0, seed=0))


def test_a_score_is_in_deviations_from_the_mean_and_its_members_average_to_it(policy: LanguageModel) -> None:
    reward_model = reward_model_from_policy(policy, seed=0, read_out=ReadOut(members=3))
    reward_model.set_statistics(0.4, 2.5)
    scorer, prompts, responses = RewardModelScorer(reward_model, policy), tiny.prompts(), responses_of(policy)
    asked = [
        (*one.sampled.token_ids[:-1], reward_model.end_id) if one.sampled.ended_with_eos else one.sampled.token_ids
        for one in responses
    ]
    raw_B = batched_scores(
        reward_model, [(*prompt.token_ids, *ids) for prompt, ids in zip(prompts, asked, strict=True)]
    )
    score_B = scorer(prompts, responses)
    torch.testing.assert_close(score_B, (raw_B - 0.4) / 2.5)
    member_BM = scorer.by_member(scorer.latents(prompts, responses))
    torch.testing.assert_close(reward_model.read_out.of(member_BM), raw_B, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("keep_zero", "unit_deviation"), [(False, True), (True, True), (False, False), (True, False)])
def test_statistics_are_those_of_the_reference_but_for_a_zero_that_means_something(
    keep_zero: bool, unit_deviation: bool, reward_model: RewardModel
) -> None:
    raw_B = normalise(reward_model, EXAMPLES, keep_zero=keep_zero, unit_deviation=unit_deviation)
    assert reward_model.score_mean == (0.0 if keep_zero else pytest.approx(float(raw_B.mean())))
    assert reward_model.score_std == (pytest.approx(float(raw_B.std())) if unit_deviation else 1.0)


@pytest.mark.parametrize("weight", [0.0, float("nan")])
def test_a_model_that_tells_no_response_from_another_is_refused(weight: float, reward_model: RewardModel) -> None:
    with torch.no_grad():
        reward_model.head.weight.fill_(weight)
    with pytest.raises(InputError, match="gives every response the same score"):
        normalise(reward_model, EXAMPLES, keep_zero=False, unit_deviation=True)


def test_members_are_centred_on_the_reference_one_by_one(policy: LanguageModel) -> None:
    reward_model = reward_model_from_policy(policy, seed=0, read_out=ReadOut(members=3, kind="worst"))
    raw_BH = centre(reward_model, EXAMPLES)
    assert list(reward_model.read_out.centres) == pytest.approx(raw_BH.mean(0).tolist(), abs=1e-6)
    assert reward_model.read_out.centred(raw_BH).mean(0).tolist() == pytest.approx([0.0] * 3, abs=1e-5)
    single = reward_model_from_policy(policy, seed=0)
    centre(single, EXAMPLES)
    assert single.read_out == ReadOut()
