"""`python -m tests.browser.seed URL` fills a migrated database and prints links to sign in."""

import asyncio
import sys

from app.db.session import create_engine, session_factory, transaction
from app.services import accounts
from tests.browser.seed import seed


async def main(url: str) -> None:
    engine = create_engine(url)
    async with transaction(session_factory(engine)) as db:
        seeded = await seed(db)
        admin = await accounts.create_user(db, name="Ada Keller", is_admin=True)
        people = {"admin": admin, "owner": seeded.owner, "annotator": seeded.annotator}
        links = {role: await accounts.create_sign_in_link(db, user.id) for role, user in people.items()}
    await engine.dispose()
    for role, token in links.items():
        sys.stdout.write(f"{role} /sign-in/link/{token}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
