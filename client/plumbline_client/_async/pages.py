"""A list of the site, page by page or item by item."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Generic, TypeVar

from plumbline_client._async.transport import AsyncTransport
from plumbline_client.calls import Call
from plumbline_client.values import Page

Item = TypeVar("Item")


class AsyncPages(Generic[Item]):
    """All items from where the call begins, newest first where the site doesn't say otherwise; asked for as they are
    needed. What arrives meanwhile shifts nothing."""

    def __init__(self, transport: AsyncTransport, call: Call, kind: type[Page[Item]]) -> None:
        self._transport = transport
        self._call = call
        self._kind = kind

    async def page(self) -> Page[Item]:
        """The first page alone; its `next_cursor` is where the next one begins."""
        return await self._transport.ask(self._call, self._kind)

    async def pages(self) -> AsyncIterator[Page[Item]]:
        """Every page."""
        call = self._call
        while True:
            page = await self._transport.ask(call, self._kind)
            yield page
            if page.next_cursor is None:
                return
            call = replace(call, query={**call.query, "cursor": page.next_cursor})

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def first(self) -> Item | None:
        """The first item, None where the list is empty."""
        page = await self._transport.ask(replace(self._call, query={**self._call.query, "limit": 1}), self._kind)
        return page.items[0] if page.items else None

    async def all(self) -> list[Item]:
        """Every item at once."""
        return [item async for item in self]
