"""The page of models: versions of a kind in columns that can be compared."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Run, Task, TaskCompletion, WrittenReport
from app.services.loop.models import models
from app.services.projects import projects
from app.services.reports import reports
from app.web.words import figures
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, sentence, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

MODELS = f"{PROJECT}/models"


def columns(html: str, kind: str = "policy") -> list[str]:
    section = html.partition(f'id="{kind}-title"')[2]
    return [words(title) for title in re.findall(r'<th scope="col"[^>]*>(.*?)</th>', section.partition("</thead>")[0])]


def row(html: str, kind: str, number: int) -> dict[str, str]:
    """What stands in the table of versions for one of them, by the title of its column."""
    rows = re.findall(r"<tr[^>]*>\s*<th scope=\"row\">.*?</tr>", html, re.DOTALL)
    (found,) = (each for each in rows if f'href="#{kind}-{number}"' in each.partition("</th>")[0])
    cells = [words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", found, re.DOTALL)]
    return dict(zip(columns(html, kind), cells, strict=True))


async def change(db: AsyncSession, number: int, figures: dict[str, float], **values: int | None) -> None:
    of = update(ModelVersion).where(ModelVersion.kind == "policy", ModelVersion.number == number)
    await db.execute(of.values(figures=figures, **values))
    await db.commit()


WON = {"proxy_win_rate": 0.7, "proxy_win_rate_low": 0.65, "proxy_win_rate_high": 0.75}
BETTER = {"proxy_win_rate": 0.78, "proxy_win_rate_low": 0.73, "proxy_win_rate_high": 0.83}


async def test_policies_stand_in_columns_with_the_difference_to_the_one_in_use(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await change(db, 2, {**WON, "kl": 4.0, "length_ratio": 1.1, "eos_rate": 0.99}, reference_id=None, reward_id=None)
    await change(db, 3, {**BETTER, "kl": 5.5, "length_ratio": 1.0}, reference_id=None, reward_id=None)
    html = await read(doors["owner"], MODELS)
    first, used, newest = (row(html, "policy", number) for number in (1, 2, 3))
    win_rate = "Preferred over the reference by the reward model"
    assert used["Version"] == "Policy 2 in use"
    assert used[win_rate] == "70% 65–75%"
    assert newest[win_rate] == "78% 73–83% +8 points"
    assert newest["KL to the reference"] == "5.5 nats +1.5 nats"
    assert newest["Length against the reference"] == "1 × −0.1 ×"
    assert newest["Responses that end by themselves"] == "–"
    assert newest["How it came to be"] == "PPO, from policy 1"
    assert (newest["Gate"], newest["In use since"], newest["Round"]) == ("refused", "–", "2")
    assert re.fullmatch(r"\d+ \w+ \d{4}, \d\d:\d\d UTC", used["In use since"])
    assert first[win_rate] == "–"
    assert "is the difference to policy 2, which is in use." in words(html)


@pytest.mark.parametrize("measured_by", ["reference_id", "reward_id"])
async def test_what_was_measured_by_another_model_has_no_difference(
    measured_by: str, doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await change(db, 2, {**WON, "eos_rate": 0.9}, reference_id=None, reward_id=None)
    kind = "policy" if measured_by == "reference_id" else "reward"
    other = await db.scalar(select(func.min(ModelVersion.id)).where(ModelVersion.kind == kind))
    await change(db, 3, {**BETTER, "eos_rate": 0.95}, **{"reference_id": None, "reward_id": None, measured_by: other})
    newest = row(await read(doors["owner"], MODELS), "policy", 3)
    assert newest["Preferred over the reference by the reward model"] == "78% 73–83%"
    assert newest["Responses that end by themselves"] == "95% +5 points"


async def test_an_adopted_policy_is_said_to_be_taken_as_it_is(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    brought = await projects.create(db, slug="brought", name="Brought", owner_id=seeded.owner.id)
    run = Run(project_id=brought.id, stage="adopt", state="succeeded", started_at=func.now(), finished_at=func.now())
    db.add(run)
    await db.flush()
    version = await models.register(
        db, project_id=brought.id, kind="policy", run_id=run.id, folder="x", manifest_sha256="0" * 64,
        figures={"parameters": 26_350},
    )  # fmt: skip
    await models.promote(db, None, version)
    await db.commit()
    html = await read(doors["owner"], "/projects/brought/models")
    assert sentence(html) == "Policy 1 is in use."
    assert "It was taken as it is, not trained here." in words(html)
    assert row(html, "policy", 1)["How it came to be"] == "Taken as it is, not trained here"


async def test_a_policy_says_in_how_many_tasks_people_judged_what_it_wrote(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    used = await models.promoted(db, seeded.project.id)
    assert used is not None
    judged = list(await db.scalars(select(Task.id).where(Task.judged > 0, Task.purpose == "label")))
    assert judged
    theirs = select(TaskCompletion.completion_id).where(TaskCompletion.task_id.in_(judged))
    wrote = {"source": "policy", "model_version_id": used.id}
    await db.execute(update(Completion).where(Completion.id.in_(theirs)).values(wrote))
    await db.execute(delete(WrittenReport))
    await db.commit()
    html = await read(doors["owner"], MODELS)
    assert row(html, "policy", used.number)["Tasks judged"] == "–", "before a worker has counted"
    await reports.write(db, seeded.project.id, "dashboard")
    await db.commit()
    html = await read(doors["owner"], MODELS)
    told = {number: row(html, "policy", number)["Tasks judged"] for number in (1, used.number)}
    assert told == {1: "0", used.number: str(len(judged))}
    assert f"People judged what it wrote in {len(judged)} tasks." in words(html)


async def test_a_version_leads_to_its_card_and_the_card_to_its_download(doors: dict[str, Door], tmp_path: Path) -> None:
    reviewer = doors["reviewer"]
    assert f'href="{MODELS}/policy/2/card"' in await read(reviewer, MODELS)
    html = await read(reviewer, f"{MODELS}/policy/2/card")
    assert "What it is not for" in words(html)
    assert "library_name" not in words(html), "what is for hubs isn't for people"
    assert f'href="{MODELS}/policy/2/archive"' in html
    answer = await reviewer.send("GET", f"{MODELS}/policy/2/archive")
    assert answer.headers["content-disposition"].endswith('-policy-2.tar"')
    assert f"Download, {figures.size(len(answer.content))}" in words(html)
    (tmp_path / "home" / "models" / "policy-2" / "manifest.json").unlink()
    html = await read(reviewer, f"{MODELS}/policy/2/card")
    assert "policy-2 has no readable manifest" in words(html)
    assert "Download" not in words(html)


async def test_an_owner_pushes_a_model_to_a_place_that_an_admin_has_named(
    doors: dict[str, Door], site: FastAPI, db: AsyncSession
) -> None:
    card, push = f"{MODELS}/policy/2/card", f"{MODELS}/policy/2/push"
    assert "by PLUMBLINE_PUSH_TO" in words(await read(doors["owner"], card))
    named = site.state.settings.model_copy(update={"push_to": "/srv/models,s3://bucket/models"})
    site.state.settings = named
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.services.loop.stages.push.settings", lambda: named)
        html = await read(doors["owner"], card)
        assert "models/" in words(html)
        assert "/srv/models" not in html, "no folder of the machine is told"
        assert "/push" not in await read(doors["reviewer"], card)
        sent = await doors["owner"].send("POST", push, {"place": "models/"})
        refused = await doors["owner"].send("POST", push, {"place": "/etc"})
    run = (await db.scalars(select(Run).where(Run.stage == "push"))).one()
    assert sent.headers["location"] == f"{PROJECT}/runs/{run.id}"
    assert run.settings["place"] == "models/"
    assert refused.status_code == 422
