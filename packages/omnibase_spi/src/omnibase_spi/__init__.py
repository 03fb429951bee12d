"""What a plug-in of the ONEX Runtime Host implements: Protocols, no behaviour.

Core's ports and the values that pass through them are re-exported: a plug-in imports this package and core's models.
"""

from omnibase_core.errors import BusError, HandlerError, OnexError, PublishFailed, SecretMissing, StoreFailed
from omnibase_core.idempotency_store import Granted, IdempotencyStore, Recorded, Taken
from omnibase_core.ports import (
    Assigned,
    Batch,
    Clock,
    ContractDocument,
    Delivery,
    EnvelopeBus,
    ErrorDescription,
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
    Rewound,
)
from omnibase_spi.factories import BusFactory, HandlerFactory, StoreFactory
from omnibase_spi.sources import ContractReader, SecretResolver

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
    "ErrorDescription",
    "Granted",
    "Handler",
    "HandlerCall",
    "HandlerDescription",
    "HandlerError",
    "HandlerFactory",
    "IdempotencyStore",
    "InlineHandler",
    "Message",
    "Observer",
    "OnexError",
    "OperationDescription",
    "Partition",
    "PublishFailed",
    "Recorded",
    "Refusal",
    "Revoked",
    "Rewound",
    "SecretMissing",
    "SecretResolver",
    "StoreFactory",
    "StoreFailed",
    "Taken",
]
