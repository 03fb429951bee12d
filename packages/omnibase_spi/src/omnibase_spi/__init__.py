"""What a plug-in of the ONEX Runtime Host implements: Protocols, no behaviour.

Everything that these Protocols name in a signature, or say that a method raises, is exported here: a plug-in imports
this package, and no room of core.
"""

from omnibase_core.contracts.host import Guarantee, RuntimeHostContract
from omnibase_core.errors import (
    BusError,
    HandlerError,
    InvalidContracts,
    InvalidExpression,
    OnexError,
    PublishFailed,
    SecretMissing,
    StoreFailed,
    TransactionAborted,
)
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
    Happening,
    Headers,
    InlineHandler,
    Message,
    Observer,
    OperationDescription,
    Outlet,
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
    "Guarantee",
    "Handler",
    "HandlerCall",
    "HandlerDescription",
    "HandlerError",
    "HandlerFactory",
    "Happening",
    "Headers",
    "IdempotencyStore",
    "InlineHandler",
    "InvalidContracts",
    "InvalidExpression",
    "Message",
    "Observer",
    "OnexError",
    "OperationDescription",
    "Outlet",
    "Partition",
    "PublishFailed",
    "Recorded",
    "Refusal",
    "Revoked",
    "Rewound",
    "RuntimeHostContract",
    "SecretMissing",
    "SecretResolver",
    "StoreFactory",
    "StoreFailed",
    "Taken",
    "TransactionAborted",
]
