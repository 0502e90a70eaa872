"""`python -m tests.infra.releases FILE [REVISION]`: the seeded site as a backup by this program, for later ones.

Each release leaves one here, named after its revision; REVISION is for one of before, whose tables have to hold the
seed still.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from app.db import migrate
from app.db.embedded import EmbeddedPostgres
from app.db.session import create_engine, session_factory, transaction
from app.security import hash_password
from app.services.backups import making
from app.services.backups.places import place_at
from app.settings import Settings
from tests.browser.seed import seed
from tests.browser.seed.versions import write_models
from tests.infra.releases.people import EMAIL, PASSWORD


def main() -> None:
    file, *revision = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        server = EmbeddedPostgres(home, durable=False)
        url = server.start()
        try:
            migrate.upgrade(url)
            asyncio.run(_fill(url))
            write_models(home)
            if revision:
                migrate.downgrade(url, revision[0])
            making.make(url, Settings(home=home), place_at(file), lambda _line: None)
        finally:
            server.stop()


async def _fill(url: str) -> None:
    engine = create_engine(url, pool_size=1)
    async with transaction(session_factory(engine)) as db:
        seeded = await seed(db, labels=7)
        owner = await db.merge(seeded.owner)
        owner.email, owner.password_hash, owner.is_admin = EMAIL, await hash_password(PASSWORD), True
    await engine.dispose()


if __name__ == "__main__":
    main()
