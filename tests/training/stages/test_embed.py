"""Frozen features of responses, for whoever fits something linear on them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.reward import load_reward_model
from tests.training import toy
from training.config import EmbedConfig
from training.data.encoding import encode_pairs, encode_responses_to
from training.data.opening import open_language_model
from training.records import PreferenceRecord, ResponseRecord, read_records, write_records
from training.reward.features import prompt_features, response_features
from training.reward.representation import directions, products_of, scale_of
from training.reward.scoring import batched_scores
from training.runtime.checkpoint import CheckpointStore
from training.runtime.exit_codes import BAD_INPUT
from training.stages import embed

COUNT = 60


@pytest.fixture
def responses(world: Path, tmp_path: Path) -> Path:
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)[:COUNT]
    path = tmp_path / "responses.jsonl"
    records = [
        ResponseRecord(str(number), row.prompt_id, row.prompt, row.response_a) for number, row in enumerate(rows)
    ]
    long = ResponseRecord("too long", rows[0].prompt_id, rows[0].prompt, "bread " * 600)
    write_records(path, [long, *records])
    return path


def features_of(out: Path) -> torch.Tensor:
    return load_file(out / "features.safetensors")["features"]


def test_the_head_of_a_reward_model_on_its_features_gives_its_scores(
    world: Path, reward: Path, responses: Path, tmp_path: Path
) -> None:
    assert toy.run("embed", tmp_path / "out", reward=reward, responses=responses) == 0
    told = {"responses": COUNT, "features": 32, "responses_dropped": 1}
    assert toy.result(tmp_path / "out") == told | {"chosen_by_model": {"max_length": 512}}
    assert json.loads((tmp_path / "out" / "rows.json").read_text()) == [str(number) for number in range(COUNT)]
    reward_model = load_reward_model(reward)
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)[:COUNT]
    pairs, _ = encode_pairs(reward_model, rows, max_length=512)
    with torch.no_grad():
        by_head = reward_model.head(features_of(tmp_path / "out")).squeeze(-1)
    expected = batched_scores(reward_model, [pair.a.token_ids for pair in pairs])
    torch.testing.assert_close(by_head, expected, atol=1e-4, rtol=0)
    tokens = load_file(tmp_path / "out" / "features.safetensors")["tokens"]
    assert tokens.tolist() == [len(pair.a.response_ids) for pair in pairs]


def test_a_policy_gives_what_teachers_read_turned(policy: Path, responses: Path, tmp_path: Path) -> None:
    """A ridge on the coordinates is the ridge on the teacher's features: all inner products are the same."""
    assert toy.run("embed", tmp_path / "out", policy=policy, responses=responses, directions=1_000) == 0
    model = open_language_model(str(policy), EmbedConfig(seed=0, responses=responses, policy=str(policy)))
    examples, _ = encode_responses_to(model, read_records(responses, ResponseRecord), max_length=512)
    feature_BF, prompt_BD = response_features(model, examples), prompt_features(model, examples)
    taught_BI = products_of(feature_BF, prompt_BD).beside(feature_BF, prompt_BD)
    taught_BI = taught_BI / scale_of(taught_BI)
    written_BC = features_of(tmp_path / "out").double()
    assert written_BC.shape == taught_BI.shape
    torch.testing.assert_close(written_BC @ written_BC.T, taught_BI @ taught_BI.T, atol=1e-2, rtol=1e-4)
    tokens = load_file(tmp_path / "out" / "features.safetensors")["tokens"]
    assert tokens.tolist() == feature_BF[:, -1].tolist()


def test_a_single_response_has_features_too(policy: Path, responses: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "one.jsonl", read_records(responses, ResponseRecord)[1:2])
    assert toy.run("embed", tmp_path / "out", policy=policy, responses=tmp_path / "one.jsonl") == 0
    assert len(features_of(tmp_path / "out")) == 1
    assert bool(features_of(tmp_path / "out").isfinite().all())


def test_fewer_directions_are_those_in_which_responses_to_one_prompt_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    by_prompt, within = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    prompts = [str(row // 4) for row in range(400)]
    shared_B1 = torch.randn(100, 1, generator=generator).repeat_interleave(4, 0)
    feature_BI = by_prompt * shared_B1 + within * torch.randn(400, 3, generator=generator)
    direction_IC = directions(feature_BI, prompts, 2)
    assert direction_IC.shape == (3, 2)
    assert direction_IC.abs().argmax(0).tolist() == [1, 2]
    assert directions(feature_BI[::4], prompts[::4], 1).abs().argmax().item() == 0, "of one response each, of all"


def test_a_run_that_was_cut_short_goes_on_to_the_same_features(
    reward: Path, responses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "EXAMPLES_AT_ONCE", 16)
    settings = {"reward": reward, "responses": responses, "checkpoint_steps": 1}
    assert toy.run("embed", tmp_path / "unbroken", **settings) == 0
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "clear", lambda self: None)  # as if killed just before the end
        assert toy.run("embed", tmp_path / "broken", **settings) == 0
    (tmp_path / "broken" / "result.json").unlink()
    (tmp_path / "broken" / "features.safetensors").unlink()
    newest = max((tmp_path / "broken" / "checkpoints").iterdir())
    (newest / "tensors.safetensors").write_bytes(b"torn")  # so that the last chunk is computed again
    assert toy.run("embed", tmp_path / "broken", **settings) == 0
    assert torch.equal(features_of(tmp_path / "broken"), features_of(tmp_path / "unbroken"))
    assert len(toy.metrics(tmp_path / "broken")) == 4


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"reward": None}, "reward, policy: exactly one of them is needed"),
        ({"max_length": 2}, "every response is longer than 2 tokens"),
        ({"responses": "none.jsonl"}, "none.jsonl"),
        ({"reward": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_what_can_not_be_embedded_is_refused_in_one_line(
    change: dict[str, object],
    word: str,
    reward: Path,
    responses: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = {"reward": reward, "responses": responses} | change
    assert toy.run("embed", tmp_path / "out", **settings) == BAD_INPUT
    message = capfd.readouterr().err
    assert word in message
    assert message.count("\n") == 1


def test_two_responses_of_one_id_are_refused(
    reward: Path, responses: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = read_records(responses, ResponseRecord)
    write_records(responses, [*rows, rows[3]])
    assert toy.run("embed", tmp_path / "out", reward=reward, responses=responses) == BAD_INPUT
    assert "response_id 2 is of more than one response" in capfd.readouterr().err
