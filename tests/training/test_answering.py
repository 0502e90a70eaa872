"""The resident process: asked line by line, it answers with the models that it holds."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.generation import sample_responses
from models.reward import save_reward_model
from models.saving import save_language_model
from tests.training import tiny
from training import answering
from training.reward.scoring import batched_scores

PROMPT = [{"role": "user", "content": "why"}]


def said(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    answers = io.StringIO()
    answering.serve(iter([json.dumps(question) for question in questions]), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "policy").mkdir()
    save_language_model(tiny.policy(tmp_path / "source"), tmp_path / "policy")
    return tmp_path / "policy"


def writing(policy: Path, **config: Any) -> dict[str, Any]:
    settings = {"policy": str(policy), "prompts": "-", "seed": 3, "samples_per_prompt": 2, "max_new_tokens": 30}
    return {"do": "write", "config": settings | config, "prompt": PROMPT}


def test_a_policy_writes_part_by_part_and_the_same_again(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "TELL_SECONDS", 0)
    *parts, whole = said(writing(policy))
    assert len(parts) > 5
    lengths = [[len(text) for text in part["texts"]] for part in parts]
    assert lengths[0] < lengths[-1]
    assert [response["text"] for response in whole["responses"]] == parts[-1]["texts"]
    assert said(writing(policy))[-1] == whole
    assert said(writing(policy, seed=4))[-1] != whole


def test_a_policy_reads_what_it_is_asked_by_the_settings_of_the_question(policy: Path) -> None:
    turns = [{"role": "system", "content": "be brief"}, *PROMPT]
    plain, folded = ({**writing(policy, system_turns=turn), "prompt": turns} for turn in ("template", "fold"))
    first, second = (answer for answer in said(plain, folded) if answer.get("done"))
    assert second == said(folded)[-1] != first


def test_being_heard_changes_no_token(tmp_path: Path) -> None:
    model = tiny.policy(tmp_path / "source")
    drafts: list[list[list[int]]] = []
    settings: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "seed": 0}
    heard = sample_responses(
        model, [[5, 6], [7, 8]], **settings, heard=lambda all_: drafts.append([[*one] for one in all_])
    )
    assert heard == sample_responses(model, [[5, 6], [7, 8]], **settings)
    assert drafts[-1] == [list(response.token_ids) for response in heard]


def test_scores_are_those_of_the_model_normalised_by_itself(tmp_path: Path) -> None:
    reward = tiny.reward_model(tiny.policy(tmp_path / "source"))
    (tmp_path / "reward").mkdir()
    save_reward_model(reward, tmp_path / "reward")
    pairs = [{"prompt": PROMPT, "response": text} for text in ("because", "so")]
    (answer,) = said({"do": "score", "model": str(tmp_path / "reward"), "pairs": pairs})
    prompts = reward.encode_prompts([answering._conversation(PROMPT)] * 2)
    responses = reward.encode_responses(["because", "so"])
    raw = batched_scores(reward, [one + other for one, other in zip(prompts, responses, strict=True)])
    torch.testing.assert_close(torch.tensor([score["raw"] for score in answer["scores"]]), raw)
    torch.testing.assert_close(
        torch.tensor([score["score"] for score in answer["scores"]]), (raw - reward.score_mean) / reward.score_std
    )


def test_a_question_that_can_not_be_answered_says_why_and_the_next_one_is(policy: Path, tmp_path: Path) -> None:
    answers = said(
        writing(tmp_path / "nowhere"),
        writing(policy, temperature=-1),
        writing(policy, max_new_tokens=100_000),
        {"do": "score", "model": str(tmp_path / "nowhere"), "pairs": []},
        {"do": "dance"},
        {"do": "wake"},
        writing(policy),
    )
    problems = [answer["problem"] for answer in answers if "problem" in answer]
    assert "there is no model at" in problems[0]
    assert "temperature: must be above 0" in problems[1]
    assert "no prompt leaves room" in problems[2]
    assert "there is no model at" in problems[3]
    assert problems[4].startswith("KeyError")
    assert answers[5] == {"done": True}
    assert answers[-1]["responses"]
