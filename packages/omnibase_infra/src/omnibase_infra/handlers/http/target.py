"""What a host contract writes of `http`: its settings, and each server that is a `target`. Values only."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from omnibase_infra.handlers.http.addresses import Kind
from omnibase_infra.handlers.http.values import (
    BASE_URL,
    HEADER_NAME,
    Host,
    HttpModel,
    Parameters,
    Seconds,
    Text,
    checked_base_url,
    checked_headers,
    checked_token,
)

_DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpSettings(HttpModel):
    """What holds for every target. `user_agent` is the header that each request is sent with."""

    user_agent: Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$")] = "onex-runtime-host"


class BasicAuth(HttpModel):
    """By `type` `basic`: `username` and `password` with each request (RFC 7617)."""

    type: Literal["basic"]
    username: Annotated[Text, Field(pattern=r"^[^:\x00-\x1f\x7f]*$")]
    password: SecretStr


class BearerAuth(HttpModel):
    """By `type` `bearer`: the `token` with each request (RFC 6750)."""

    type: Literal["bearer"]
    token: Annotated[SecretStr, AfterValidator(checked_token)]


class OAuth2Auth(HttpModel):
    """By `type` `oauth2`: a token that the host gets by its client credentials, keeps, and renews in time.

    RFC 6749, section 4.4.

    - `client_id`, `client_secret`: whom the token server knows the host as.
    - `token_url`: where it is asked for; `scopes` and `parameters` (such as `audience`) go along.
    - `client_auth`: whether id and secret go into a header, as the standard wants, or into the `body`.
    """

    type: Literal["oauth2"]
    token_url: Annotated[str, AfterValidator(checked_base_url)]
    client_id: Text
    client_secret: SecretStr
    client_auth: Literal["header", "body"] = "header"
    scopes: list[Annotated[str, Field(pattern=r"^[!#-\[\]-~]+$")]] = Field(default_factory=list)
    parameters: Parameters = Field(default_factory=dict)


Auth = Annotated[BasicAuth | BearerAuth | OAuth2Auth, Field(discriminator="type")]


class Origin(HttpModel):
    """Whom a connection is with."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The host as the `host` header names it: with its port, where that is not the scheme's own."""
        return self.host if self.port == _DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


def origin_of(url: str) -> tuple[Origin, str]:
    """Take a base URL apart: its origin and its path."""
    match = BASE_URL.fullmatch(url)
    assert match is not None  # noqa: S101 - every base URL was checked by this form
    scheme = match["scheme"].lower()
    port = int(match["port"][1:]) if match["port"] else _DEFAULT_PORTS[scheme]
    return Origin(scheme=scheme, host=match["host"].lower(), port=port), match["path"] or ""


class HttpTarget(HttpModel):
    """One server that nodes may name as their `target`, and all that their requests can reach.

    - `base_url`: where every path is put behind; `http(s)://host[:port][/path]`.
    - `allowed_hosts`: the hosts that a request or a redirect may name, the base URL's among them; by default that one
      alone. They share scheme, port, path, headers and credentials of the target.
    - `allow`: which kinds of addresses beside public ones a host *name* may resolve to: `loopback`, `private`,
      `link_local`, `metadata`. An address that is written out as a host is allowed by that.
    - `auth`: how the host shows who it is: `type: basic`, `bearer` or `oauth2`.
    - `headers`: sent with each request; a request cannot replace them.
    - `idempotency_header`: for a server that does a thing once for each value of it, such as `idempotency-key`: every
      POST and PATCH carries the command's id in it, and is retryable like a PUT.
    - `connect_timeout_s`: how long a connection may take to come about.
    - `read_timeout_s`: the longest silence, where a node's `delivery.timeout_s` bounds the whole call.
    - `response_bytes_max`: the largest body, after unpacking; with `pages`, of all of them together.
    - `connections_max`: further calls wait for a free connection. An idle one is kept for `keepalive_s`; that is best
      less than the server's own time (often 5 s), for a request sent while it closes the connection would be lost.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the public ones. Certificates are always verified.
    - `tls_cert_file`, `tls_key_file`: the host's own certificate and its key without a password, PEM, for servers that
      ask for one; the key may stand in the first.
    - `http2`: speak HTTP/2 where the server does. A connection still serves one call at a time.
    """

    base_url: Annotated[str, AfterValidator(checked_base_url), Field(examples=["http://localhost:8080"])]
    allowed_hosts: list[Host] = Field(default_factory=list)
    allow: list[Kind] = Field(default_factory=list)
    auth: Auth | None = None
    headers: Annotated[dict[str, str], AfterValidator(checked_headers)] = Field(default_factory=dict, repr=False)
    idempotency_header: Annotated[str, Field(pattern=HEADER_NAME)] | None = None
    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 30.0
    response_bytes_max: Annotated[int, Field(ge=1, le=256 * 1024 * 1024)] = 1024 * 1024
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 100
    keepalive_s: Annotated[float, Field(ge=0, le=3600)] = 4.0
    tls_ca_file: Annotated[str, Field(min_length=1)] | None = None
    tls_cert_file: Annotated[str, Field(min_length=1)] | None = None
    tls_key_file: Annotated[str, Field(min_length=1)] | None = None
    http2: bool = False

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.allowed_hosts and self.host not in self.allowed_hosts:
            raise ValueError(f"the host of base_url, {self.host!r}, is not in allowed_hosts")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file is the key of tls_cert_file; write that too")
        # A token server is spoken to with the same files, so that they make sense for it alone too.
        uses_tls = self.uses_tls or (isinstance(self.auth, OAuth2Auth) and self.auth.token_url.startswith("https:"))
        for name in ("tls_ca_file", "tls_cert_file", "http2"):
            if getattr(self, name) and not uses_tls:
                raise ValueError(f"{name} is for an https base_url")
        if self.auth is not None and "authorization" in self.headers:
            raise ValueError("auth sets the header authorization; leave it out of headers")
        return self

    @property
    def uses_tls(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.base_url.startswith("https:")

    @property
    def origin(self) -> Origin:
        """Whom the base URL is with."""
        return origin_of(self.base_url)[0]

    @property
    def base_path(self) -> str:
        """The path of the base URL: empty, or without a slash at its end."""
        return origin_of(self.base_url)[1]

    @property
    def host(self) -> str:
        """The base URL's own host."""
        return self.origin.host

    @property
    def hosts(self) -> list[str]:
        """Every host that a request may name."""
        return self.allowed_hosts or [self.host]

    @property
    def fixed_headers(self) -> frozenset[str]:
        """The names of the headers that no request may set."""
        names = set(self.headers) | ({"authorization"} if self.auth else set())
        return frozenset(names | ({self.idempotency_header.lower()} if self.idempotency_header else set()))

    @property
    def secrets(self) -> list[str]:
        """What nobody may see: servers and vendors like to repeat what they were sent."""
        match self.auth:
            case BasicAuth(password=secret) | BearerAuth(token=secret) | OAuth2Auth(client_secret=secret):
                return [*self.headers.values(), secret.get_secret_value()]
        return list(self.headers.values())
