"""How much a figure is worth, as pages say it: by how many pairs, and by how many judgements there should be."""

import math
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Demonstration, Gate, ModelVersion, Project, Run
from app.services.loop.gates import gates
from app.services.loop.gates.gate_bounds import FirstPolicyBounds
from app.services.loop.models import models
from app.services.projects import projects
from app.web.words.figures import beside, described, leading, other_figures
from tests.browser.seed import Seeded
from tests.browser.seed.versions import make_dataset
from tests.factories import make_prompt
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import OVER, PROJECT, read, sentence, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

ONE_PAIR = {
    "validation_pairs": 1,
    "accuracy": 1.0,
    "accuracy_low": 0.21,
    "accuracy_high": 1.0,
    "accuracy_difference": 0.5,
    "accuracy_shorter_preferred": 0.5,
    "subset_pairs": {"shorter_preferred": 4},
}
CROSS_VALIDATED = {
    "cross_validated_pairs": 30,
    "cross_validated_accuracy": 0.51,
    "cross_validated_accuracy_low": 0.34,
    "cross_validated_accuracy_high": 0.69,
}


def told(figures: dict[str, Any]) -> list[str]:
    return [" ".join(filter(None, (one.title, one.text, one.interval))) for one in described(figures)]


def test_few_validation_pairs_do_not_speak_for_a_model() -> None:
    best = leading(ONE_PAIR | CROSS_VALIDATED)
    assert best is not None
    assert (best.text, best.interval) == ("51%", "34–69%, 30 pairs")
    assert told(ONE_PAIR | CROSS_VALIDATED) == [
        "Agreement with judgements by cross-validation 51% 34–69%, 30 pairs",
        "Agreement with held-out judgements 1 of 1",
        "Pairs held out 1",
        "Pairs cross-validated 30",
        "Agreement where the shorter response was preferred 2 of 4",
    ]
    assert not any("%" in line for line in told(ONE_PAIR))


def test_enough_validation_pairs_do_and_say_how_many_they_are() -> None:
    many = {"validation_pairs": 104, "accuracy": 0.74, "accuracy_low": 0.66, "accuracy_high": 0.81}
    best = leading(many | CROSS_VALIDATED)
    assert best is not None
    assert (best.title, best.text, best.interval) == ("Agreement with held-out judgements", "74%", "66–81%, 104 pairs")


def test_what_nobody_has_words_for_stands_apart() -> None:
    assert told({"score_std": 1.5, "kl": 3.0}) == ["KL to the reference 3 nats"]
    assert [one.title for one in other_figures({"score_std": 1.5, "kl": 3.0})] == ["Score std"]


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.sampled_from([None, 1e-9, -1e-9, 0.04, 0.0]))
def test_a_figure_in_a_table_lies_on_the_side_of_its_bound_that_was_decided(
    value: float, bound: float, near: float | None
) -> None:
    bound = round(bound, 3)
    value = value if near is None else bound + near
    shown, limit = (float(text.replace(",", "")) for text in beside(value, bound))
    # What differs by less than fifteen digits is the same number to any reader.
    if math.isclose(value, bound, rel_tol=1e-14, abs_tol=1e-14):
        return
    assert (shown > limit, shown < limit) == (value > bound, value < bound)


async def test_the_ring_tells_the_rounds_share_and_its_steps_own(doors: dict[str, Door]) -> None:
    ring = re.findall(r'class="ring-status"[^>]*>([^<]+)<', await read(doors["owner"], PROJECT))
    # One step of ten is done, and 7 of 400 labels.
    assert [text.replace("\xa0", " ") for text in sorted(ring)] == ["10%", "Label: 1.8%"]


async def test_who_opens_a_round_is_told_how_many_judgements_are_likely_to_be_enough(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await doors["owner"].send("POST", f"{PROJECT}/rounds/3/cancel")
    expected = "About 120 judgements in all are likely to be enough for a first reward model"
    newest = await models.newest(db, seeded.project.id, "reward")
    assert newest is not None
    await db.execute(update(ModelVersion).where(ModelVersion.id == newest.id).values(figures={}))
    await db.commit()
    assert expected in words(await read(doors["owner"], PROJECT))
    dataset = await make_dataset(db, seeded.project, "preferences", 9, 39, {"train": 35, "human": 39}, seeded.reward)
    for low, accuracy, high, says in (
        (0.34, 0.51, 0.58, "With 39 judgements reward model 2 agreed with people hardly more often than a coin"),
        (0.34, 0.51, 0.69, "is not told from a coin yet: about 90 more are usually enough."),
        (0.42, 0.6, 0.78, "About 90 judgements beyond the 39 that reward model 2 learned from"),
        (0.505, 0.6, 0.7, "Reward model 2 was clearly better than its gate asks with 39 judgements."),
    ):
        measured = {
            "cross_validated_accuracy_low": low,
            "cross_validated_accuracy": accuracy,
            "cross_validated_accuracy_high": high,
        }
        version = update(ModelVersion).where(ModelVersion.id == newest.id)
        figures = ONE_PAIR | CROSS_VALIDATED | measured
        await db.execute(version.values(figures=figures, dataset_version_id=dataset.id))
        await db.commit()
        assert says in words(await read(doors["owner"], PROJECT))


async def test_who_trains_a_first_policy_from_few_demonstrations_is_told_what_it_takes(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    project = await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    prompt = await make_prompt(db, project)
    db.add(Demonstration(prompt_id=prompt.id, text="Boil it.", source="starter"))
    await db.commit()
    warning = "From 1 demonstrations a policy that starts from nothing writes noise: that takes some 1,000."
    assert warning in words(await read(doors["owner"], "/projects/bare"))
    await db.execute(update(Project).where(Project.id == project.id).values(policy_source="some/model"))
    await db.commit()
    assert "writes noise" not in words(await read(doors["owner"], "/projects/bare"))


async def test_a_refused_first_policy_is_said_with_the_way_to_its_samples_and_into_use(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    first = seeded.policies[0]
    await doors["owner"].send("POST", f"{PROJECT}/rounds/3/cancel")
    await db.execute(update(ModelVersion).where(ModelVersion.id != first.id).values(state="archived"))
    await db.execute(update(ModelVersion).values(state="candidate"))
    await db.commit()
    newest = await models.newest(db, seeded.project.id, "policy")
    assert newest is not None
    rules = gates.first_policy_rules({}, FirstPolicyBounds())
    rows = [rule.to_json() for rule in rules]
    db.add(Gate(project_id=seeded.project.id, model_version_id=newest.id, passed=False, rules=rows))
    await db.execute(update(Run).where(Run.state == "running").values(state="succeeded", **OVER))
    await db.commit()
    html = await read(doors["owner"], PROJECT)
    assert sentence(html) == "Policy 3 was refused by its gate."
    assert "No demonstration was held out to measure the policy on." in words(html)
    assert f'href="{PROJECT}/runs/{newest.run_id}">Read what it writes' in html
