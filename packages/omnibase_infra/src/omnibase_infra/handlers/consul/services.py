"""The operations of `consul` that read services: catalog and health; how they are written and read. Pure.

https://developer.hashicorp.com/consul/api-docs/catalog and .../health
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from omnibase_infra.handlers.consul.operations import ConsulOperation, ConsulReply
from omnibase_infra.handlers.consul.values import ConsulModel, Index, Query, Wire
from omnibase_infra.http import RestRequest
from omnibase_infra.http.values import Name

_WORST = ("critical", "warning", "passing")


class Services(ConsulModel):
    """Every service that is registered, by name, with the tags of all its instances."""

    services: dict[str, list[str]] = Field(default_factory=dict)
    index: Index = 0


class Instance(ConsulModel):
    """One instance of a service. `address` is its own or, where it has none, that of its `node`."""

    id: str
    service: str = ""
    node: str = ""
    address: str = ""
    port: int = 0
    tags: list[str] = Field(default_factory=list)
    meta: dict[str, str] = Field(default_factory=dict)


class Instances(ConsulModel):
    """The instances of a service, whether they are well or not; none is no error."""

    instances: list[Instance] = Field(default_factory=list)
    index: Index = 0


class Check(ConsulModel):
    """What one check says."""

    id: str
    name: str = ""
    status: str = "passing"


class CheckedInstance(Instance):
    """An instance with its checks and those of its node. `status` is the worst of theirs."""

    status: str = "passing"
    checks: list[Check] = Field(default_factory=list)


class Health(ConsulModel):
    """The instances of a service and how they are; none is no error."""

    instances: list[CheckedInstance] = Field(default_factory=list)
    index: Index = 0


class ListServices(Query, ConsulOperation):
    """Read the catalog of services of the datacenter."""

    def message(self, timeout_s: float) -> RestRequest:
        """Write the request."""
        path = ["v1", "catalog", "services"]
        return RestRequest(method="GET", path=path, query=self.waiting(timeout_s), repeatable=True)

    def result(self, reply: ConsulReply) -> Services:
        """Read names and tags, in order: Consul gives them in any."""
        said = reply.read(_SERVICES)
        return Services(services={name: sorted(said[name] or []) for name in sorted(said)}, index=reply.index)


class _OfService(Query, ConsulOperation):
    """A read of the instances of one service. `tags`: only of those that have all of these."""

    service: Name
    tags: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)

    def asked(self, *path: str, timeout_s: float, how: tuple[tuple[str, str | None], ...] = ()) -> RestRequest:
        """Write the request."""
        tags = [("tag", tag) for tag in self.tags]
        query = [*how, *tags, *self.waiting(timeout_s)]
        return RestRequest(method="GET", path=["v1", *path, self.service], query=query, repeatable=True)


class ListInstances(_OfService):
    """Read the instances of a service from the catalog. `tags`: only those that have all of these."""

    def message(self, timeout_s: float) -> RestRequest:
        """Write the request."""
        return self.asked("catalog", "service", timeout_s=timeout_s)

    def result(self, reply: ConsulReply) -> Instances:
        """Read the instances, in order of node and id."""
        wires = reply.read(_CATALOG)
        wires.sort(key=lambda it: (it.node, it.service_id))
        return Instances(instances=[wire.instance for wire in wires], index=reply.index)


class ReadHealth(_OfService):
    """Read the instances of a service and how they are.

    - `tags`: only those that have all of these.
    - `passing`: only those of which every check passes.
    """

    passing: bool = False

    def message(self, timeout_s: float) -> RestRequest:
        """Write the request."""
        how: tuple[tuple[str, str | None], ...] = (("passing", None),) if self.passing else ()
        return self.asked("health", "service", timeout_s=timeout_s, how=how)

    def result(self, reply: ConsulReply) -> Health:
        """Read the instances, in order of node and id."""
        wires = reply.read(_HEALTH)
        wires.sort(key=lambda it: (it.node.node, it.service.id))
        return Health(instances=[wire.instance for wire in wires], index=reply.index)


class _WireCatalog(Wire):
    node: str
    address: str = ""
    service_id: Annotated[str, Field(alias="ServiceID")]
    service_name: str
    service_address: str = ""
    service_port: int = 0
    service_tags: list[str] | None = None
    service_meta: dict[str, str] | None = None

    @property
    def instance(self) -> Instance:
        return Instance(
            id=self.service_id,
            service=self.service_name,
            node=self.node,
            address=self.service_address or self.address,
            port=self.service_port,
            tags=self.service_tags or [],
            meta=self.service_meta or {},
        )


class _WireNode(Wire):
    node: str
    address: str = ""


class _WireService(Wire):
    id: Annotated[str, Field(alias="ID")]
    service: str
    address: str = ""
    port: int = 0
    tags: list[str] | None = None
    meta: dict[str, str] | None = None


class _WireCheck(Wire):
    check_id: Annotated[str, Field(alias="CheckID")]
    name: str = ""
    status: str


class _WireHealth(Wire):
    node: _WireNode
    service: _WireService
    checks: list[_WireCheck] | None = None

    @property
    def instance(self) -> CheckedInstance:
        service, checks = self.service, sorted(self.checks or [], key=lambda it: it.check_id)
        statuses = {check.status for check in checks}
        return CheckedInstance(
            id=service.id,
            service=service.service,
            node=self.node.node,
            address=service.address or self.node.address,
            port=service.port,
            tags=service.tags or [],
            meta=service.meta or {},
            status=next((it for it in _WORST if it in statuses), "passing"),
            checks=[Check(id=it.check_id, name=it.name, status=it.status) for it in checks],
        )


_SERVICES: TypeAdapter[dict[str, list[str] | None]] = TypeAdapter(dict[str, list[str] | None])
_CATALOG = TypeAdapter(list[_WireCatalog])
_HEALTH = TypeAdapter(list[_WireHealth])
