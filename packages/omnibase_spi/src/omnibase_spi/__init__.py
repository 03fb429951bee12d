"""What a plug-in of the ONEX Runtime Host implements: Protocols, no behaviour.

Core's ports and the values that pass through them are re-exported: a plug-in imports this package and core's models.
"""

from omnibase_core.errors import BusError, HandlerError, OnexError, PublishFailed, SecretMissing
from omnibase_core.ports import (
    Assigned,
    Batch,
    Clock,
    ContractDocument,
    Delivery,
    EnvelopeBus,
    Handler,
    HandlerCall,
    HandlerDescription,
    InlineHandler,
    Message,
    Observer,
    OperationDescription,
    Partition,
    Refusal,
    Revoked,
)
from omnibase_spi.factories import BusFactory, HandlerFactory
from omnibase_spi.sources import ContractReader, SecretResolver, StateStore

__all__ = [
    "Assigned",
    "Batch",
    "BusError",
    "BusFactory",
    "Clock",
    "ContractDocument",
    "ContractReader",
    "Delivery",
    "EnvelopeBus",
    "Handler",
    "HandlerCall",
    "HandlerDescription",
    "HandlerError",
    "HandlerFactory",
    "InlineHandler",
    "Message",
    "Observer",
    "OnexError",
    "OperationDescription",
    "Partition",
    "PublishFailed",
    "Refusal",
    "Revoked",
    "SecretMissing",
    "SecretResolver",
    "StateStore",
]
