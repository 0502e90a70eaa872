"""Files that come in, piece by piece."""

from collections.abc import AsyncIterator

from starlette.datastructures import UploadFile

CHUNK_BYTES = 1_048_576


async def chunks_of(file: UploadFile) -> AsyncIterator[bytes]:
    """What was sent in one field of a form."""
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk
