"""The `kafka` handler: a node publishes by the host's own producer, or asks another node and awaits its answer.

`models` holds what contracts may write, `checks` what can be known of it at load, `handler` acts, `requests` finds
the answer to a request.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel

from omnibase_infra.handlers.kafka import requests
from omnibase_infra.handlers.kafka.checks import clashes_of_record, faults_of_record
from omnibase_infra.handlers.kafka.handler import KafkaHandler, late
from omnibase_infra.handlers.kafka.models import (
    KafkaAnswer,
    KafkaHandlerSettings,
    KafkaReceipt,
    KafkaRecord,
    KafkaRequest,
    KafkaTarget,
)
from omnibase_infra.handlers.kafka.requests import Listen, RequestContext
from omnibase_spi import ErrorDescription, Handler, HandlerDescription, OperationDescription

__all__ = [
    "KafkaAnswer",
    "KafkaHandlerFactory",
    "KafkaHandlerSettings",
    "KafkaReceipt",
    "KafkaRecord",
    "KafkaRequest",
    "KafkaTarget",
    "Listen",
    "RequestContext",
]

_ERRORS = {
    "timeout": ErrorDescription("The broker did not acknowledge the record in time.", retryable=True),
    "message_too_large": ErrorDescription("The record is larger than the bus, or its topic, allows."),
    "unknown_topic": ErrorDescription(
        "The broker has no such topic; for a request: no host of that pool has `requests: true`."
    ),
    "not_authorised": ErrorDescription("The host may not write to the topic."),
    "publish_refused": ErrorDescription("The broker rejected the record for another reason."),
    "topic_not_allowed": ErrorDescription("The request names a topic that is not among the target's."),
}
_ERRORS_OF_REQUESTS = {
    "no_answer": ErrorDescription("The requested node did not answer in time.", retryable=True),
    "request_failed": ErrorDescription("The requested node failed, and may succeed later.", retryable=True),
    "request_refused": ErrorDescription("The requested node answered with a permanent error."),
    "too_deep": ErrorDescription("More nodes than eight would wait for one another in a row."),
}


class KafkaHandlerFactory:
    """Makes the `kafka` handler of a host at a place; without one, it is there to be described."""

    description = HandlerDescription(
        handler_type="kafka",
        operations={
            "publish": OperationDescription(
                request=KafkaRecord,
                result=KafkaReceipt,
                late=late,
                errors=tuple(_ERRORS),
                faults=faults_of_record,
                misfit=lambda target: None if target.topics else "that has a node to ask and no topics",
                clashes=clashes_of_record,
            ),
            "request": OperationDescription(
                request=KafkaRequest,
                result=KafkaAnswer,
                refusal=requests.refusal,
                late=requests.unanswered,
                misfit=lambda target: None if target.node else "that has topics and no node to ask",
                asks_a_node=True,
            ),
        },
        settings=KafkaHandlerSettings,
        target=KafkaTarget,
        transactional=True,
        errors=_ERRORS | _ERRORS_OF_REQUESTS,
    )

    def __init__(self, place: RequestContext | None = None) -> None:
        """Take where the host is."""
        self._place = place

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:
        """Yield the handler, which hears the answers of the nodes that its targets name."""
        assert isinstance(settings, KafkaHandlerSettings)  # noqa: S101 - narrows the type; the registry validated it
        assert self._place is not None  # noqa: S101 - a host opens it with its place
        known = {name: target for name, target in targets.items() if isinstance(target, KafkaTarget)}
        async with requests.asking(self._place, known.values()) as asked:
            yield KafkaHandler(known, asked)
