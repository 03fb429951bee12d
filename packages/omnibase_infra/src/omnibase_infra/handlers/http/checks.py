"""What can be known of a request before any command: keys that contradict, and what a target refuses. Pure.

A key that holds an expression is left to the command; that it is there may be enough.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.yaml.document import Path
from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions import is_expression
from omnibase_infra.handlers.http.target import HttpTarget
from omnibase_infra.handlers.http.values import checked_host

_BODIES = ("json", "form", "text", "bytes", "multipart")


def faults_of_request(written: Any) -> Iterator[tuple[Path, InvalidExpression]]:
    """Yield the keys of a request, as a contract writes it, that contradict each other."""
    if not isinstance(written, Mapping):
        return
    # A null that is written is a JSON body, too; of other bodies an expression may give null, which is none.
    bodies = [it for it in _BODIES if it in written and (it == "json" or _is_certain(written[it]))]
    for surplus in bodies[1:]:
        told = f"a request has one body, and {bodies[0]!r} is one too; remove one of them"
        yield (surplus,), InvalidExpression(told)
    headers = written.get("headers")
    if "multipart" in bodies and isinstance(headers, Mapping):
        for name in headers:
            if name.lower() == "content-type":
                yield ("headers", name), InvalidExpression("multipart sets the header content-type; leave it out")
    if _is_certain(written.get("pages")):
        for key, only in (("method", "GET"), ("read", "auto")):
            value = written.get(key, only)
            if _is_certain(value) and value != only:
                yield (key,), InvalidExpression("pages are those of a GET whose replies are read as JSON; remove it")


def clashes_of_request(target: HttpTarget, written: Any) -> Iterator[tuple[Path, str]]:
    """Yield the keys of a request that a target refuses, whatever the command."""
    if not isinstance(written, Mapping):
        return
    headers = written.get("headers")
    for name in headers if isinstance(headers, Mapping) else ():
        if name.lower() in target.fixed_headers:
            yield ("headers", name), f"sets the header {name!r}, which the target sets itself; leave it out"
    host = written.get("host")
    if isinstance(host, str) and _is_host(host) and host.lower() not in target.hosts:
        allowed = ", ".join(target.hosts)
        yield ("host",), f"names the host {host!r}, and the target allows {allowed}; add it to allowed_hosts"


def _is_host(text: str) -> bool:
    try:
        checked_host(text)
    except ValueError:  # It is an expression, or no host at all, which the model tells.
        return False
    return True


def _is_certain(value: Any) -> bool:
    return value is not None and not is_expression(value)
