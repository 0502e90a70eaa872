"""A model's archive as an answer: whole, from where a download broke off, or not at all where it is known already."""

import re
from collections.abc import Mapping

from starlette.responses import Response, StreamingResponse

from app.services.loop.models.archive import MEDIA_TYPE, Archive

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def answer(archive: Archive, asked: Mapping[str, str]) -> Response:
    """What the headers of a request ask for (RFC 9110, 14); nothing of it is gathered before it is sent."""
    size, etag = archive.size_bytes, archive.etag
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{archive.name}.tar"',
    }
    if etag in (known.strip() for known in asked.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    part = _part(asked, size, etag)
    if part is None:
        return _sent(archive, 0, size, 200, headers)
    first, end = part
    if first >= end:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    return _sent(archive, first, end, 206, {**headers, "Content-Range": f"bytes {first}-{end - 1}/{size}"})


def begins(asked: Mapping[str, str]) -> bool:
    """Whether this isn't the rest of a download that was begun before."""
    return not asked.get("range", "bytes=0-").startswith(tuple(f"bytes={digit}" for digit in "123456789"))


def _part(asked: Mapping[str, str], size: int, etag: str) -> tuple[int, int] | None:
    """From where to where; None for all of it: several parts at once, and parts of another archive, aren't sent."""
    found = _RANGE.fullmatch(asked.get("range", "").strip())
    if found is None or found[0] == "bytes=-" or asked.get("if-range", etag) != etag:
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size


def _sent(archive: Archive, first: int, end: int, status: int, headers: dict[str, str]) -> Response:
    sized = {**headers, "Content-Length": str(end - first)}
    return StreamingResponse(archive.pieces(first, end), status, sized, media_type=MEDIA_TYPE)
