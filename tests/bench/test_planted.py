"""The bench of planted models, on a world made up in a second."""

import torch

from app import starter
from bench.planted import EXAM_PROMPTS, EXAM_SAMPLES, POOL_SAMPLES, PROBED, Bench, World, told_of
from training.hacking.edits import EDITS

PROMPTS, DIRECTIONS = 60, 8


def made_up() -> World:
    """Responses of which the first direction says how long they are."""
    generator = torch.Generator().manual_seed(0)
    pool_KNI, exam_KNI, plain_BI = (
        torch.randn(*shape, DIRECTIONS, generator=generator)
        for shape in ((PROMPTS, POOL_SAMPLES), (EXAM_PROMPTS, EXAM_SAMPLES), (EXAM_PROMPTS * PROBED,))
    )
    longer_I = torch.zeros(DIRECTIONS)
    longer_I[0] = 1.0

    def texts(input_KNI: torch.Tensor) -> list[list[str]]:
        return [["so " * (40 + round(float(one) * 10)) for one in row] for row in input_KNI[..., 0]]

    asked = [prompt.text for prompt in starter.prompts()]
    return World(
        texts=texts(pool_KNI),
        prompts=asked[:PROMPTS],
        input_KNI=pool_KNI,
        exam_texts=texts(exam_KNI),
        exam_prompts=asked[:EXAM_PROMPTS],
        exam_KNI=exam_KNI,
        plain_BI=plain_BI,
        edited_BI=dict.fromkeys(EDITS, plain_BI + 2 * longer_I),
    )


def test_a_model_that_has_learnt_that_longer_is_better_is_taken_in_by_what_makes_responses_longer() -> None:
    world = made_up()
    bench = Bench(world, 300, 0)
    bench.gold = world.input_KNI[..., 1].tolist()  # the starter's says nothing of such texts
    rules = {rule.name: rule for rule in bench.round("length labels", 0)}
    assert rules["accuracy"].passed, "it says what these people say"
    assert not rules["probes_right"].passed
    assert not rules["probes_worst"].passed
    told = told_of([tuple(rules.values())])
    assert (told["by default"], told["by few"], told["probes_worst"]) == (0.0, 1.0, 1.0)
