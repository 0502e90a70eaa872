"""Files that were written, in one zip: the same bytes for the same files, since no time of day is in it."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

CHUNK_BYTES = 1 << 20


def zip_files(files: Mapping[str, Path], archive: Path) -> None:
    """Write them under these names, in this order."""
    with ZipFile(archive, "w") as opened:
        for name, file in files.items():
            about = ZipInfo(name)
            # What is compressed already is stored as it is.
            about.compress_type = ZIP_STORED if file.suffix == ".parquet" else ZIP_DEFLATED
            with file.open("rb") as source, opened.open(about, "w", force_zip64=True) as target:
                while content := source.read(CHUNK_BYTES):
                    target.write(content)
