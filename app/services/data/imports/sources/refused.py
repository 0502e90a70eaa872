"""What isn't read, by name: by the first bytes of a file, so that the reason says more than that it is no JSON."""

import codecs

from app.phrases import phrase
from app.services.data.imports.sources.json_lines import after_marks

EXCEL = phrase("%(name)s is an Excel workbook, which isn't read: save it as CSV.")
OFFICE = phrase("%(name)s is a document of an office program, which isn't read: save its table as CSV.")
ZLIB = (b"\x78\x01", b"\x78\x9c", b"\x78\xda")
TAR = phrase("%(name)s is a tar archive, which isn't read: give the files in it, or a zip.")

_BY_MAGIC = (
    (b"SQLite format 3\0", phrase("%(name)s is an SQLite database, which isn't read: export its table as CSV.")),
    (b"ARROW1", phrase("%(name)s is an Arrow or Feather file, which isn't read: write it as Parquet.")),
    (b"FEA1", phrase("%(name)s is a Feather file, which isn't read: write it as Parquet.")),
    (b"\xff\xff\xff\xff", phrase("%(name)s is an Arrow stream, which isn't read: write it as Parquet.")),
    (b"7z\xbc\xaf\x27\x1c", phrase("%(name)s is a 7z archive, which isn't read: pack it as zip.")),
    (b"Rar!", phrase("%(name)s is a RAR archive, which isn't read: pack it as zip.")),
    (b"\x04\x22\x4d\x18", phrase("%(name)s is compressed with LZ4, which isn't read: use zstd or gzip.")),
    (b"\x1f\x9d", phrase("%(name)s is compressed with compress, which isn't read: use gzip.")),
    (b"\x5d\x00\x00", phrase("%(name)s is compressed with LZMA alone, which isn't read: use xz.")),
    *((magic, phrase("%(name)s is compressed with zlib alone, which isn't read: use gzip.")) for magic in ZLIB),
    (b"\xd0\xcf\x11\xe0", EXCEL),
    (b"%PDF", phrase("%(name)s is a PDF, which isn't read.")),
    (b"Obj\x01", phrase("%(name)s is an Avro file, which isn't read: write it as Parquet or JSON Lines.")),
    (b"ORC", phrase("%(name)s is an ORC file, which isn't read: write it as Parquet.")),
    (b"\x93NUMPY", phrase("%(name)s is a NumPy array, which isn't read: write it as JSON Lines.")),
    (b"\x89HDF", phrase("%(name)s is an HDF5 file, which isn't read: write it as Parquet.")),
    (b"version https://git-lfs", phrase("%(name)s is Git LFS's pointer to a file, not the file: fetch it first.")),
)  # fmt: skip
_UTF_32 = phrase("%(name)s is UTF-32, which isn't read: save it as UTF-8.")
_UTF_16 = phrase("%(name)s is UTF-16, which isn't read: save it as UTF-8.")
_MARKUP = phrase("%(name)s is HTML or XML, which isn't read: is it the page that a download led to?")
_BINARY = phrase("%(name)s is no text, and of no kind that is read.")


def why_not(head: bytes) -> str | None:
    """The sentence that refuses a file which begins like this; None for what may be read."""
    for magic, sentence in _BY_MAGIC:
        if head.startswith(magic):
            return sentence
    if head[257:262] == b"ustar":
        return TAR
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return _UTF_32
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _UTF_16
    start = after_marks(head)[:1]
    if start == b"<":
        return _MARKUP
    return _of_zeros(head[:1_000])


def _of_zeros(head: bytes) -> str | None:
    """Every second byte is a zero in UTF-16 of European text that has no mark; few are in any text that is read."""
    zeros = head.count(b"\0")
    if 5 * zeros < len(head) or not zeros:
        return None
    one_sided = abs(head[::2].count(b"\0") - head[1::2].count(b"\0")) > 0.8 * zeros
    return _UTF_16 if one_sided else _BINARY
