"""HostClient: sends commands to nodes, waits for their answers, and reads the answers of a node as they come."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import msgspec

from omnibase_core.codec import decode, encode
from omnibase_core.envelope import ENVELOPE_VERSION, OnexEnvelope
from omnibase_core.errors import UndecodableEnvelope
from omnibase_core.ports import Headers, Message
from omnibase_core.topics import Namespace
from omnibase_infra.client.errors import CallFailed, NoAnswer, NodeNotThere
from omnibase_infra.kafka import KafkaSettings
from omnibase_infra.kafka.answer_subscription import Subscription
from omnibase_infra.kafka.command_sender import CommandNotSent, Sender, Troubles
from omnibase_infra.kafka.reply_consumer import ReplyConsumer, pass_to_loop

_CLOSE_S = 0.5


class _Cause(msgspec.Struct):
    """Of an answer, the command that it belongs to: most answers on a topic may belong to other callers."""

    causation_id: UUID | None = None


_cause_of = msgspec.json.Decoder(_Cause).decode


class HostClient:
    """A client of the nodes of an environment and a tenant. Use it as an async context.

    `bus` is the broker's address, or the settings of a bus as a host contract has them, with TLS and SASL. One client
    serves any number of concurrent calls over one producer and, from the first call on, one consumer: it reads all the
    answers of every node that was called, those to other callers as well.

        async with HostClient("kafka:9092", environment="prod", tenant="shop") as client:
            answer = await client.call("user-query", {"user_id": 7}, timeout_s=2)
            print(answer.payload)
    """

    def __init__(self, bus: str | KafkaSettings, *, environment: str, tenant: str, name: str = "host-client") -> None:
        """Take where the nodes are; `name` is the client id that the broker sees.

        Raises pydantic's ValidationError for what is no address. Nothing is connected yet.
        """
        self._settings = KafkaSettings(bootstrap_servers=bus) if isinstance(bus, str) else bus
        self._names = Namespace(environment=environment, tenant=tenant)
        self._name = name
        self._troubles = Troubles(self._settings.bootstrap_servers)
        self._sender: Sender | None = None
        self._reader: ReplyConsumer | None = None
        self._listening: dict[str, asyncio.Future[None]] = {}
        self._waiting: dict[UUID, asyncio.Future[OnexEnvelope]] = {}
        self._subscriptions: set[Subscription] = set()

    async def __aenter__(self) -> Self:
        """Connect, in the background: a broker that is away is waited for by each call, within its time."""
        self._sender = Sender(self._settings, name=self._name, troubles=self._troubles)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect: calls under way are cancelled, and what the broker has not taken yet is not sent any more."""
        for waiting in self._waiting.values():
            waiting.cancel()
        for listening in self._listening.values():
            listening.cancel()
        self._listening.clear()
        for subscription in list(self._subscriptions):
            await subscription.close()
        if self._sender is not None:
            await self._sender.close()
        if self._reader is not None:
            await asyncio.to_thread(self._reader.close, within_s=_CLOSE_S)
        self._sender = self._reader = None

    async def call(
        self,
        node: str,
        payload: Mapping[str, Any],
        *,
        operation: str | None = None,
        key: str | bytes | None = None,
        timeout_s: float = 10.0,
        metadata: Mapping[str, Any] | None = None,
        major: int = 1,
        request_id: UUID | None = None,
    ) -> OnexEnvelope:
        """Send a command to a node, and return its answer.

        - `operation` may be left out where the node has one; `major` is the node's major version.
        - Commands with the same `key` are served in their order.
        - After `timeout_s` seconds the command expires: a host that takes it later does not serve it.
        - `request_id` is the command's id, by default a new one. A caller that tries again after a failure passes the
          same id: a node with `idempotency` then does the work once.

        Raises CallFailed where the node answers with an error; NoAnswer, NodeNotThere, CommandNotSent or
        CommandUncertain where there is no answer in time; BusError where the broker refuses the command; ValueError
        for a payload or metadata that have no form in JSON.
        """
        command = new_command(node, operation, payload, metadata=metadata, request_id=request_id)
        answer = await self.exchange(command, key=key, major=major, timeout_s=timeout_s)
        if answer.error is not None:
            raise CallFailed(answer)
        return answer

    async def send(
        self,
        node: str,
        payload: Mapping[str, Any],
        *,
        operation: str | None = None,
        key: str | bytes | None = None,
        timeout_s: float = 10.0,
        metadata: Mapping[str, Any] | None = None,
        major: int = 1,
        request_id: UUID | None = None,
    ) -> UUID:
        """Send a command without waiting for its answer; return its id once the broker has it.

        The arguments are those of `call`, but for `timeout_s`, which is the time until the broker has it: the command
        itself does not expire. Raises what `call` raises of sending.
        """
        until_s = asyncio.get_running_loop().time() + timeout_s
        command = new_command(node, operation, payload, metadata=metadata, request_id=request_id)
        await self._send(command, key, major, until_s)
        return command.envelope_id

    async def answers(
        self, node: str, *, group: str, major: int = 1, start: str = "earliest"
    ) -> AsyncGenerator[OnexEnvelope, None]:
        """Yield the answers of a node as they come, results and errors, each at least once.

        Members of the same `group` share the topic's partitions. An answer counts as read when the next one is asked
        for. A group that has read nothing yet starts at the `earliest` answer that there is, or at the `latest`. What
        cannot be decoded is skipped, with a warning of the logger `omnibase_infra.client`.

        Raises BusError where the broker does not let it read, ValueError for a group that is a pool's.
        """
        config = self._settings.subscriber(client_id=self._name, group=group, start=start)
        subscription = Subscription(config, self._names.event(node, major), on_error=self._troubles.note)
        self._subscriptions.add(subscription)
        try:
            async for answer in subscription.answers():
                yield answer
        finally:
            self._subscriptions.discard(subscription)
            await subscription.close()

    async def exchange(
        self, command: OnexEnvelope, *, key: str | bytes | None = None, major: int = 1, timeout_s: float = 10.0
    ) -> OnexEnvelope:
        """Send a command that is already an envelope, and return its answer, be it an error.

        It expires with its time, unless it says itself when. Raises what `call` raises, but for CallFailed.
        """
        until_s = asyncio.get_running_loop().time() + timeout_s
        if command.expires_at is None:
            expires_at = datetime.now(UTC) + timedelta(seconds=timeout_s)
            command = msgspec.structs.replace(command, expires_at=expires_at)
        await self._listen(command.node_slug, major, until_s)
        waiting: asyncio.Future[OnexEnvelope] = asyncio.get_running_loop().create_future()
        self._waiting[command.envelope_id] = waiting
        try:
            await self._send(command, key, major, until_s)
            async with asyncio.timeout_at(until_s):
                return await waiting
        except TimeoutError:
            raise NoAnswer(f"no answer from {command.node_slug!r} within {timeout_s:g} s") from None
        finally:
            del self._waiting[command.envelope_id]

    async def _send(self, command: OnexEnvelope, key: str | bytes | None, major: int, until_s: float) -> None:
        if self._sender is None:
            raise RuntimeError("the client is not open: use it as an async context")
        topic = self._names.command(command.node_slug, major)
        key = key.encode() if isinstance(key, str) else key
        await self._sender.send(Message(topic, key, encode(command), _trace_context()), until_s=until_s)

    async def _listen(self, node: str, major: int, until_s: float) -> None:
        """Wait until what is new on the topic of a node's answers is read: no answer may come before its reader."""
        topic = self._names.event(node, major)
        errors_before = self._troubles.count
        if topic not in self._listening:
            self._listening[topic] = asyncio.get_running_loop().create_future()
            self._answer_reader().listen(topic)
        try:
            async with asyncio.timeout_at(until_s):
                await asyncio.shield(self._listening[topic])
        except TimeoutError:
            raise CommandNotSent(f"{self._troubles.said_since(errors_before)}; the command was not sent") from None

    def _answer_reader(self) -> ReplyConsumer:
        """Return the consumer of answers: who only sends has none."""
        if self._reader is None:
            tell = partial(pass_to_loop, asyncio.get_running_loop())
            self._reader = ReplyConsumer(
                self._settings.listener(client_id=self._name),
                (),
                hear=partial(tell, self._hear),
                listening=partial(tell, self._listens),
                absent=partial(tell, self._is_absent),
                warn=self._troubles.note,
            )
        return self._reader

    def _listens(self, topic: str) -> None:
        if (listening := self._listening.get(topic)) is not None and not listening.done():
            listening.set_result(None)

    def _is_absent(self, topic: str) -> None:
        # The next call looks again.
        if (listening := self._listening.pop(topic, None)) is not None and not listening.done():
            listening.set_exception(NodeNotThere(f"topic {topic} is not there: is a host with this node running?"))

    def _hear(self, values: Sequence[bytes]) -> None:
        for value in values:
            # What is not an answer is somebody else's affair: topics are open to others.
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UndecodableEnvelope):
                cause = _cause_of(value).causation_id
                if cause is not None and (waiting := self._waiting.get(cause)) is not None and not waiting.done():
                    waiting.set_result(decode(value))


def new_command(
    node: str,
    operation: str | None,
    payload: Mapping[str, Any],
    *,
    metadata: Mapping[str, Any] | None = None,
    request_id: UUID | None = None,
) -> OnexEnvelope:
    """Return a command that nothing has caused: the root of a correlation."""
    identity = request_id or uuid4()
    return OnexEnvelope(
        envelope_version=ENVELOPE_VERSION,
        envelope_id=identity,
        correlation_id=identity,
        node_slug=node,
        operation=operation,
        payload=dict(payload),
        metadata=dict(metadata or {}),
        timestamp=datetime.now(UTC),
    )


def _trace_context() -> Headers:
    """Return the headers that make a command part of the trace that its caller is in, if there is one."""
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from omnibase_infra.host.tracing import current_context

    return current_context()
