# Made by `make client` from _async/pages.py.
"""A list of the site, page by page or item by item."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from plumbline_client._sync.transport import Transport
from plumbline_client.calls import Call
from plumbline_client.values import Page

Item = TypeVar("Item")


class Pages(Generic[Item]):
    """All items from where the call begins, newest first where the site doesn't say otherwise; asked for as they are
    needed. What arrives meanwhile shifts nothing."""

    def __init__(self, transport: Transport, call: Call, kind: type[Page[Item]]) -> None:
        self._transport = transport
        self._call = call
        self._kind = kind

    def page(self) -> Page[Item]:
        """The first page alone; its `next_cursor` is where the next one begins."""
        return self._transport.ask(self._call, self._kind)

    def pages(self) -> Iterator[Page[Item]]:
        """Every page."""
        call = self._call
        while True:
            page = self._transport.ask(call, self._kind)
            yield page
            if page.next_cursor is None:
                return
            call = replace(call, query={**call.query, "cursor": page.next_cursor})

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            for item in page.items:
                yield item

    def first(self) -> Item | None:
        """The first item, None where the list is empty."""
        page = self._transport.ask(replace(self._call, query={**self._call.query, "limit": 1}), self._kind)
        return page.items[0] if page.items else None

    def all(self) -> list[Item]:
        """Every item at once."""
        return [item for item in self]
