"""A delivery as it goes over the wire: the body, and the headers of Standard Webhooks that sign it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from standardwebhooks import Webhook as Signer

from app.db.base import Json


@dataclass(frozen=True)
class Message:
    """What is sent, before it is signed. `project` is its short name; None where nothing of a project happened."""

    message_id: str
    kind: str
    happened_at: datetime
    about: Json
    project: str | None
    site_url: str

    def body(self) -> bytes:
        """Bytes that are the same at every try: ids, counts and an address to look at, and no text of anybody."""
        data = {"project": self.project, "url": self._url(), **self.about}
        told = {"type": self.kind, "timestamp": self.happened_at.isoformat(), "data": data}
        return json.dumps(told, separators=(",", ":")).encode()

    def headers(self, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
        """With a signature for each secret. `now` is UTC."""
        signed = [Signer(secret).sign(self.message_id, now, body.decode()) for secret in secrets]
        return {
            "webhook-id": self.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signed),
            "Content-Type": "application/json",
            "User-Agent": "Plumbline-Webhook",
        }

    def _url(self) -> str | None:
        """The page of what happened."""
        if self.project is None:
            return None
        return f"{self.site_url}/projects/{self.project}{self._page()}"

    def _page(self) -> str:
        match self.kind:
            case "run.ended" | "alarm.raised":
                return f"/runs/{self.about['run_id']}"
            case "round.started" | "round.ended":
                return f"/rounds/{self.about['number']}"
            case "gate.decided" | "model.promoted" | "model.rolled_back":
                return "/models"
            case "dataset_version.created":
                return "/datasets"
            case "judgement.created" | "judgements.created":
                return "/browse/judgements"
            case _:
                return "/webhooks"
