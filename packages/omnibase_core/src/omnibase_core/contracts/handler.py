"""The handler contract as it is written: `contract: handler/v1`. Values, and what differs from the installed handler.

It is written from the handler's description and never by hand, so it is held to be equal to that.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from omnibase_core.contracts.host import Guarantee
from omnibase_core.contracts.model_schema import JsonSchema, schema_of
from omnibase_core.contracts.node import ContractModel, Identifier
from omnibase_core.contracts.yaml.document import Path
from omnibase_core.envelope import JsonObject
from omnibase_core.ports import HandlerDescription


class HandlerErrorContract(ContractModel):
    """One code of a handler's errors.

    - `meaning`: what happened.
    - `retryable`: whether a later attempt at the same call may succeed; a text says when it may.
    """

    meaning: Annotated[str, StringConstraints(min_length=1)]
    retryable: bool | str


class HandlerOperationContract(ContractModel):
    """One operation of a handler.

    - `request`: JSON Schema of what a node's `request` maps to.
    - `result`: JSON Schema of what the node's expressions read as `result`.
    - `errors`: the codes that the operation can fail with.
    """

    request: JsonObject
    result: JsonObject
    errors: list[Identifier]


class HandlerContract(ContractModel):
    """One handler: what nodes may ask of it, how it fails, and what a host contract sets.

    - `contract`: the language and its version, handler/v1.
    - `name`: the type of the handler, as a node contract names it.
    - `guarantee`: the strongest guarantee of a host on which nodes may ask it.
    - `operations`: by name; the first is the one that a node asks where it names none.
    - `errors`: the codes of its errors.
    - `settings`: JSON Schema of `settings` under the handler's name in a host contract.
    - `target`: JSON Schema of each of its `targets` there; a handler without targets has none.
    """

    contract: Literal["handler/v1"]
    name: Annotated[str, StringConstraints(min_length=1)]
    guarantee: Annotated[Guarantee, Field(strict=False)]
    operations: Annotated[dict[Identifier, HandlerOperationContract], Field(min_length=1)]
    errors: dict[Identifier, HandlerErrorContract]
    settings: JsonObject
    target: JsonObject | None = None


def handler_contract(handler: HandlerDescription) -> dict[str, Any]:
    """Return the contract as JSON values. Each schema stands by itself, with its own definitions."""
    guarantee = Guarantee.EXACTLY_ONCE if handler.transactional else Guarantee.AT_LEAST_ONCE
    target = {} if handler.target is None else {"target": _schema(handler.target)}
    return {
        "contract": "handler/v1",
        "name": handler.handler_type,
        "guarantee": guarantee.value,
        "operations": {
            name: {
                "request": _schema(operation.request),
                "result": _schema(operation.result),
                "errors": list(handler.errors if operation.errors is None else operation.errors),
            }
            for name, operation in handler.operations.items()
        },
        "errors": {
            code: {"meaning": error.meaning, "retryable": error.retryable} for code, error in handler.errors.items()
        },
        "settings": _schema(handler.settings),
        **target,
    }


def difference(written: Any, expected: Any, at: Path = ()) -> Path | None:
    """Return the path of the first part that differs, or None. The order of keys counts in `operations` alone."""
    if isinstance(written, Mapping) and isinstance(expected, Mapping):
        for key in (*expected, *written):
            if key not in written or key not in expected:
                return (*at, key)
            if (found := difference(written[key], expected[key], (*at, key))) is not None:
                return found
        return at if at == ("operations",) and list(written) != list(expected) else None
    if isinstance(written, list) and isinstance(expected, list) and len(written) == len(expected):
        for index, (one, other) in enumerate(zip(written, expected, strict=True)):
            if (found := difference(one, other, (*at, index))) is not None:
                return found
        return None
    return None if written == expected and isinstance(written, bool) == isinstance(expected, bool) else at


def _schema(model: type[BaseModel]) -> JsonSchema:
    schema, definitions = schema_of(model)
    whole: JsonSchema = _within_64_bits({**schema, **({"$defs": definitions} if definitions else {})})
    return whole


def _within_64_bits(value: Any) -> Any:
    """Return JSON values as a contract can write them: an integer that is too large for it becomes a double."""
    if isinstance(value, Mapping):
        return {key: _within_64_bits(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(part) for part in value]
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
