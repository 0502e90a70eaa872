import json
import math
from pathlib import Path

import pytest
import torch

from models.backbone import LanguageModel
from models.lora import activate, adapter_parameters, add_adapters
from tests.training import tiny, toy
from tests.training.engines.pretended import PretendedEngine, install
from tests.training.stages.test_crashes import ppo_settings
from training.config import ConfigError, EvaluateConfig, GenerateConfig, InputError
from training.engines.engine import Sampling
from training.engines.own import OwnEngine
from training.engines.vllm import VllmEngine
from training.responses.sampler import STALE, Sampler
from training.runtime.exit_codes import BAD_INPUT

PROMPTS = [prompt.token_ids for prompt in tiny.prompts()]
SAMPLING = Sampling(max_new_tokens=8, temperature=0.8)


def short_ppo(world: Path, policy: Path, reward: Path, **change: object) -> dict[str, object]:
    short: dict[str, object] = {"iterations": 3, "critic_warmup_iterations": 0, "detector_responses": 8}
    return ppo_settings(world, policy, reward) | short | {"held_out_every": 2} | change


@pytest.fixture(scope="module")
def by_own_decoding(world: Path, policy: Path, reward: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short PPO run that samples as runs usually do."""
    out = tmp_path_factory.mktemp("own") / "out"
    assert toy.run("ppo", out, **short_ppo(world, policy, reward)) == 0
    return out


def means(out: Path, name: str) -> list[float]:
    found = [row["values"].get(name) for row in toy.metrics(out)]  # type: ignore[attr-defined]
    return [total / count for total, count in filter(None, found)]


def test_an_engine_that_is_handed_every_update_writes_what_our_own_decoding_writes(
    world: Path, policy: Path, reward: Path, by_own_decoding: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = PretendedEngine()
    install(monkeypatch, engine)
    assert toy.run("ppo", tmp_path / "out", **short_ppo(world, policy, reward, engine="vllm")) == 0
    for figure in ("score", "length", "kl", "policy_loss"):  # to rounding: a copy lies elsewhere in memory
        assert means(tmp_path / "out", figure) == pytest.approx(means(by_own_decoding, figure), rel=1e-4, abs=1e-4)
    assert means(tmp_path / "out", "first_ratio_error") == pytest.approx([0.0] * 3, abs=1e-5)
    assert engine.hand_overs == 4, "once for each of three rollouts, and for the policy that is published"


def test_an_engine_that_keeps_old_weights_ends_the_run_in_words(
    world: Path,
    policy: Path,
    reward: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(monkeypatch, PretendedEngine(takes=lambda turn: turn == 1))
    settings = short_ppo(world, policy, reward, engine="vllm", iterations=5, actor_learning_rate=3e-3)
    assert toy.run("ppo", tmp_path / "out", **settings) == BAD_INPUT
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "vllm sampled from other weights than those that learn" in said
    assert "first_ratio_error" in said
    assert not (tmp_path / "out" / "artifact").exists()
    assert len(toy.metrics(tmp_path / "out")) == 1, "the first iteration was fresh, the second is noticed at once"


def test_imitation_which_has_no_ratio_notices_old_weights_too(
    world: Path, policy: Path, reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, PretendedEngine(takes=lambda turn: turn == 1))
    imitation = {"algorithm": "expert_iteration", "samples_per_prompt": 4, "actor_learning_rate": 3e-3}
    settings = short_ppo(world, policy, reward, engine="vllm", **imitation)
    del settings["critic_warmup_iterations"]
    assert toy.run("ppo", tmp_path / "out", **settings) == BAD_INPUT
    assert len(toy.metrics(tmp_path / "out")) == 1


def test_of_an_engine_in_half_precision_training_computes_what_it_learns_from(
    world: Path, policy: Path, reward: Path, by_own_decoding: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, PretendedEngine(exact=False, off=-0.2))
    settings = short_ppo(world, policy, reward, engine="vllm")
    assert toy.run("ppo", tmp_path / "out", **settings) == 0
    assert means(tmp_path / "out", "engine_gap") == pytest.approx([0.2] * 3, abs=1e-4)
    assert means(tmp_path / "out", "first_ratio_error") == pytest.approx([0.0] * 3, abs=1e-5)
    assert means(tmp_path / "out", "kl") == pytest.approx(means(by_own_decoding, "kl"), abs=1e-2)
    report = json.loads((tmp_path / "out" / "reward_hacking.json").read_text())
    alarms = [alarm for evaluation in report["evaluations"] for alarm in evaluation["alarms"]]
    assert {(one["detector"], one["bound"]) for one in alarms} >= {("engine_gap", 0.1)}
    assert means(tmp_path / "out", "watched_engine_gap") == pytest.approx([0.2] * 2, abs=1e-4)


def test_responses_are_generated_and_both_policies_evaluated_by_one_engine(
    world: Path, policy: Path, reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"policy": policy, "prompts": world / "prompts.jsonl", "max_new_tokens": 8, "top_k": 20}
    compared = asked | {"reference": world / "sft" / "artifact", "reward": reward}
    for stage, settings in (("generate", asked), ("evaluate", compared)):
        engine = PretendedEngine()
        with monkeypatch.context() as patched:
            install(patched, engine)
            assert toy.run(stage, tmp_path / f"{stage}-vllm", **settings, engine="vllm") == 0
        assert toy.run(stage, tmp_path / f"{stage}-own", **settings) == 0
        assert toy.result(tmp_path / f"{stage}-vllm") == toy.result(tmp_path / f"{stage}-own")
        assert engine.hand_overs == (2 if stage == "evaluate" else 1)


def test_a_stage_that_learns_nothing_refuses_an_engine_that_says_otherwise(
    world: Path,
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(monkeypatch, PretendedEngine(off=2 * STALE))
    asked = {"policy": policy, "prompts": world / "prompts.jsonl", "max_new_tokens": 8, "engine": "vllm"}
    assert toy.run("generate", tmp_path / "out", **asked) == BAD_INPUT
    assert "engine: what it says of its tokens is 0.002 nats from what the model says" in capsys.readouterr().err


def test_an_engine_that_is_not_installed_is_refused_with_what_installs_it(
    world: Path, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"policy": policy, "prompts": world / "prompts.jsonl", "engine": "vllm"}
    assert toy.run("generate", tmp_path / "out", **asked) == BAD_INPUT
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "vllm isn't installed" in said
    assert "make engine" in said
    assert "PLUMBLINE_TRAINING_PYTHON" in said
    assert not (tmp_path / "out").exists(), "nothing was loaded or begun"


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (GenerateConfig, {"stop": ("END",)}, "stop"),
        (GenerateConfig, {"min_p": 0.1, "top_p": 0.9}, "min_p"),
        (EvaluateConfig, {"weights": "bfloat16", "top_k": 20}, "weights"),
    ],
)
def test_what_vllm_would_do_otherwise_is_refused(kind: type, settings: dict[str, object], named: str) -> None:
    given = {"seed": 0, "policy": "policy", "prompts": Path("prompts.jsonl")} | settings
    kind(**given)
    with pytest.raises(ConfigError, match=f"^{named}: "):
        kind(**given, engine="vllm")


@pytest.mark.parametrize(
    ("found", "value", "said"),
    [
        ("training.engines.vllm.is_quantised", True, "takes no weights in 8 or 4 bits over"),
        ("training.engines.vllm.device", torch.device("mps"), "this is mps"),
        ("training.engines.vllm.device", torch.device("cuda", 1), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_what_vllm_can_not_hold_or_reach_is_refused(
    found: str, value: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, lambda *_: value)
    with pytest.raises(InputError, match=said):
        VllmEngine(tiny.policy(tmp_path / "policy"), longest=64, rows=4, precision="float32")


def test_an_engine_that_does_not_confirm_the_version_is_refused(tmp_path: Path) -> None:
    class Deaf(PretendedEngine):
        def load(self, language_model: LanguageModel, version: int) -> None:
            super().load(language_model, version - 1)

    with pytest.raises(InputError, match="didn't confirm"):
        Sampler(Deaf(), tiny.policy(tmp_path / "policy")).sample(PROMPTS, SAMPLING, seed=0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_adapters_have_learnt_is_handed_over(family: str, tmp_path: Path) -> None:
    policy = tiny.policy(tmp_path / "policy", family)
    add_adapters(policy.model, rank=2, alpha=4, seed=0)
    sampler = Sampler(PretendedEngine(), policy)
    before = sampler.sample(PROMPTS, SAMPLING, seed=1)
    with torch.no_grad():
        for parameter in adapter_parameters(policy.model):
            parameter.add_(0.3)
    sampler.moved()
    after = sampler.sample(PROMPTS, SAMPLING, seed=1)  # whose hand-over compares what both say
    assert after != before
    activate(policy.model, None)
    sampler.moved()
    assert sampler.sample(PROMPTS, SAMPLING, seed=1) == before


def test_our_own_decoding_samples_from_what_learns_without_any_hand_over(tmp_path: Path) -> None:
    policy = tiny.policy(tmp_path / "policy")
    sampler = Sampler(OwnEngine(), policy)
    before = sampler.sample(PROMPTS, SAMPLING, seed=1)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.5)
    assert sampler.sample(PROMPTS, SAMPLING, seed=1) != before
    assert all(math.isfinite(each) for one in before for each in one.log_probabilities)
