"""A device that holds passkeys, in software: it makes ES256 key pairs and signs by them, as WebAuthn wants it."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

PRESENT, VERIFIED, HOLDS_KEY = 0x01, 0x04, 0x40


@dataclass
class Key:
    private: ec.EllipticCurvePrivateKey
    handle: bytes
    count: int = 0


@dataclass
class Authenticator:
    """`counts` unless it is one of those that say 0 for ever; `verifies` its owner unless it was found on a table."""

    origin: str = "http://localhost:8400"
    party: str = "localhost"
    counts: bool = True
    verifies: bool = True
    keys: dict[bytes, Key] = field(default_factory=dict)

    def make(self, options: dict[str, Any]) -> str:
        """The answer to `navigator.credentials.create()`."""
        key = Key(ec.generate_private_key(ec.SECP256R1()), base64url_to_bytes(options["user"]["id"]))
        credential_id = secrets.token_bytes(32)
        self.keys[credential_id] = key
        point = key.private.public_key().public_numbers()
        public = encode_cbor({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)})
        holder = bytes(16) + len(credential_id).to_bytes(2) + credential_id + public
        data = self._data(key, HOLDS_KEY) + holder
        attested = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options)
        return _answer(credential_id, clientDataJSON=client, attestationObject=attested)

    def sign(self, options: dict[str, Any], credential_id: bytes | None = None) -> str:
        """The answer to `navigator.credentials.get()`, by the last key that was made or the one that is named."""
        credential_id = credential_id or list(self.keys)[-1]
        key = self.keys[credential_id]
        key.count += self.counts
        data, client = self._data(key), self._client("webauthn.get", options)
        signature = key.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return _answer(
            credential_id, clientDataJSON=client, authenticatorData=data, signature=signature, userHandle=key.handle
        )

    def _data(self, key: Key, flags: int = 0) -> bytes:
        flags |= PRESENT | (VERIFIED if self.verifies else 0)
        return hashlib.sha256(self.party.encode()).digest() + bytes([flags]) + key.count.to_bytes(4)

    def _client(self, kind: str, options: dict[str, Any]) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin}).encode()


def _answer(credential_id: bytes, **response: bytes) -> str:
    name = bytes_to_base64url(credential_id)
    said = {part: bytes_to_base64url(value) for part, value in response.items()}
    return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": said})
