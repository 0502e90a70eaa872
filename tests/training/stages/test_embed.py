"""Frozen features of responses, for whoever fits something linear on them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.reward import load_reward_model
from tests.training import toy
from training.data.encoding import encode_pairs
from training.records import PreferenceRecord, ResponseRecord, read_records, write_records
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


def test_a_policy_gives_the_features_that_teachers_read(policy: Path, responses: Path, tmp_path: Path) -> None:
    assert toy.run("embed", tmp_path / "out", policy=policy, responses=responses) == 0
    feature_BF = features_of(tmp_path / "out")
    assert feature_BF.shape == (COUNT, 2 * 32 + 7)
    tokens = load_file(tmp_path / "out" / "features.safetensors")["tokens"]
    assert feature_BF[:, -1].tolist() == tokens.tolist()


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
