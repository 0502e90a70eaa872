"""The files of a zip archive, one after the other."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from app.errors import Invalid
from app.services.data.imports.sources import refused
from app.services.data.imports.sources.bytes import Damaged, buffered, require_bounded

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
MOST_FILES = 10_000
BREAKS_OFF = "%(name)s is damaged: its file %(file)s breaks off or breaks down after row %(line)s."
# What is inside of files that are zip archives only to programs.
_DISGUISED = {
    "xl/workbook.xml": refused.EXCEL,
    "xl/workbook.bin": refused.EXCEL,
    **dict.fromkeys(("content.xml", "word/document.xml", "Index/Document.iwa"), refused.OFFICE),
}
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


def files_of(archive: BinaryIO, name: str) -> Iterator[tuple[str, BinaryIO]]:
    """The name and content of each file, not of folders and hidden ones. Raises Damaged, Invalid."""
    try:
        opened = zipfile.ZipFile(archive)
    except _BROKEN:
        raise Damaged("%(name)s is damaged: it is no whole zip archive.") from None
    with opened:
        for known, sentence in _DISGUISED.items():
            if known in opened.NameToInfo:
                raise Invalid(sentence, name=name)
        members = [member for member in opened.infolist() if _is_data(member.filename)]
        if len(members) > MOST_FILES:
            raise Invalid("%(name)s holds more than %(most)s files.", name=name, most=f"{MOST_FILES:,}")
        unpacked = [0]
        packed_bytes = archive.seek(0, io.SEEK_END)
        for member in members:
            if member.flag_bits & 1:
                raise Invalid("%(name)s is encrypted, which isn't read: unpack it first.", name=name)
            yield member.filename, _content(opened, member, packed_bytes, unpacked)


def _is_data(filename: str) -> bool:
    parts = PurePosixPath(filename).parts
    return not filename.endswith("/") and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, packed_bytes: int, unpacked: list[int]) -> BinaryIO:
    """`unpacked` counts what came out of all files of the archive."""
    try:
        stream = archive.open(member)
    except _BROKEN:
        raise Damaged(BREAKS_OFF, file=member.filename) from None

    def read(size: int) -> bytes:
        try:
            content = stream.read(size)
        except _BROKEN:
            raise Damaged(BREAKS_OFF, file=member.filename) from None
        unpacked[0] += len(content)
        require_bounded(packed_bytes, unpacked[0])
        return content

    return buffered(read)
