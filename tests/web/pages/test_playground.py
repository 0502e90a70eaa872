"""The playground: one prompt, several writers side by side, and a task of two of them."""

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Errand
from app.services.loop.chores import errands
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

PLAYGROUND = f"{PROJECT}/playground"


async def newest(db: AsyncSession) -> Errand:
    await db.commit()
    return (await db.scalars(select(Errand).order_by(Errand.id.desc()).limit(1))).one()


async def test_models_lead_to_it_and_the_policy_in_use_is_chosen_first(doors: dict[str, Door]) -> None:
    assert f'href="{PLAYGROUND}"' in await read(doors["owner"], f"{PROJECT}/models")
    html = await read(doors["owner"], PLAYGROUND)
    boxes = words(html.partition("playground-writers")[2].partition("</fieldset>")[0])
    assert "policy 2" in boxes
    assert "Mistral in the lab" in boxes
    assert html.count(' name="writers"') - html.count(" checked>") > 0
    assert "ask here, and you see what comes of it" in words(await read(doors["reviewer"], PLAYGROUND))


async def test_it_says_what_it_waits_for_and_shows_what_is_written_so_far(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    owner = doors["owner"]
    writers = [f"policy:{version.id}" for version in seeded.policies[:2]]
    sent = await owner.send("POST", PLAYGROUND, form={"prompt": "Why is the **sky** blue?", "writers": writers})
    errand = await newest(db)
    assert sent.headers["location"] == f"{PLAYGROUND}/{errand.id}"
    html = await read(owner, sent.headers["location"])
    assert "none has reported: start one with “plumbline worker”" in words(html)
    assert f'data-errand="{errand.id}"' in html
    taken = await errands.take(db, errand.id)
    assert taken is not None
    await db.commit()
    state = words(await read(owner, f"{PLAYGROUND}/{errand.id}/state"))
    assert "A worker opens the models." in state
    writing = {**errand.answers[0], "state": "writing", "text": "Because it *scatters*"}
    await errands.tell(db, taken, [writing, errand.answers[1]])
    await db.commit()
    html = await read(owner, f"{PLAYGROUND}/{errand.id}/state")
    assert "They are writing." in words(html)
    assert "<em>scatters</em>" in html
    assert "Make a task" not in html
    done = {"state": "done", "text": "Because.", "reward": 0.5, "reward_by": 2, "token_count": 1, "seconds": 0.4}
    failed = {"state": "failed", "problem": "no prompt leaves room"}
    await errands.end(db, taken, [{**writing, **done}, {**errand.answers[1], **failed}])
    await db.commit()
    html = await read(owner, f"{PLAYGROUND}/{errand.id}/state")
    assert "One response is written." in words(html)
    assert "Reward 0.50 by reward model 2 · 1 token · 0.4 s" in words(html)
    assert "no prompt leaves room" in words(html)
    assert "hx-trigger" not in html, "what is over asks no more"
    assert "Make a task" not in html


async def test_two_responses_become_a_task_by_one_click(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    here = f"{PLAYGROUND}/{seeded.errand.id}"
    html = await read(doors["owner"], here)
    assert "Make a task of these two" in words(html)
    assert "Make a task of these two" not in words(await read(doors["reviewer"], here))
    sent = await doors["owner"].send("POST", f"{here}/task", form={"answers": ["0", "1"]})
    assert sent.status_code == 303
    errand = await db.get_one(Errand, seeded.errand.id)
    html = await read(doors["owner"], here)
    assert f'href="{PROJECT}/tasks/{errand.task_id}"' in html
    assert "Make a task of these two" not in words(html)
    assert (await doors["owner"].send("GET", f"{PROJECT}/tasks/{errand.task_id}")).status_code == 200


async def test_what_stands_against_it_is_said_on_the_page(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    owner = doors["owner"]
    refused = await owner.send("POST", PLAYGROUND, form={"prompt": "Why?", "writers": []})
    assert refused.status_code == 422
    assert "Choose 1 to 6 writers." in words(refused.text)
    assert ">Why?</textarea>" in refused.text, "what was written isn't lost"
    first = seeded.errand.answers[0]
    await db.execute(update(Errand).where(Errand.id == seeded.errand.id).values(answers=[first, first]))
    await db.commit()
    refused = await owner.send("POST", f"{PLAYGROUND}/{seeded.errand.id}/task", form={"answers": ["0", "1"]})
    assert refused.status_code == 409
    assert "There is nothing to compare" in words(refused.text)


async def test_a_worker_gets_ready_while_an_owner_writes_and_for_nobody_else(
    doors: dict[str, Door], db: AsyncSession
) -> None:
    woken = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'plumbline.wake'")
    await read(doors["reviewer"], PLAYGROUND)
    assert await db.scalar(woken) == 0
    for _ in range(2):
        await read(doors["owner"], PLAYGROUND)
    await db.commit()
    assert await db.scalar(woken) == 1
