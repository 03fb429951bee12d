"""Commands of nodes that this host does not have, on the topics that a whole pool shares: left to its other hosts.

While a pool is deployed its hosts differ. So what is to be retried, or was requested of a node, goes on its topic again
for a while, where one of its partitions belongs to a host that has the node. What no host takes within
`limits.unknown_node_s` ends as an error answer and a dead letter, which name the node and the command's first place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from omnibase_core.codec import decode
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.dead_letters import size_of
from omnibase_core.engine.handler_publisher import ADDRESSEE
from omnibase_core.engine.responses import Responses
from omnibase_core.engine.retry_topic import RetryState, passed_on, retried, taken_over
from omnibase_core.engine.revocation import CommandPosition, is_set_within
from omnibase_core.errors import CommandFailed, InvalidTopicName, PublishFailed, UndecodableEnvelope
from omnibase_core.ports import Clock, Delivery, Message, Observer
from omnibase_core.topics import TopicName

_PAUSE_FIRST_S = 0.2
_PAUSE_LONGEST_S = 15.0


@dataclass(frozen=True, slots=True)
class UnknownNodes:
    """Serves what is for no node of this host. `bytes_max` is the size of the largest message, in bytes."""

    host: RuntimeHostContract
    bytes_max: int
    clock: Clock
    observer: Observer

    async def serve(
        self, delivery: Delivery, place: CommandPosition, tried: RetryState | None = None
    ) -> Sequence[Message] | None:
        """Return what leaves the command to another host, after a pause, or what ends it; None if its partition leaves.

        `tried` is that of commands that are served here.
        """
        del tried
        arrived, waited_s = taken_over(delivery)
        node = self._topic_of(arrived)
        if node is None:
            return self._ended(arrived, waited_s, None)
        if waited_s >= self.host.limits.unknown_node_s:
            return self._ended(arrived, waited_s, node)
        # The pauses grow with what was waited before: a host that has just been started need not wait for long.
        pause_s = min(max(_PAUSE_FIRST_S, waited_s), _PAUSE_LONGEST_S)
        if await is_set_within(place.leaving, pause_s):
            return None
        message = passed_on(arrived, waited_s + pause_s)
        if (size := size_of(message)) <= self.bytes_max:
            return [message]
        error = PublishFailed("message_too_large", f"{size} bytes, of at most {self.bytes_max}")
        return self.refused(delivery, error, bytes_max=self.bytes_max)

    def refused(self, delivery: Delivery, error: PublishFailed, *, bytes_max: int) -> Sequence[Message]:
        """Return what ends a command that cannot be left to others, since the broker refuses the message of that."""
        arrived, _ = taken_over(delivery)
        failure = CommandFailed(error.code, f"it could not be left to another host of the pool: {error}")
        return self._messages(arrived, failure, self._topic_of(arrived), bytes_max)

    def _topic_of(self, arrived: Delivery) -> TopicName | None:
        """Return the command topic of the node that a command is for; None where it cannot be told."""
        origin = self._origin(arrived)
        name = origin.partition.topic
        if name == self.host.namespace.requests(self.host.pool):
            name = (dict(origin.headers).get(ADDRESSEE) or b"").decode(errors="replace")
        try:
            topic = TopicName.parse(name)
        except InvalidTopicName:
            return None
        names = self.host.namespace
        return topic if name == names.command(topic.slug, topic.major) else None

    def _origin(self, arrived: Delivery) -> Delivery:
        found = retried(arrived) if arrived.partition.topic == self.host.namespace.retry(self.host.pool) else None
        return arrived if found is None else found[0]

    def _ended(self, arrived: Delivery, waited_s: float, topic: TopicName | None) -> Sequence[Message]:
        return self._messages(arrived, self._error(arrived, waited_s, topic), topic, self.bytes_max)

    def _messages(
        self, arrived: Delivery, error: CommandFailed, topic: TopicName | None, bytes_max: int
    ) -> Sequence[Message]:
        """Return the error answer, where it has a place to go, and the dead letter."""
        names, now = self.host.namespace, self.clock.now()
        origin, slug = self._origin(arrived), "unknown" if topic is None else topic.slug
        replies = Responses(self.host, "", names.dead_letter(self.host.pool), bytes_max)
        letter = replies.stray(origin, error, now, node=slug)
        self.observer.event("warning", "unknown_node_command", node=slug, code=error.code, reason=str(error))
        try:
            command = decode(origin.value, depth_max=self.host.limits.depth_max)
        except UndecodableEnvelope:
            return [letter]
        if topic is None:
            return [letter]
        events = names.event(topic.slug, topic.major)
        return [replies.stray_answer(origin, command, error, now, node=slug, events=events), letter]

    def _error(self, arrived: Delivery, waited_s: float, topic: TopicName | None) -> CommandFailed:
        if topic is not None:
            message = f"no host of the pool took it within {waited_s:.0f} s: none of them has node {topic.slug!r}"
            return CommandFailed("unknown_node", message, retryable=True)
        if arrived.headers_error is not None:
            return CommandFailed("headers_unreadable", arrived.headers_error)
        if arrived.partition.topic == self.host.namespace.retry(self.host.pool):
            return CommandFailed("not_for_retry", "on the retry topic, and not put there by a host")
        return CommandFailed("not_for_this_pool", "a request that names no node of this environment and tenant")
