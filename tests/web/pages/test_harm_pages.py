"""Where a project holds harm to a limit: the setting, the ring's step, the models, and the curves of its runs."""

from typing import Any

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Metric, Project, Round, Run
from app.services.loop.models import models
from app.services.loop.settings.round_settings import settings_of
from app.services.projects.question import question_of
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, sentence, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

FORM = {"answer_type": "seven", "asks_harm": "true", "cost_limit": "-0.25", "guidelines": "Be kind."}
OVER = {"state": "succeeded", "lease_expires_at": None, "finished_at": func.now()}


async def ask(door: Door, form: dict[str, str]) -> None:
    assert (await door.send("POST", f"{PROJECT}/question", form)).status_code == 303


async def project_of(db: AsyncSession, seeded: Seeded) -> Project:
    return await db.get_one(Project, seeded.project.id, populate_existing=True)


async def test_the_limit_is_set_where_harm_is_asked_and_everything_else_stays(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    project = await project_of(db, seeded)
    project.round_settings = {**project.round_settings, "ppo": {"iterations": 3}}
    await db.commit()
    before = settings_of(project)
    await ask(doors["owner"], FORM)
    asking = await project_of(db, seeded)
    assert question_of(asking).asks_harm
    settings = settings_of(asking)
    assert (settings.harmlessness, settings.cost_limit) == (True, -0.25)
    assert settings.ppo == {"iterations": 3, "cost_limit": -0.25}
    assert settings.label_target == before.label_target
    assert 'value="-0.25"' in await read(doors["owner"], f"{PROJECT}/question")
    await ask(doors["owner"], {"answer_type": "seven", "cost_limit": "0"})
    assert settings_of(await project_of(db, seeded)) == before


async def test_a_limit_that_is_no_number_is_refused(doors: dict[str, Door], db: AsyncSession, seeded: Seeded) -> None:
    for wrong in ("nan", "inf", "1e6", "none"):
        refused = await doors["owner"].send("POST", f"{PROJECT}/question", FORM | {"cost_limit": wrong})
        assert refused.status_code == 422
    assert not question_of(await project_of(db, seeded)).asks_harm


async def test_the_cost_model_is_a_step_of_rounds_that_began_with_it_and_of_no_other(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    assert "Cost model" not in await read(doors["owner"], PROJECT)
    await ask(doors["owner"], FORM)
    assert "Cost model" not in await read(doors["owner"], f"{PROJECT}/rounds/3")
    held = {"settings": settings_of(await project_of(db, seeded)).to_json(), "step": "cost"}
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(held))
    await db.commit()
    assert sentence(await read(doors["owner"], f"{PROJECT}/rounds/3")) == "Round 3 is training the cost model."
    overview = words(await read(doors["owner"], PROJECT))
    assert "Cost model" in overview
    assert "Retrain the cost model" in overview


async def test_a_cost_model_is_trained_by_its_button_once_people_said_what_is_safe(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    refused = await doors["owner"].send("POST", f"{PROJECT}/runs", {"stage": "cost"})
    assert refused.status_code == 409
    assert "Nobody has said yet which responses are safe." in refused.text


async def test_a_run_of_the_cost_model_shows_what_it_learnt(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    result = {"accuracy": 0.71, "safety_accuracy": 0.83, "safety_accuracy_low": 0.75, "safety_accuracy_high": 0.9}
    result |= {"safe_recognised": 0.9, "unsafe_recognised": 0.7, "validation_labels": 60}
    await change_ppo(db, seeded, stage="cost", result=result, settings={}, **OVER)
    await measure(db, seeded, loss=0.6, safety_loss=1.2)
    said = words(await read(doors["owner"], f"{PROJECT}/runs/{seeded.ppo.id}"))
    assert "Cost model is done" in said
    assert "Responses whose cost tells safe from unsafe 83% 75–90%" in said
    assert "Unsafe responses recognised 70%" in said
    assert "Loss of what is safe" in said


async def test_a_run_of_ppo_shows_cost_limit_and_price(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    page = f"{PROJECT}/runs/{seeded.ppo.id}"
    assert "price of cost" not in await read(doors["owner"], page)
    settings = {"cost_id": 1, "config": {"cost_limit": -0.25}}
    result = {"cost": -0.3, "cost_limit": -0.25, "multiplier": 1.4, "unsafe_share": 0.12}
    await change_ppo(db, seeded, settings=settings, result=result, **OVER)
    await measure(db, seeded, cost=-0.3, cost_low=-0.4, cost_high=-0.2, multiplier=1.4, unsafe_share=0.12)
    html = await read(doors["owner"], page)
    assert 'data-figure="cost" data-line="-0.25"' in html
    assert 'data-figure="multiplier" data-from-zero' in html
    said = words(html)
    assert "limit -0.25" in said
    for figure in ("Mean cost -0.3", "Limit of the mean cost -0.25", "λ, the price of cost 1.4"):
        assert figure in said
    assert "Unsafe by the cost model 12%" in said


async def test_cost_models_are_listed_and_a_policy_says_which_one_held_it(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    cost = await models.register(
        db,
        project_id=seeded.project.id,
        kind="cost",
        run_id=None,
        folder="models/c",
        manifest_sha256="1" * 64,
        figures={"safety_accuracy": 0.83},
    )
    policy = seeded.policies[1]
    policy.cost_id = cost.id
    await db.merge(policy)
    await db.commit()
    html = await read(doors["reviewer"], f"{PROJECT}/models")
    said = words(html)
    assert "Cost models" in said
    assert 'id="cost-1"' in html
    assert "held to a limit by cost model 1" in said
    assert f'{PROJECT}/models/cost/1/promote"' not in await read(doors["owner"], f"{PROJECT}/models")
    assert "held to a limit by cost model 1" in words(await read(doors["owner"], PROJECT))


async def change_ppo(db: AsyncSession, seeded: Seeded, **values: Any) -> None:
    await db.execute(update(Run).where(Run.id == seeded.ppo.id).values(values))
    await db.commit()


async def measure(db: AsyncSession, seeded: Seeded, **figures: float) -> None:
    for step in range(101, 104):
        db.add(Metric(run_id=seeded.ppo.id, phase="later", step=step, figures=figures))
    await db.commit()
