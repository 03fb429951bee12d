"""Where a target's connections go: to addresses that were checked, never to names."""

import socket
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.http.addresses import is_allowed, kind_of
from omnibase_infra.handlers.http.target import HttpTarget

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name. Raises OSError."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system, in the order in which it would connect."""
    found = await get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Lookup:
    """Finds the addresses of a target's hosts. `trusted` are those that the host contract itself wrote."""

    name: str
    target: HttpTarget
    resolve: Resolve
    trusted: frozenset[str]

    async def allowed(self, host: str, port: int) -> Sequence[str]:
        """Give the addresses that may be connected to. Raises HandlerError where there are others alone."""
        found = [host] if _is_address(host) else await self.resolve(host, port)
        allowed = [it for it in found if is_allowed(it, self.target.allow) or (it == host and host in self.trusted)]
        if found and not allowed:
            kind = kind_of(found[0])
            hint = "never connected to" if kind == "reserved" else f"the host contract can allow it: allow: [{kind}]"
            raise HandlerError(
                "address_refused",
                f"target {self.name!r}: {host} leads to {found[0]}, which is no public address but {kind}; {hint}",
            )
        return allowed


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
