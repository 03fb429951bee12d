"""How a handler, a bus and a store are made, opened and closed. Protocols only."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pydantic import BaseModel

from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.ports import EnvelopeBus, Handler, HandlerDescription, InlineHandler, Observer


class HandlerFactory(Protocol):
    """Makes the handler of one type for one host.

    A plug-in names an instance of it under the entry point group `omnibase.handlers`.
    """

    @property
    def description(self) -> HandlerDescription:
        """What contracts may ask of this type. They are checked against it before anything is opened."""

    def open(
        self, *, settings: BaseModel, targets: Mapping[str, BaseModel]
    ) -> AbstractAsyncContextManager[Handler | InlineHandler]:
        """Return the handler for as long as the context is open.

        `settings` and `targets` are instances of the models of the description, as the host contract wrote them.
        A server that is away is no reason to fail here: its calls fail, retryable, until it is back.
        """


class BusFactory(Protocol):
    """Makes the bus of one host.

    A plug-in names an instance of it under the entry point group `omnibase.buses`. The entry point's name is what host
    contracts write in `bus.type`.
    """

    @property
    def settings(self) -> type[BaseModel]:
        """The model of the host contract's `bus`, but for its `type`."""

    def open(
        self, *, settings: BaseModel, host: RuntimeHostContract, topics: Sequence[str], observer: Observer
    ) -> AbstractAsyncContextManager[EnvelopeBus]:
        """Return the bus for as long as the context is open; it creates those of the host's topics that are missing.

        A broker that is away is no reason to fail here: the bus waits until it is there. Raises BusError where it
        cannot give the host's `guarantee`.
        """


class StoreFactory(Protocol):
    """Makes the store in which a host's nodes with `idempotency` keep their answers.

    A plug-in names an instance of it under the entry point group `omnibase.stores`. The entry point's name is what host
    contracts write in `idempotency.store`.
    """

    @property
    def settings(self) -> type[BaseModel]:
        """The model of the host contract's `idempotency.settings`."""

    def open(self, *, settings: BaseModel, observer: Observer) -> AbstractAsyncContextManager[IdempotencyStore]:
        """Return the store for as long as the context is open.

        A server that is away is no reason to fail here: its calls raise StoreFailed until it is back.
        """
