"""What contracts may refer to, and what a host is once its contract passed every check. Values only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.compiler.watches import CompiledWatch
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.contracts.node import OnRetry
from omnibase_core.errors import Problem
from omnibase_core.handlers.compute import COMPUTE_DESCRIPTION
from omnibase_core.handlers.local import LOCAL_DESCRIPTION
from omnibase_core.ports import HandlerDescription, PureFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What contracts may refer to: handlers, the models of the settings of each bus and store, and functions.

    `import_function` is asked only for functions of packages that a host contract allows. It raises LookupError, which
    says what is missing. `impurities` is asked after it, with those packages: it reads the function's code, and tells
    what of it is not pure by its place there; where nobody reads, nothing is found.

    `bus` is the model of the bus that is meant where a host contract names none, `buses` those that it may name in
    `bus.type`. Where there are none to choose from, `type` is a key of the one bus like any other.
    """

    handlers: Mapping[str, HandlerDescription]
    bus: type[BaseModel]
    import_function: Callable[[str], PureFunction]
    buses: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    stores: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    impurities: Callable[[str, Sequence[str]], Iterable[Problem]] = lambda _name, _packages: ()


class _AnyBus(BaseModel):
    """Whatever a host contract says of its bus."""

    model_config = ConfigDict(frozen=True, extra="allow")


def core_catalog() -> Catalog:
    """Return what contracts may refer to where there is nothing but core: `local` and `compute`, and no functions."""

    def none_here(name: str) -> PureFunction:
        raise LookupError(f"{name} cannot be imported here: no functions are")

    handlers = {it.handler_type: it for it in (LOCAL_DESCRIPTION, COMPUTE_DESCRIPTION)}
    return Catalog(handlers=handlers, bus=_AnyBus, import_function=none_here)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """A host contract's open parts, validated by the models of those that read them.

    `bus_type` is which bus the contract names; None: it names none.
    """

    bus: BaseModel
    handlers: Mapping[str, BaseModel]
    targets: Mapping[str, Mapping[str, BaseModel]]
    store: BaseModel | None = None
    bus_type: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedHost:
    """A host contract that passed every check, with its settings, its nodes and its watches."""

    contract: RuntimeHostContract
    settings: HostSettings
    nodes: Sequence[CompiledNode]
    path: str
    watches: Sequence[CompiledWatch] = ()

    @property
    def topics(self) -> Sequence[str]:
        """Every topic that the host reads or writes."""
        names = self.contract.namespace
        of_nodes = [
            name
            for node in self.nodes
            for name in (
                names.command(node.contract.name, node.contract.major),
                names.event(node.contract.name, node.contract.major),
            )
        ]
        overtaken = any(node.contract.delivery.on_retry is OnRetry.OVERTAKE for node in self.nodes)
        retry = [names.retry(self.contract.pool)] if overtaken else []
        requests = [names.requests(self.contract.pool)] if self.contract.requests else []
        return (*of_nodes, *requests, *retry, names.dead_letter(self.contract.pool), names.log(self.contract.name))

    def with_bus(self, **changes: object) -> "LoadedHost":
        """Return the same host with other settings of its bus."""
        bus = self.settings.bus.model_copy(update=changes)
        return replace(self, settings=replace(self.settings, bus=bus))

    def with_target(self, handler_type: str, target: str, **changes: object) -> "LoadedHost":
        """Return the same host with other settings of one target."""
        targets = dict(self.settings.targets[handler_type])
        targets[target] = targets[target].model_copy(update=changes)
        return replace(self, settings=replace(self.settings, targets={**self.settings.targets, handler_type: targets}))
