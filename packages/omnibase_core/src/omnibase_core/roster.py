"""The nodes of a host: who serves what arrives on which topic, with which handler and behind which breaker."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from omnibase_core.attempts import Attempts
from omnibase_core.contracts.compiled import CompiledNode
from omnibase_core.contracts.host import Guarantee, HandlerBinding, RuntimeHostContract
from omnibase_core.contracts.node import OnRetry
from omnibase_core.errors import StoreMissing, UndecodableEnvelope, UnknownHandler
from omnibase_core.idempotency import Once
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.instance import NodeFigures, NodeInstance, is_inline
from omnibase_core.intake import Intake
from omnibase_core.outlet import ADDRESSEE, CommandOutlet
from omnibase_core.overtaking import taken_up
from omnibase_core.policies import CircuitBreaker
from omnibase_core.ports import Clock, Delivery, EnvelopeBus, Handler, InlineHandler, Observer, Tracer
from omnibase_core.replies import Replies
from omnibase_core.work import Assignment, Work

_UNBOUNDED = 1_000_000


class Roster:
    """Nodes by their command topics, and the pool's retry topic where a node lets its commands be overtaken."""

    def __init__(self, host: RuntimeHostContract, *, bus: EnvelopeBus, clock: Clock, observer: Observer) -> None:
        """Start without a node."""
        self.topics: list[str] = []
        self.retries = host.namespace.retry(host.pool)
        self.requests = host.namespace.requests(host.pool)
        if host.requests:
            self.topics.append(self.requests)
        self._host = host
        self._bus = bus
        self._clock = clock
        self._observer = observer
        self._instances: dict[str, NodeInstance] = {}
        self._attempts: dict[str, Attempts] = {}
        self._asked: dict[str, Attempts] = {}
        self._breakers: dict[tuple[str, str | None], CircuitBreaker] = {}
        self.store: IdempotencyStore | None = None

    def add(self, node: CompiledNode, handler: Handler | InlineHandler | None, *, tracer: Tracer | None) -> None:
        """Take on a node. Raises UnknownHandler or StoreMissing where it needs one and has none."""
        if handler is None and any(operation.call for operation in node.operations.values()):
            raise UnknownHandler(f"node {node.contract.name!r}: handler {node.handler_type!r} is not registered")
        topic = self._host.namespace.command(node.contract.name, node.contract.major)
        instance = self._instances[topic] = NodeInstance(
            node=node,
            handler=handler,
            replies=Replies.of(self._host, node.contract, self._bus.message_bytes_max),
            outlet=partial(CommandOutlet, self._bus, transacts=self._host.guarantee is Guarantee.EXACTLY_ONCE),
            breaker=self._breaker_of(node, handler),
            clock=self._clock,
            observer=self._observer,
            tracer=tracer,
        )
        self._attempts[topic] = Attempts.of(instance, self._clock, self.retries, self._once(instance))
        self._asked[topic] = self._attempts[topic]
        if node.asks_a_node:
            # A request that waited for a place behind commands that wait for it would wait for ever.
            self._asked[topic] = replace(self._attempts[topic], places=asyncio.Semaphore(_UNBOUNDED))
        self.topics.append(topic)
        if node.contract.delivery.on_retry is OnRetry.OVERTAKE and self.retries not in self.topics:
            self.topics.append(self.retries)

    def intake(self) -> Intake:
        """Give the bounds of what is taken: of each node; of commands that are not due, a quarter of the host's.

        Requests are bounded by the commands that wait for them.
        """
        of_nodes = {topic: it.node.contract.delivery.max_in_flight for topic, it in self._instances.items()}
        limits = self._host.limits
        return Intake(
            per_topic={**of_nodes, self.requests: None, self.retries: max(1, limits.max_in_flight // 4)},
            in_all=limits.max_in_flight,
            bytes_max=limits.bytes_in_flight_max,
        )

    @property
    def figures(self) -> Mapping[str, NodeFigures]:
        """What each node has done, by the node's name."""
        return {instance.node.contract.name: instance.figures for instance in self._instances.values()}

    @property
    def breakers(self) -> Mapping[str, str]:
        """The state of the breaker in front of each target, by `handler` or `handler.target`; pure nodes by name."""
        return {".".join(filter(None, name)): breaker.state.value for name, breaker in self._breakers.items()}

    def attempts(self, work: Work) -> Attempts:
        """Give what serves a command in its lane."""
        return (self._asked if work.asked else self._attempts)[self._addressee(work.origin)]

    def work_of(self, delivery: Delivery, assignment: Assignment) -> Work:
        """Find whose command it is; on the retry topic, that stands in the headers of what was put aside."""
        topic = delivery.partition.topic
        if topic in self._instances:
            return Work(delivery, self._instances[topic], assignment, origin=delivery)
        origin, tried = (topic == self.retries and taken_up(delivery)) or (delivery, None)
        if (addressee := self._addressee(origin)) in self._instances:
            asked = origin.partition.topic == self.requests
            return Work(delivery, self._instances[addressee], assignment, origin=origin, tried=tried, asked=asked)
        stray = _stray_on_retries() if topic == self.retries else _stray_on_requests(addressee)
        instance = next(iter(self._instances.values()))
        letter = instance.replies.stray(delivery, stray, self._clock.now())
        return Work(delivery, instance, assignment, origin=delivery, messages=[letter])

    def _addressee(self, origin: Delivery) -> str:
        """Say on which command topic a command would be that is nobody's request."""
        if origin.partition.topic != self.requests:
            return origin.partition.topic
        return (dict(origin.headers).get(ADDRESSEE) or b"").decode(errors="replace")

    def _once(self, instance: NodeInstance) -> Once | None:
        """Give what lets the effects of a node happen once, behind the one breaker of the store."""
        if instance.node.contract.idempotency is None:
            return None
        if self.store is None or self._host.idempotency is None:
            raise StoreMissing(f"node {instance.node.contract.name!r} has idempotency, and its host has no store")
        binding = self._host.idempotency
        breaker = self._breakers.setdefault(("idempotency", binding.store), CircuitBreaker(**dict(binding.breaker)))
        return Once.of(instance, self._host, store=self.store, breaker=breaker)

    def _breaker_of(self, node: CompiledNode, handler: Handler | InlineHandler | None) -> CircuitBreaker:
        """Give the breaker of the node's target; one that is pure has one of its own, which opens at once."""
        if is_inline(handler):
            return self._breakers.setdefault((node.contract.name, None), CircuitBreaker(failures=1))
        binding = self._host.handlers.get(node.handler_type, HandlerBinding())
        name = (node.handler_type, node.contract.target)
        return self._breakers.setdefault(name, CircuitBreaker(**dict(binding.breaker)))


def _stray_on_retries() -> UndecodableEnvelope:
    return UndecodableEnvelope("not_put_aside", "on the retry topic, and put there by no host with this node")


def _stray_on_requests(addressee: str) -> UndecodableEnvelope:
    return UndecodableEnvelope("not_for_this_pool", f"a request for {addressee!r}, which is no node of this pool's")
