"""VaultTarget: one Vault server, as a host contract says it. Values only."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from omnibase_infra.http.values import Address, Token

_PARTS = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"


def _without_dots(path: str) -> str:
    if {".", ".."} & set(path.split("/")):
        raise ValueError(f"found {path!r}, which would name another path")
    return path


FixedPath = Annotated[str, StringConstraints(pattern=_PARTS, max_length=512), AfterValidator(_without_dots)]
"""Plain parts joined by slashes, with none at the ends."""
Seconds = Annotated[float, Field(gt=0, le=3600)]


class VaultModel(BaseModel):
    """Frozen; a key that nothing reads is an error; no message repeats a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class AppRole(VaultModel):
    """Who logs in by an AppRole: `role_id` and `secret_id`, at the method mounted at `mount`."""

    role_id: Token
    secret_id: Token
    mount: FixedPath = "approle"


class VaultTarget(VaultModel):
    """One Vault or OpenBao server, and as whom it is asked.

    - `address`: `http(s)://host[:port]`.
    - `namespace`: in which every path is.
    - `token` or `approle`: a token as it is, or a login that gives tokens. Either is renewed in time; a login is
      repeated when its token can be renewed no further.
    - `connect_timeout_s`: how long a connection may take to come about.
    - `response_bytes_max`: the largest reply.
    - `connections_max`: further calls wait for a free connection.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the public ones. Certificates are always verified.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"address": "https://vault.example.org:8200", "token": "${secret.VAULT_TOKEN}"}]
        }
    )

    address: Annotated[Address, Field(examples=["https://vault.example.org:8200"])]
    namespace: FixedPath | None = None
    token: Token | None = None
    approle: AppRole | None = None
    connect_timeout_s: Seconds = 5.0
    response_bytes_max: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    connections_max: Annotated[int, Field(ge=1, le=1000)] = 20
    tls_ca_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.token is None) == (self.approle is None):
            raise ValueError("expected one of token and approle")
        if self.tls_ca_file is not None and not self.uses_tls:
            raise ValueError("tls_ca_file is for an https address")
        return self

    @property
    def uses_tls(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.address.startswith("https:")
