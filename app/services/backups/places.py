"""From an address to the place that it names."""

from pathlib import Path

from app.services.backups.one_file import OneFile
from app.services.places.folder import Folder
from app.services.places.place import Place
from app.services.places.storage import SCHEMES, Storage


def place_at(address: str, *, of_many: bool = False) -> Place:
    """`s3://bucket/folder` is a storage; what ends in a slash or is a folder, a folder; anything else a file, unless it
    is to be `of_many` backups."""
    if address.startswith(SCHEMES):
        return Storage(address)
    path = Path(address).expanduser().absolute()
    return Folder(path) if of_many or address.endswith("/") or path.is_dir() else OneFile(path)
