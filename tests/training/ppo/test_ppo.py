import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from models.backbone import load_language_model, response_log_probabilities
from models.reward import load_reward_model
from tests.training import tiny, toy
from tests.training.stages.test_crashes import ppo_settings
from training.config import InputError, PpoConfig
from training.data.encoding import encode_demonstrations, encode_prompts
from training.data.examples import Prompt
from training.ppo.loop import PpoLoop
from training.ppo.models import PpoModels, build_models
from training.ppo.rollout import Rollout, collect
from training.records import DemonstrationRecord, PromptRecord, read_records
from training.responses.likelihoods import log_probabilities
from training.responses.written import WrittenResponse
from training.reward.scoring import RewardModelScorer
from training.runtime.artifact import Lineage
from training.runtime.metrics import Measures
from training.runtime.run import PhaseTimer, Run
from training.stages.sft import negative_log_likelihood


def good_words(prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    """A rule in place of a reward model: how often the good word comes, at most twice."""
    return torch.tensor([float(min(2, response.text.split().count(toy.GOOD_WORD))) for response in responses])


def config_of(world: Path, policy: Path, **change: object) -> PpoConfig:
    settings: dict[str, object] = {
        "seed": 0,
        "policy": str(policy),
        "reference": str(policy),
        "reward": str(world / "reward" / "artifact"),
        "prompts": world / "prompts.jsonl",
        "iterations": 12,
        "batch_size": 48,
        "minibatch_size": 24,
        "critic_warmup_iterations": 2,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
        "actor_learning_rate": 3e-3,
        "kl_coefficient": 0.1,
    }
    return tiny.for_a_small_model(PpoConfig(**settings | change))  # type: ignore[arg-type]


def models_of(config: PpoConfig) -> tuple[PpoModels, list[Prompt]]:
    policy, reference = load_language_model(config.policy), load_language_model(config.reference)
    models = build_models(config, policy, reference, load_reward_model(config.reward), good_words)
    prompts, _ = encode_prompts(
        policy, read_records(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens
    )
    return models, prompts


def loop_of(config: PpoConfig, out: Path) -> tuple[PpoLoop, PpoModels, Run]:
    models, prompts = models_of(config)
    run = Run(out, Lineage("ppo", {}, {}, {}, config.seed, "test"))
    return PpoLoop(config, models, prompts, run), models, run


def rollout_of(config: PpoConfig) -> tuple[Rollout, PpoModels]:
    models, prompts = models_of(config)
    rollout = collect(models, prompts, config, kl_coefficient=config.kl_coefficient, seed=1, timer=PhaseTimer())
    return rollout, models


def means(out: Path, name: str) -> list[float]:
    rows = [row["values"] for row in toy.metrics(out)]
    return [values[name][0] / values[name][1] for values in rows if name in values]  # type: ignore[index,operator]


@pytest.mark.usefixtures("reward")
def test_any_rule_can_be_the_reward_and_ppo_raises_it_within_bounds(world: Path, policy: Path, tmp_path: Path) -> None:
    loop, _, _ = loop_of(config_of(world, policy), tmp_path / "out")
    assert loop.train() is None
    score, kl = means(tmp_path / "out", "score"), means(tmp_path / "out", "kl")
    assert sum(score[-3:]) / 3 > score[0] + 0.25
    assert max(kl) < 8


@pytest.mark.usefixtures("reward")
def test_it_starts_at_the_reference_and_with_ratios_of_one(world: Path, policy: Path, tmp_path: Path) -> None:
    loop, _, _ = loop_of(config_of(world, policy, iterations=3, critic_warmup_iterations=0), tmp_path / "out")
    loop.train()
    assert means(tmp_path / "out", "kl")[0] == pytest.approx(0.0, abs=1e-4)
    assert means(tmp_path / "out", "first_ratio_error") == pytest.approx([0.0] * 3, abs=1e-5)
    assert all(value >= -1e-4 for value in means(tmp_path / "out", "kl_k3"))


@pytest.mark.usefixtures("reward")
def test_the_policy_waits_while_the_critic_warms_up(world: Path, policy: Path, tmp_path: Path) -> None:
    loop, models, _ = loop_of(config_of(world, policy, iterations=2, critic_warmup_iterations=2), tmp_path / "out")
    before = {name: weight.clone() for name, weight in models.policy.model.state_dict().items()}
    critic_before = models.critic.head.weight.clone()
    loop.train()
    assert all(torch.equal(weight, before[name]) for name, weight in models.policy.model.state_dict().items())
    assert not torch.equal(models.critic.head.weight, critic_before)


@pytest.mark.usefixtures("reward")
def test_a_rollout_is_what_its_tokens_say(world: Path, policy: Path) -> None:
    config = config_of(world, policy, kl_coefficient=0.3, temperature=0.8)
    rollout, models = rollout_of(config)
    for row, (prompt, response) in enumerate(zip(rollout.prompts, rollout.responses, strict=True)):
        length = len(response.sampled.token_ids)
        with torch.no_grad():
            logits = models.policy.model(torch.tensor([[*prompt.token_ids, *response.sampled.token_ids]])).logits[0]
        first = len(prompt.token_ids) - 1
        expected = [
            torch.log_softmax(logits[first + step] / 0.8, -1)[token]
            for step, token in enumerate(response.sampled.token_ids)
        ]
        torch.testing.assert_close(rollout.log_probability_BR[row, :length], torch.stack(expected), atol=1e-4, rtol=0)
        assert not rollout.log_probability_BR[row, length:].any()
        assert int(rollout.mask_BR[row].sum()) == length
    assert float(rollout.kl_BR.abs().max()) < 1e-4
    assert float(rollout.advantage_BR[rollout.mask_BR].mean()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.usefixtures("reward")
def test_a_response_that_did_not_end_is_punished(world: Path, policy: Path) -> None:
    rollout, _ = rollout_of(config_of(world, policy, max_new_tokens=3))
    ended = torch.tensor([response.sampled.ended_with_eos for response in rollout.responses])
    assert not ended.all()
    assert bool((rollout.reward_B[~ended] <= -2.0).all())
    assert torch.equal(rollout.reward_B[ended], rollout.score_B[ended])


@pytest.mark.usefixtures("reward")
@pytest.mark.parametrize("micro_batch_tokens", [1, 100])
def test_micro_batches_do_not_change_the_result(
    world: Path, policy: Path, tmp_path: Path, micro_batch_tokens: int
) -> None:
    weights = []
    for name, tokens in (("whole", 10**6), ("cut", micro_batch_tokens)):
        # A large epsilon makes Adam's step proportional to the gradient, so that this compares more than its sign.
        change = {"micro_batch_tokens": tokens, "adam_epsilon": 1e-2, "critic_warmup_iterations": 0}
        config = config_of(world, policy, iterations=1, batch_size=8, minibatch_size=8, epochs=1, **change)
        loop, models, _ = loop_of(config, tmp_path / name)
        loop.train()
        weights.append({**models.policy.model.state_dict(), **models.critic.state_dict()})
    for name, whole in weights[0].items():
        torch.testing.assert_close(weights[1][name], whole, atol=1e-6, rtol=1e-4)


@pytest.mark.usefixtures("reward")
def test_leaving_the_kl_bound_ends_the_run_with_the_last_policy_within(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    bounds = {"max_kl": 0.5, "max_update_kl": 1e6, "kl_coefficient": 0.0}
    config = config_of(world, policy, actor_learning_rate=3e-2, critic_warmup_iterations=0, iterations=8, **bounds)
    loop, models, _ = loop_of(config, tmp_path / "out")
    assert loop.train() == "max_kl"
    kl = means(tmp_path / "out", "kl")
    assert kl[-1] > 0.5
    assert all(value <= 0.5 for value in kl[:-1])
    published = rollout_kl(config, models)
    assert published < 0.5 + 0.2


def rollout_kl(config: PpoConfig, models: PpoModels) -> float:
    _, prompts = models_of(config)
    rollout = collect(models, prompts, config, kl_coefficient=0.0, seed=9, timer=PhaseTimer())
    return rollout.kl_per_response


@pytest.mark.usefixtures("reward")
def test_an_update_that_moves_too_far_ends_its_epochs(world: Path, policy: Path, tmp_path: Path) -> None:
    change = {"actor_learning_rate": 3e-2, "max_update_kl": 1e-3, "epochs": 4, "iterations": 2}
    loop, _, _ = loop_of(config_of(world, policy, critic_warmup_iterations=0, **change), tmp_path / "out")
    loop.train()
    assert means(tmp_path / "out", "epochs_cut")


@pytest.mark.usefixtures("reward")
def test_the_adaptive_controller_reacts_and_the_fixed_one_does_not(world: Path, policy: Path, tmp_path: Path) -> None:
    for controller, moves in (("adaptive", True), ("fixed", False)):
        config = config_of(world, policy, iterations=3, kl_controller=controller, kl_horizon=100)
        loop, _, _ = loop_of(config, tmp_path / controller)
        loop.train()
        assert (len(set(means(tmp_path / controller, "kl_coefficient"))) > 1) == moves


@pytest.mark.usefixtures("reward")
def test_a_run_that_left_the_bound_goes_on_from_the_last_policy_within(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    change = {"max_kl": 0.5, "max_update_kl": None, "kl_coefficient": 0.05, "kl_controller": "fixed"}
    config = config_of(
        world, policy, actor_learning_rate=3e-2, critic_warmup_iterations=0, iterations=8, kl_roll_backs=2, **change
    )
    loop, models, _ = loop_of(config, tmp_path / "out")
    loop.train()
    kl, coefficient = means(tmp_path / "out", "kl"), means(tmp_path / "out", "kl_coefficient")
    left = [index for index, value in enumerate(kl) if value > 0.5]
    assert 1 <= len(left) <= 3
    for count, index in enumerate(left[:2], start=1):
        assert coefficient[index + 1] == pytest.approx(0.05 * 2**count)
        assert kl[index + 1] <= 0.5 + 0.2  # another sample of the policy that was within
    assert loop.summary()["roll_backs"] == min(2, len(left))
    assert rollout_kl(config, models) < 0.5 + 0.2


@pytest.mark.slow
def test_the_best_policy_on_held_out_prompts_is_published(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    """A learning rate that ruins the policy after the first steps."""
    common = ppo_settings(world, policy, reward) | {
        "actor_learning_rate": 3e-2,
        "max_kl": None,
        "max_update_kl": None,
        "kl_coefficient": 0.0,
        "iterations": 6,
        "held_out_prompts": world / "prompts.jsonl",
        "held_out_every": 1,
    }
    for publish in ("last", "best"):
        assert toy.run("ppo", tmp_path / publish, **common, publish=publish) == 0
    result = toy.result(tmp_path / "best")
    measured = means(tmp_path / "best", "held_out_reward")
    assert len(measured) == 6
    assert result["held_out_reward"] >= max(measured) - 1e-6
    iteration = result["published_iteration"]
    last = load_file(tmp_path / "last" / "artifact" / "model.safetensors")
    best = load_file(tmp_path / "best" / "artifact" / "model.safetensors")
    assert all(torch.equal(best[name], last[name]) for name in last) == (iteration == 6)
    assert "held_out_reward" not in toy.result(tmp_path / "last")


def test_the_policy_in_use_has_its_share_of_the_weights_that_are_published(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    common = ppo_settings(world, policy, reward) | {"iterations": 2, "held_out_every": 5}
    in_use, share = tmp_path / "in_use" / "artifact", 0.25
    assert toy.run("ppo", tmp_path / "in_use", **common, seed=1) == 0
    assert toy.run("ppo", tmp_path / "alone", **common) == 0
    assert toy.run("ppo", tmp_path / "mean", **common, averaged=in_use, averaged_share=share) == 0
    theirs, alone, mean = (
        load_file(folder / "model.safetensors")
        for folder in (in_use, tmp_path / "alone" / "artifact", tmp_path / "mean" / "artifact")
    )
    assert any(not torch.equal(theirs[name], alone[name]) for name in alone)
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (1 - share) * alone[name] + share * theirs[name])
    assert toy.result(tmp_path / "mean")["averaged_share"] == share
    assert toy.result(tmp_path / "alone")["averaged_share"] == 0
    kept = {"lora_rank": 2, "publish_as": "adapter"}
    assert toy.run("ppo", tmp_path / "adapter", **common | kept, averaged=in_use) == 0
    assert toy.result(tmp_path / "adapter")["averaged_share"] == 0


@pytest.mark.slow
def test_demonstrations_hold_the_policy_where_it_came_from(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    common = ppo_settings(world, policy, reward) | {"kl_coefficient": 0.0, "actor_learning_rate": 1e-2, "max_kl": None}
    mixed = {"ptx_coefficient": 5.0, "demonstrations": world / "demonstrations.jsonl"}
    losses = {}
    for name, change in (("alone", {}), ("mixed", mixed)):
        assert toy.run("ppo", tmp_path / name, **common | change) == 0
        artifact = load_language_model(tmp_path / name / "artifact")
        records = read_records(world / "held_out.jsonl", DemonstrationRecord)
        examples, _ = encode_demonstrations(artifact, records, max_length=64)
        losses[name] = negative_log_likelihood(artifact, examples, 4096)
    assert losses["mixed"] < losses["alone"] - 0.05
    assert means(tmp_path / "mixed", "ptx_loss")
    assert not means(tmp_path / "alone", "ptx_loss")


def test_a_critic_on_the_policys_trunk_learns_what_is_good(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    config = config_of(world, policy, critic="shared", max_update_kl=None)
    loop, _, _ = loop_of(config, tmp_path / "out")
    assert loop.train() is None
    score = means(tmp_path / "out", "score")
    assert sum(score[-3:]) / 3 > score[0] + 0.25
    assert max(means(tmp_path / "out", "explained_variance")) > 0.1


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_adapters_learn_and_a_plain_model_is_published(
    critic: str, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = ppo_settings(world, policy, reward) | {"batch_size": 48, "minibatch_size": 24, "max_update_kl": None}
    change = {"lora_rank": 8, "critic": critic, "iterations": 16, "actor_learning_rate": 5e-3, "kl_coefficient": 0.05}
    change["paid_by"] = "model"  # a teacher's doubts of what adapters make of so small a policy go up and down
    assert toy.run("ppo", out, **settings | change) == 0
    score, kl = means(out, "score"), means(out, "kl")
    assert sum(score[-3:]) / 3 > score[0] + 0.25
    assert kl[0] == pytest.approx(0.0, abs=1e-4)  # the reference shares weights and must not learn along
    assert kl[-1] > 0.05
    published = AutoModelForCausalLM.from_pretrained(out / "artifact").state_dict()
    assert published.keys() == AutoModelForCausalLM.from_pretrained(policy).state_dict().keys()
    before = load_language_model(policy).model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], published[name])}
    assert moved
    assert all("proj" in name for name in moved)


@pytest.mark.usefixtures("reward")
def test_a_score_that_is_not_a_number_ends_the_run(world: Path, policy: Path) -> None:
    config = config_of(world, policy)
    models, prompts = models_of(config)
    broken = replace(models, reward=lambda prompts, responses: torch.full((len(prompts),), math.nan))
    with pytest.raises(InputError, match="not finite"):
        collect(broken, prompts, config, kl_coefficient=0.1, seed=0, timer=PhaseTimer())


def test_a_reward_model_scores_the_sampled_ids_or_the_text_alike(world: Path, policy: Path, reward: Path) -> None:
    rollout, models = rollout_of(config_of(world, policy))
    by_ids = RewardModelScorer(load_reward_model(reward), models.policy)
    by_text = RewardModelScorer(load_reward_model(reward), models.policy)
    by_text._shares_ids = False
    again = [len(models.policy.tokenizer(response.text)["input_ids"]) for response in rollout.responses]
    same = [  # decoding and encoding again may cut words otherwise; then the ids are what counts
        row
        for row, response in enumerate(rollout.responses)
        if response.sampled.ended_with_eos and again[row] + 1 == len(response.sampled.token_ids)
    ]
    assert len(same) > 12
    scores = [scorer(rollout.prompts, rollout.responses)[same] for scorer in (by_ids, by_text)]
    torch.testing.assert_close(*scores, atol=1e-4, rtol=0)


def test_the_stage_publishes_a_plain_model_with_its_lineage(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ppo"
    settings = {"iterations": 3, "batch_size": 16, "minibatch_size": 8, "max_new_tokens": toy.MAX_NEW_TOKENS}
    code = toy.run(
        "ppo", out, policy=policy, reference=policy, reward=reward, prompts=world / "prompts.jsonl", **settings
    )
    assert code == 0
    result = toy.result(out)
    assert result["iterations"] == 3
    assert result["stopped_early"] is None
    assert {"kl", "reward", "reward_gain", "eos_rate", "length_ratio"} <= result.keys()
    AutoModelForCausalLM.from_pretrained(out / "artifact")
    samples = [row["samples"] for row in toy.metrics(out) if "samples" in row]
    assert {"prompt", "policy", "reference"} <= samples[0][0].keys()  # type: ignore[index]


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = {
        "iterations": 2,
        "batch_size": 8,
        "minibatch_size": 8,
        "critic_warmup_iterations": 0,
        "max_new_tokens": 8,
    }
    common = {"policy": policy, "reference": policy, "reward": reward, "prompts": world / "prompts.jsonl", **settings}
    weights = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        assert toy.run("ppo", tmp_path / name, **common, seed=seed) == 0
        weights.append(load_file(tmp_path / name / "artifact" / "model.safetensors")["model.embed_tokens.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_log_probabilities_are_at_the_sampling_temperature(world: Path, policy: Path, reward: Path) -> None:
    rollout, models = rollout_of(config_of(world, policy, temperature=0.5))
    prompts = [prompt.token_ids for prompt in rollout.prompts]
    responses = [response.sampled.token_ids for response in rollout.responses]
    ours = log_probabilities(models.reference, prompts, responses, temperature=0.5, batch_tokens=4096)
    with torch.no_grad():
        direct = response_log_probabilities(models.reference.model, prompts, responses, models.reference.pad_id, 0.5)
    torch.testing.assert_close(ours[rollout.mask_BR], direct, atol=1e-5, rtol=0)


def test_measures_are_sums_with_counts(world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    loop, _, _ = loop_of(config_of(world, policy, iterations=1, critic_warmup_iterations=0), tmp_path / "out")
    loop.train()
    (row,) = toy.metrics(tmp_path / "out")
    values: Measures = row["values"]  # type: ignore[assignment]
    assert values["eos_rate"][1] == 48
    assert values["entropy"][1] == 2 * values["tokens"][0]  # two epochs over all tokens
    assert values["entropy"][0] / values["entropy"][1] > 0.5
