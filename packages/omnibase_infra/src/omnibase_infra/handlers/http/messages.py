"""What goes over the wire and what comes back, as values; and where a reply may lead. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.http.bodies import content_of, query_of, text_of, written
from omnibase_infra.handlers.http.models import HttpRequest
from omnibase_infra.handlers.http.target import HttpTarget, Origin
from omnibase_infra.http.values import leads_elsewhere

_TARGET_LENGTH_MAX = 65_536
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[!-\"$->@-\[\]-~]*)?(?P<query>\?[!-\"$-~]*)?(?:#[!-~]*)?",
    re.ASCII | re.IGNORECASE,
)
"""An address as a server writes it: without user, spaces, control characters or backslashes."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LINK = re.compile(r"<(?P<url>[^<>]*)>(?P<parameters>(?:\s*;\s*[\w*-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s\";,]*))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"(?P<quoted>[^\"]*)\"|(?P<plain>[^\s\";,]*))", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMessage:
    """One request as it is sent. `target` is the escaped path with its query."""

    method: str
    origin: Origin
    target: str
    headers: Mapping[str, str]
    content: bytes | None

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.origin.scheme}://{self.origin.authority}{self.target}"

    def __str__(self) -> str:
        """Method and address, without the query: what a user looks for may be a secret."""
        return f"{self.method} {self.url.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `fault` says why `body` is not all of it; it counts only where the status is no error."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fault: HandlerError | None

    @property
    def content_type(self) -> str:
        """The type of the body, or nothing."""
        return self.headers.get("content-type", "")

    @property
    def text(self) -> str:
        """The body as text."""
        return text_of(self.body, self.content_type)

    @property
    def location(self) -> str | None:
        """Where a redirect leads; None where this is none."""
        return self.headers.get("location") if self.status in _REDIRECTS else None

    @property
    def next_link(self) -> str | None:
        """Where the next page is (RFC 8288)."""
        for link in _LINK.finditer(self.headers.get("link", "")):
            relation = _REL.search(link["parameters"])
            if relation and "next" in (relation["quoted"] or relation["plain"] or "").lower().split():
                return link["url"]
        return None


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the messages of one target. Raises HandlerError for what would leave it."""

    name: str
    target: HttpTarget
    user_agent: str
    _origin: Origin = field(init=False)
    _base_path: str = field(init=False)

    def __post_init__(self) -> None:
        """Take the base URL apart once."""
        object.__setattr__(self, "_origin", self.target.origin)
        object.__setattr__(self, "_base_path", self.target.base_path)

    def message(self, request: HttpRequest, *, key: str) -> HttpMessage:
        """Return a request as it is sent; `key` tells the server a repeat, where the target has a header for it."""
        host = request.host or self._origin.host
        if host not in self.target.hosts:
            allowed = ", ".join(self.target.hosts)
            raise HandlerError("host_not_allowed", f"target {self.name!r} allows the hosts {allowed}; found {host!r}")
        target = (self._base_path + request.escaped_path or "/") + query_of(request)
        if len(target) > _TARGET_LENGTH_MAX:
            raise HandlerError(
                "request_invalid", f"target {self.name!r}: the address is over {_TARGET_LENGTH_MAX} bytes"
            )
        try:
            content_headers, content = content_of(request)
        except ValueError as error:
            raise HandlerError("request_invalid", f"target {self.name!r}: {error}") from error
        headers = {
            "user-agent": self.user_agent,
            "accept-encoding": "gzip",
            **content_headers,
            **self._headers(request),
        }
        if content is not None or request.method in ("POST", "PUT", "PATCH"):
            headers["content-length"] = str(len(content or b""))
        if self.target.idempotency_header is not None and request.method in ("POST", "PATCH"):
            headers[self.target.idempotency_header.lower()] = key
        origin = self._origin.model_copy(update={"host": host})
        return HttpMessage(method=request.method, origin=origin, target=target, headers=headers, content=content)

    def redirected(self, message: HttpMessage, status: int, location: str) -> HttpMessage:
        """Return the message that follows a redirect (RFC 9110, section 15.4)."""
        followed = self.elsewhere(message, location, what="redirect")
        to_get = status == 303 or (status in (301, 302) and message.method == "POST")
        if not to_get or message.method in ("GET", "HEAD"):
            return followed
        headers = {name: value for name, value in followed.headers.items() if not name.startswith("content-")}
        return replace(followed, method="GET", headers=headers, content=None)

    def elsewhere(self, message: HttpMessage, url: str, *, what: str) -> HttpMessage:
        """Return the same message to an address that a server named: it has to be within the target."""
        match = _URL.fullmatch(_joined(message.url, url))
        if match is None:
            raise _refused(self.name, what, "it is not a plain http(s) address")
        scheme, host = match["scheme"].lower(), match["host"].lower()
        port = match["port"] or _DEFAULT_PORTS[scheme]
        path = match["path"] or "/"
        if host not in self.target.hosts:
            allowed = ", ".join(self.target.hosts)
            raise _refused(self.name, what, f"it leads to the host {host!r}, and the target allows {allowed}")
        if scheme != self._origin.scheme or int(port[1:]) != self._origin.port:
            ours = f"{self._origin.scheme} on port {self._origin.port}"
            raise _refused(self.name, what, f"it leads to {scheme} on port {port[1:]}, and the target is {ours}")
        if not _is_within(path, self._base_path):
            raise _refused(self.name, what, f"it leads out of the path {self._base_path or '/'}")
        origin = self._origin.model_copy(update={"host": host})
        return replace(message, origin=origin, target=path + (match["query"] or ""))

    def _headers(self, request: HttpRequest) -> dict[str, str]:
        """Return the headers of the contracts. A request cannot replace what the host contract has set."""
        for name in request.headers.keys() & self.target.fixed_headers:
            raise HandlerError("request_invalid", f"header {name!r} is set by the target {self.name!r}; leave it out")
        own = {name: written(value) for name, value in request.headers.items() if value is not None}
        return own | self.target.headers


def _joined(base: str, url: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:
        return ""


def _is_within(path: str, base_path: str) -> bool:
    """Return whether a path stays below another, whatever a server makes of it."""
    return not leads_elsewhere(path) and (path == base_path or path.startswith(f"{base_path}/"))


def _refused(name: str, what: str, why: str) -> HandlerError:
    return HandlerError(f"{what}_refused", f"target {name!r}: the {what} is not followed: {why}")
