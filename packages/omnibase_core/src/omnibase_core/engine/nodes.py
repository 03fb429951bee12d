"""The nodes of a host: who serves what arrives on which topic, with which handler and behind which breaker."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from omnibase_core.codec import decode
from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.host import Guarantee, HandlerBinding, RuntimeHostContract
from omnibase_core.contracts.node import OnRetry
from omnibase_core.dead_letters import raw_dead_letter
from omnibase_core.engine.handler_publisher import ADDRESSEE, CommandOutlet
from omnibase_core.engine.idempotency import IdempotencyGuard
from omnibase_core.engine.in_flight import PARKED, Assignment, InFlightCommand
from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.instance import NodeFigures, NodeInstance, is_inline
from omnibase_core.engine.response_reservations import ResponseReservations
from omnibase_core.engine.responses import Responses
from omnibase_core.engine.retries import Retries
from omnibase_core.engine.retry_topic import retried, taken_over
from omnibase_core.engine.unknown_nodes import UnknownNodes
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import (
    CommandRejected,
    StoreMissing,
    UndecodableEnvelope,
    UnknownHandler,
    UnknownNode,
    described,
)
from omnibase_core.idempotency_store import IdempotencyStore
from omnibase_core.policies import CircuitBreaker
from omnibase_core.ports import Clock, Delivery, EnvelopeBus, Handler, InlineHandler, Message, Observer, Tracer
from omnibase_core.semaphore import FairSemaphore

_UNBOUNDED = 1_000_000
_WAITING = 3000
"""So many commands of a node may wait here for one of its places: more than it serves until a partition that was
paused is fetched again, which takes a tenth of a second where the others have nothing."""


class HostedNodes:
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
        self._attempts: dict[str, Retries] = {}
        self._asked: dict[str, Retries] = {}
        self._breakers: dict[tuple[str, str | None], CircuitBreaker] = {}
        self.store: IdempotencyStore | None = None
        self._strays = UnknownNodes(host, bus.message_bytes_max, clock, observer)

    def add(self, node: CompiledNode, handler: Handler | InlineHandler | None, *, tracer: Tracer | None) -> None:
        """Take on a node. Raises UnknownHandler or StoreMissing where it needs one and has none."""
        if handler is None and any(operation.call for operation in node.operations.values()):
            raise UnknownHandler(f"node {node.contract.name!r}: handler {node.handler_type!r} is not registered")
        topic = self._host.namespace.command(node.contract.name, node.contract.major)
        instance = self._instances[topic] = NodeInstance(
            node=node,
            handler=handler,
            replies=Responses.of(self._host, node.contract, self._bus.message_bytes_max),
            outlet=partial(CommandOutlet, self._bus, transacts=self._host.guarantee is Guarantee.EXACTLY_ONCE),
            breaker=self._breaker_of(node, handler),
            clock=self._clock,
            observer=self._observer,
            tracer=tracer,
            depth_max=self._host.limits.depth_max,
        )
        attempts = Retries.of(instance, self._clock, topic=topic, retries=self.retries, once=self._once(instance))
        self._attempts[topic] = attempts
        # A request that waited for a place behind commands that wait for it would wait for ever.
        self._asked[topic] = attempts
        if node.asks_a_node:
            self._asked[topic] = replace(attempts, places=FairSemaphore(_UNBOUNDED))
        self.topics.append(topic)
        if node.contract.delivery.on_retry is OnRetry.OVERTAKE and self.retries not in self.topics:
            self.topics.append(self.retries)

    def intake(self) -> InFlightLimits:
        """Return the bounds of what is taken: of each node; of commands that are not due, a quarter of the host's.

        A node's is that of its calls under way, and what may wait for one to end: to fetch only then would let places
        stand empty. Of a node that asks another none wait, since what it waits for may have to be taken yet. Requests,
        and what is parked for other hosts, are bounded by what they hold together.
        """
        places = {topic: it.node.contract.delivery.max_in_flight for topic, it in self._instances.items()}
        of_nodes = {topic: places[topic] + (0 if it.asks_a_node else _WAITING) for topic, it in self._instances.items()}
        limits = self._host.limits
        return InFlightLimits(
            per_topic={**of_nodes, self.requests: None, PARKED: None, self.retries: max(1, limits.max_in_flight // 4)},
            in_all=limits.max_in_flight,
            bytes_max=limits.bytes_in_flight_max,
            places=places,
        )

    def bound_answers(self, room: ResponseReservations, requests_room: ResponseReservations) -> None:
        """Let calls wait for room for what they bring; those for requests for room of their own.

        A request to a node that asks another waits for none: what is to come back to it must not wait behind it.
        """
        self._attempts = {topic: replace(attempts, room=room) for topic, attempts in self._attempts.items()}
        for topic, attempts in self._asked.items():
            if not attempts.instance.asks_a_node:
                self._asked[topic] = replace(attempts, room=requests_room)

    def instance(self, slug: str) -> NodeInstance:
        """Return a node by its name. Raises UnknownNode."""
        for instance in self._instances.values():
            if instance.node.contract.name == slug:
                return instance
        raise UnknownNode(f"the host has no node {slug!r}")

    @property
    def figures(self) -> Mapping[str, NodeFigures]:
        """What each node has done, by the node's name."""
        return {instance.node.contract.name: instance.figures for instance in self._instances.values()}

    @property
    def breakers(self) -> Mapping[str, str]:
        """The state of the breaker in front of each target, by `handler` or `handler.target`; pure nodes by name."""
        return {".".join(filter(None, name)): breaker.state.value for name, breaker in self._breakers.items()}

    def attempts(self, work: InFlightCommand) -> Retries | UnknownNodes:
        """Return what serves a command in its lane."""
        if work.stray is not None:
            return work.stray
        return (self._asked if work.asked else self._attempts)[self._addressee(work.origin)]

    def pure(self, topic: str) -> NodeInstance | None:
        """Return the node whose commands arrive on a topic, if nothing is awaited now for any of them."""
        instance = self._instances.get(topic)
        return instance if instance is not None and instance.serves_at_once else None

    def work_of(self, delivery: Delivery, assignment: Assignment) -> InFlightCommand:
        """Find whose command it is. Never raises: what cannot be told ends as a dead letter."""
        if (instance := self._instances.get(delivery.partition.topic)) is not None:
            return InFlightCommand(delivery, instance, assignment, origin=delivery)
        try:
            return self._work_of_pool(delivery, assignment)
        except Exception as error:  # noqa: BLE001 - headers are anybody's bytes
            work = InFlightCommand(delivery, next(iter(self._instances.values())), assignment, origin=delivery)
            work.stray = self._strays
            work.messages = self.raw_letter(work, error)
            return work

    def _work_of_pool(self, delivery: Delivery, assignment: Assignment) -> InFlightCommand:
        """Find whose command it is on a topic of the whole pool: that stands in its headers."""
        topic = delivery.partition.topic
        arrived, _ = taken_over(delivery)
        origin, tried = (topic == self.retries and retried(arrived)) or (arrived, None)
        is_known = tried is not None or topic == self.requests
        if is_known and (addressee := self._addressee(origin)) in self._instances:
            asked = origin.partition.topic == self.requests
            return InFlightCommand(
                delivery, self._instances[addressee], assignment, origin=origin, tried=tried, asked=asked
            )
        if delivery.headers_error is not None and (named := self._named_in(delivery)) is not None:
            return InFlightCommand(
                delivery, named, assignment, origin=delivery, messages=named.refuse_headers(delivery)
            )
        instance = next(iter(self._instances.values()))
        return InFlightCommand(delivery, instance, assignment, origin=origin, stray=self._strays)

    def _named_in(self, delivery: Delivery) -> NodeInstance | None:
        """Return the node that a request names in its envelope, where its headers cannot be read."""
        try:
            slug = decode(delivery.value, depth_max=self._host.limits.depth_max).node_slug
        except UndecodableEnvelope:
            return None
        return next((it for it in self._instances.values() if it.node.contract.name == slug), None)

    def refused_request(self, work: InFlightCommand) -> Sequence[Message]:
        """Return the answer to a request for which there is no room: the node that asks may ask again."""
        command = work.instance.decode(work.origin)
        if not isinstance(command, OnexEnvelope):
            return command
        full = CommandRejected(
            "host_full", "the host has reached its limit of requests; try again later", retryable=True
        )
        return work.instance.give_up(work.origin, command, full)

    def raw_letter(self, work: InFlightCommand, error: BaseException) -> Sequence[Message]:
        """Return the last resort for a command on which the engine itself failed: a dead letter of its bytes alone."""
        instance = work.instance
        node = instance.node.contract.name
        instance.figures.dead_letters += 1
        instance.figures.degraded = described(error)
        self._observer.event(
            "error", "command_internal_error", node=node, reason=described(error), offset=work.delivery.offset
        )
        letter = raw_dead_letter(
            work.origin,
            error,
            topic=instance.replies.letters,
            node=node,
            host=self._host.name,
            now=self._clock.now(),
            bytes_max=self._bus.message_bytes_max,
        )
        return [letter]

    def _addressee(self, origin: Delivery) -> str:
        """Return on which command topic a command would be that is nobody's request."""
        if origin.partition.topic != self.requests:
            return origin.partition.topic
        return (dict(origin.headers).get(ADDRESSEE) or b"").decode(errors="replace")

    def _once(self, instance: NodeInstance) -> IdempotencyGuard | None:
        """Return what lets the effects of a node happen once, behind the one breaker of the store."""
        if instance.node.contract.idempotency is None:
            return None
        if self.store is None or self._host.idempotency is None:
            raise StoreMissing(f"node {instance.node.contract.name!r} has idempotency, and its host has no store")
        binding = self._host.idempotency
        breaker = self._breakers.setdefault(("idempotency", binding.store), CircuitBreaker(**dict(binding.breaker)))
        return IdempotencyGuard.of(instance, self._host, store=self.store, breaker=breaker)

    def _breaker_of(self, node: CompiledNode, handler: Handler | InlineHandler | None) -> CircuitBreaker:
        """Return the breaker of the node's target; one that is pure has one of its own, which opens at once."""
        if is_inline(handler):
            return self._breakers.setdefault((node.contract.name, None), CircuitBreaker(failures=1))
        binding = self._host.handlers.get(node.handler_type, HandlerBinding())
        name = (node.handler_type, node.contract.target)
        return self._breakers.setdefault(name, CircuitBreaker(**dict(binding.breaker)))
