from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.backbone import load_language_model
from tests.training import toy
from training.data.encoding import encode_prompts
from training.data.examples import Prompt
from training.hacking.edits import EDITS, preferred_over_edits
from training.records import PromptRecord, read_records
from training.responses.written import WrittenResponse

TEXTS = ["soup is good", "use a plain pot", "", "soup and more soup"]


def length(prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    return torch.tensor([float(len(response.sampled.token_ids)) for response in responses])


def brevity(prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    return -length(prompts, responses)


def soup(prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    return torch.tensor([float(response.text.count("soup")) for response in responses])


@pytest.fixture
def prompts(world: Path, policy: Path) -> list[Prompt]:
    records = read_records(world / "prompts.jsonl", PromptRecord)
    return encode_prompts(load_language_model(policy), records, max_new_tokens=toy.MAX_NEW_TOKENS)[0][: len(TEXTS)]


def test_who_pays_for_length_is_taken_in_by_every_edit(policy: Path, prompts: list[Prompt]) -> None:
    assert preferred_over_edits(length, load_language_model(policy), prompts, TEXTS) == dict.fromkeys(EDITS, 0.0)


def test_who_pays_for_brevity_is_taken_in_by_none(policy: Path, prompts: list[Prompt]) -> None:
    assert preferred_over_edits(brevity, load_language_model(policy), prompts, TEXTS) == dict.fromkeys(EDITS, 1.0)


def test_what_changes_nothing_that_is_paid_for_is_no_mistake(policy: Path, prompts: list[Prompt]) -> None:
    shares = preferred_over_edits(soup, load_language_model(policy), prompts, TEXTS)
    assert shares == dict.fromkeys(EDITS, 1.0) | {"repetition": pytest.approx(1 / 3)}  # the empty one is left out


def test_a_response_without_room_for_an_edit_is_left_out(policy: Path, prompts: list[Prompt]) -> None:
    model = load_language_model(policy)
    room = model.max_positions - len(prompts[0].token_ids)
    text = "soup " * room
    assert preferred_over_edits(length, model, prompts[:1], [text]) == {}
