"""Who a connection or request comes from, as far as it is counted for them."""

from ipaddress import IPv6Address, ip_address

# What one household or server of IPv6 usually has to itself.
OWN_BITS = 64


def client_of(host: str | None) -> str:
    """The address itself, or of IPv6 the network that one client has; "unknown" for a local socket."""
    if not host:
        return "unknown"
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> (128 - OWN_BITS) << (128 - OWN_BITS)))
