"""Rules that pay a response: what they say, what they refuse, and what PPO makes of them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from models.generation import Response
from tests.training import tiny, toy
from tests.training.ppo.test_ppo import means
from tests.training.stages.test_crashes import ppo_settings
from training.config import InputError, RewardRules
from training.config.values import ConfigError
from training.data.examples import Prompt
from training.ppo.models import build_models
from training.records import conversation
from training.responses.written import WrittenResponse
from training.reward.rules import ALLOWED, Rules
from training.reward.scoring import RewardModelScorer
from training.runtime.exit_codes import BAD_INPUT


def values(texts: Sequence[str], **settings: object) -> dict[str, list[float]]:
    """What each rule says of responses of as many tokens as they have characters."""
    rules = Rules(RewardRules(**settings))  # type: ignore[arg-type]
    prompts = [Prompt("p", conversation(("user", "ask")), (1, 2))] * len(texts)
    responses = [WrittenResponse(Response(tuple(range(len(text))), (), True), text) for text in texts]
    return {name: value_B.tolist() for name, value_B in rules.values(prompts, responses).items()}


def test_a_pattern_is_found_or_not() -> None:
    found = values(["so 42", "none", "a\n7"], weights={"pattern": 1}, pattern=r"\d+$")
    assert found == {"pattern": [1.0, 0.0, 1.0]}


def test_a_pattern_is_checked_by_what_it_is_searched_with() -> None:
    assert values(["ß", "7"], weights={"pattern": 1}, pattern=r"^\p{L}") == {"pattern": [1.0, 0.0]}
    with pytest.raises(ConfigError, match=r"rules.pattern: is no regular expression: bad fuzzy cost"):
        RewardRules(weights={"pattern": 1}, pattern="x{i<=}")  # a cross and some signs to the standard library


def test_a_pattern_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.reward.rules.PATTERN_SECONDS", 0.05)
    with pytest.raises(InputError, match=r"^rules.pattern took more than 0.05 s on a response$"):
        values(["a" * 40 + "!"], weights={"pattern": 1}, pattern=r"^(a|a)*$")


@pytest.mark.parametrize(
    ("length_in", "expected"), [("words", [0.0, -0.25, -0.75, -1.0]), ("tokens", [-1, -1, -0.5, -1])]
)
def test_length_costs_by_its_distance_from_the_target(length_in: str, expected: list[float]) -> None:
    texts = ["a bit of tea", "one two six", "in", " ".join(["more"] * 9)]
    assert values(texts, weights={"length": 1}, length=4, length_in=length_in)["length"] == expected


@pytest.mark.parametrize(
    ("text", "valid", "has_keys"),
    [
        ('{"a": 1, "b": null}', 1, 1),
        (' {"a": [1]}\n', 1, 0),
        ("[1, 2]", 1, 0),
        ('"a"', 1, 0),
        ("{'a': 1}", 0, 0),
        ('{"a": NaN, "b": 1}', 0, 0),
        ("[" * 100_000, 0, 0),
        ("", 0, 0),
    ],
)
def test_json_is_whole_and_has_its_keys(text: str, valid: int, has_keys: int) -> None:
    assert values([text], weights={"json": 2})["json"] == [valid]
    assert values([text], weights={"json": 2}, json_keys="a, b")["json"] == [has_keys]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "house_rules.py").write_text(
        "def echo(prompts, responses):\n"
        "    return [float(prompt[-1].content in text) for prompt, text in zip(prompts, responses)]\n"
        "def short(prompts, responses):\n    return [1.0]\n"
        "def nothing(prompts, responses):\n    return [float('nan') for _ in responses]\n"
        "def word(prompts, responses):\n    return ['much' for _ in responses]\n"
        "def broken(prompts, responses):\n    raise KeyError('gone')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ALLOWED, ", ".join(f"house_rules:{name}" for name in ("echo", *FAULTS)))
    yield
    sys.modules.pop("house_rules", None)


FAULTS: Mapping[str, str] = {
    "short": "the rule house_rules:short gave 1 values for 2 responses",
    "nothing": "the rule house_rules:nothing gave a value that is not finite",
    "word": "the rule house_rules:word gave something else than numbers",
    "broken": "house_rules:broken failed: KeyError: 'gone'",
    "missing": "cannot load house_rules:missing",
}


@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_is_given_conversations_and_texts() -> None:
    name = "house_rules:echo"
    assert values(["you ask", "no"], weights={name: 1}) == {name: [1.0, 0.0]}


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("name", "said"), FAULTS.items())
def test_a_function_that_does_not_do_ends_the_run_in_one_line(name: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        values(["a", "b"], weights={f"house_rules:{name}": 1})


@pytest.mark.parametrize("name", ["os:getcwd", "house_rules:echo"])
def test_what_the_installation_does_not_allow_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "house_rules:other")
    with pytest.raises(InputError, match=f"^{name} is not among the functions that {ALLOWED} allows$"):
        values(["a"], weights={name: 1})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": {"shouting": 1}}, "rules.weights: shouting is no rule"),
        ({"weights": {"json": 0}}, "rules.weights: the weight of json is 0"),
        ({"weights": {"pattern": 1}}, "rules.pattern: needed for the rule of that name"),
        ({"pattern": "("}, "rules.pattern: is no regular expression: missing"),
    ],
)
def test_rules_without_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        RewardRules(**settings)  # type: ignore[arg-type]


def test_rules_are_paid_beside_the_score_and_before_the_penalty(tmp_path: Path) -> None:
    rules = RewardRules(weights={"length": 0.5, "json": -2.0}, length=3, length_in="tokens")
    settings = tiny.config(rules=rules)
    policy, reference = tiny.policy(tmp_path / "model"), tiny.policy(tmp_path / "model")
    scored_by = tiny.reward_model(reference)
    reward = RewardModelScorer(scored_by, policy)
    plain = tiny.rollout(build_models(settings, policy, reference, scored_by, reward), settings)
    paid = tiny.rollout(build_models(settings, policy, reference, scored_by, reward, rules=Rules(rules)), settings)
    assert torch.equal(paid.score_B, plain.score_B)
    assert set(paid.rules_B) == {"length", "json"}
    for row, response in enumerate(paid.responses):
        count = len(response.sampled.token_ids)
        earned = (
            float(paid.score_B[row]) + 0.5 * max(-1.0, -abs(count - 3) / 3) - 2.0 * float(paid.rules_B["json"][row])
        )
        expected = earned if response.sampled.ended_with_eos else min(earned, 0.0) - 2.0
        assert float(paid.reward_B[row]) == pytest.approx(expected, abs=1e-5)
    assert not torch.equal(paid.reward_B, plain.reward_B)


def test_rules_alone_teach_the_policy_without_a_reward_model(world: Path, policy: Path, tmp_path: Path) -> None:
    settings = ppo_settings(world, policy, policy) | {
        "reward": None,
        "algorithm": "grpo",
        "samples_per_prompt": 6,
        "critic_warmup_iterations": 3,
        "iterations": 8,
        "batch_size": 48,
        "minibatch_size": 48,
        "actor_learning_rate": 3e-3,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
        "max_update_kl": None,
        "rules": {"weights": {"pattern": 1.0}, "pattern": rf"\b{toy.GOOD_WORD}\b"},
    }
    assert toy.run("ppo", tmp_path / "out", **settings) == 0
    said, score = means(tmp_path / "out", "rule_pattern"), means(tmp_path / "out", "score")
    assert said == score
    assert sum(said[-3:]) / 3 > said[0] + 0.2
    result = toy.result(tmp_path / "out")
    assert result["rule_pattern"] == result["reward"]


def test_without_a_reward_model_and_rules_nothing_pays(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ppo_settings(world, policy, policy) | {"reward": None}
    assert toy.run("ppo", tmp_path / "out", **settings) == BAD_INPUT
    assert "reward: needed where no rules pay" in capfd.readouterr().err
