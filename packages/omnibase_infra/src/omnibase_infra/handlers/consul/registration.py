"""The operations of `consul` that register services with the agent; how they are written and read. Pure.

https://developer.hashicorp.com/consul/api-docs/agent/service and .../agent/check
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from omnibase_infra.handlers.consul.operations import ConsulOperation, ConsulReply
from omnibase_infra.handlers.consul.values import ConsulModel, Seconds, duration
from omnibase_infra.http import RestRequest
from omnibase_infra.http.json_messages import json_content
from omnibase_infra.http.values import Name

Port = Annotated[int, Field(ge=0, le=65_535)]
Status = Literal["passing", "warning", "critical"]
_KNOWN = frozenset({200, 404})
_JSON = {"content-type": "application/json"}


class Registered(ConsulModel):
    """The id under which the agent knows the instance."""

    id: str


class Deregistered(ConsulModel):
    """Whether the agent knew the instance."""

    deregistered: bool = True


class Reported(ConsulModel):
    """Whether the agent knew the check."""

    reported: bool = True


class _Check(ConsulModel):
    type: str
    status: Status | None = None
    deregister_after_s: Annotated[float, Field(ge=60)] | None = None

    def _written(self, how: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if self.status is not None:
            how["Status"] = self.status
        if self.deregister_after_s is not None:
            how["DeregisterCriticalServiceAfter"] = duration(self.deregister_after_s)
        return how


class _Probe(_Check):
    interval_s: Seconds
    timeout_s: Seconds = 10.0

    def _written(self, how: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return super()._written({**how, "Interval": duration(self.interval_s), "Timeout": duration(self.timeout_s)})


class TtlCheck(_Check):
    """A check that is critical unless `report` says otherwise every `ttl_s` seconds."""

    type: Literal["ttl"]
    ttl_s: Seconds

    def written(self) -> dict[str, JsonValue]:
        """Return it in the words of the API."""
        return self._written({"TTL": duration(self.ttl_s)})


class HttpCheck(_Probe):
    """A check by which the agent gets `url` every `interval_s` seconds; a status of 2xx passes."""

    type: Literal["http"]
    url: Annotated[str, Field(pattern=r"^https?://[!-~]+$")]

    def written(self) -> dict[str, JsonValue]:
        """Return it in the words of the API."""
        return self._written({"HTTP": self.url})


class TcpCheck(_Probe):
    """A check by which the agent connects to `address` (host:port) every `interval_s` seconds."""

    type: Literal["tcp"]
    address: Annotated[str, Field(pattern=r"^[!-~]+:[0-9]{1,5}$")]

    def written(self) -> dict[str, JsonValue]:
        """Return it in the words of the API."""
        return self._written({"TCP": self.address})


class Register(ConsulOperation):
    """Register an instance of a service with the agent, or change it: everything that is not said is as if new.

    - `name`: of the service; `id`: of the instance on this agent, by default the name.
    - `address`, `port`, `tags`, `meta`: where it is, and what others may know of it.
    - `check`: how the agent sees that it is well: of `type` `ttl`, `http` or `tcp`. `status` is its first state, by
      default critical; an instance that is critical for `deregister_after_s` is removed.
    """

    name: Name
    id: Name | None = None
    address: str = ""
    port: Port = 0
    tags: list[str] = Field(default_factory=list)
    meta: dict[str, str] = Field(default_factory=dict)
    check: Annotated[TtlCheck | HttpCheck | TcpCheck, Field(discriminator="type")] | None = None

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        body: dict[str, JsonValue] = {
            "Name": self.name,
            "ID": self.id or self.name,
            "Address": self.address,
            "Port": self.port,
            "Tags": list(self.tags),
            "Meta": dict(self.meta),
        }
        if self.check is not None:
            body["Check"] = self.check.written()
        return RestRequest(
            method="PUT",
            path=["v1", "agent", "service", "register"],
            query=[("replace-existing-checks", "true")],
            headers=_JSON,
            content=json_content(body),
            repeatable=True,
        )

    def result(self, reply: ConsulReply) -> Registered:  # noqa: ARG002 - Consul says nothing
        """Return the id."""
        return Registered(id=self.id or self.name)


class Deregister(ConsulOperation):
    """Remove an instance from the agent by its `id`; one that is not there is no error."""

    expects = _KNOWN

    id: Name

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        return RestRequest(method="PUT", path=["v1", "agent", "service", "deregister", self.id], repeatable=True)

    def result(self, reply: ConsulReply) -> Deregistered:
        """Read whether it was there."""
        return Deregistered(deregistered=reply.is_ok)


class Report(ConsulOperation):
    """Say how an instance with a `ttl` check is.

    - `id`: of the instance; its check is called `service:<id>`.
    - `output`: a text for people.
    """

    expects = _KNOWN

    id: Name
    status: Status = "passing"
    output: Annotated[str, Field(max_length=4096)] = ""

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        return RestRequest(
            method="PUT",
            path=["v1", "agent", "check", "update", f"service:{self.id}"],
            headers=_JSON,
            content=json_content({"Status": self.status, "Output": self.output}),
            repeatable=True,
        )

    def result(self, reply: ConsulReply) -> Reported:
        """Read whether it was there."""
        return Reported(reported=reply.is_ok)
