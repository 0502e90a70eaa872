"""Every form of the admin pages with what can't be meant: said on a page, and nothing has happened."""

import re
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ApiToken, DatasetVersion, Gate, Member, ModelVersion, Promotion, Round, Run, User
from app.services import accounts
from app.services.loop.settings import settable
from app.services.projects import projects
from tests.browser.seed import Seeded
from tests.factories import make_member, make_project
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import OVER, PROJECT, read, sentence, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

BEYOND = str(2**63)
KEY = "of-this-very-form"
WRITTEN = (User, Member, ApiToken, Round, Run, ModelVersion, Promotion, DatasetVersion, Gate)


async def everything(db: AsyncSession) -> list[Any]:
    """All rows that the forms write."""
    found = [sorted(map(repr, await db.execute(select(table.__table__)))) for table in WRITTEN]
    await db.rollback()
    return found


async def test_what_can_not_be_meant_is_refused_on_a_page_and_changes_nothing(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    seen = str(seeded.policies[1].id)
    before = await everything(db)
    for path, form, status, said in (
        ("/tokens", {"name": "t", "days": "31"}, 422, "days: Input should be"),
        ("/tokens", {"name": "t" * 201}, 422, "name: String should have at most 200"),
        ("/tokens", {}, 422, "name: Field required"),
        (f"/tokens/{BEYOND}/revoke", {}, 422, "token_id"),
        ("/tokens/999/revoke", {}, 404, "Nothing here"),
        (f"{PROJECT}/people/invitations", {"people": "Kim", "key": "short"}, 422, "key: String should have at least"),
        (f"{PROJECT}/people/invitations", {"people": "K", "key": KEY, "days": "8"}, 422, "days: Input should be"),
        (f"{PROJECT}/people/invitations", {"people": "Kim", "key": KEY, "role": "king"}, 422, "role: Input should be"),
        (f"{PROJECT}/people/invitations/999/revoke", {}, 404, "Nothing here"),
        (f"{PROJECT}/people/{BEYOND}/role", {"role": "owner"}, 422, "user_id"),
        (f"{PROJECT}/people/{seeded.outsider.id}/role", {"role": "owner"}, 404, "Nothing here"),
        (f"{PROJECT}/people/{seeded.outsider.id}/link", {}, 404, "Nothing here"),
        (f"{PROJECT}/people/{seeded.annotator.id}/role", {"role": "king"}, 422, "role: Input should be"),
        (f"{PROJECT}/rounds", {"label_target": "5"}, 409, "under way already"),
        (f"{PROJECT}/rounds", {"label_target": "-1"}, 422, "label_target"),
        (f"{PROJECT}/rounds", {"label_target": "10000001"}, 422, "label_target"),
        (f"{PROJECT}/rounds/2/cancel", {}, 409, "stopped"),
        (f"{PROJECT}/rounds/2/continue", {}, 409, "This round is stopped."),
        (f"{PROJECT}/rounds/99/cancel", {}, 404, "Nothing here"),
        (f"{PROJECT}/rounds/0/cancel", {}, 422, "number"),
        (f"{PROJECT}/runs", {"stage": "evaluate"}, 422, "stage: Input should be"),
        (f"{PROJECT}/runs", {}, 422, "stage: Field required"),
        (f"{PROJECT}/runs", {"stage": "cost"}, 409, "Nobody has said yet which responses are safe."),
        (f"{PROJECT}/runs/{seeded.sft.id}/cancel", {}, 409, "over already"),
        (f"{PROJECT}/runs/{seeded.sft.id}/retry", {}, 409, "this one is succeeded"),
        (f"{PROJECT}/runs/{seeded.ppo.id}/retry", {}, 409, "this one is running"),
        (f"{PROJECT}/runs/999/retry", {}, 404, "Nothing here"),
        (f"{PROJECT}/models/policy/2/promote", {}, 409, "in use already"),
        (f"{PROJECT}/models/policy/99/promote", {}, 404, "Nothing here"),
        (f"{PROJECT}/models/poem/1/promote", {}, 422, "kind"),
        (f"{PROJECT}/models/policy/3/promote", {"reason": "x" * 2001}, 422, "reason"),
        (f"{PROJECT}/models/policy/3/promote", {"instead_of": "0"}, 422, "instead_of"),
        (f"{PROJECT}/models/policy/3/promote", {"instead_of": "999", "reason": "x"}, 409, "in the meantime"),
        (f"{PROJECT}/models/roll-back", {"away_from": "999"}, 409, "in the meantime"),
        (f"{PROJECT}/models/roll-back", {"kind": "cost"}, 409, "no earlier version"),
        (f"{PROJECT}/models/roll-back", {"kind": "poem", "away_from": seen}, 422, "kind"),
    ):
        answer = await doors["owner"].send("POST", path, form)
        assert (answer.status_code, said in words(answer.text)) == (status, True), (
            path,
            form,
            words(answer.text)[-300:],
        )
        assert answer.headers["x-request-id"] in answer.text, path
    again = await doors["owner"].send("POST", "/tokens", {"name": " ", "days": "30", "scopes": "read"})
    assert (again.status_code, "1 to 200 printable" in words(again.text)) == (422, True), "the form once more"
    assert await everything(db) == before


async def test_addresses_that_lead_nowhere_say_so(doors: dict[str, Door], seeded: Seeded) -> None:
    for path, status in (
        ("/projects/no-such-project", 404),
        (f"{PROJECT}/rounds/99", 404),
        (f"{PROJECT}/rounds/99/state", 404),
        (f"{PROJECT}/rounds/0", 422),
        (f"{PROJECT}/rounds/{BEYOND}", 422),
        (f"{PROJECT}/runs/999", 404),
        (f"{PROJECT}/runs/999/log", 404),
        (f"{PROJECT}/runs/soon", 422),
        (f"{PROJECT}/datasets/99/export", 404),
        (f"{PROJECT}/datasets/99/judgements", 404),
        (f"{PROJECT}/datasets/1/export?format=xlsx", 422),
        (f"{PROJECT}/datasets/1/export?kind=poems", 422),
        (f"{PROJECT}/datasets/1/export?kind=demonstrations", 409),  # a row of the seed without its file
    ):
        assert (await doors["owner"].send("GET", path)).status_code == status, path


async def test_a_fragment_for_the_script_has_the_part_that_moves_and_nothing_around_it(
    doors: dict[str, Door], seeded: Seeded
) -> None:
    for page, part in (
        (PROJECT, "state"),
        (f"{PROJECT}/rounds/3", "round"),
        (f"{PROJECT}/runs/{seeded.ppo.id}", "run"),
    ):
        whole, fragment = await read(doors["owner"], page), await read(doors["owner"], f"{page}/state")
        assert whole.startswith("<!doctype html>")
        assert fragment.lstrip().startswith(f'<div id="{part}"')
        assert "<html" not in fragment
        reviewers = await read(doors["reviewer"], f"{page}/state")
        assert len({sentence(seen).partition(", about")[0] for seen in (whole, fragment, reviewers)}) == 1
        assert ("<form" in fragment, "<form" in reviewers) == (True, False)


async def test_a_link_is_made_for_a_member_at_the_sites_address_and_works(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    made = await doors["owner"].send("POST", f"{PROJECT}/people/{seeded.annotator.id}/link")
    (link,) = re.findall(r'<code class="secret"[^>]*>([^<]+)</code>', made.text)
    assert link.startswith("http://localhost:8400/sign-in/link/")
    assert "A sign-in link for Mia Duarte" in words(made.text)
    assert "within 24 hours" in words(made.text)
    assert await accounts.sign_in_link_name(db, link.rsplit("/", 1)[-1]) == "Mia Duarte"


async def test_an_owner_gives_ownership_on_and_an_admin_may_give_up_their_own(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    role_of = f"{PROJECT}/people/{{}}/role"
    await doors["owner"].send("POST", role_of.format(seeded.reviewer.id), {"role": "owner"})
    given = await doors["reviewer"].send("POST", role_of.format(seeded.owner.id), {"role": "annotator"})
    assert given.status_code == 303
    assert (await doors["owner"].send("GET", PROJECT)).status_code == 403
    await db.execute(update(User).where(User.id == seeded.reviewer.id).values(is_admin=True))
    await db.commit()
    mine = role_of.format(seeded.reviewer.id)
    assert (await doors["reviewer"].send("POST", mine, {"role": "annotator"})).status_code == 303
    assert "admin" in words(await read(doors["reviewer"], f"{PROJECT}/people"))


async def test_rolling_back_is_said_in_the_history_with_who_and_why(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    models = f"{PROJECT}/models"
    form = {"kind": "policy", "reason": "Reads <worse>.", "away_from": str(seeded.policies[1].id)}
    assert (await doors["owner"].send("POST", f"{models}/roll-back", form)).headers["location"] == models
    assert (await doors["owner"].send("POST", f"{models}/roll-back", form)).status_code == 409
    html = await read(doors["owner"], models)
    assert sentence(html).startswith("Policy 1 is in use")
    assert "Rolled back to policy 1 in place of policy 2 Ines Okafor Reads &lt;worse&gt;." in words(html)
    assert "Roll back to policy" not in words(html), "there is nothing before the first"
    reviewers = await read(doors["reviewer"], models)
    assert "Rolled back to policy 1" in words(reviewers)
    assert "<form method" not in reviewers.replace('<form method="post" action="/preferences"', "").replace(
        '<form method="post" action="/sign-out"', ""
    )


async def test_a_run_is_started_by_its_button_where_it_can_be_and_told_why_not_where_it_can_not(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    await db.commit()
    for stage, why in (
        ("sft", "There is no demonstration to learn from."),
        ("reward", "There is no judgement to learn from."),
        ("cost", "Nobody has said yet which responses are safe."),
        ("ppo", "There is no reward model yet: train one first."),
        ("dpo", "There is no judgement to learn from."),
        ("generate", "There is no policy in use yet: train one first."),
    ):
        refused = await doors["owner"].send("POST", "/projects/bare/runs", {"stage": stage})
        assert (refused.status_code, why in words(refused.text)) == (409, True), stage
        toast = await doors["owner"].send("POST", "/projects/bare/runs", {"stage": stage}, {"HX-Request": "true"})
        assert toast.text.startswith('<div class="toast toast-error"'), stage
    bare = await projects.named(db, "bare")
    settable.change(bare, settable.group_named("ppo"), {"rules.weights": {"json": 1.0}})
    await db.commit()
    refused = await doors["owner"].send("POST", "/projects/bare/runs", {"stage": "ppo"})
    assert "There is no policy in use yet: train one first." in words(refused.text), "rules may pay alone"
    for stage in ("sft", "reward", "ppo", "dpo", "generate"):
        started = await doors["owner"].send("POST", f"{PROJECT}/runs", {"stage": stage})
        assert started.status_code == 303, stage
        run = await db.get_one(Run, int(started.headers["location"].rsplit("/", 1)[-1]))
        assert (run.stage, run.state, run.round_id, run.started_by_id) == (stage, "queued", None, seeded.owner.id)


async def test_the_page_of_a_project_says_what_runs_by_itself_and_what_waits(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await doors["owner"].send("POST", f"{PROJECT}/rounds/3/cancel")
    assert sentence(await read(doors["owner"], PROJECT)).startswith("PPO is running by itself: step 34 of 60")
    assert "PPO is running by itself." in words(await read(doors["owner"], "/projects"))
    await db.execute(update(Run).where(Run.state == "running").values(state="succeeded", **OVER))
    await db.commit()
    said = "No round is running. 7 new judgements wait to be learned from."
    assert sentence(await read(doors["reviewer"], PROJECT)) == said
    assert "7 new judgements wait to be learned from." in words(await read(doors["owner"], "/projects"))
    started = await doors["owner"].send("POST", f"{PROJECT}/rounds", {"label_target": "5"})
    assert started.headers["location"] == PROJECT
    assert sentence(await read(doors["owner"], PROJECT)) == "Round 4 is choosing pairs to compare."


async def test_home_lists_the_projects_of_somebody_who_is_in_several(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    second = await make_project(db, "second-one")
    second.name, second.description = "Second <one>", "Other questions."
    db.add(Member(project_id=second.id, user_id=seeded.annotator.id, role="annotator"))
    await make_member(db, await make_project(db, "third"))
    await db.commit()
    assert (await doors["annotator"].send("GET", "/")).headers["location"] == "/projects"
    html = await read(doors["annotator"], "/projects")
    assert re.findall(r'class="card" href="([^"]+)"', html) == [f"{PROJECT}/annotate", "/projects/second-one/annotate"]
    assert "Second &lt;one&gt; Other questions." in words(html)
