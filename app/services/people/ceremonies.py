"""WebAuthn's ceremonies: a device makes a key pair, and a device signs a challenge. All that knows the library.

A challenge is answered once, within minutes, by the browser that asked for it. The device must have checked that its
owner holds it, by a fingerprint, a face or a code: a passkey stands in for a password, and a key that was found on a
table must open nothing.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

import httpx
from pydantic_core import from_json
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from app.db.base import Json
from app.db.session import apart
from app.db.tables import PasskeyChallenge, User
from app.errors import Conflict, Invalid
from app.security import digest

CHALLENGE_BYTES = 32
CHALLENGE_LASTS = timedelta(minutes=10)
LONGEST_ANSWER = 20_000  # characters; with every attestation that there is, an answer has some 8,000
STALE = "That took too long, or was sent before. Try again."

# What the library raises, and Python itself for base64, text or nesting that is none, and for keys that lack a part.
_MALFORMED = (WebAuthnException, ValueError, TypeError, LookupError, RecursionError)


class PasskeyRefused(Invalid):
    """This passkey was not accepted. Try again, or choose another way."""


@dataclass(frozen=True)
class RelyingParty:
    """What passkeys are bound to: the name of the site, and the origin that its pages have in a browser."""

    id: str
    origin: str


def relying_party(site_url: str) -> RelyingParty | None:
    """None where browsers have no passkeys: at an IP address, and without HTTPS other than on one's own machine."""
    url = httpx.URL(site_url)
    name = url.raw_host.decode()
    is_own_machine = name == "localhost" or name.endswith(".localhost")
    if _is_address(name) or not (url.scheme == "https" or is_own_machine):
        return None
    return RelyingParty(name, f"{url.scheme}://{url.netloc.decode()}")


def required_party(site_url: str) -> RelyingParty:
    """What passkeys are bound to at this address. Raises Conflict where there can be none."""
    party = relying_party(site_url)
    if party is None:
        raise Conflict(
            "Browsers have passkeys at addresses with a name and HTTPS only, and this site has no such address."
        )
    return party


def handle_of(user: User) -> bytes:
    """What devices call the person: the same for ever, and different from anybody's on another installation of the same
    name, whose passkeys would be overwritten.
    """
    return digest(f"person {user.id} {user.created_at.timestamp()}")


async def ask_for_key(
    db: AsyncSession, party: RelyingParty, user: User, *, known: Sequence[bytes], browser: str
) -> Json:
    """What `browser` is to hand to a device, so that it makes a key pair. Devices that hold a `known` one refuse."""
    options = generate_registration_options(
        rp_id=party.id,
        rp_name="Plumbline",
        user_id=handle_of(user),
        user_name=user.email or user.name,
        user_display_name=user.name,
        challenge=await _challenge(db, browser),
        timeout=_milliseconds(CHALLENGE_LASTS),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
    )
    return options_to_json_dict(options)


async def ask_for_signature(
    db: AsyncSession, party: RelyingParty, *, browser: str, allowed: Sequence[bytes] = ()
) -> Json:
    """What `browser` is to hand to a device, so that it signs: by one of `allowed`, or by any that it holds for us."""
    options = generate_authentication_options(
        rp_id=party.id,
        challenge=await _challenge(db, browser),
        timeout=_milliseconds(CHALLENGE_LASTS),
        allow_credentials=[PublicKeyCredentialDescriptor(id=one) for one in allowed],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


async def key_in(db: AsyncSession, party: RelyingParty, answer: str, *, browser: str) -> VerifiedRegistration:
    """The key pair that a device has made. Uses the challenge up. Raises PasskeyRefused."""
    try:
        made = parse_registration_credential_json(_object(answer))
    except _MALFORMED:
        raise PasskeyRefused from None
    challenge = await use_challenge(db, made, browser=browser)
    try:
        return verify_registration_response(
            credential=made,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except _MALFORMED:
        raise PasskeyRefused from None


def signature_in(answer: str) -> AuthenticationCredential:
    """What a device has signed, not verified yet. Raises PasskeyRefused for what is none."""
    try:
        return parse_authentication_credential_json(_object(answer))
    except _MALFORMED:
        raise PasskeyRefused from None


async def use_challenge(
    db: AsyncSession, answer: RegistrationCredential | AuthenticationCredential, *, browser: str
) -> bytes:
    """The challenge that was answered, to which nobody can answer again. Raises PasskeyRefused unless it was given to
    this browser, lately, and not answered before.

    In a transaction of its own: an answer that is refused uses the challenge up, too. One statement: of two answers at
    once, the second finds it used.
    """
    try:
        challenge = parse_client_data_json(answer.response.client_data_json).challenge
    except _MALFORMED:
        raise PasskeyRefused from None
    async with apart(db) as connection:
        used = await connection.scalar(
            delete(PasskeyChallenge)
            .where(PasskeyChallenge.challenge == challenge, PasskeyChallenge.browser_digest == digest(browser))
            .where(PasskeyChallenge.expires_at > func.now())
            .returning(PasskeyChallenge.challenge)
        )
    if used is None:
        raise PasskeyRefused(STALE)
    return challenge


def verified_count(
    party: RelyingParty, signed: AuthenticationCredential, *, challenge: bytes, public_key: bytes
) -> int:
    """How often the device says that it has signed. Raises PasskeyRefused for another key, site or challenge."""
    try:
        verified = verify_authentication_response(
            credential=signed,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except _MALFORMED:
        raise PasskeyRefused from None
    return verified.new_sign_count


async def _challenge(db: AsyncSession, browser: str) -> bytes:
    """A new one for this browser; those that are over are swept up, as anybody may ask for one."""
    over = select(PasskeyChallenge.challenge).where(PasskeyChallenge.expires_at < func.now())
    await db.execute(
        delete(PasskeyChallenge).where(PasskeyChallenge.challenge.in_(over.with_for_update(skip_locked=True)))
    )
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    db.add(
        PasskeyChallenge(challenge=challenge, browser_digest=digest(browser), expires_at=func.now() + CHALLENGE_LASTS)
    )
    await db.flush()
    return challenge


def _object(answer: str) -> Json:
    found = from_json(answer)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _milliseconds(time: timedelta) -> int:
    return round(time.total_seconds() * 1000)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
