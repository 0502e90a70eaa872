"""What scores are normalised over: responses by people, where these are given."""

from pathlib import Path

import pytest
import torch

from models.reward import load_reward_model
from models.value import Critic
from tests.models.encoders import write_encoder
from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.reward.test_cost import cost_settings
from tests.training.stages.test_bad_input import refused
from tests.training.stages.test_every_stage_with_bad_input import stranger  # noqa: F401  a fixture
from training.data.encoding import encode_demonstrations
from training.data.examples import Example
from training.records import DemonstrationRecord, read_records, write_records
from training.reward.scoring import batched_scores

DEMONSTRATIONS = 60
FINETUNE = {"method": "finetune", "finetune_epochs": 2, "finetune_learning_rate": 3e-3}
ENSEMBLE = {"heads": 3, "read_out": "worst"}


@pytest.fixture
def demonstrations(world: Path, tmp_path: Path) -> Path:
    """Better ones than the policy writes, so that their mean isn't that of its samples."""
    rows = read_records(world / "demonstrations.jsonl", DemonstrationRecord)[::10][:DEMONSTRATIONS]
    better = [
        DemonstrationRecord(row.prompt_id, row.prompt, f"{toy.GOOD_WORD} {toy.GOOD_WORD} {row.response}")
        for row in rows
    ]
    write_records(tmp_path / "better.jsonl", better)
    return tmp_path / "better.jsonl"


def over(demonstrations: Path) -> dict[str, object]:
    return {"normalise_over": "demonstrations", "demonstrations": demonstrations}


def examples_of(demonstrations: Path, artifact: Path) -> list[Example]:
    rows = read_records(demonstrations, DemonstrationRecord)
    return encode_demonstrations(load_reward_model(artifact), rows, max_length=512)[0]


def normalised_scores(demonstrations: Path, artifact: Path) -> torch.Tensor:
    """Of the demonstrations, by the statistics that the artifact holds."""
    reward_model = load_reward_model(artifact)
    raw_B = batched_scores(reward_model, [example.token_ids for example in examples_of(demonstrations, artifact)])
    return (raw_B - reward_model.score_mean) / reward_model.score_std


@pytest.mark.parametrize(
    "learn",
    [
        pytest.param({"distil_steps": 20}, id="distilled"),
        pytest.param(FINETUNE, id="fine-tuned", marks=pytest.mark.slow),
        pytest.param(FINETUNE | ENSEMBLE, id="ensemble"),
        pytest.param(
            {"method": "cross_validated", "folds": 2, "distil_steps": 4}, id="tried out", marks=pytest.mark.slow
        ),
    ],
)
def test_demonstrations_have_mean_0_and_deviation_1(
    learn: dict[str, object], demonstrations: Path, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert toy.run("reward", out, **reward_settings(world, policy) | learn | over(demonstrations)) == 0
    scores = normalised_scores(demonstrations, out / "artifact")
    assert float(scores.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(scores.std()) == pytest.approx(1.0, abs=1e-4)
    assert float(normalised_scores(demonstrations, reward).mean()) > 0.5, "their mean isn't that of samples"
    result = toy.result(out)
    assert (result["normalised_over"], result["normalised_over_responses"]) == ("demonstrations", DEMONSTRATIONS)
    assert result["demonstrations_dropped"] == 0


def test_a_critic_starts_with_the_mean_of_demonstrations_as_its_zero(
    demonstrations: Path, world: Path, policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert toy.run("reward", out, **reward_settings(world, policy) | FINETUNE | over(demonstrations)) == 0
    critic = Critic.from_reward_model(load_reward_model(out / "artifact"))
    with torch.no_grad():
        values = [critic(torch.tensor([one.token_ids]))[0, -1] for one in examples_of(demonstrations, out / "artifact")]
    assert float(torch.stack(values).mean()) == pytest.approx(0.0, abs=1e-4)


def test_who_learns_nothing_from_samples_draws_none(
    demonstrations: Path, world: Path, policy: Path, tmp_path: Path
) -> None:
    settings = reward_settings(world, policy) | FINETUNE
    assert toy.run("reward", tmp_path / "out", **settings | over(demonstrations)) == 0
    assert toy.run("reward", tmp_path / "samples", **settings) == 0
    assert {row["phase"] for row in toy.metrics(tmp_path / "out")} == {"finetune"}
    assert {row["phase"] for row in toy.metrics(tmp_path / "samples")} == {"sample", "finetune"}
    assert toy.result(tmp_path / "out")["reference_samples"] == 0
    sampled = toy.result(tmp_path / "samples")
    assert (sampled["normalised_over"], sampled["normalised_over_responses"]) == ("samples", 256)
    assert "demonstrations_dropped" not in sampled


def test_of_many_demonstrations_some_are_drawn(demonstrations: Path, world: Path, policy: Path, tmp_path: Path) -> None:
    settings = reward_settings(world, policy) | FINETUNE | over(demonstrations) | {"reference_samples": 20}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    assert toy.result(tmp_path / "out")["normalised_over_responses"] == 20
    assert float(normalised_scores(demonstrations, tmp_path / "out" / "artifact").mean()) == pytest.approx(0.0, abs=0.8)


@pytest.mark.slow
def test_bases_with_tokens_of_their_own_read_the_texts(
    demonstrations: Path,
    world: Path,
    policy: Path,
    stranger: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    bert = write_encoder("bert", tmp_path / "bert")
    for name, base in (("decoder", stranger), ("encoder", bert)):
        settings = reward_settings(world, policy) | FINETUNE | over(demonstrations) | {"base": base}
        assert toy.run("reward", tmp_path / name, **settings) == 0
        scores = normalised_scores(demonstrations, tmp_path / name / "artifact")
        assert float(scores.mean()) == pytest.approx(0.0, abs=1e-4)
        assert float(scores.std()) == pytest.approx(1.0, abs=1e-4)


def test_the_zero_of_a_cost_stays(demonstrations: Path, world: Path, policy: Path, tmp_path: Path) -> None:
    settings = cost_settings(world, policy) | {"finetune_epochs": 2} | over(demonstrations)
    assert toy.run("cost", tmp_path / "out", **settings) == 0
    scores = normalised_scores(demonstrations, tmp_path / "out" / "artifact")
    assert toy.result(tmp_path / "out")["score_mean"] == 0.0
    assert float(scores.std()) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(scores.mean())) > 0.5, "it would be 0 if it had been taken off"


@pytest.mark.parametrize(
    ("responses", "word"),
    [
        (["word " * 600, "other " * 600], "every demonstration is longer than 512 tokens"),
        (["kindly", "word " * 600], "only one fits"),
        (["kindly", "kindly", "kindly"], "gives every response the same score"),
    ],
)
def test_demonstrations_without_a_deviation_are_refused(
    responses: list[str], word: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (prompt_id, prompt), *_ = toy.prompts().items()
    write_records(tmp_path / "few.jsonl", [DemonstrationRecord(prompt_id, prompt, text) for text in responses])
    settings = reward_settings(world, policy) | FINETUNE | over(tmp_path / "few.jsonl")
    assert word in refused("reward", tmp_path / "out", capfd, **settings)


def test_demonstrations_come_with_the_word_that_they_are_for(
    demonstrations: Path, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = reward_settings(world, policy)
    alone = refused("reward", tmp_path / "out", capfd, **settings, demonstrations=demonstrations)
    assert "demonstrations: only normalise_over demonstrations uses this" in alone
    lacking = refused("reward", tmp_path / "out", capfd, **settings, normalise_over="demonstrations")
    assert "demonstrations: needed to normalise over them" in lacking
