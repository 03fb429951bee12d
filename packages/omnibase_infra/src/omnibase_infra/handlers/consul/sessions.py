"""The operations of `consul` on sessions, which hold the locks of keys; how they are written and read. Pure.

https://developer.hashicorp.com/consul/api-docs/session
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from omnibase_infra.handlers.consul.operations import ConsulOperation, ConsulReply
from omnibase_infra.handlers.consul.values import ConsulModel, Wire, duration
from omnibase_infra.http import RestRequest
from omnibase_infra.http.json_messages import json_content
from omnibase_infra.http.values import Name


class Created(ConsulModel):
    """The id of the `session`: what `acquire` and `release` name."""

    session: str


class Renewed(ConsulModel):
    """Whether the session was `renewed`: it is not where it has ended."""

    renewed: bool = True


class Destroyed(ConsulModel):
    """Whether the session is gone, as one is that never was."""

    destroyed: bool = True


class CreateSession(ConsulOperation):
    """Create a session. A call whose answer was lost is not retryable: done again, it would make a second one.

    - `ttl_s`: it ends by itself unless `renew_session` is called within this time; it may live up to twice as long.
    - `behavior`: what becomes of the keys that it has locked when it ends: `release`, or `delete`.
    - `lock_delay_s`: for how long nobody may lock a key again whose session ended without being asked to.
    - `name`: for people.
    - `node_checks`: the checks of the agent's node that have to pass for the session to live; Consul's own by default,
      none with [].
    """

    ttl_s: Annotated[float, Field(ge=10, le=86_400)] | None = None
    behavior: Literal["release", "delete"] = "release"
    lock_delay_s: Annotated[float, Field(gt=0, le=60)] = 15.0
    name: str = ""
    node_checks: list[str] | None = None

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        body: dict[str, JsonValue] = {
            "Name": self.name,
            "Behavior": self.behavior,
            "LockDelay": duration(self.lock_delay_s),
        }
        if self.ttl_s is not None:
            body["TTL"] = duration(self.ttl_s)
        if self.node_checks is not None:
            body["NodeChecks"] = list(self.node_checks)
        return RestRequest(
            method="PUT",
            path=["v1", "session", "create"],
            headers={"content-type": "application/json"},
            content=json_content(body),
            repeatable=False,
        )

    def result(self, reply: ConsulReply) -> Created:
        """Read the id."""
        return Created(session=reply.read(_CREATED).id)


class RenewSession(ConsulOperation):
    """Let a session live for its `ttl_s` from now on."""

    expects = frozenset({200, 404})

    session: Name

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        return RestRequest(method="PUT", path=["v1", "session", "renew", self.session], repeatable=True)

    def result(self, reply: ConsulReply) -> Renewed:
        """Read whether it was there."""
        return Renewed(renewed=reply.is_ok)


class DestroySession(ConsulOperation):
    """End a session; its locks are released or deleted, as its `behavior` says. One that is not there is no error."""

    session: Name

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        return RestRequest(method="PUT", path=["v1", "session", "destroy", self.session], repeatable=True)

    def result(self, reply: ConsulReply) -> Destroyed:
        """Read whether it was done."""
        return Destroyed(destroyed=reply.flag)


class _WireSession(Wire):
    id: Annotated[str, Field(alias="ID")]


_CREATED = TypeAdapter(_WireSession)
