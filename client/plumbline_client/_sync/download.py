# Made by `make client` from _async/download.py.
"""A file of the site: in memory, row by row, or on the disk, where it goes on from where it broke off."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from plumbline_client._sync.ground import sleep
from plumbline_client._sync.transport import Transport
from plumbline_client.calls import Call, Progress
from plumbline_client.errors import ApiError, Unreachable
from plumbline_client.part_files import PartFile, total_bytes


class Download:
    """What a call answers with, fetched by one of the methods; each of them makes the call anew."""

    def __init__(self, transport: Transport, call: Call) -> None:
        self._transport = transport
        # Packed on the way, neither size nor place in the file would be known.
        self._call = replace(call, headers={**call.headers, "Accept-Encoding": "identity"})

    def content(self) -> bytes:
        """All of it, in memory."""
        return (self._transport.send(self._call)).content

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row of a file of JSON lines, as it comes."""
        rest = b""
        with self._transport.open(self._call) as response:
            # By its own bytes: httpx takes what Unicode calls the end of a line for one, and texts hold such signs.
            for piece in response.iter_bytes():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        if rest:
            yield json.loads(rest)

    def save(self, to: str | Path, *, progress: Progress | None = None) -> Path:
        """Write it to a file, which is there once all of it is, and return its path.

        What breaks off goes on from there, now or when this is called again, where the site names the state of the file
        (ETag) and sends ranges of it; otherwise it begins again. Raises ApiError, Unreachable.
        """
        part = PartFile(Path(to))
        tried = 0
        while True:
            held = part.held_bytes
            try:
                self._go_on(part, progress)
                return part.finish()
            except httpx.TransportError as broken:
                tried = 1 if part.held_bytes > held else tried + 1
                pause = self._transport.retries.pause_after(self._call, tried, broken)
                if pause is None:
                    raise Unreachable(f"{self._call.path} broke off: {broken}") from broken
                sleep(pause)
            except ApiError as refused:
                if refused.status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE or not held:
                    raise
                part.discard()

    def _go_on(self, part: PartFile, progress: Progress | None) -> None:
        call = replace(self._call, headers={**self._call.headers, **part.headers()})
        with self._transport.open(call) as response:
            with part.opened(response) as file:
                for piece in response.iter_raw():
                    file.write(piece)
                    if progress is not None:
                        progress(file.tell(), total_bytes(response))
