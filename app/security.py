"""Secrets: made, digested and compared. Pure functions; nothing here touches the database."""

import asyncio
import base64
import hashlib
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import argon2
from pwdlib.hashers.argon2 import Argon2Hasher

TOKEN_PREFIX = "plumb_"  # noqa: S105 - what scanners for leaked secrets look for, no secret
SHORTEST_FORM_KEY = 32
_ALPHABET = string.ascii_letters + string.digits

# A verification takes tens of milliseconds and tens of MiB; more than a few at once would starve a small server.
_HASHING_PLACES = asyncio.Semaphore(4)


@dataclass(frozen=True)
class Principal:
    """Who acts: a signed-in person or the owner of an API token. `held_by` is the digest of the session's or token's
    secret by which they do; empty on the command line.
    """

    user_id: int
    name: str
    is_admin: bool
    is_simulated: bool = False
    held_by: bytes = field(default=b"", compare=False, repr=False)


def new_token() -> str:
    """256 bits from the system's generator, safe in a URL and a cookie."""
    return secrets.token_urlsafe(32)


def new_api_token(drawn: bytes | None = None) -> str:
    """An API token with a prefix that secret scanners can find, of 256 bits that were drawn before or are now."""
    number = int.from_bytes(drawn or secrets.token_bytes(32))
    letters = []
    for _ in range(43):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return TOKEN_PREFIX + "".join(letters)


def of_form(form_key: str, *said: object) -> bytes | None:
    """256 bits that follow from the key of a form, which a page has drawn for it, and from what was said in it: sent
    twice, it makes one thing. None for what is no such key."""
    if len(form_key) < SHORTEST_FORM_KEY:
        return None
    return hashlib.sha256(repr((form_key, *said)).encode()).digest()


def digest(token: str) -> bytes:
    """SHA-256 of a token. Tokens have 256 bits of entropy, so no salt or slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()


@lru_cache(maxsize=1)
def _hasher() -> Argon2Hasher:
    # OWASP's second argon2id recommendation: 19 MiB, two passes, one lane.
    return Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1)


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))


async def hash_password(password: str, *, beside: str | None = None) -> str:
    """A hash with a salt of its own, or with that of the hash `beside`: see `matching_hash`."""
    salt = _salt_of(beside) if beside else None
    async with _HASHING_PLACES:
        return await asyncio.to_thread(_hasher().hash, password, salt=salt)


async def matching_hash(password: str, hashes: Sequence[str]) -> str | None:
    """The one of `hashes` that is of this password. They have one salt, so that any number of them takes as long as one
    does, and as none does.
    """
    async with _HASHING_PLACES:
        return await asyncio.to_thread(_matching, password, hashes)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Compare in constant work: nobody's password costs the same as a wrong one."""
    return await matching_hash(password, [password_hash] if password_hash else []) is not None


def _matching(password: str, hashes: Sequence[str]) -> str | None:
    """What was made with other parameters than today's is compared by its own."""
    by_form: dict[str, list[str]] = {}
    for kept in hashes or [_nobodys_hash()]:
        by_form.setdefault(kept.rpartition("$")[0], []).append(kept)
    found = None
    for alike in by_form.values():
        made = _hasher_of(alike[0]).hash(password, salt=_salt_of(alike[0]))
        found = next((kept for kept in alike if secrets.compare_digest(kept, made)), found)
    return found if hashes else None


def _hasher_of(password_hash: str) -> Argon2Hasher:
    made_with = argon2.extract_parameters(password_hash)
    return Argon2Hasher(
        time_cost=made_with.time_cost, memory_cost=made_with.memory_cost, parallelism=made_with.parallelism
    )


def _salt_of(password_hash: str) -> bytes:
    """Argon2's own form: `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`, in base64 without its padding."""
    salt = password_hash.split("$")[-2]
    return base64.b64decode(salt + "=" * (-len(salt) % 4))
