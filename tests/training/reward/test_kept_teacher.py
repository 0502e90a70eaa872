"""A distilled reward model's teacher stays beside it, and pays in PPO."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.generation import sample_responses
from tests.training import toy
from training.config import InputError
from training.data.encoding import encode_pairs, encode_prompts
from training.data.examples import Example
from training.data.opening import load, open_language_model, open_reward_model
from training.preferences.agreement import agreement
from training.records import PreferenceRecord, PromptRecord
from training.responses.written import written
from training.reward.features import prompt_features, response_features
from training.reward.kept_teacher import FARTHEST, FILE, KeptTeacher, kept_teacher
from training.reward.scoring import RewardModelScorer
from training.runtime.artifact import model_identity
from training.runtime.exit_codes import BAD_INPUT


@pytest.fixture(scope="module")
def teacher(policy: Path, reward: Path) -> KeptTeacher:
    found = kept_teacher(reward, policy=model_identity(policy))
    assert found is not None
    return found


def test_it_says_what_people_prefer_on_the_scale_of_the_policys_samples(
    world: Path, policy: Path, teacher: KeptTeacher
) -> None:
    reads = open_language_model(str(policy))
    pairs, _ = encode_pairs(reads, load(world / "preferences.jsonl", PreferenceRecord), max_length=512)
    said = [teacher.scores(reads, [getattr(pair, side) for pair in pairs], pessimism=0.0) for side in ("a", "b")]
    accuracy = agreement(pairs, (said[0] - said[1]).tolist()).accuracy
    assert accuracy is not None
    assert accuracy.mean > 0.9
    prompts, _ = encode_prompts(reads, load(world / "prompts.jsonl", PromptRecord), max_new_tokens=toy.MAX_NEW_TOKENS)
    drawn = [prompts[place % len(prompts)] for place in range(256)]
    settings = {"max_new_tokens": toy.MAX_NEW_TOKENS, "temperature": 0.7, "seed": 5}
    sampled = sample_responses(reads, [prompt.token_ids for prompt in drawn], **settings)  # type: ignore[arg-type]
    responses = written(reads, sampled)
    scorer = RewardModelScorer(open_reward_model(str(world / "reward" / "artifact")), reads, teacher=teacher)
    score_B = scorer(drawn, responses)
    assert float(score_B.mean()) == pytest.approx(0.0, abs=0.25)
    assert float(score_B.std()) == pytest.approx(1.0, abs=0.5), "of another draw of few: what the policy writes is rare"


def test_pessimism_takes_off_the_deviation_of_the_posterior(world: Path, policy: Path, teacher: KeptTeacher) -> None:
    reads = open_language_model(str(policy))
    pairs, _ = encode_pairs(reads, load(world / "preferences.jsonl", PreferenceRecord)[:20], max_length=512)
    examples = [pair.a for pair in pairs]
    plain_B, careful_B = (teacher.scores(reads, examples, pessimism=pessimism) for pessimism in (0.0, 2.0))
    input_BI = teacher.products.beside(response_features(reads, examples), prompt_features(reads, examples))
    x_BI = input_BI / teacher.deviation_I - teacher.centre_I
    evidence_PI = teacher.evidence_PI.double()
    precision_II = evidence_PI.T @ evidence_PI + teacher.strength * torch.eye(x_BI.shape[1], dtype=torch.float64)
    deviation_B = (x_BI @ torch.linalg.inv(precision_II) * x_BI).sum(-1).sqrt() / teacher.deviation
    torch.testing.assert_close(plain_B - careful_B, 2.0 * (deviation_B - teacher.doubt), atol=1e-4, rtol=1e-3)
    # What is like nothing that was judged is what it knows least about.
    strange = Example("p", examples[0].prompt_ids, examples[0].response_ids[:1] * toy.MAX_NEW_TOKENS)
    unsure = [
        float(teacher.scores(reads, [one], pessimism=0.0) - teacher.scores(reads, [one], pessimism=1.0))
        for one in (strange, examples[0])
    ]
    assert unsure[0] > unsure[1]


def test_no_response_costs_more_than_a_score_can_give(policy: Path, teacher: KeptTeacher, world: Path) -> None:
    reads = open_language_model(str(policy))
    pairs, _ = encode_pairs(reads, load(world / "preferences.jsonl", PreferenceRecord)[:20], max_length=512)
    unheard_of = replace(teacher, evidence_PI=torch.zeros_like(teacher.evidence_PI), strength=1e-6)
    plain_B, careful_B = (
        unheard_of.scores(reads, [pair.a for pair in pairs], pessimism=pessimism) for pessimism in (0.0, 1.0)
    )
    assert (plain_B - careful_B).tolist() == pytest.approx([FARTHEST] * len(pairs))


def test_ppo_is_paid_by_the_teacher_unless_the_model_is_asked_for(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    first = {}
    for paid_by in ("usual", "teacher", "model"):
        settings = ppo_settings(world, policy, reward) | {"paid_by": paid_by}
        assert toy.run("ppo", tmp_path / paid_by, **settings) == 0
        first[paid_by] = toy.metrics(tmp_path / paid_by)[0]["values"]["score"]  # type: ignore[index]
    assert first["usual"] == first["teacher"] != first["model"]


def test_a_teacher_that_reads_another_policy_does_not_pay(
    world: Path, policy: Path, reward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept_teacher(reward, policy="another") is None
    other = shutil.copytree(policy, tmp_path / "other")
    (other / "manifest.json").write_text((policy / "manifest.json").read_text() + "\n")
    settings = ppo_settings(world, other, reward) | {"paid_by": "teacher"}
    assert toy.run("ppo", tmp_path / "out", **settings) == BAD_INPUT
    assert "paid_by: the reward model has no teacher that reads the reference" in capsys.readouterr().err
    (reward_copy := tmp_path / "broken").mkdir()
    (reward_copy / FILE).write_text("not a file of tensors")
    with pytest.raises(InputError, match="cannot read the teacher"):
        kept_teacher(reward_copy, policy=model_identity(policy))


def ppo_settings(world: Path, policy: Path, reward: Path) -> dict[str, object]:
    return {
        "policy": policy,
        "reference": policy,
        "reward": reward,
        "prompts": world / "prompts.jsonl",
        "iterations": 1,
        "batch_size": 16,
        "minibatch_size": 8,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
        "detector_responses": 0,
        "sample_texts": 0,
    }
