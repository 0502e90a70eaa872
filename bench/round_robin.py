"""A proxy that knows nothing but connections: each goes to the next process in turn that takes it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle

PIECE_BYTES = 65_536

Address = tuple[str, int]


class NobodyThere(ConnectionError):
    """No process takes connections."""


class RoundRobin:
    """Hands connections on. `passed_over` counts those that the process whose turn it was didn't take."""

    def __init__(self, processes: Sequence[Address]) -> None:
        self.passed_over = 0
        self._count = len(processes)
        self._turns: Iterator[Address] = cycle(processes)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port on loopback where it is reached."""
        server = await asyncio.start_server(self._hand_on, "127.0.0.1", 0)
        async with server:
            yield int(server.sockets[0].getsockname()[1])

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await self._connected()
        except NobodyThere:
            writer.transport.abort()
            return
        with suppress(asyncio.CancelledError):  # nobody listens any more
            await asyncio.gather(_pour(reader, back), _pour(onward, writer))

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for host, port in [next(self._turns) for _ in range(self._count)]:
            try:
                return await asyncio.open_connection(host, port)
            except OSError:
                self.passed_over += 1
        raise NobodyThere


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Where one side ends, so does the other: a closed connection is seen as that."""
    with suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()
