"""RLOO: a response is compared with the others to its prompt, and nothing of a critic is left."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import tiny, toy
from tests.training.ppo.test_ppo import config_of, loop_of, means
from tests.training.stages.test_crashes import ppo_settings
from training.runtime.checkpoint import CheckpointStore
from training.runtime.exit_codes import BAD_INPUT

RLOO: dict[str, object] = {"algorithm": "rloo", "samples_per_prompt": 4, "critic_warmup_iterations": 3}


def test_a_rollout_is_what_a_slow_calculation_gives(tmp_path: Path) -> None:
    config = tiny.config(**RLOO, whiten_advantages=False)
    rollout = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config, kl_coefficient=0.3)
    earned = [
        float(rollout.reward_B[row])
        - 0.3 * sum(float(rollout.kl_BR[row, t]) for t in range(len(response.sampled.token_ids)))
        for row, response in enumerate(rollout.responses)
    ]
    for row, reward in enumerate(earned):
        group = earned[row - row % 4 : row - row % 4 + 4]
        expected = reward - (sum(group) - reward) / 3
        length = len(rollout.responses[row].sampled.token_ids)
        assert rollout.advantage_BR[row, :length].tolist() == pytest.approx([expected] * length, abs=1e-4)
        assert not rollout.advantage_BR[row, length:].any()
    assert not rollout.value_BR.any()
    assert not rollout.return_BR.any()


def test_whitened_advantages_have_deviation_one_over_responses_of_any_length(tmp_path: Path) -> None:
    config = tiny.config(**RLOO)
    rollout = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config)
    advantage_B = rollout.advantage_BR[:, 0]
    assert float(advantage_B.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(advantage_B.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    assert torch.equal(rollout.advantage_BR, advantage_B[:, None] * rollout.mask_BR)


@pytest.mark.usefixtures("reward")
def test_it_raises_the_reward_within_bounds_and_says_nothing_of_a_critic(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    config = config_of(world, policy, **RLOO, max_update_kl=None)
    loop, models, _ = loop_of(config, tmp_path / "out")
    assert loop.train() is None
    score, kl = means(tmp_path / "out", "score"), means(tmp_path / "out", "kl")
    assert sum(score[-3:]) / 3 > score[0] + 0.25
    assert kl[0] == pytest.approx(0.0, abs=1e-4)
    assert kl[1] > 1e-3  # no iteration is spent on warming up
    assert max(kl) < 8
    assert means(tmp_path / "out", "first_ratio_error") == pytest.approx([0.0] * 12, abs=1e-4)
    for name in ("explained_variance", "value_loss", "critic_gradient_norm"):
        assert not means(tmp_path / "out", name)
    assert models.critics == {}


def test_responses_to_a_prompt_stand_together_and_differ(world: Path, policy: Path, reward: Path) -> None:
    loop, _, _ = loop_of(config_of(world, policy, **RLOO, batch_size=16, minibatch_size=16), world / "rloo-drawn")
    prompts = [prompt.prompt_id for prompt in loop._draw_prompts(0)]
    assert prompts == [prompts[place] for place in range(0, 16, 4) for _ in range(4)]
    assert len(set(prompts)) == 4
    assert not set(prompts) & {prompt.prompt_id for prompt in loop._draw_prompts(1)}


def test_the_stage_publishes_the_best_policy_and_keeps_no_critic(
    world: Path, policy: Path, reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointStore, "clear", lambda self: None)
    settings = ppo_settings(world, policy, reward) | {"checkpoint_steps": 1}
    change = {"publish": "best", "held_out_prompts": world / "held_out_prompts.jsonl", "lora_rank": 4}
    rows = (world / "prompts.jsonl").read_text().splitlines(keepends=True)
    (world / "held_out_prompts.jsonl").write_text("".join(rows[:5]))  # no multiple of the samples of a prompt
    assert toy.run("ppo", tmp_path / "out", **settings | RLOO | change) == 0
    newest = max((tmp_path / "out" / "checkpoints").iterdir())
    kept = {name.split(".")[0] for name in load_file(newest / "tensors.safetensors")}
    assert kept == {"policy", "actor_optimizer", "good", "best"}
    assert toy.result(tmp_path / "out")["iterations"] == 5


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"samples_per_prompt": 1}, "samples_per_prompt: RLOO compares at least 2 responses"),
        ({"batch_size": 18}, "batch_size: must be a multiple of samples_per_prompt"),
        ({"critic": "shared", "gamma": 0.9}, "critic, gamma: RLOO has no critic"),
        ({"value_clip": None}, "value_clip: RLOO has no critic"),
        ({"critic_learning_rate": 1e-2}, "critic_learning_rate: RLOO has no critic"),
        ({"whiten_rewards": True}, "whiten_rewards: RLOO has no critic"),
        ({"algorithm": "reinforce"}, "algorithm: must be one of ppo, rloo, grpo, dr_grpo, gspo"),
    ],
)
def test_settings_without_sense_are_refused(
    change: dict[str, object], word: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    settings = ppo_settings(nowhere, nowhere, nowhere)
    assert toy.run("ppo", tmp_path / "out", **settings | RLOO | change) == BAD_INPUT
    assert word in capfd.readouterr().err
