"""What owners see of a refusal and may do about it; and that nobody can tell a duel from any other task."""

import random
import re

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Project, Prompt, Round, Task
from app.security import Principal
from app.services.loop import duels, selection
from app.services.loop.gate_bounds import VoteBounds
from tests.factories import make_member, make_project, make_prompt
from tests.seeded import seeded, seeded_template, seeded_url, site
from tests.web.conftest import SignIn, app, sign_in
from tests.web.doors import Door, database_url, doors
from tests.web.pages.test_admin_pages import PROJECT, read, words
from training.records import DuelRecord

__all__ = ["app", "database_url", "doors", "seeded", "seeded_template", "seeded_url", "sign_in", "site"]


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


async def test_no_byte_that_an_annotator_gets_tells_a_duel_from_an_ordinary_task(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project = await make_project(db)
    prompt = await make_prompt(db, project, "How do I boil an egg?", split="validation")
    new, in_use = [await make_policy(db, project, number) for number in (2, 1)]
    ordinary = [
        Completion(prompt_id=prompt.id, text=text, source="policy", model_version_id=in_use.id) for text in SAID
    ]
    round_ = Round(project_id=project.id, number=1, label_target=0, step="vote", policy_id=new.id)
    db.add_all([*ordinary, round_])
    await db.flush()
    made = await selection.make_tasks(db, project, count=1, rng=random.Random(1))
    assert made.made == 1
    of_ordinary = await served(db, sign_in, project)
    record = DuelRecord(str(prompt.id), 0, *SAID, 5, 5, True, True, 1.0, 0.0, 1.0)
    count = await duels.make_tasks(
        db, project, round_, [record] * 3, VoteBounds(votes=10), policies=(new.id, in_use.id), run_id=None,
        propensity=1.0, rng=random.Random(1),
    )  # fmt: skip
    assert count == 3
    of_duel = await served(db, sign_in, project)
    assert await db.scalar(select(Task.selection["rule"].astext).order_by(Task.id.desc()).limit(1)) == "duel"
    assert of_duel == of_ordinary


SAID = ("Gently.", "In a shoe.")


async def make_policy(db: AsyncSession, project: Project, number: int) -> ModelVersion:
    state = "promoted" if number == 1 else "candidate"
    version = ModelVersion(
        project_id=project.id, kind="policy", number=number, folder="f", manifest_sha256="0" * 64, state=state
    )
    db.add(version)
    await db.flush()
    if state == "promoted":
        version.promoted_at = version.created_at
    return version


async def served(db: AsyncSession, sign_in: SignIn, project: Project) -> dict[str, str]:
    """All that a new annotator gets to see of the next task, but for what is of no two tasks and no two people."""
    annotator: Principal = await make_member(db, project)
    client = await sign_in(annotator)
    pages = {path: await client.get(f"/projects/{project.slug}{path}") for path in ("/annotate", "/annotate/next")}
    assert {page.status_code for page in pages.values()} == {200}
    for text in SAID:
        assert text in pages["/annotate"].text
    headers = {f"{path} {name}": value for path, page in pages.items() for name, value in page.headers.items()}
    return {name: alike(text) for name, text in {**{p: page.text for p, page in pages.items()}, **headers}.items()}


def alike(text: str) -> str:
    for said in SAID:
        text = text.replace(said, "…")
    text = re.sub(r'name="idempotency_key" value="[\w-]+"', "", text)
    return re.sub(r"[0-9a-f]{8}[0-9a-f-]*|nonce-[\w-]+|nonce=\"[^\"]*\"|\d+", "#", text)
