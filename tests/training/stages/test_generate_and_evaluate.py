import json
from pathlib import Path

import pytest

from tests.training import toy
from training.hacking.detectors import distinct_2
from training.records import CompletionRecord, DuelRecord, read_records


def generated(out: Path, **settings: object) -> list[CompletionRecord]:
    assert toy.run("generate", out, max_new_tokens=toy.MAX_NEW_TOKENS, **settings) == 0
    return read_records(out / "completions.jsonl", CompletionRecord)


def test_every_prompt_gets_its_completions_in_order(world: Path, policy: Path, tmp_path: Path) -> None:
    records = generated(tmp_path / "out", policy=policy, prompts=world / "prompts.jsonl", samples_per_prompt=3)
    expected = [(prompt_id, sample) for prompt_id in toy.prompts() for sample in range(3)]
    assert [(record.prompt_id, record.sample) for record in records] == expected
    assert len({record.text for record in records}) > len(records) / 2
    assert all(record.token_count <= toy.MAX_NEW_TOKENS for record in records)
    assert not any("<|" in record.text for record in records)
    result = toy.result(tmp_path / "out")
    assert result["completions"] == 72
    assert result["eos_rate"] == pytest.approx(sum(record.ended_with_eos for record in records) / 72)


def test_a_seed_gives_the_same_completions_again(world: Path, policy: Path, tmp_path: Path) -> None:
    settings = {"policy": policy, "prompts": world / "prompts.jsonl"}
    one, again, other = (
        generated(tmp_path / name, **settings, seed=seed) for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again
    assert [record.text for record in one] != [record.text for record in other]


def test_a_policy_is_level_with_itself(world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    code = toy.run(
        "evaluate",
        tmp_path / "out",
        policy=policy,
        reference=policy,
        reward=reward,
        prompts=world / "prompts.jsonl",
        preferences=world / "preferences.jsonl",
        samples_per_prompt=4,
        max_new_tokens=toy.MAX_NEW_TOKENS,
    )
    assert code == 0
    result = toy.result(tmp_path / "out")
    assert result["kl"] == pytest.approx(0.0, abs=1e-3)
    low, rate, high = (float(str(result[f"proxy_win_rate{end}"])) for end in ("_low", "", "_high"))
    assert low < rate < high
    assert abs(rate - 0.5) < high - low  # four standard errors: one run in twenty lies outside of the interval itself
    assert result["length_ratio"] == pytest.approx(1.0, abs=0.25)
    assert result["accuracy_low"] <= result["accuracy"] <= result["accuracy_high"]  # type: ignore[operator]
    assert result["validation_pairs"] + result["validation_ties"] == 900  # type: ignore[operator]
    for name in ("completions.jsonl", "reference_completions.jsonl"):
        assert len(read_records(tmp_path / "out" / name, CompletionRecord)) == 96
    duels = read_records(tmp_path / "out" / "duels.jsonl", DuelRecord)
    assert [(duel.prompt_id, duel.sample) for duel in duels] == [(key, n) for key in toy.prompts() for n in range(4)]
    wins = [
        1.0 if duel.reward > duel.reference_reward else 0.5 * (duel.reward == duel.reference_reward) for duel in duels
    ]
    assert sum(wins) / 96 == pytest.approx(rate)


def test_only_preferences_can_be_evaluated_too(world: Path, reward: Path, tmp_path: Path) -> None:
    code = toy.run("evaluate", tmp_path / "out", reward=reward, preferences=world / "preferences.jsonl")
    assert code == 0
    assert "kl" not in toy.result(tmp_path / "out")


def test_a_reward_model_is_as_good_as_it_was_measured_when_it_was_made(
    world: Path, reward: Path, tmp_path: Path
) -> None:
    lines = (world / "preferences.jsonl").read_text().splitlines()
    (tmp_path / "validation.jsonl").write_text(
        "\n".join(line for line in lines if json.loads(line)["split"] == "validation")
    )
    assert toy.run("evaluate", tmp_path / "out", reward=reward, preferences=tmp_path / "validation.jsonl") == 0
    made, found = toy.result(world / "reward"), toy.result(tmp_path / "out")
    assert {name: found[name] for name in ("accuracy", "accuracy_low", "validation_pairs", "validation_ties")} == {
        name: made[name] for name in ("accuracy", "accuracy_low", "validation_pairs", "validation_ties")
    }
    assert found["nll"] == pytest.approx(made["nll"], rel=1e-5)


def test_distinct_2_falls_when_everything_is_the_same() -> None:
    assert distinct_2(["a b c", "d e f"]) == 1.0
    assert distinct_2(["a b c", "a b c"]) == 0.5
    assert distinct_2(["", "one"]) == 0.0
