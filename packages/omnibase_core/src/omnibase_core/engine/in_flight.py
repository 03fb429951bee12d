"""A command on its way through the host, and the assignment of a partition under which it was taken."""

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from omnibase_core.contracts.node import Ordering
from omnibase_core.dead_letters import size_of
from omnibase_core.engine.in_flight_limits import InFlightLimits
from omnibase_core.engine.instance import NodeInstance
from omnibase_core.engine.ledger import PartitionLedger
from omnibase_core.engine.retry_topic import RetryState
from omnibase_core.engine.unknown_nodes import UnknownNodes
from omnibase_core.errors import BusError
from omnibase_core.ports import Delivery, Message, Partition

PARKED = "(parked)"
"""Stands for a topic in what counts commands: those that wait for another host of the pool."""


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
    ahead: bool = False
    """Whether it delivers nothing for now, because too much is done behind a command that is not."""
    sated: bool = False
    """Whether it delivers nothing for now, because it has its share of what its node may hold."""
    paused: bool = False
    """Whether the bus was asked to deliver nothing of it."""
    rewinding: bool = False
    """Whether what arrives is not yet what was asked for: the partition was sent back, and has not got there."""
    closed: bool = False
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    line: "deque[InFlightCommand]" = field(default_factory=deque)
    """Where it transacts: what is taken and not yet in a transaction, in the order of its offsets."""
    committed: int | None = None
    """Where it transacts: the offset that the last of its transactions has committed."""

    def begin(self, work: "InFlightCommand", now_s: float) -> None:
        """Enter a command into the ledger. Raises BusError where its offset went back, which no assignment's does."""
        if not self.ledger.unfinished:
            self.moved_s = now_s
        if not self.ledger.begin(work.delivery.offset):
            raise BusError(f"{self.partition} went back to {work.delivery.offset} within an assignment")
        if self.transacts:
            self.line.append(work)

    def begin_run(self, run: "Run", now_s: float) -> None:
        """Enter the commands of a run into the ledger. Raises BusError where an offset went back."""
        if not self.ledger.unfinished:
            self.moved_s = now_s
        if not self.ledger.begin_run(run.offsets):
            raise BusError(f"{self.partition} went back to {run.offsets[0]}, or further on, within an assignment")
        self.active += len(run.offsets)
        if self.transacts:
            self.line.extend(run.works())

    @property
    def settling(self) -> bool:
        """Whether something is under way that may still be done before the partition goes to another."""
        waiting = sum(1 for work in self.line if work.messages)
        return self.active > waiting or bool(self.line and self.line[0].messages)

    @property
    def gap(self) -> int | None:
        """Where it transacts: the offset up to which there is nothing but a gap that is to be committed, or None."""
        watermark = self.ledger.watermark
        return None if self.ledger.unfinished or watermark == self.committed else watermark


@dataclass(slots=True, eq=False)
class InFlightCommand:
    """A delivery on its way to being done, and the messages that the broker has to acknowledge for it."""

    delivery: Delivery
    instance: NodeInstance
    assignment: Assignment
    origin: Delivery
    """The delivery as it was before the command was put aside; else `delivery` itself."""
    tried: RetryState | None = None
    messages: Sequence[Message] = ()
    asked: bool = False
    """Whether a node waits for its answer: then it is served out of line, and what waits holds it up nowhere."""
    stray: UnknownNodes | None = None
    """What serves it where this host does not have its node: `instance` then stands in for nothing but its logs."""
    parked: bool = False
    """Whether it waits for another host apart from its topic's limit, so that many of its kind hold up nobody."""
    in_line: bool = True
    """Whether it waits, or waited, in a lane: then it counts against its node's limit."""
    size_bytes: int = 0
    """What it holds in memory, roughly: what was delivered and, once they are there, its messages."""
    answer_bytes: int | None = None
    """What of that its messages hold, where they are counted for its topic."""
    refusals: int = 0
    """How often the broker has refused one of its messages, for whatever reason."""
    has_letter: bool = False
    """Whether the broker has its dead letter."""

    @property
    def leaving(self) -> asyncio.Event:
        """Set when its partition is about to leave."""
        return self.assignment.leaving

    def is_closed(self) -> bool:
        """Check whether its partition is another host's by now."""
        return self.assignment.closed

    def is_first(self) -> bool:
        """Check whether everything before it is done."""
        return self.assignment.ledger.watermark == self.delivery.offset

    def serves_at_once(self, *, waiting: int) -> bool:
        """Check whether its messages need no task, where so many commands of its topic wait before it."""
        if self.messages:
            return True
        is_ordinary = self.tried is None and self.stray is None
        return is_ordinary and self.instance.serves_at_once and (self.asked or not waiting)

    @property
    def topic(self) -> str:
        """The topic that it came from."""
        return self.delivery.partition.topic

    @property
    def offsets(self) -> Sequence[int]:
        """Its offset, as a run has those of its commands."""
        return (self.delivery.offset,)

    @property
    def account(self) -> str:
        """What it is counted against: its topic, or what is parked."""
        return PARKED if self.parked else self.delivery.partition.topic

    @property
    def letters(self) -> int:
        """1 where its messages say that it could not be served, else 0."""
        return int(self.messages[-1].topic == self.instance.replies.letters)

    @property
    def is_apart(self) -> bool:
        """Whether it counts against its topic's limit alone, since it may wait for what the host has yet to take."""
        return self.asked or self.parked or self.instance.asks_a_node

    @property
    def lane(self) -> Hashable:
        """What it is served in line with. A command without a key is ordered by its partition."""
        delivery = self.delivery
        if self.asked or self.stray is not None or self.tried is not None:
            return (delivery.partition, delivery.offset)
        match self.instance.node.contract.delivery.ordering:
            case Ordering.KEY:
                return (delivery.partition, delivery.key)
            case Ordering.PARTITION:
                return delivery.partition
            case Ordering.NONE:
                return (delivery.partition, delivery.offset)


@dataclass(slots=True, eq=False)
class Run:
    """Commands of one partition that were served at once, one after the other, with the messages that end each.

    It is done as a whole. What the broker refuses of it goes on as the work of each command.
    """

    assignment: Assignment
    instance: NodeInstance
    deliveries: list[Delivery] = field(default_factory=list)
    answers: list[Sequence[Message]] = field(default_factory=list)
    """The messages that end each of them."""
    offsets: list[int] = field(default_factory=list)
    letters: int = 0
    """How many of them end in a dead letter."""
    size_bytes: int = 0
    """What they hold in memory, roughly: what was delivered, and their messages."""

    @property
    def topic(self) -> str:
        """The topic that they came from."""
        return self.assignment.partition.topic

    @property
    def messages(self) -> Iterable[Message]:
        """All that is published for them, in order."""
        return chain.from_iterable(self.answers)

    def works(self) -> Iterator[InFlightCommand]:
        """Yield the work of each command."""
        for delivery, messages in zip(self.deliveries, self.answers, strict=True):
            work = InFlightCommand(
                delivery, self.instance, self.assignment, origin=delivery, messages=messages, in_line=False
            )
            work.size_bytes = size_of(delivery) + sum(map(size_of, messages))
            yield work


def count_through(intake: InFlightLimits, works: Iterable[InFlightCommand | Run], *, sign: Literal[1, -1] = 1) -> None:
    """Count work that waits in no line, all at once: requests, too, since it waits for the broker alone."""
    count = size_bytes = 0
    for work in works:
        if isinstance(work, Run):
            count += len(work.offsets)
        elif work.in_line:
            continue
        else:
            count += 1
        size_bytes += work.size_bytes
    intake.pass_through(sign * count, sign * size_bytes)


def count_answer(intake: InFlightLimits, work: InFlightCommand, messages: Sequence[Message]) -> None:
    """Count what is going to be published for a work that waited in a lane."""
    size_bytes = work.answer_bytes = sum(map(size_of, messages))
    work.size_bytes += size_bytes
    intake.answered(work.account, size_bytes, apart=work.is_apart)


def count_growth(intake: InFlightLimits, work: InFlightCommand, grown_bytes: int) -> None:
    """Count what is published instead of what was refused; below 0, what it is less."""
    work.size_bytes += grown_bytes
    if work.in_line:
        work.answer_bytes = (work.answer_bytes or 0) + grown_bytes
        intake.grow(work.account, grown_bytes, apart=work.is_apart)
    else:
        intake.pass_through(0, grown_bytes)


def count_done(intake: InFlightLimits, works: Sequence[InFlightCommand | Run]) -> None:
    """Count work that is done or dropped, as it was taken."""
    count_through(intake, works, sign=-1)
    accounts: dict[tuple[str, bool], list[int]] = {}
    for work in works:
        if isinstance(work, InFlightCommand) and work.in_line:
            sums = accounts.setdefault((work.account, work.is_apart), [0, 0, 0, 0])
            sums[0] += work.size_bytes
            sums[1] += 1
            if work.answer_bytes is not None:
                sums[2] += 1
                sums[3] += work.answer_bytes
    for (account, is_apart), (size_bytes, count, answers, answer_bytes) in accounts.items():
        intake.give_back(account, size_bytes, count=count, answers=answers, answer_bytes=answer_bytes, apart=is_apart)
