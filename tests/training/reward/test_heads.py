"""Ensembles and criteria: what each head learns, and what training with several of them leaves behind."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from models.backbone import LanguageModel, load_language_model, pad_right
from models.generation import sample_responses
from models.read_out import ReadOut
from models.reward import RewardModel, load_reward_model, reward_model_from_policy, scores, scores_by_head
from tests.models.directories import write_directory
from tests.training import toy
from tests.training.conftest import reward_settings
from training.config import RewardConfig
from training.data.encoding import encode_pairs, encode_prompts
from training.data.examples import Example, Pair, Prompt
from training.preferences.comparisons import comparisons
from training.records import PreferenceRecord, PromptRecord, read_records, write_records
from training.responses.written import WrittenResponse, written
from training.reward.distillation import distillation_loss
from training.reward.heads import heads_loss, lessons_of
from training.reward.objective import Objective, preference_loss, scored_loss
from training.reward.scoring import RewardModelScorer
from training.runtime.exit_codes import BAD_INPUT

PAIRS = [
    Pair(Example("p", (5, 6), (20, 21, 1)), Example("p", (5, 6), (30, 1)), 1.0, 1.0, criteria={"kind": 0.0}),
    Pair(Example("q", (7,), (25, 1)), Example("q", (7,), (26, 27, 28, 1)), 0.2, 2.0),
]
FINETUNE = {"method": "finetune", "finetune_epochs": 4, "finetune_learning_rate": 5e-3}
LONGER = {"distil_steps": 300, "finetune_epochs": 8}  # a small trunk learns the easier of two things first


def config(**settings: Any) -> RewardConfig:
    return RewardConfig(seed=0, policy="p", preferences=Path("x"), prompts=Path("y"), **settings)


def with_heads(policy: Path, read_out: ReadOut, weight_HD: torch.Tensor | None = None) -> RewardModel:
    reward_model = reward_model_from_policy(load_language_model(str(policy)), seed=0, read_out=read_out)
    if weight_HD is not None:
        with torch.no_grad():
            reward_model.head.weight.copy_(weight_HD)
    return reward_model


def gradients(reward_model: RewardModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*reward_model.model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_alike(one: dict[str, torch.Tensor], several: dict[str, torch.Tensor]) -> None:
    for name, gradient in one.items():
        theirs = several[name].sum(0, keepdim=True) if name == "score.weight" else several[name]
        torch.testing.assert_close(theirs, gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "objective", [Objective(), Objective(ranking_loss="plackett_luce", label_noise=0.1, centering=0.01)]
)
def test_equal_heads_that_hear_the_same_are_one_head_in_loss_and_gradient(policy: Path, objective: Objective) -> None:
    one = with_heads(policy, ReadOut())
    three = with_heads(policy, ReadOut(members=3), one.head.weight.detach().expand(3, -1))
    batch = comparisons(PAIRS)
    alone, _ = preference_loss(one, batch, objective)
    together, _ = heads_loss(three, [batch] * 3, objective)
    torch.testing.assert_close(together, alone)
    assert_alike(gradients(one, alone), gradients(three, together))


def test_equal_students_of_one_teacher_are_one_student_in_loss_and_gradient(policy: Path) -> None:
    one = with_heads(policy, ReadOut())
    three = with_heads(policy, ReadOut(members=3), one.head.weight.detach().expand(3, -1))
    examples = [PAIRS[0].a, PAIRS[1].b]
    targets = [torch.randn(len(example.response_ids), 1) for example in examples]
    alone, _ = distillation_loss(one, examples, targets, tokens=7, responses=2)
    threefold = [target.expand(-1, 3) for target in targets]
    together, _ = distillation_loss(three, examples, threefold, tokens=7, responses=2)
    torch.testing.assert_close(together, alone)
    assert_alike(gradients(one, alone), gradients(three, together))


def test_gradients_of_several_heads_are_those_of_finite_differences(tmp_path: Path) -> None:
    """Of the heads themselves and of a weight of the trunk, in float64."""
    directory = write_directory("gpt2", tmp_path)  # this family computes nothing in float32 by itself
    reward_model = with_heads(directory, ReadOut(members=2, criteria=("kind",)))
    reward_model.model.double()
    lessons = lessons_of(config(heads=2), reward_model.read_out, comparisons(PAIRS))
    batches = [lesson.heard for lesson in lessons]
    norm = next(weight for name, weight in reward_model.model.named_parameters() if name.endswith("ln_1.weight"))
    for parameter in (reward_model.head.weight, norm):
        (found,) = torch.autograd.grad(heads_loss(reward_model, batches, Objective())[0], [parameter])
        for place in (0, parameter.numel() // 2, parameter.numel() - 1):
            losses = []
            for step in (1e-5, -2e-5):
                with torch.no_grad():
                    parameter.view(-1)[place] += step
                    losses.append(float(heads_loss(reward_model, batches, Objective())[0]))
            with torch.no_grad():
                parameter.view(-1)[place] += 1e-5
            assert float(found.view(-1)[place]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_a_criterion_learns_what_was_said_of_it_and_nothing_where_nothing_was(policy: Path) -> None:
    reward_model = with_heads(policy, ReadOut(criteria=("kind",)))
    lessons = lessons_of(config(), reward_model.read_out, comparisons(PAIRS))
    batches = [lesson.heard for lesson in lessons]
    told, _ = heads_loss(reward_model, batches, Objective())
    scored = scores_by_head(reward_model, [PAIRS[0].a.token_ids, PAIRS[0].b.token_ids])[:, 1]
    kind = -torch.log(torch.sigmoid(scored[1] - scored[0]))
    plain = ReadOut()
    overall, _ = preference_loss(with_heads(policy, plain, reward_model.head.weight[:1]), batches[0], Objective())
    torch.testing.assert_close(told, overall + kind)


def test_pairs_of_a_ranking_of_which_a_criterion_says_nothing_are_no_ties(policy: Path) -> None:
    """A choice is learnt of the one pair that was compared by it, whose weight is a third of the judgement's."""
    responses = [Example("p", (5, 6), ids) for ids in ((20, 21, 1), (30, 1), (25, 26, 1))]
    ranked = [
        Pair(a, b, 1.0, 1 / 3, "human:1", criteria={} if told is None else {"kind": told})
        for (a, b), told in zip(itertools.combinations(responses, 2), (1.0, None, None), strict=True)
    ]
    reward_model = with_heads(policy, ReadOut(criteria=("kind",)))
    lessons = lessons_of(config(), reward_model.read_out, comparisons(ranked))
    (heard,) = lessons[1].heard
    better, worse, other = scores_by_head(reward_model, [one.token_ids for one in responses])[:, 1]
    loss, _ = scored_loss([torch.stack([better, worse, other])], [heard], Objective(ranking_loss="plackett_luce"))
    torch.testing.assert_close(loss, -torch.log(torch.sigmoid(better - worse)) / 3)


def test_members_hear_judgements_in_different_draws_that_average_to_one() -> None:
    many = comparisons([replace(PAIRS[0], group=str(number)) for number in range(2000)])
    lessons = lessons_of(config(heads=3), ReadOut(members=3), many)
    assert len({tuple(lesson.times) for lesson in lessons}) == 3
    for lesson in lessons:
        assert sum(lesson.times) / 2000 == pytest.approx(1.0, abs=0.1)
        assert sum(times == 0 for times in lesson.times) / 2000 == pytest.approx(0.368, abs=0.05)
    assert lessons_of(config(heads=3), ReadOut(members=3), many)[2].times == lessons[2].times
    same = lessons_of(config(heads=3, bootstrap=False), ReadOut(members=3), many)
    assert {tuple(lesson.times) for lesson in same} == {(1.0,) * 2000}


@pytest.fixture(scope="module")
def ensemble(world: Path, policy: Path) -> Path:
    settings = reward_settings(world, policy) | {"distil_steps": 60, "heads": 3, "read_out": "conservative"}
    assert toy.run("reward", world / "ensemble", **settings) == 0
    return world / "ensemble"


def sequences_of(reward_model: RewardModel, world: Path) -> list[tuple[int, ...]]:
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)[:40]
    pairs, _ = encode_pairs(reward_model, rows, max_length=512)
    return [side.token_ids for pair in pairs for side in (pair.a, pair.b)]


@pytest.mark.slow
def test_a_distilled_ensemble_agrees_with_people_and_its_members_differ(world: Path, ensemble: Path) -> None:
    result = toy.result(ensemble)
    assert result["accuracy"] > 0.75  # type: ignore[operator]
    members = result["member_accuracy"]
    assert isinstance(members, list)
    assert len(members) == 3
    assert min(members) > 0.7
    reward_model = load_reward_model(ensemble / "artifact")
    with torch.no_grad():
        score_BH = scores_by_head(reward_model, sequences_of(reward_model, world))
    assert float(score_BH.std(1).mean()) > 0.01


@pytest.mark.slow
def test_any_other_tool_gets_the_mean_of_an_ensemble_which_caution_never_exceeds(world: Path, ensemble: Path) -> None:
    ours = load_reward_model(ensemble / "artifact")
    sequences = sequences_of(ours, world)
    plain = AutoModelForSequenceClassification.from_pretrained(ensemble / "artifact").eval()
    ids = pad_right(sequences, ours.pad_id)
    with torch.no_grad():
        theirs = plain(ids, attention_mask=(ids != ours.pad_id).long()).logits.squeeze(-1)
        torch.testing.assert_close(theirs, scores_by_head(ours, sequences).mean(1), atol=1e-4, rtol=0)
        assert bool((scores(ours, sequences) <= theirs + 1e-5).all())
    manifest = json.loads((ensemble / "artifact" / "manifest.json").read_text())
    assert "heads.safetensors" in manifest["files"]


def test_that_another_tool_gets_the_mean_is_said_wherever_its_user_looks(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = reward_settings(world, policy) | FINETUNE | {"heads": 3, "finetune_epochs": 1}
    assert toy.run("reward", out, **settings, read_out="worst") == 0
    instead = (
        "its 3 heads are read by worst, which a plain model can't do: any other tool that opens it gets their mean"
    )
    assert capfd.readouterr().err == f"{out / 'artifact'}: {instead} instead\n"
    assert toy.result(out)["other_tools_read"] == "mean"
    assert AutoConfig.from_pretrained(out / "artifact").id2label == {0: "mean of heads, not the score"}
    assert instead in (out / "artifact" / "README.md").read_text()
    assert "README.md" in json.loads((out / "artifact" / "manifest.json").read_text())["files"]

    judged = {"reward": out / "artifact", "preferences": world / "preferences.jsonl"}
    assert toy.run("evaluate", tmp_path / "evaluated", **judged) == 0
    assert instead in capfd.readouterr().err
    assert toy.result(tmp_path / "evaluated")["reward_read_out"] == "worst"


def test_where_every_tool_gets_the_score_nothing_is_said(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = reward_settings(world, policy) | FINETUNE | {"heads": 3, "finetune_epochs": 1}
    assert toy.run("reward", out, **settings) == 0
    assert capfd.readouterr().err == ""
    assert "other_tools_read" not in toy.result(out)
    assert AutoConfig.from_pretrained(out / "artifact").id2label == {0: "score"}
    assert not (out / "artifact" / "README.md").exists()


def test_what_each_member_says_is_told_from_its_own_mean(world: Path, policy: Path, ensemble: Path) -> None:
    language_model = load_language_model(str(policy))
    reward_model = load_reward_model(ensemble / "artifact")
    rows = read_records(world / "prompts.jsonl", PromptRecord)
    prompts, _ = encode_prompts(language_model, rows, max_new_tokens=toy.MAX_NEW_TOKENS)
    asked = [prompt for prompt in prompts for _ in range(20)]
    responses = sample(language_model, asked)
    scorer = RewardModelScorer(reward_model, language_model)
    member_BM = scorer.by_member(scorer.latents(asked, responses)) / reward_model.score_std
    assert member_BM.shape == (len(asked), 3)
    assert member_BM.mean(0).tolist() == pytest.approx([0.0] * 3, abs=0.2)
    penalty = 0.5 * member_BM.var(1, correction=0)
    read_out = reward_model.read_out
    expected = member_BM.mean(1) - penalty * reward_model.score_std / read_out.deviation
    differences = scorer(asked, responses) - expected
    torch.testing.assert_close(differences, differences.mean().expand_as(differences), atol=1e-4, rtol=0)


@pytest.mark.parametrize("read_out", ["mean", "worst"])
def test_a_fine_tuned_ensemble_learns_what_people_preferred(
    world: Path, policy: Path, tmp_path: Path, read_out: str
) -> None:
    settings = reward_settings(world, policy) | FINETUNE | {"heads": 3, "read_out": read_out}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    assert toy.result(tmp_path / "out")["accuracy"] > 0.85  # type: ignore[operator]


def test_ppo_is_paid_by_an_ensemble(world: Path, policy: Path, ensemble: Path, tmp_path: Path) -> None:
    settings = {
        "policy": policy,
        "reference": policy,
        "reward": ensemble / "artifact",
        "prompts": world / "prompts.jsonl",
        "iterations": 2,
        "batch_size": 16,
        "minibatch_size": 8,
        "critic_warmup_iterations": 1,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
    }
    assert toy.run("ppo", tmp_path / "out", **settings) == 0
    assert (tmp_path / "out" / "artifact").exists()


def sample(language_model: LanguageModel, prompts: Sequence[Prompt]) -> list[WrittenResponse]:
    asked = [prompt.token_ids for prompt in prompts]
    sampled = sample_responses(
        language_model, asked, max_new_tokens=toy.MAX_NEW_TOKENS, temperature=0.7, seed=5, batch_size=128
    )
    return written(language_model, sampled)


def short(text: str) -> int:
    return -len(text.split())


def write_criteria(world: Path, path: Path) -> Path:
    """Beside what is better overall, in two of three pairs which response is briefer; and a criterion all ties."""
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)
    told = []
    for number, row in enumerate(rows):
        a, b = short(row.response_a), short(row.response_b)
        criteria = {"brief": 0.5 if a == b else float(a > b), "same": 0.5}
        told.append(replace(row, criteria=criteria if number % 3 else {}))
    write_records(path, told)
    return path


@pytest.mark.parametrize("method", [pytest.param("distil", marks=pytest.mark.slow), "finetune"])
@pytest.mark.slow
def test_each_criterion_has_a_head_and_a_held_out_accuracy(
    world: Path, policy: Path, tmp_path: Path, method: str
) -> None:
    settings = reward_settings(world, policy) | FINETUNE | LONGER | {"learn_criteria": True, "method": method}
    settings["preferences"] = write_criteria(world, tmp_path / "criteria.jsonl")
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    criteria = result["criteria"]
    assert isinstance(criteria, Mapping)
    assert criteria.keys() == {"brief"}
    assert criteria["brief"]["accuracy"] > 0.75
    rows = [row for row in read_records(settings["preferences"], PreferenceRecord) if row.split == "validation"]
    assert criteria["brief"]["validation_pairs"] == sum(row.criteria.get("brief", 0.5) != 0.5 for row in rows)
    overall = result["overall"]
    assert isinstance(overall, Mapping)
    assert overall["accuracy"] == result["accuracy"]
    assert overall["accuracy"] > 0.75


@pytest.mark.slow
def test_criteria_are_mixed_into_the_score_as_they_are_weighed(world: Path, policy: Path, tmp_path: Path) -> None:
    settings = reward_settings(world, policy) | LONGER | {"learn_criteria": True, "criteria_weights": {"brief": 2.0}}
    settings["preferences"] = write_criteria(world, tmp_path / "criteria.jsonl")
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    assert result["overall"]["accuracy"] > result["accuracy"] + 0.1  # type: ignore[index]
    reward_model = load_reward_model(tmp_path / "out" / "artifact")
    sequences = sequences_of(reward_model, world)
    with torch.no_grad():
        brief = 2.0 * scores_by_head(reward_model, sequences)[:, 1]
        torch.testing.assert_close(scores(reward_model, sequences), brief)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"heads": 0}, "heads: must be at least 1"),
        ({"read_out": "worst"}, "read_out: worst needs more than one of heads"),
        ({"heads": 2, "read_out": "median"}, "read_out: must be one of"),
        ({"heads": 2, "variance_penalty": 2.0}, "variance_penalty: only the read_out conservative"),
        ({"criteria_weights": {"brief": 1.0}}, "criteria_weights: needs learn_criteria"),
        ({"learn_criteria": True, "criteria_weights": {"brief": "much"}}, "criteria_weights.brief: must be a finite"),
        ({"learn_criteria": True, "criteria_weights": 3}, "criteria_weights: must be a JSON object"),
        ({"learn_criteria": True, "criteria_weights": {"overall": 0}}, "criteria_weights: must not all be zero"),
        ({"learn_criteria": True}, "learn_criteria: no training pair says"),
    ],
)
def test_heads_that_make_no_sense_are_refused(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], change: dict[str, object], word: str
) -> None:
    assert toy.run("reward", tmp_path / "out", **reward_settings(world, policy) | change) == BAD_INPUT
    message = capfd.readouterr().err
    assert word in message
    assert message.count("\n") == 1


def test_a_weight_for_a_criterion_that_nobody_decided_is_refused(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = reward_settings(world, policy) | {"learn_criteria": True, "criteria_weights": {"brief": 1, "same": 1}}
    settings["preferences"] = write_criteria(world, tmp_path / "criteria.jsonl")
    assert toy.run("reward", tmp_path / "out", **settings) == BAD_INPUT
    assert "criteria_weights: no training pair decides same" in capfd.readouterr().err
