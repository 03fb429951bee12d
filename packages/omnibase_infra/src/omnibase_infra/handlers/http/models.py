"""What contracts may write of `http`: settings and targets in a host's, requests in a node's. Values only.

Each model refuses what could leave its place: a segment its path, a header its line, a request its target. No message
repeats the value of a header, for it may be a secret.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    model_validator,
)

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_IPV4_SHAPE = re.compile(r"[0-9.]+", re.ASCII)
_FIXED_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?", re.ASCII)
_BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\]/]*\]|[^:/?#@\[\]\\]+)(?P<port>:[0-9]{1,5})?(?P<path>/.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?", re.ASCII)
_PORT_MAX = 65_535

_OWNED_HEADERS = frozenset(
    {
        "accept-encoding",  # the handler unpacks gzip and nothing else
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that frame a message or manage its connection: set by hand, they could smuggle a second request."""


def _checked_text(text: str) -> str:
    text.encode()  # Half a surrogate pair has no UTF-8 form; UnicodeEncodeError is a ValueError, and says where it is.
    return text


def _checked_host(text: str) -> str:
    host = text.lower()
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        IPv6Address(host[1:-1])
    elif _IPV4_SHAPE.fullmatch(host):
        IPv4Address(host)
    elif _HOST_NAME.fullmatch(host) is None:
        raise ValueError("expected a host name in ASCII (xn--... for others), an IPv4 address or an [IPv6 address]")
    return host


def _checked_path(path: str) -> str:
    if not path.startswith("/") or _FIXED_PATH.fullmatch(path) is None or {".", ".."} & set(path.split("/")):
        raise ValueError(
            f"found {path!r}, expected '/' and plain segments, without '%', '//', '.' or '..'; "
            "what needs escaping or comes from a command is written as a list of segments"
        )
    return path


def _checked_base_url(text: str) -> str:
    match = _BASE_URL.fullmatch(text)
    if match is None or int((match["port"] or ":1")[1:]) not in range(1, _PORT_MAX + 1):
        # The text is not repeated: a password could stand in it.
        raise ValueError("expected http(s)://host[:port][/path], without user, query or fragment")
    host = _checked_host(match["host"])
    path = _checked_path(match["path"] or "/").rstrip("/")
    return f"{match['scheme'].lower()}://{host}{match['port'] or ''}{path}"


def _checked_headers(headers: dict[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for written, value in headers.items():
        name = written.lower()
        if _HEADER_NAME.fullmatch(name) is None:
            raise ValueError(f"{written!r} is no header name")
        if name in _OWNED_HEADERS:
            raise ValueError(f"header {written!r} is the handler's own; leave it out")
        if name in checked:
            raise ValueError(f"header {written!r} is given twice")
        if value is not None and _HEADER_VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of header {written!r} is not printable ASCII without spaces at its ends")
        checked[name] = value
    return checked


def _checked_segment(segment: str) -> str:
    if segment in {"", ".", ".."}:
        # RFC 3986, 6.2.2: '%2E%2E' means '..', and servers merge '//'. No escaping keeps these in their place.
        raise ValueError(f"found {segment!r}, which would name another path, however it is escaped")
    return _checked_text(segment)


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _form_of_path(path: Any) -> str:
    return "segments" if isinstance(path, list | tuple) else "text"


Text = Annotated[str, AfterValidator(_checked_text)]
Host = Annotated[str, AfterValidator(_checked_host)]
Segment = Annotated[str, BeforeValidator(_digits, json_schema_input_type=str | int), AfterValidator(_checked_segment)]
"""Any text but '', '.' and '..', or a whole number."""
Scalar = Text | int | float | bool | None
Parameters = dict[Text, Scalar | list[Scalar]]
"""Names with their values: booleans are `true` and `false`, a list repeats its name, null is left out."""
Status = Annotated[int, Field(ge=100, le=599)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
RequestPath = Annotated[
    Annotated[str, AfterValidator(_checked_path), Tag("text")] | Annotated[list[Segment], Tag("segments")],
    Discriminator(_form_of_path),
]


class _HttpModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class HttpSettings(_HttpModel):
    """What holds for every target."""

    user_agent: Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$")] = "onex-runtime-host"


class HttpTarget(_HttpModel):
    """One server that nodes may name as their `target`, and all that their requests can reach.

    - `base_url`: where every path is put behind; `http(s)://host[:port][/path]`.
    - `allowed_hosts`: the hosts that a request may name, the base URL's among them; by default that one alone. They
      share scheme, port, path and headers of the target.
    - `headers`: sent with each request, such as `authorization`; a request cannot replace them.
    - `read_timeout_s`: the longest silence, where a node's `delivery.timeout_s` bounds the whole call.
    - `response_bytes_max`: the largest body, after unpacking.
    - `connections_max`: further calls wait for a free connection. An idle one is kept for `keepalive_s`; that is best
      less than the server's own time (often 5 s), for a request sent while it closes the connection would be lost.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the public ones. Certificates are always verified.
    """

    base_url: Annotated[str, AfterValidator(_checked_base_url)]
    allowed_hosts: list[Host] = Field(default_factory=list)
    headers: Annotated[dict[str, str], AfterValidator(_checked_headers)] = Field(default_factory=dict, repr=False)
    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 30.0
    response_bytes_max: Annotated[int, Field(ge=1, le=256 * 1024 * 1024)] = 1024 * 1024
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 100
    keepalive_s: Annotated[float, Field(ge=0, le=3600)] = 4.0
    tls_ca_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.allowed_hosts and self.host not in self.allowed_hosts:
            raise ValueError(f"the host of base_url, {self.host!r}, is not in allowed_hosts")
        if self.tls_ca_file is not None and not self.uses_tls:
            raise ValueError("tls_ca_file is for an https base_url")
        return self

    @property
    def uses_tls(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.base_url.startswith("https:")

    @property
    def host(self) -> str:
        """The base URL's own host."""
        return self._part("host")

    @property
    def hosts(self) -> list[str]:
        """Every host that a request may name."""
        return self.allowed_hosts or [self.host]

    def base_url_at(self, host: str) -> str:
        """Give the base URL with another of the hosts."""
        return f"{self._part('scheme')}://{host}{self._part('port')}{self._part('path')}"

    def _part(self, name: str) -> str:
        match = _BASE_URL.fullmatch(self.base_url)
        return (match and match[name]) or ""


class HttpRequest(_HttpModel):
    """One request to the node's target.

    - `path`: a list of segments, each escaped as one whatever it holds; or a text, which is fixed by the contract.
      What comes from a command belongs into a list: [users, "${ payload.id }"].
    - `host`: another of the target's `allowed_hosts` than its own.
    - `query` and `form` leave nulls out; so do `headers`. A body is `json` or `form`.
    - `expect`: the statuses that are a result; any other is the error `http_status`. Without it, every status is a
      result but 5xx, 408 and 429. The error is retryable for these three and for no other.

    A call that timed out may have been served: give a request that changes something a key by which the server can tell
    a repeat, such as the header `idempotency-key: "${ envelope.envelope_id }"`.
    """

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: RequestPath
    host: Host | None = None
    query: Parameters = Field(default_factory=dict)
    headers: Annotated[dict[str, str | None], AfterValidator(_checked_headers)] = Field(default_factory=dict)
    json_body: JsonValue = Field(default=None, alias="json")
    form: Parameters | None = None
    expect: Annotated[list[Status], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if self.has_json and self.form is not None:
            raise ValueError("a request has one body: json or form")
        return self

    @property
    def has_json(self) -> bool:
        """Whether a JSON body is sent: a null that is written is a body too."""
        return "json_body" in self.model_fields_set

    @property
    def escaped_path(self) -> str:
        """The path as it goes over the wire, without that of the base URL."""
        if isinstance(self.path, str):
            return self.path
        return "".join(f"/{quote(segment, safe='')}" for segment in self.path)


class HttpResponse(_HttpModel):
    """The result of a request.

    - `headers`: names in lower case; the values of a repeated one are joined by a comma and a space.
    - `json`: the body where its type is JSON, else null; `text`: any other body, null beside `json`. A body without
      any bytes is the text "".
    """

    status: Status
    headers: dict[str, str]
    json_body: JsonValue = Field(default=None, alias="json")
    text: str | None = None
