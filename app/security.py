"""Secrets: made, digested and compared. Pure functions; nothing here touches the database."""

import asyncio
import hashlib
import secrets
import string
from dataclasses import dataclass
from functools import lru_cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

TOKEN_PREFIX = "plumb_"  # noqa: S105 - what scanners for leaked secrets look for, no secret
_ALPHABET = string.ascii_letters + string.digits

# A verification takes tens of milliseconds and tens of MiB; more than a few at once would starve a small server.
_HASHING_PLACES = asyncio.Semaphore(4)


@dataclass(frozen=True)
class Principal:
    """Who acts: a signed-in person or the owner of an API token."""

    user_id: int
    name: str
    is_admin: bool
    is_simulated: bool = False


def new_token() -> str:
    """256 bits from the system's generator, safe in a URL and a cookie."""
    return secrets.token_urlsafe(32)


def new_api_token() -> str:
    """An API token with a prefix that secret scanners can find."""
    return TOKEN_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(43))


def digest(token: str) -> bytes:
    """SHA-256 of a token. Tokens have 256 bits of entropy, so no salt or slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()


@lru_cache(maxsize=1)
def _hasher() -> PasswordHash:
    # OWASP's second argon2id recommendation: 19 MiB, two passes, one lane.
    return PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))


async def hash_password(password: str) -> str:
    async with _HASHING_PLACES:
        return await asyncio.to_thread(_hasher().hash, password)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Compare in constant work: an unknown user costs the same as a wrong password."""
    async with _HASHING_PLACES:
        matches = await asyncio.to_thread(_hasher().verify, password, password_hash or _dummy_hash())
    return matches and password_hash is not None
