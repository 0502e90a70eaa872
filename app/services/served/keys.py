"""Secrets that have to be read again, encrypted by the installation's own key, which stands in a file and never in the
database: keys of served models, secrets of webhooks.

AES-256-GCM. What a key was sealed for is part of what is authenticated, so that a sealed key that is copied to another
project can't be opened there.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import Conflict
from app.settings import settings

FILE = "secret.key"
KEY_BYTES = 32
NONCE_BYTES = 12
SERVED_MODEL = "served model"


def seal(key: str, *, project_id: int, home: Path, of: str = SERVED_MODEL) -> bytes:
    """The key as the database may hold it; project 0 is the site.

    Raises Conflict where the installation's own key can't be read.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(_installation_key(home)).encrypt(nonce, key.encode(), _purpose(project_id, of))


def unseal(sealed: bytes, *, project_id: int, home: Path, of: str = SERVED_MODEL) -> str:
    """The key in clear. Raises Conflict where it was sealed by another installation, or for something else."""
    nonce, encrypted = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(_installation_key(home)).decrypt(nonce, encrypted, _purpose(project_id, of)).decode()
    except InvalidTag:
        raise Conflict(
            "The key of this served model was encrypted by another installation: give the key again."
        ) from None


def _purpose(project_id: int, of: str) -> bytes:
    return f"{of} of project {project_id}".encode()


def _installation_key(home: Path) -> bytes:
    path = settings().secret_key_file or home / FILE
    if settings().secret_key_file is None:
        _make(path)
    try:
        if path.stat().st_mode & 0o077:
            raise Conflict("Others can read %(path)s: make it the owner's alone by chmod 600.", path=path)
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Conflict("%(path)s can't be read as a key: it has to hold 64 hexadecimal digits.", path=path)
    return key


def _make(path: Path) -> None:
    """Write a new key unless there is one: whole, on disk, and by one process only."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster, and its key is the one
            path.hardlink_to(draft)
    finally:
        draft.unlink()
