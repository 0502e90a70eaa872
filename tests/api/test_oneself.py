"""One's own account, tokens and sessions by a program; and what admins read of the site."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from app.services import accounts
from tests.api.conftest import As
from tests.browser.seed import Seeded


async def test_a_program_reads_whose_it_is_and_gives_them_another_name(calling: As, seeded: Seeded) -> None:
    me = (await calling("annotator").get("/api/v1/me")).json()
    assert (me["id"], me["is_admin"]) == (seeded.annotator.id, False)
    changed = await calling("annotator").patch("/api/v1/me", json={"name": "Kim"})
    assert changed.json() == me | {"name": "Kim"}


async def test_a_token_is_listed_without_itself_and_ends_by_its_own_hand_for_nobody_else(calling: As) -> None:
    annotator, owner = calling("annotator"), calling("owner")
    (token,) = (await annotator.get("/api/v1/me/tokens")).json()["items"]
    secret = annotator.headers["authorization"].removeprefix("Bearer ")
    assert secret.startswith(token["hint"])
    assert secret not in str(token)
    assert (await owner.delete(f"/api/v1/me/tokens/{token['id']}")).status_code == 404
    assert (await annotator.delete(f"/api/v1/me/tokens/{token['id']}")).status_code == 204
    assert (await annotator.get("/api/v1/me")).status_code == 401


async def test_a_browser_is_signed_out_by_a_program_of_its_person_alone(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    cookie = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, seeded.annotator.id))
    await db.commit()
    (session,) = (await calling("annotator").get("/api/v1/me/sessions")).json()["items"]
    assert (await calling("owner").delete(f"/api/v1/me/sessions/{session['id']}")).status_code == 404
    assert (await calling("annotator").delete(f"/api/v1/me/sessions/{session['id']}")).status_code == 204
    assert await accounts.principal_of_session(db, cookie) is None


async def test_admins_read_how_the_site_is_and_every_try_at_a_backup(
    db: AsyncSession, calling: As, seeded: Seeded
) -> None:
    owner = calling("owner")
    assert {(await owner.get(f"/api/v1/{what}")).status_code for what in ("health", "backups")} == {403}
    await db.execute(update(User).where(User.id == seeded.owner.id).values(is_admin=True))
    await db.commit()
    health = (await owner.get("/api/v1/health")).json()
    assert health["backups"] == {"place": None, "last_whole_at": None, "age_seconds": None, "is_late": False}
    assert (await owner.get("/api/v1/backups")).json() == {"items": [], "next_cursor": None}
    assert (await owner.get(f"/api/v1/people/{seeded.annotator.id}")).json()["id"] == seeded.annotator.id
