"""Several heads: what they become together, against plain floats, and what another tool sees of them."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean, pvariance

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from models.backbone import ModelError, load_language_model, pad_right
from models.read_out import ReadOut
from models.reward import (
    HEADS,
    RewardModel,
    load_reward_model,
    reward_model_from_policy,
    save_reward_model,
    scores,
    scores_by_head,
)
from models.value import Critic

SEQUENCES = [[5, 6, 7, 30, 0], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 40, 41, 0], [20, 0], [5, 6, 7, 30, 31, 32]]
CENTRES = (0.5, -1.0, 0.25)
MEAN = ReadOut(members=3)
WORST = ReadOut(members=3, kind="worst", centres=CENTRES)
CONSERVATIVE = ReadOut(members=3, kind="conservative", variance_penalty=0.7, centres=CENTRES, deviation=2.0)
MIXED = ReadOut(members=2, criteria=("honest", "kind"), weights={"overall": 0.5, "kind": -2.0})


def in_plain_floats(read_out: ReadOut, row: list[float]) -> float:
    members = row[: read_out.members]
    centred = [score - centre for score, centre in zip(members, read_out.centres or [0.0] * 9, strict=False)]
    overall = fmean(members)
    if read_out.kind == "worst":
        overall = min(centred) + fmean(read_out.centres)
    if read_out.kind == "conservative":
        overall -= read_out.variance_penalty * pvariance(centred) / read_out.deviation
    weights = dict(read_out.weights) or {"overall": 1.0}
    by_name = {"overall": overall, **dict(zip(read_out.criteria, row[read_out.members :], strict=True))}
    return sum(weights.get(name, 0.0) * score for name, score in by_name.items())


@pytest.mark.parametrize("read_out", [MEAN, WORST, CONSERVATIVE, MIXED, replace(MIXED, kind="worst", centres=(1, 2))])
def test_a_read_out_is_what_plain_floats_say(read_out: ReadOut) -> None:
    score_BH = torch.randn(40, read_out.heads, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [in_plain_floats(read_out, row) for row in score_BH.tolist()]
    torch.testing.assert_close(read_out.of(score_BH).tolist(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(read_out.of(score_BH[None]), read_out.of(score_BH)[None])
    assert read_out.is_linear == (read_out.kind == "mean")


@pytest.mark.parametrize("read_out", [MEAN, WORST, CONSERVATIVE, MIXED])
def test_gradients_of_a_read_out_are_those_of_finite_differences(read_out: ReadOut) -> None:
    generator = torch.Generator().manual_seed(2)
    score_BH = torch.randn(6, read_out.heads, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(read_out.of, (score_BH,))


@pytest.mark.parametrize("read_out", [WORST, CONSERVATIVE])
def test_caution_never_says_more_than_the_mean_and_nothing_less_where_members_agree(read_out: ReadOut) -> None:
    score_BM = torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
    assert bool((read_out.of(score_BM) <= score_BM.mean(1) + 1e-6).all())
    agreeing_BM = torch.tensor(CENTRES) + torch.randn(5, 1)
    torch.testing.assert_close(read_out.of(agreeing_BM), agreeing_BM.mean(1))


def several_heads(model_directory: Path, read_out: ReadOut) -> RewardModel:
    return reward_model_from_policy(load_language_model(model_directory), seed=0, read_out=read_out)


def test_scores_of_several_heads_do_not_depend_on_padding(model_directory: Path) -> None:
    reward_model = several_heads(model_directory, CONSERVATIVE)
    with torch.no_grad():
        together = scores_by_head(reward_model, SEQUENCES)
        alone = torch.cat([scores_by_head(reward_model, [sequence]) for sequence in SEQUENCES])
    assert together.shape == (4, 3)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("read_out", [MEAN, WORST, CONSERVATIVE, MIXED])
def test_a_saved_ensemble_comes_back_and_is_its_mean_to_any_other_tool(
    model_directory: Path, tmp_path: Path, read_out: ReadOut
) -> None:
    reward_model = several_heads(model_directory, read_out)
    save_reward_model(reward_model, tmp_path)
    reloaded = load_reward_model(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = pad_right(SEQUENCES, reward_model.pad_id)
    with torch.no_grad():
        theirs = plain(ids, attention_mask=(ids != reward_model.pad_id).long()).logits.squeeze(-1)
        score_BH = scores_by_head(reward_model, SEQUENCES)
        assert torch.equal(scores_by_head(reloaded, SEQUENCES), score_BH)
        assert torch.equal(scores(reloaded, SEQUENCES), scores(reward_model, SEQUENCES))
    assert reloaded.read_out == read_out
    assert plain.config.num_labels == 1
    torch.testing.assert_close(theirs, score_BH @ read_out.linear_weights(), atol=1e-4, rtol=0)
    if read_out.is_linear:
        torch.testing.assert_close(theirs, scores(reloaded, SEQUENCES), atol=1e-4, rtol=0)


def test_the_critic_starts_as_the_mean_of_the_heads(model_directory: Path) -> None:
    reward_model = several_heads(model_directory, MEAN)
    reward_model.set_statistics(-0.4, 2.0)
    critic = Critic.from_reward_model(reward_model)
    with torch.no_grad():
        values = critic(pad_right(SEQUENCES, reward_model.pad_id))
        last = values[range(len(SEQUENCES)), [len(sequence) - 1 for sequence in SEQUENCES]]
        torch.testing.assert_close(last, (scores(reward_model, SEQUENCES) + 0.4) / 2.0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("damage", ["missing", "not safetensors", "of another shape"])
def test_an_ensemble_without_its_heads_is_refused_in_one_line(
    model_directory: Path, tmp_path: Path, damage: str
) -> None:
    save_reward_model(several_heads(model_directory, MEAN), tmp_path)
    heads = (tmp_path / HEADS).read_bytes()
    (tmp_path / HEADS).unlink()
    if damage == "not safetensors":
        (tmp_path / HEADS).write_bytes(b"heads")
    if damage == "of another shape":
        save_reward_model(several_heads(model_directory, ReadOut(members=2)), tmp_path / "other")
        assert (tmp_path / "other" / HEADS).read_bytes() != heads
        (tmp_path / "other" / HEADS).rename(tmp_path / HEADS)
    with pytest.raises(ModelError, match=HEADS) as refusal:
        load_reward_model(tmp_path)
    assert "\n" not in str(refusal.value)
