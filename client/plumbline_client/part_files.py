"""A download that may break off: what of it is there already, beside where it will be."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx


@dataclass(frozen=True)
class PartFile:
    """`NAME.part` beside the target, and in `NAME.part.etag` which state of the file it is a part of."""

    target: Path

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def _tag_path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.etag")

    @property
    def held_bytes(self) -> int:
        """How much is there that can be gone on from."""
        return self.path.stat().st_size if self.path.exists() and self._tag_path.exists() else 0

    def headers(self) -> dict[str, str]:
        """That ask for the rest, and for all of it should it have changed."""
        if not self.held_bytes:
            return {}
        return {"Range": f"bytes={self.held_bytes}-", "If-Range": self._tag_path.read_text(encoding="ascii")}

    def opened(self, response: httpx.Response) -> BinaryIO:
        """To write what comes: after what is there, or from the beginning where the site sends all of it."""
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            return self.path.open("ab")
        tag = response.headers.get("etag", "")
        self._tag_path.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("wb")
        if tag.startswith('"'):  # a weak one doesn't promise the same bytes
            self._tag_path.write_text(tag, encoding="ascii")
        return file

    def finish(self) -> Path:
        """Put it where it belongs."""
        self.path.replace(self.target)
        self._tag_path.unlink(missing_ok=True)
        return self.target

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)


def total_bytes(response: httpx.Response) -> int | None:
    """How long the whole file is, where the site says so."""
    if of := re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("content-range", "")):
        return int(of[1])
    return int(response.headers["content-length"]) if "content-length" in response.headers else None
