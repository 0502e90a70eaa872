"""Where the site's public address is HTTPS, its cookies go over nothing else, without a setting."""

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from app.settings import Settings
from tests.factories import make_user
from tests.sites import new_site
from tests.web.conftest import HOST, client_of


@pytest.mark.parametrize(
    ("settings", "is_secure"),
    [
        ({"public_url": f"https://{HOST}"}, True),
        ({"public_url": f"http://{HOST}"}, False),
        ({}, False),
        ({"secure_cookies": True}, True),
        ({"public_url": f"https://{HOST}", "secure_cookies": False}, False),
    ],
)
async def test_every_cookie_is_bound_to_https_where_the_public_address_is(
    db: AsyncSession, database_url: str, settings: dict[str, object], is_secure: bool
) -> None:
    link = await accounts.create_sign_in_link(db, (await make_user(db)).id)
    await db.commit()
    app = new_site(Settings(database_url=database_url, trusted_hosts=HOST, **settings))  # type: ignore[arg-type]
    async with app.router.lifespan_context(app), client_of(app) as client:
        answers = [
            await client.post(f"/sign-in/link/{link}"),
            await client.post("/preferences", data={"theme": "dark"}),
            await client.post("/sign-out"),
        ]
    cookies = [cookie for answer in answers for cookie in answer.headers.get_list("set-cookie")]
    assert len(cookies) >= 3
    assert {"; Secure" in cookie for cookie in cookies} == {is_secure}
    assert {_is_of_this_host(answer) for answer in answers[:1]} == {is_secure}
    assert {"strict-transport-security" in answer.headers for answer in answers} == {is_secure}


def _is_of_this_host(answer: httpx.Response) -> bool:
    names = {cookie.partition("=")[0] for cookie in answer.headers.get_list("set-cookie")}
    return names == {"__Host-session", "__Host-known"}
