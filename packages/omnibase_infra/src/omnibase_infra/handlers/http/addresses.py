"""Which addresses a target's requests may connect to. Pure.

Public ones, and of the others what the host contract allows. It is the address that counts, in whatever notation a name
or a server gives it: IPv4 within IPv6 is judged as the IPv4 address that it leads to.
"""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

Kind = Literal["loopback", "private", "link_local", "metadata"]
"""Kinds of addresses that a host contract can allow. Any other that is not public is never connected to."""

_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google, OpenStack and others
            "169.254.170.2",  # AWS, containers
            "169.254.170.23",  # AWS, pods
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS, pods
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure: a public address that leads to the machine's own host
            "192.0.0.192",  # Oracle
        ),
    )
)
"""Where clouds give credentials to whoever asks."""
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_PRIVATE_6 = IPv6Network("fc00::/7")
_EMBEDDING = tuple(map(IPv6Network, ("64:ff9b::/96", "::/96")))
"""IPv6 addresses of which the last 32 bits are the IPv4 address that is reached (RFC 6052; RFC 4291, 2.5.5.1)."""


def kind_of(text: str) -> str:
    """Name the kind of an address: `public`, a Kind, or `reserved`."""
    address = _innermost(ip_address(text.partition("%")[0]))
    if address in _METADATA:
        return "metadata"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link_local"
    if _is_private(address):
        return "private"
    reserved = address.is_multicast or address.is_unspecified or address.is_reserved or not address.is_global
    return "reserved" if reserved else "public"


def is_allowed(text: str, allow: Collection[Kind]) -> bool:
    """Whether an address may be connected to."""
    kind = kind_of(text)
    return kind == "public" or kind in allow


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        return address in _PRIVATE_6
    return any(address in network for network in _PRIVATE)


def _innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address within, where there is one: it is what packets reach in the end."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if (within := address.ipv4_mapped or address.sixtofour) is not None:
        return within
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
