"""What a host contract writes of `consul`: each agent that is a `target`. Values only."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from omnibase_infra.handlers.consul.values import ConsulModel, Seconds
from omnibase_infra.http import RestServer
from omnibase_infra.http.values import Address, Name, Token


class ConsulSettings(ConsulModel):
    """There is nothing to set."""


class ConsulTarget(ConsulModel):
    """One agent that nodes may name as their `target`, and what they may do there.

    - `address`: of its HTTP API, `http(s)://host[:port]`; without a port, that of the scheme.
    - `token`: what the host shows for itself (ACL); without it, the agent's own default holds.
    - `datacenter`, `namespace`, `partition`: where everything is read and written, in place of the agent's own; the
      latter two exist in Consul Enterprise alone.
    - `consistency`: of reads: `default`, `stale` (any server answers, though it may be behind) or `consistent`.
    - `connect_timeout_s`: how long a connection may take to come about.
    - `response_bytes_max`: the largest answer.
    - `connections_max`: further calls wait for a free connection; one that waits for a change takes one. An idle one is
      kept for `keepalive_s`.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the system's. Certificates are always verified.
    - `tls_cert_file`, `tls_key_file`: the host's own certificate and its key without a password, PEM.
    """

    address: Annotated[Address, Field(examples=["http://localhost:8500"])]
    token: Token | None = None
    datacenter: Name | None = None
    namespace: Name | None = None
    partition: Name | None = None
    consistency: Literal["default", "stale", "consistent"] = "default"
    connect_timeout_s: Seconds = 5.0
    response_bytes_max: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 4 * 1024 * 1024
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 100
    keepalive_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    tls_ca_file: Annotated[str, Field(min_length=1)] | None = None
    tls_cert_file: Annotated[str, Field(min_length=1)] | None = None
    tls_key_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file is the key of tls_cert_file; write that too")
        for name in ("tls_ca_file", "tls_cert_file"):
            if getattr(self, name) and not self.address.startswith("https:"):
                raise ValueError(f"{name} is for an https address")
        return self

    def server(self, name: str) -> RestServer:
        """Return the server that this is, under the name by which nodes know it."""
        token = self.token.get_secret_value() if self.token else None
        return RestServer(
            name=f"consul target {name!r}",
            url=self.address,
            headers={"x-consul-token": token} if token else {},
            secrets=(token,) if token else (),
            connect_timeout_s=self.connect_timeout_s,
            response_bytes_max=self.response_bytes_max,
            connections_max=self.connections_max,
            keepalive_s=self.keepalive_s,
            tls_ca_file=self.tls_ca_file,
            tls_cert_file=self.tls_cert_file,
            tls_key_file=self.tls_key_file,
        )

    def query(self, *, reads: bool) -> list[tuple[str, str | None]]:
        """Return what every request says of where it means."""
        where = {"dc": self.datacenter, "ns": self.namespace, "partition": self.partition}
        said: list[tuple[str, str | None]] = [(name, value) for name, value in where.items() if value is not None]
        return [*said, (self.consistency, None)] if reads and self.consistency != "default" else said
