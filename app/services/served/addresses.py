"""Addresses that people type, of served models and webhooks, and who may be reached there.

An owner of a project types one, and this machine connects to it: it must not become a way to what only this
machine can reach. So a name is resolved once, what comes of it is checked, and the connection goes to that very
address; redirects are followed nowhere. Not public are private, loopback, link-local and reserved networks, in
whatever form an IPv6 address wraps them. The setting PLUMBLINE_PRIVATE_ADDRESSES lets networks in.
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from app.errors import DomainError, Invalid

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

PORTS = {"http": 80, "https": 443}
RESOLVE_SECONDS = 5.0
LONGEST = 2000

# What others' manuals show in full; what is asked for is added here.
ENDINGS = re.compile(r"(/chat/completions|/completions)?/*$")
# RFC 6052: the last 32 bits are an IPv4 address.
NAT64 = IPv6Network("64:ff9b::/96")


class Unreachable(DomainError):
    """The address can't be found now."""


@dataclass(frozen=True)
class Place:
    """Where to connect to: the address, and the name that its certificate has to be for."""

    url: SplitResult
    host: str
    port: int
    ip: Address

    def path(self, ending: str) -> str:
        """URL below the served model's address, with the checked IP address in place of the name."""
        ip = f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)
        return f"{self.url.scheme}://{ip}:{self.port}{self.url.path}{ending}"

    @property
    def host_header(self) -> str:
        return self.url.netloc


def tidy(typed: str) -> str:
    """The address as it is kept: `https://host/v1`, whatever of the endpoint's paths was pasted behind it.

    Raises Invalid for what is no address of a served model at all. Whether it may be reached is `resolve`'s to say.
    """
    text = typed.strip()
    url = split(text)
    if url is None or len(text) > LONGEST:
        raise Invalid("An address looks like https://example.org/v1, and this one doesn't.")
    if url.username is not None or url.password is not None:
        raise Invalid("The address must not hold a name or password: the key has a field of its own.")
    if url.query or url.fragment:
        raise Invalid("The address must end with its path: nothing behind ? or #.")
    return ENDINGS.sub("", f"{url.scheme}://{url.netloc.lower()}{url.path}")


def origin(address: str) -> tuple[str, str | None, int]:
    """Who is behind an address: scheme, host and port."""
    url = urlsplit(address)
    return url.scheme, url.hostname, url.port or PORTS[url.scheme]


async def resolve(address: str, *, allowed: Networks) -> Place:
    """Where to connect to for an address. Raises Invalid for one that isn't public and not in `allowed`, Unreachable
    for a name that nobody knows.
    """
    url = urlsplit(address)
    scheme, host, port = origin(address)
    assert host is not None
    found = await _look_up(host, port)
    reachable = [ip for ip in found if _is_public(ip) or _is_in(ip, allowed)]
    if not reachable:
        raise Invalid(
            "%(host)s isn't a public address. Whoever runs this installation can allow its network by "
            "PLUMBLINE_PRIVATE_ADDRESSES.",
            host=host,
        )
    ip = reachable[0]
    if scheme == "http" and not _is_in(ip, allowed):
        raise Invalid(
            "%(host)s has to be asked by https: without it, everybody on the way reads what is sent.", host=host
        )
    return Place(url, host, port, ip)


def split(text: str) -> SplitResult | None:
    """The parts of what may be an address over HTTP; None for everything else."""
    try:
        url = urlsplit(text)
        usable = url.scheme in PORTS and url.hostname and url.port != 0
    except ValueError:
        return None
    return url if usable and text.isprintable() and " " not in text and "\\" not in text else None


async def _look_up(host: str, port: int) -> list[Address]:
    """Raises Unreachable."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the second for what can't be a name: an empty label, one of 64 letters
        raise Unreachable("The name %(host)s isn't known to this machine.", host=host) from None
    return list(dict.fromkeys(ip_address(str(target[0])) for *_, target in found))


def _is_in(ip: Address, networks: Networks) -> bool:
    plain = _plain(ip)
    return any(plain.version == network.version and plain in network for network in networks)


def _is_public(ip: Address) -> bool:
    plain = _plain(ip)
    is_of_a_site = isinstance(plain, IPv6Address) and plain.is_site_local  # retired by RFC 3879, and still routed
    return plain.is_global and not (plain.is_multicast or plain.is_reserved or is_of_a_site)


def _plain(ip: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps, else the address."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo or ip
