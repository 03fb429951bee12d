"""A command on its way through the host, and the assignment of a partition under which it was taken."""

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from omnibase_core.contracts.node import Ordering
from omnibase_core.instance import NodeInstance
from omnibase_core.intake import Intake
from omnibase_core.ledger import PartitionLedger
from omnibase_core.outlet import Outgoing
from omnibase_core.overtaking import Tried
from omnibase_core.ports import Delivery, Message, Partition, Refusal

_REPUBLISH_FIRST_S = 0.5
_REPUBLISH_LONGEST_S = 30.0


@dataclass(slots=True, eq=False)
class Assignment:
    """A partition while it is this host's. Once `leaving` is set, nothing is begun; once `closed`, nothing counts."""

    partition: Partition
    moved_s: float
    """When its watermark last moved, or when there was nothing to do: monotonic seconds."""
    transacts: bool = False
    """Whether its commands are done in transactions: exactly once."""
    ledger: PartitionLedger = field(default_factory=PartitionLedger)
    active: int = 0
    held: bool = False
    """Whether it delivers nothing for now, because too much is done behind a command that is not."""
    rewinding: bool = False
    """Whether what arrives is not yet what was asked for: the partition was sent back, and has not got there."""
    closed: bool = False
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    line: "deque[Work]" = field(default_factory=deque)
    """Where it transacts: what is taken and not yet in a transaction, in the order of its offsets."""

    def begin(self, work: "Work", now_s: float) -> bool:
        """Enter a command into the ledger. False for one that was begun before: it must not be served again."""
        if not self.ledger.unfinished:
            self.moved_s = now_s
        if not self.ledger.begin(work.delivery.offset):
            return False
        if self.transacts:
            self.line.append(work)
        return True

    @property
    def settling(self) -> bool:
        """Whether something is under way that may still be done before the partition goes to another."""
        waiting = sum(1 for work in self.line if work.messages)
        return self.active > waiting or bool(self.line and self.line[0].messages)


@dataclass(slots=True, eq=False)
class Work:
    """A delivery on its way to being done, and the messages that the broker has to acknowledge for it."""

    delivery: Delivery
    instance: NodeInstance
    assignment: Assignment
    origin: Delivery
    """The delivery as it was before the command was put aside; else `delivery` itself."""
    tried: Tried | None = None
    messages: Sequence[Message] = ()
    refusals: int = 0
    asked: bool = False
    """Whether a node waits for its answer: then it is served out of line, and what waits holds it up nowhere."""
    in_line: bool = True
    """Whether it waits, or waited, in a lane: then it counts against its node's limit."""

    def serves_at_once(self, *, waiting: int) -> bool:
        """Say whether its messages need no task, where so many commands of its topic wait before it."""
        if self.messages:
            return True
        return self.tried is None and self.instance.serves_at_once and (self.asked or not waiting)

    @property
    def topic(self) -> str:
        """The topic that it came from."""
        return self.delivery.partition.topic

    @property
    def ends_in_dead_letter(self) -> bool:
        """Whether its messages say that it could not be served."""
        return self.messages[-1].topic == self.instance.replies.letters

    @property
    def is_apart(self) -> bool:
        """Whether it counts against its topic's limit alone, since it may wait for what the host has yet to take."""
        return self.asked or self.instance.asks_a_node

    @property
    def size_bytes(self) -> int:
        """What it holds in memory, roughly."""
        return len(self.delivery.value or b"")

    @property
    def lane(self) -> Hashable:
        """What it is served in line with. A command without a key is ordered by its partition."""
        delivery = self.delivery
        if self.asked or self.tried is not None:
            return (delivery.partition, delivery.offset)
        match self.instance.node.contract.delivery.ordering:
            case Ordering.KEY:
                return (delivery.partition, delivery.key)
            case Ordering.PARTITION:
                return delivery.partition
            case Ordering.NONE:
                return (delivery.partition, delivery.offset)


def count_through(intake: Intake, works: Iterable[Work], *, sign: Literal[1, -1] = 1) -> None:
    """Count work that waits in no line, all at once, as far as the host's limits count it."""
    sizes_bytes = [work.size_bytes for work in works if not (work.in_line or work.is_apart)]
    intake.pass_through(sign * len(sizes_bytes), sign * sum(sizes_bytes))


def count_done(intake: Intake, works: Sequence[Work]) -> None:
    """Count work that is done or dropped, as it was taken."""
    count_through(intake, works, sign=-1)
    for work in works:
        if work.in_line:
            intake.give_back(work.topic, work.size_bytes, apart=work.is_apart)


def refused_of(works: Iterable[Work], refusals: Sequence[Refusal]) -> dict[Work, list[Refusal]]:
    """Give each work its refusals, by their places among its own messages; `works` in the order of publishing."""
    if not refusals:
        return {}
    owners = [(work, place) for work in works for place in range(len(work.messages))]
    found: dict[Work, list[Refusal]] = {}
    for refusal in refusals:
        work, place = owners[refusal.index]
        found.setdefault(work, []).append(replace(refusal, index=place))
    return found


async def mend(work: Work, refusals: Sequence[Refusal]) -> None:
    """Never give up: what is too large is said shorter, until it fits; what is refused is tried again later.

    But what a handler published is its command's own: where it is refused, the command fails.
    """
    instance = work.instance
    own = [it for it in refusals if isinstance(work.messages[it.index], Outgoing)]
    error = (own or refusals)[0].error
    if own:
        work.messages = instance.unpublished(work.origin, error)
    elif error.code == "message_too_large":
        work.messages = instance.shorter(work.origin, work.messages, str(error))
    else:
        instance.figures.degraded = f"{error.code}: {error}"
        instance.observer.event("error", "publish_refused", node=instance.node.contract.name, reason=str(error))
        await asyncio.sleep(min(_REPUBLISH_FIRST_S * 2.0**work.refusals, _REPUBLISH_LONGEST_S))
    work.refusals += 1
