"""Whom an address of the network stands for, where somebody is counted by it."""

from ipaddress import IPv6Address, ip_address

UNKNOWN = "unknown"
IPV6_NETWORK_BITS = 64  # whoever has one such address has all of its network


def network_of(address: str | None) -> str:
    """An IPv4 address, or the network of an IPv6 address; "unknown" for a local socket."""
    if not address:
        return UNKNOWN
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    kept = int(known) >> (128 - IPV6_NETWORK_BITS) << (128 - IPV6_NETWORK_BITS)
    return f"{IPv6Address(kept)}/{IPV6_NETWORK_BITS}"
