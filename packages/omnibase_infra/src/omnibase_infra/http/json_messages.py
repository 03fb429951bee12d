"""What a server of an API is, what is asked of it, and what it answers. Values only; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from pydantic import JsonValue
from pydantic_core import to_json

from omnibase_core.errors import HandlerError
from omnibase_infra.http.json_values import json_value
from omnibase_infra.http.retry_after import retry_after_s

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SECRET_LENGTH_MIN = 4
"""Of what is shorter, every text is full: taking it out would hide everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestServer:
    """Where a server is, and within which limits it is spoken to.

    - `name`: what errors call it, such as `consul target 'main'`.
    - `url`: `http(s)://host[:port]`, without path, user or query: whoever reads it from a contract checks that.
    - `headers`: sent with each request. `secrets` are texts that appear in no error.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the system's; `tls_cert_file` and `tls_key_file`
      hold the client's own certificate and key.
    - `connections_max`: further requests wait for a free connection; an idle one is kept for `keepalive_s`.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    connect_timeout_s: float = 5.0
    response_bytes_max: int = 1024 * 1024
    connections_max: int = 100
    keepalive_s: float = 4.0
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    @property
    def scheme(self) -> str:
        """How it is spoken to: `http` or `https`."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """Its name or address, without the brackets of IPv6."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its port, or that of the scheme."""
        return urlsplit(self.url).port or _DEFAULT_PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """What the header `host` says: host and port as they are written."""
        return urlsplit(self.url).netloc

    def redacted(self, text: str) -> str:
        """Return a text without the secrets: servers like to repeat what they were sent."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_LENGTH_MIN:
                text = text.replace(secret, "***")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class RestRequest:
    """One request.

    - `path`: each segment is escaped as one, whatever it holds.
    - `query`: pairs in their order; None stands for a name without a value.
    - `content`: the body, or None.
    - `repeatable`: whether it may be sent again when nobody knows whether it was served.
    """

    method: str
    path: Sequence[str]
    query: Sequence[tuple[str, str | None]] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = None
    repeatable: bool

    def __str__(self) -> str:
        """Method and path, for errors. The query is left out."""
        return f"{self.method} {self.escaped_path}"

    @property
    def escaped_path(self) -> str:
        """The path as it goes over the wire."""
        return "".join(f"/{quote(segment, safe='')}" for segment in self.path)

    @property
    def target(self) -> str:
        """Path and query as they go over the wire."""
        query = "&".join(_pair(name, value) for name, value in self.query)
        return self.escaped_path + (query and f"?{query}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestReply:
    """What came back: header names are in lower case, the body is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self, what: str) -> JsonValue:
        """Read the body. Raises HandlerError `invalid_response`, which names the request, where it is no JSON."""
        try:
            return json_value(self.body)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise HandlerError("invalid_response", f"{what}: the reply is not valid JSON: {reason}") from error

    @property
    def retry_after_s(self) -> float | None:
        """In how many seconds to ask again, where the server says so."""
        return retry_after_s(self.headers)

    @property
    def text(self) -> str:
        """The body as text, with a sign for each fault."""
        return self.body.decode(errors="replace")


def json_content(value: object) -> bytes:
    """Return a value as the body of a request."""
    return to_json(value)


def _pair(name: str, value: str | None) -> str:
    return quote(name, safe="") if value is None else f"{quote(name, safe='')}={quote(value, safe='')}"
