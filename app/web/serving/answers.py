"""An answer on its way, for whoever only watches it pass."""

import time

from starlette.types import Message, Send


class Answer:
    """What has been sent of it: the status, and by `time.perf_counter` when it began; both None until then."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.began_at: float | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status, self.began_at = message["status"], time.perf_counter()
        await self._send(message)
