"""What the `kafka` handler does. It needs no Kafka client: it publishes by what each call brings along."""

from asyncio import timeout
from collections.abc import Mapping
from typing import Any

from omnibase_core.errors import HandlerError, PublishFailed
from omnibase_core.ports import HandlerCall, Message, Outlet
from omnibase_infra.handlers.kafka.models import KafkaReceipt, KafkaRecord, KafkaRequest, KafkaTarget
from omnibase_infra.handlers.kafka.requests import PendingRequests, unanswered


class KafkaHandler:
    """Publishes to the topics of its targets, and asks their nodes. A Handler.

    Used concurrently, and usable after any cancellation.

    Raises HandlerError with one of these codes:

    - `timeout`: not acknowledged in time; retryable. The host's producer does not give up, so the record may still
      arrive.
    - `message_too_large`, `unknown_topic`, `not_authorised`, `publish_refused`: the broker refused it for good.
    - `topic_not_allowed`: the request names a topic that is not the target's.
    - `no_answer`: a node that was asked did not answer in time; retryable. `request_failed`, `request_refused`: its
      answer is an error that the request does not expect, and retryable, or not. `too_deep`: too many nodes wait for
      one another.
    """

    def __init__(self, targets: Mapping[str, KafkaTarget], asking: PendingRequests) -> None:
        """Keep the targets by the names under which nodes know them, and what asks their nodes."""
        self._targets = targets
        self._asking = asking

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Publish the record and give its receipt, or send the request and give its answer."""
        target, outlet = self._targets.get(call.target or ""), call.outlet
        if target is None or outlet is None:
            raise HandlerError("topic_not_allowed", f"there is no kafka target {call.target!r}")
        match call.request:
            case KafkaRecord() as record:
                return await self._publish(call, record, target, outlet)
            case KafkaRequest() as request:
                return await self._ask(call, request, target, outlet)
        raise HandlerError("unknown_operation", f"the kafka handler has no operation {call.operation!r}")

    async def _ask(
        self, call: HandlerCall, request: KafkaRequest, target: KafkaTarget, outlet: Outlet
    ) -> Mapping[str, Any]:
        try:
            async with timeout(call.timeout_s):
                answer = await self._asking.answer(call, request, target, outlet)
        except TimeoutError as error:
            raise unanswered(request, call.timeout_s) from error
        except PublishFailed as error:
            hint = "; does its host contract have requests: true?" if error.code == "unknown_topic" else ""
            raise HandlerError(error.code, f"node {target.node}: {error}{hint}") from error
        return answer.model_dump(mode="json")

    async def _publish(
        self, call: HandlerCall, record: KafkaRecord, target: KafkaTarget, outlet: Outlet
    ) -> Mapping[str, Any]:
        topic = _topic(record, target, call.target)
        headers = [(name, None if value is None else value.encode()) for name, value in record.headers.items()]
        key = None if record.key is None else record.key.encode()
        try:
            async with timeout(call.timeout_s):
                await outlet.publish(Message(topic, key, record.value, headers))
        except TimeoutError as error:
            raise late(record, call.timeout_s) from error
        except PublishFailed as error:
            raise HandlerError(error.code, f"topic {topic}: {error}") from error
        return KafkaReceipt(topic=topic).model_dump()


def late(record: KafkaRecord, timeout_s: float) -> HandlerError:
    """Return the error that the handler raises when the time is over."""
    what = f"topic {record.topic}" if record.topic else "the record"
    return HandlerError("timeout", f"{what}: not acknowledged within {timeout_s:g} s", retryable=True)


def _topic(record: KafkaRecord, target: KafkaTarget, name: str | None) -> str:
    topic = record.topic or next(iter(target.topics), "")
    if topic not in target.topics:
        raise HandlerError("topic_not_allowed", f"topic {topic!r} is not among the topics of the target {name!r}")
    return topic
