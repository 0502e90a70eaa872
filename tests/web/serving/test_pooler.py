"""What of the site goes by a pooler, and what must not."""

from pathlib import Path

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.settings import Settings
from app.web.main import create_app

NAMES = text("SELECT application_name, query FROM pg_stat_activity WHERE application_name IN ('straight', 'pooled')")


async def test_the_sites_statements_go_by_the_pooler_and_what_listens_goes_straight(
    db: AsyncSession, database_url: str, tmp_path: Path
) -> None:
    """Which would hear nothing behind one. Here both ways lead to the same server, and are told apart by a name."""
    ways = {"database_url": "straight", "pooler_url": "pooled"}
    addresses = {setting: f"{database_url}&application_name={name}" for setting, name in ways.items()}
    app = create_app(Settings(home=tmp_path, **addresses))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        app.state.hub.subscribe(1) as events,
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser,
    ):
        await events.next()
        await events.next()  # it listens
        assert (await browser.get("/sign-in/link/of-nobody")).status_code == 404
        asked = {(name, "LISTEN" in query) for name, query in await db.execute(NAMES)}
    assert asked == {("straight", True), ("pooled", False)}
