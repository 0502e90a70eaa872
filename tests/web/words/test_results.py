"""What a run measured and what came of it, as its page says it."""

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Metric, ModelVersion, Run
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import OVER, PROJECT, read, sentence, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

EVERY_FORM: dict[str, Any] = {
    "iterations": 1600,
    "length_ratio": 1.123,
    "kl": 4.312,
    "reward_gain": -0.5,
    "accuracy_difference": -0.018,
    "accuracy_difference_low": -0.06,
    "accuracy_difference_high": 0.0041,
    "proxy_win_rate": 0.742,
    "proxy_win_rate_low": 0.698,
    "proxy_win_rate_high": 0.783,
    "reward": 1.12,
    "reward_low": 0.9,
    "reward_high": 1.31,
    "brand_new_figure": 0.25,
    "brand_new_figure_low": 0.2,
    "brand_new_figure_high": 0.3,
    "alone_low": 0.1,
    "dataset_version_id": 77,
    "number": 78,
    "is_good": True,
    "note": "79 words",
    "quartiles": [80, 81],
    "missing": None,
}


@pytest.fixture
def page(seeded: Seeded) -> str:
    return f"{PROJECT}/runs/{seeded.ppo.id}"


async def test_each_figure_has_its_unit_its_interval_and_its_place_in_the_readers_language(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    await change(db, seeded.ppo, state="succeeded", **OVER, result=EVERY_FORM)
    html = await read(doors["reviewer"], page)
    assert sentence(html) == "PPO is done: 74% (70–78%) preferred over the reference by the reward model."
    assert figures(html) == [
        "Preferred over the reference by the reward model 74% 70–78%",
        "Accuracy against the previous model −1.8 points −6 to +0.41",
        "KL to the reference 4.31 nats",
        "Length against the reference 1.12 ×",
        "Gain in reward -0.5",
        "Reward 1.12 0.9–1.31",
        "Iterations 1,600",
        "Brand new figure 0.25 0.2–0.3",
    ]
    in_german = await doors["owner"].send("GET", page, headers={"Accept-Language": "de"})
    told = (
        "74% 70–78%",
        "−1,8 Punkte −6 bis +0,41",
        "4,31 Nats",
        "1,12 ×",
        "-0,5",
        "1,12 0,9–1,31",
        "1.600",
        "0,25 0,2–0,3",
    )
    for figure, ending in zip(figures(in_german.text), told, strict=True):
        assert figure.endswith(f" {ending}")


async def test_a_table_has_room_for_the_few_figures_that_are_told_first(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await change(db, seeded.ppo, state="succeeded", **OVER, result=EVERY_FORM)
    await db.execute(update(ModelVersion).where(ModelVersion.id == seeded.policies[1].id).values(figures=EVERY_FORM))
    await db.commit()
    listed = words(await read(doors["owner"], f"{PROJECT}/runs"))
    in_one_cell = (
        "Preferred over the reference by the reward model 74% · Accuracy against the previous model −1.8 points"
    )
    assert f"{in_one_cell} " in listed
    in_use = re.findall(r'<section class="in-use".*?</section>', await read(doors["owner"], PROJECT), re.DOTALL)[0]
    assert len(figures(in_use)) == 4
    assert "Brand new figure" not in in_use


async def test_curves_come_in_the_order_of_telling_and_the_rest_is_folded(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    html = await read(doors["reviewer"], page)
    assert curves(html)[:4] == ["score", "kl", "length", "eos_rate"]
    assert set(curves(html)[-2:]) == {"kl_coefficient", "value_loss"}
    assert "2 more figures" in words(html)
    assert 'class="curve curve-large" data-figure="score" data-axis="step"' in html
    assert not re.search(r'data-figure="score"[^>]*data-from-zero', html)
    assert re.search(r'data-figure="kl"[^>]*data-from-zero', html)
    await measure(db, seeded.ppo, range(1, 5), only_here=1.0, only_here_low=0.5, only_here_high=2.0, kl=0.1)
    html = await read(doors["reviewer"], page)
    assert curves(html) == ["kl", "only_here"]
    assert "One more figure" in words(html)


async def test_a_run_that_is_given_a_cost_model_shows_the_limit_across_its_curves(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    await measure(db, seeded.ppo, range(1, 5), kl=0.1, cost=0.2, held_out_cost=0.2, multiplier=1.0)
    by_name = {"cost": "/models/c", "cost_limit": -1}
    for settings, limit in (
        ({"config": {"cost_limit": 0.3}}, None),
        ({"cost_id": 7, "config": {}}, "0.0"),
        ({"cost_id": 7, "config": {"cost_limit": 0.3}}, "0.3"),
        ({"cost_id": None, "config": by_name}, "-1.0"),
    ):
        await change(db, seeded.ppo, settings=settings)
        html = await read(doors["reviewer"], page)
        lines = dict(re.findall(r'data-figure="(\w+)"[^>]* data-line="([^"]+)"', html))
        assert lines == ({"cost": limit, "held_out_cost": limit} if limit else {})
        assert html.count('class="fine curve-line">limit ') == len(lines)


async def test_curves_keep_their_places_before_anything_is_measured_unless_nobody_described_them(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    await measure(db, seeded.ppo, ())
    html = await read(doors["reviewer"], page)
    assert curves(html)[:2] == ["score", "kl"]
    assert "The curves start with the first step." in html
    assert "The same numbers as a table" not in html
    await change(db, seeded.ppo, stage="generate")
    await measure(db, seeded.ppo, range(1, 3), words_a_second=5.0)
    assert curves(await read(doors["reviewer"], page)) == []
    await measure(db, seeded.ppo, range(1, 4), words_a_second=5.0, another=1.0)
    html = await read(doors["reviewer"], page)
    assert set(curves(html)) == {"words_a_second", "another"}
    assert html.count("curve-large") == 1
    assert '<span class="curve-title">Words a second</span>' in html


async def test_the_table_of_a_long_run_leaves_steps_out_and_never_the_last(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    long = await read(doors["reviewer"], f"{PROJECT}/runs/{seeded.sft.id}")
    steps = [int(step) for step in re.findall(r'<th scope="row" class="number">(\d+)</th>', long)]
    assert steps == [*range(1, 241, 4), 240]
    assert "61 of 240 steps. The API has all of them." in words(long)
    whole = await read(doors["reviewer"], page)
    assert len(re.findall(r'<th scope="row" class="number">\d+</th>', whole)) == 34
    assert "The API has all of them" not in whole


async def test_the_curves_figures_are_side_by_side_over_the_steps(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    await measure(db, seeded.ppo, (1, 3), loss=0.5)
    await measure(db, seeded.ppo, (2, 3), keep=True, phase="other", accuracy=0.75)
    assert (await read_figures(doors["reviewer"], page)).json() == {
        "steps": [1, 2, 3],
        "figures": {"loss": [0.5, None, 0.5], "accuracy": [None, 0.75, 0.75]},
    }
    later = await read_figures(doors["reviewer"], page, "?after=2")
    assert later.json()["steps"] == [3]
    assert later.headers["cache-control"] == "no-store"
    assert (await read_figures(doors["reviewer"], page, "?after=3")).json() == {"steps": [], "figures": {}}
    for wrong in ("-2", "soon"):
        assert (await read_figures(doors["reviewer"], page, f"?after={wrong}")).status_code == 422


async def test_the_newest_samples_are_shown_with_their_step(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    assert "at step 30, the same prompts as before" in words(await read(doors["reviewer"], page))
    sample = {"prompt": "How <deep>?", "policy": "As **deep** as that."}
    db.add(Metric(run_id=seeded.ppo.id, phase="ppo", step=1_234, figures={"kl": 1.0}, samples=[sample]))
    await db.commit()
    html = await read(doors["reviewer"], page)
    assert "at step 1,234, the same prompts as before" in words(html)
    assert "How &lt;deep&gt;?" in html
    assert "As <strong>deep</strong> as that." in html
    assert "<h3>Reference</h3>" not in html


async def test_a_log_is_a_fragment_for_the_page_and_a_text_for_everybody_else(
    doors: dict[str, Door], seeded: Seeded, page: str
) -> None:
    fragment = await doors["reviewer"].send("GET", f"{page}/log", headers={"HX-Request": "true"})
    assert "The log is empty." in fragment.text
    folder = doors["owner"].site.state.settings.home / "runs" / str(seeded.ppo.id)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("step 34 <b>done</b>\n")
    fragment = await doors["reviewer"].send("GET", f"{page}/log", headers={"HX-Request": "true"})
    assert fragment.text.startswith('<pre class="log"')
    assert "step 34 &lt;b&gt;done&lt;/b&gt;" in fragment.text


async def test_a_run_by_hand_and_a_run_of_a_round_say_so(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, page: str
) -> None:
    await change(db, seeded.ppo, attempt=2)
    said = words(await read(doors["reviewer"], page))
    assert f"running Run {seeded.ppo.id} · started by Ines Okafor · attempt 2 of 3" in said
    await change(db, seeded.ppo, started_by_id=None, round_id=seeded.label_round.id, round_step="ppo", attempt=1)
    said = words(await read(doors["reviewer"], page))
    assert f"Run {seeded.ppo.id} · Round 3 PPO is running" in said
    assert "started by" not in said


async def change(db: AsyncSession, run: Run, **values: Any) -> None:
    await db.execute(update(Run).where(Run.id == run.id).values(values))
    await db.commit()


async def measure(
    db: AsyncSession,
    run: Run,
    steps: range | tuple[int, ...],
    *,
    phase: str = "ppo",
    keep: bool = False,
    **figures: float,
) -> None:
    """What the run has measured is this at each of `steps`, and nothing else unless it is to be kept."""
    if not keep:
        await db.execute(delete(Metric).where(Metric.run_id == run.id))
    db.add_all(Metric(run_id=run.id, phase=phase, step=step, figures=figures, recorded_at=func.now()) for step in steps)
    await db.commit()


async def read_figures(door: Door, page: str, query: str = "") -> httpx.Response:
    return await door.send("GET", f"{page}/figures{query}")


def figures(html: str) -> list[str]:
    """Title, value and interval of each figure, in the order of the page."""
    return [words(entry) for entry in re.findall(r'<div class="figure">.*?</div>', html, re.DOTALL)]


def curves(html: str) -> list[str]:
    return re.findall(r'data-figure="(\w+)"', html)
