from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from models.backbone import ModelError, load_language_model, pad_right
from models.reward import load_reward_model, reward_model_from_policy, save_reward_model, scores
from models.value import Critic

SEQUENCES = [[5, 6, 7, 30, 0], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 40, 41, 0], [20, 0], [5, 6, 7, 30, 31, 32]]


def test_scores_do_not_depend_on_padding(model_directory: Path) -> None:
    reward_model = reward_model_from_policy(load_language_model(model_directory), seed=0)
    with torch.no_grad():
        together = scores(reward_model, SEQUENCES)
        alone = torch.cat([scores(reward_model, [sequence]) for sequence in SEQUENCES])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_saved_model_scores_alike_when_any_other_tool_opens_it(model_directory: Path, tmp_path: Path) -> None:
    reward_model = reward_model_from_policy(load_language_model(model_directory), seed=0)
    reward_model.set_statistics(0.25, 1.5)
    save_reward_model(reward_model, tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = pad_right(SEQUENCES, reward_model.pad_id)
    with torch.no_grad():
        theirs = plain(ids, attention_mask=(ids != reward_model.pad_id).long()).logits.squeeze(-1)
        ours = scores(reward_model, SEQUENCES)
        reloaded = load_reward_model(tmp_path)
        torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
        torch.testing.assert_close(scores(reloaded, SEQUENCES), ours)
    assert (reloaded.score_mean, reloaded.score_std) == (0.25, 1.5)
    assert plain.config.num_labels == 1


def test_the_head_starts_with_variance_one_over_the_width_plus_one(directory_of: Callable[[str], Path]) -> None:
    policy = load_language_model(directory_of("llama"))
    weights = torch.cat([reward_model_from_policy(policy, seed=seed).head.weight for seed in range(200)])
    assert weights.std().item() == pytest.approx(1 / 33**0.5, rel=0.05)
    assert reward_model_from_policy(policy, seed=0).head.bias is None


def test_the_policys_trunk_is_copied_and_not_shared(directory_of: Callable[[str], Path]) -> None:
    policy = load_language_model(directory_of("llama"))
    reward_model = reward_model_from_policy(policy, seed=0)
    ours, theirs = reward_model.model.get_input_embeddings().weight, policy.model.get_input_embeddings().weight
    assert torch.equal(ours, theirs)
    assert ours.data_ptr() != theirs.data_ptr()


def test_the_critic_starts_as_the_normalised_reward_model(model_directory: Path) -> None:
    reward_model = reward_model_from_policy(load_language_model(model_directory), seed=0)
    reward_model.set_statistics(-0.4, 2.0)
    critic = Critic.from_reward_model(reward_model)
    with torch.no_grad():
        values = critic(pad_right(SEQUENCES, reward_model.pad_id))
        last = values[range(len(SEQUENCES)), [len(sequence) - 1 for sequence in SEQUENCES]]
        torch.testing.assert_close(last, (scores(reward_model, SEQUENCES) + 0.4) / 2.0, atol=1e-4, rtol=0)


def test_training_the_critic_leaves_the_reward_model_alone(directory_of: Callable[[str], Path]) -> None:
    reward_model = reward_model_from_policy(load_language_model(directory_of("llama")), seed=0)
    before = {name: weight.clone() for name, weight in reward_model.model.state_dict().items()}
    critic = Critic.from_reward_model(reward_model)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(weight, before[name]) for name, weight in reward_model.model.state_dict().items())


def test_a_policy_is_not_taken_for_a_reward_model(directory_of: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError):
        load_reward_model(directory_of("llama"))
