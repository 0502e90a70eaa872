"""People without eyes are faster than any site allows one person to be: when they are told to wait, they do."""

import asyncio

import httpx


class Patient(httpx.AsyncHTTPTransport):
    """Asks again after as long as the site has said, where it was asked too often (429)."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        while answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            await answer.aclose()
            await asyncio.sleep(int(answer.headers.get("retry-after", "1")))
            answer = await super().handle_async_request(request)
        return answer
