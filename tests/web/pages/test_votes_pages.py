"""What owners see of a refusal and may do about it, and two writers side by side."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Prompt, Round
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]


async def test_an_owner_goes_on_from_a_refusal_for_a_reason_that_stays_on_the_page(
    doors: dict[str, Door], db: AsyncSession
) -> None:
    stopped = f"{PROJECT}/rounds/2"
    assert "Go on all the same" in await read(doors["owner"], stopped)
    assert "Go on all the same" not in await read(doors["reviewer"], stopped)
    busy = await doors["owner"].send("POST", f"{stopped}/override", {"reason": "We looked at it."})
    assert (busy.status_code, "Another round of this project is under way." in busy.text) == (409, True)
    assert (await doors["owner"].send("POST", f"{PROJECT}/rounds/3/cancel", {})).status_code == 303
    blank = await doors["owner"].send("POST", f"{stopped}/override", {"reason": " "})
    assert (blank.status_code, "Say why the round is to go on all the same." in blank.text) == (422, True)
    assert (await doors["owner"].send("POST", f"{stopped}/override", {"reason": "We looked at it."})).status_code == 303
    page = words(await read(doors["reviewer"], stopped))
    assert "Ines Okafor went on from this refusal: We looked at it." in page
    assert "Refused." in page, "the gate's figures are still there"
    round_ = (await db.scalars(select(Round).where(Round.number == 2))).one()
    assert (round_.status, round_.step) == ("active", "promote")


async def test_two_writers_are_read_side_by_side_prompt_by_prompt(doors: dict[str, Door], db: AsyncSession) -> None:
    assert "Leaderboard" in words(await read(doors["reviewer"], f"{PROJECT}/models"))
    duel = f"{PROJECT}/models/duel"
    policies = list(
        await db.scalars(select(ModelVersion).where(ModelVersion.kind == "policy").order_by(ModelVersion.id))
    )
    prompts = list(await db.scalars(select(Prompt).where(Prompt.split == "train").order_by(Prompt.id).limit(2)))
    db.add_all(
        Completion(prompt_id=prompt.id, text=f"Said by {policy.number}.", source="policy", model_version_id=policy.id)
        for prompt in prompts
        for policy in policies[:2]
    )
    await db.commit()
    one, other = (f"policy:{policy.id}" for policy in policies[:2])
    page = words(await read(doors["reviewer"], f"{duel}?first={one}&second={other}"))
    assert "Prompt 1 of 2 that both answered" in page
    assert page.index("policy 1 Said by 1.") < page.index("policy 2 Said by 2.")
    assert "Prompt 2 of 2" in words(await read(doors["reviewer"], f"{duel}?first={one}&second={other}&place=99"))
    for text in ("policy:999999", "served:1&second=policy:x", "nobody"):
        assert (await doors["reviewer"].send("GET", f"{duel}?first={text}")).status_code == 422
