"""The pure core of the ONEX Runtime Host: envelopes, contracts, the node runtime. No I/O is started from here.

What is listed in `__all__` is public. Each name is imported when it is first asked for.
"""

from importlib import import_module

TYPE_CHECKING = False
"""True to type checkers, by its name: to import `typing` would take longer than all the rest."""

if TYPE_CHECKING:
    from omnibase_core.codec import decode, encode
    from omnibase_core.contracts.host import RuntimeHostContract
    from omnibase_core.contracts.node import NodeContract, NodeKind
    from omnibase_core.contracts.registry import FileRegistry
    from omnibase_core.engine.instance import NodeInstance
    from omnibase_core.engine.runtime import NodeRuntime
    from omnibase_core.envelope import EnvelopeError, OnexEnvelope
    from omnibase_core.errors import (
        BusError,
        CommandFailed,
        CommandRejected,
        ExpressionFailed,
        HandlerError,
        InvalidContracts,
        InvalidExpression,
        InvalidTopicName,
        OnexError,
        Problem,
        PublishFailed,
        SecretMissing,
        StoreFailed,
        StoreMissing,
        TransactionAborted,
        UndecodableEnvelope,
        UnknownHandler,
        UnknownNode,
    )

__all__ = [
    "BusError",
    "CommandFailed",
    "CommandRejected",
    "EnvelopeError",
    "ExpressionFailed",
    "FileRegistry",
    "HandlerError",
    "InvalidContracts",
    "InvalidExpression",
    "InvalidTopicName",
    "NodeContract",
    "NodeInstance",
    "NodeKind",
    "NodeRuntime",
    "OnexEnvelope",
    "OnexError",
    "Problem",
    "PublishFailed",
    "RuntimeHostContract",
    "SecretMissing",
    "StoreFailed",
    "StoreMissing",
    "TransactionAborted",
    "UndecodableEnvelope",
    "UnknownHandler",
    "UnknownNode",
    "decode",
    "encode",
]

_NAMES = {
    "omnibase_core.codec": ["decode", "encode"],
    "omnibase_core.contracts.host": ["RuntimeHostContract"],
    "omnibase_core.contracts.node": ["NodeContract", "NodeKind"],
    "omnibase_core.envelope": ["EnvelopeError", "OnexEnvelope"],
    "omnibase_core.errors": [
        "BusError",
        "CommandFailed",
        "CommandRejected",
        "ExpressionFailed",
        "HandlerError",
        "InvalidContracts",
        "InvalidExpression",
        "InvalidTopicName",
        "OnexError",
        "Problem",
        "PublishFailed",
        "SecretMissing",
        "StoreFailed",
        "StoreMissing",
        "TransactionAborted",
        "UndecodableEnvelope",
        "UnknownHandler",
        "UnknownNode",
    ],
    "omnibase_core.engine.instance": ["NodeInstance"],
    "omnibase_core.contracts.registry": ["FileRegistry"],
    "omnibase_core.engine.runtime": ["NodeRuntime"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return what a public name stands for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    """Return the public names, beside what every module has."""
    return sorted({*globals(), *__all__})
