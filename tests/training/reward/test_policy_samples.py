"""What is drawn before anything is learnt, and which ways are tried."""

from pathlib import Path

import pytest
import torch

from models.backbone import LanguageModel
from models.reward import RewardModel, reward_model_from_policy
from tests.training import tiny
from training.config import InputError, RewardConfig
from training.data.examples import Example, Pair
from training.reward.policy_samples import BATCH, PolicySamples
from training.reward.trials import Trials, folds_of, usual_method


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return tiny.policy(tmp_path_factory.mktemp("policy") / "model")


@pytest.fixture
def reward_model(policy: LanguageModel) -> RewardModel:
    return reward_model_from_policy(policy, seed=0)


def config(**change: object) -> RewardConfig:
    settings = {"seed": 0, "policy": "p", "preferences": Path("x"), "prompts": Path("y"), **change}
    return RewardConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [2, BATCH - 1, BATCH, BATCH + 3])
def test_as_many_samples_are_drawn_as_are_wanted_and_prompts_take_turns(wanted: int, policy: LanguageModel) -> None:
    prompts = tiny.prompts()
    samples = PolicySamples(config(reference_samples=wanted, max_new_tokens=2), policy, prompts)
    drawn = [samples.draw(step) for step in range(samples.steps)]
    for of_step in drawn:
        samples.keep(of_step)
    assert [len(one) for one in drawn] == [BATCH] * (wanted // BATCH) + ([wanted % BATCH] if wanted % BATCH else [])
    assert samples.drawn == [one for step in drawn for one in step]
    assert [one.prompt_id for one in samples.drawn] == [prompts[place % 8].prompt_id for place in range(wanted)]
    again = PolicySamples(config(reference_samples=wanted, max_new_tokens=2), policy, prompts)
    assert {tensor.dtype for tensor in samples.tensors().values()} == {torch.int32}
    again.restore(samples.tensors())
    assert again.drawn == samples.drawn


def test_what_a_reward_model_with_too_few_positions_would_have_to_cut_is_refused(
    policy: LanguageModel, reward_model: RewardModel
) -> None:
    samples = PolicySamples(config(reference_samples=4, max_new_tokens=4), policy, tiny.prompts())
    samples.keep(samples.draw(0))
    assert samples.as_read_by(reward_model) == samples.drawn
    short = PolicySamples(config(reference_samples=4, max_new_tokens=4), policy, tiny.prompts())
    short.keep(short.draw(0))
    reward_model.model.config.max_position_embeddings = 5
    with pytest.raises(InputError, match="base: it reads 5 tokens, and a sample has"):
        short.as_read_by(reward_model)


def judged(prompts: int, per_prompt: int = 2) -> list[Pair]:
    return [
        Pair(Example(str(prompt), (1,), (2, number)), Example(str(prompt), (1,), (3, number)), 1.0, 1.0)
        for prompt in range(prompts)
        for number in range(per_prompt)
    ]


@pytest.mark.parametrize("method", ["finetune", "distil", "distil_finetune", "mismatch_finetune"])
def test_a_way_that_was_named_is_kept_and_nothing_is_tried(method: str) -> None:
    trials = Trials(config(method=method), judged(20))
    assert (trials.usual, trials.folds, trials.methods, trials.wait_for_teacher) == (method, [], [], False)
    assert trials.to_json() == {}


@pytest.mark.parametrize(
    ("pairs", "can_distil", "usual"), [(9, True, "distil"), (10, True, "finetune"), (9, False, "finetune")]
)
def test_few_pairs_are_distilled_where_that_can_be_done(pairs: int, can_distil: bool, usual: str) -> None:
    assert usual_method(config(distil_below_pairs=10), pairs, can_distil=can_distil) == usual


def test_every_pair_is_held_out_by_one_fold_and_learnt_from_in_the_others() -> None:
    told = judged(7, per_prompt=3)
    folds = folds_of(told, 3, seed=1)
    assert sorted(row for fold in folds for row in fold.held_out_rows) == list(range(21))
    for fold in folds:
        assert [told[row] for row in fold.held_out_rows] == list(fold.held_out)
        assert len(fold.train) + len(fold.held_out) == 21
        assert not {one.a.prompt_id for one in fold.train} & {one.a.prompt_id for one in fold.held_out}


def test_more_folds_than_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="cross_validated: 4 folds need as many prompts, and 3 were judged"):
        Trials(config(method="cross_validated", folds=4), judged(3))
