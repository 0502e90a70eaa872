"""Calls that are carried out once, however often they are sent: by a key of the caller's, for a day.

A claim is a row in the transaction of the call itself. Whoever comes second with the same key waits for that
transaction: it finds the answer once the first is committed, and is the first itself once that is taken back. What is
refused is taken back, so a refusal is never kept.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import KeptAnswer
from app.errors import Conflict, KeyReused
from app.security import digest

KEPT = timedelta(days=1)
FORGOTTEN_AT_ONCE = 100
NONCE_BYTES = 12


@dataclass(frozen=True)
class Answer:
    """`body` as it was sent, of the type `media_type` or empty."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True)
class Key:
    """`chosen` by whoever calls with this token."""

    token: str
    chosen: str

    @property
    def row(self) -> tuple[bytes, bytes]:
        return digest(self.token), digest(self.chosen)

    def cipher(self) -> AESGCM:
        """Seals by what neither the database nor a copy of the disk holds: the token, whose 256 bits nobody guesses."""
        return AESGCM(hashlib.sha256(f"kept answer\0{self.token}\0{self.chosen}".encode()).digest())


async def claim(db: AsyncSession, key: Key, request_digest: bytes) -> Answer | None:
    """The answer of the earlier call with this key; None where this call is the first and has to be carried out.

    Raises KeyReused where the earlier one asked for something else.
    """
    await _forget(db)
    token_digest, key_digest = key.row
    row = {"token_digest": token_digest, "key_digest": key_digest, "request_digest": request_digest}
    claimed = insert(KeptAnswer).values(row).on_conflict_do_nothing().returning(KeptAnswer.key_digest)
    if await db.scalar(claimed) is not None:
        return None
    kept = await db.scalar(
        select(KeptAnswer).where(KeptAnswer.token_digest == token_digest, KeptAnswer.key_digest == key_digest)
    )
    if kept is None or kept.status is None or kept.sealed is None:
        raise Conflict
    if kept.request_digest != request_digest:
        raise KeyReused
    return _opened(key, kept.status, kept.sealed)


async def keep(db: AsyncSession, key: Key, answer: Answer) -> None:
    """Have the next call with this key get the same answer."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    clear = answer.media_type.encode() + b"\n" + answer.body
    kept = await db.get_one(KeptAnswer, key.row)
    kept.status, kept.sealed = answer.status, nonce + key.cipher().encrypt(nonce, clear, None)
    await db.flush()


def _opened(key: Key, status: int, sealed: bytes) -> Answer:
    clear = key.cipher().decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    media_type, _, body = clear.partition(b"\n")
    return Answer(status, media_type.decode(), body)


async def _forget(db: AsyncSession) -> None:
    """Some of what is too old at every call, so that nobody has to come and sweep."""
    old = (
        select(KeptAnswer.token_digest, KeptAnswer.key_digest)
        .where(KeptAnswer.created_at < func.now() - KEPT)
        .limit(FORGOTTEN_AT_ONCE)
        # Two calls at once never wait for each other over what both forget.
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    same = (KeptAnswer.token_digest == old.c.token_digest) & (KeptAnswer.key_digest == old.c.key_digest)
    await db.execute(delete(KeptAnswer).where(same).execution_options(synchronize_session=False))
