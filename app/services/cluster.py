"""A Ray cluster as it looks to somebody without its token: whether it may be used, asked by who needn't have that."""

from typing import Literal

import httpx

from app.certificates import trusted

Standing = Literal["closed", "open", "away"]

LOOK_SECONDS = 1.5
NOBODY = "plumbline-nobody"
REFUSED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
ANSWERED = frozenset({httpx.codes.OK, httpx.codes.NOT_FOUND})


async def standing(url: str) -> Standing:
    """`closed` if it refuses to answer without a token, as it has to; `open` if it tells anybody of its jobs: then
    anybody who reaches it can run programs there."""
    try:
        async with httpx.AsyncClient(
            verify=trusted(), trust_env=False, follow_redirects=False, timeout=LOOK_SECONDS
        ) as client:
            return standing_of(await client.get(f"{url}/api/jobs/{NOBODY}"))
    except (httpx.HTTPError, httpx.InvalidURL):
        return "away"


def standing_of(answer: httpx.Response) -> Standing:
    """What an answer to a request without a token says."""
    if answer.status_code in REFUSED:
        return "closed"
    return "open" if answer.status_code in ANSWERED else "away"
