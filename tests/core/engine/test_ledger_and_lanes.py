"""Ledgers and lanes together, as the runtime drives them, against a plain model: nothing is lost, order is kept."""

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omnibase_core.engine.lanes import Lanes
from omnibase_core.engine.ledger import PartitionLedger

PARTITIONS = (0, 1)
KEYS = ("a", "b", "c")
Lane = tuple[int, str]


@dataclass(eq=False)
class Assignment:
    """A partition while it is ours: the ledger, and beside it what the ledger has to know, written down in full."""

    partition: int
    ledger: PartitionLedger = field(default_factory=PartitionLedger)
    begun: list[int] = field(default_factory=list)
    done: set[int] = field(default_factory=set)

    @property
    def first_unfinished(self) -> int | None:
        """The first offset that is not done; past the last one where all are; None where nothing was begun."""
        unfinished = [offset for offset in self.begun if offset not in self.done]
        if unfinished:
            return unfinished[0]
        return self.begun[-1] + 1 if self.begun else None


@dataclass(frozen=True, eq=False)
class Command:
    """One delivery of one message, under one assignment."""

    assignment: Assignment
    offset: int
    lane: Lane


class LedgersAndLanesAgainstModel(RuleBasedStateMachine):
    """The model is the broker's log and commits, a list of arrivals for each lane, and sets of what is done."""

    def __init__(self) -> None:
        """Start with every partition assigned and empty."""
        super().__init__()
        self.lanes: Lanes[Command] = Lanes()
        self.log: dict[int, dict[int, str]] = {partition: {} for partition in PARTITIONS}
        self.end = dict.fromkeys(PARTITIONS, 0)
        self.position = dict.fromkeys(PARTITIONS, 0)
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.answered: dict[int, set[int]] = {partition: set() for partition in PARTITIONS}
        self.assignments = {partition: Assignment(partition) for partition in PARTITIONS}
        self.past: list[Assignment] = []
        self.active: set[Lane] = set()
        self.arrived: dict[Lane, list[Command]] = {}
        self.taken: dict[Lane, list[Command]] = {}
        self.running: dict[Lane, Command] = {}
        self.unacknowledged: list[Command] = []

    # --- What the broker does -------------------------------------------------------------------------------------

    @rule(partition=st.sampled_from(PARTITIONS), key=st.sampled_from(KEYS), gap=st.sampled_from([0, 0, 0, 1, 3]))
    def produce(self, partition: int, key: str, gap: int) -> None:
        """A message is appended; compaction and transactions leave gaps."""
        offset = self.end[partition] + gap
        self.log[partition][offset] = key
        self.end[partition] = offset + 1

    @precondition(lambda self: any(self.undelivered(partition) for partition in PARTITIONS))
    @rule(data=st.data(), count=st.integers(1, 5))
    def deliver(self, data: st.DataObject, count: int) -> None:
        """The next messages of a partition arrive: each is begun, and opens its lane where that is not active."""
        partition = data.draw(st.sampled_from([name for name in PARTITIONS if self.undelivered(name)]))
        assignment = self.assignments[partition]
        for offset in self.undelivered(partition)[:count]:
            assert assignment.ledger.begin(offset)
            assignment.begun.append(offset)
            self.position[partition] = offset + 1
            command = Command(assignment, offset, (partition, self.log[partition][offset]))
            assert self.lanes.put(command.lane, command) is (command.lane not in self.active)
            self.active.add(command.lane)
            self.arrived.setdefault(command.lane, []).append(command)

    @precondition(lambda self: any(assignment.begun for assignment in self.assignments.values()))
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        """What arrives twice under one assignment is begun once, done or not."""
        assignment = data.draw(st.sampled_from([one for one in self.assignments.values() if one.begun]))
        assert not assignment.ledger.begin(data.draw(st.sampled_from(assignment.begun)))

    @rule(partition=st.sampled_from(PARTITIONS))
    def revoke(self, partition: int) -> None:
        """The partition goes and comes back: a new ledger, and delivery from the committed offset on."""
        self.past.append(self.assignments[partition])
        self.assignments[partition] = Assignment(partition)
        self.position[partition] = self.committed[partition]

    # --- What the runtime does ------------------------------------------------------------------------------------

    @precondition(lambda self: self.active - set(self.running))
    @rule(data=st.data())
    def take_next(self, data: st.DataObject) -> None:
        """An active lane with nothing in hand takes its oldest command, or ends."""
        self.take_next_of(data.draw(st.sampled_from(sorted(self.active - set(self.running)))))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def serve(self, data: st.DataObject) -> None:
        """A lane's command is served: the lane may go on, its answer waits for the broker. Lanes overtake."""
        self.unacknowledged.append(self.running.pop(data.draw(st.sampled_from(sorted(self.running)))))

    @precondition(lambda self: any(self.is_past(command) for command in self.running.values()))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """What a lane finds of an assignment that is over is not served, and so is never done there."""
        del self.running[
            data.draw(st.sampled_from(sorted(lane for lane, one in self.running.items() if self.is_past(one))))
        ]

    @precondition(lambda self: self.unacknowledged)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Answers are acknowledged in any order, several at once, and also after their assignment is over."""
        commands = data.draw(st.lists(st.sampled_from(self.unacknowledged), min_size=1, unique=True))
        for assignment in {command.assignment for command in commands}:
            self.complete(assignment, [command.offset for command in commands if command.assignment is assignment])
        self.unacknowledged = [command for command in self.unacknowledged if command not in commands]

    @precondition(lambda self: any(one.done for one in [*self.assignments.values(), *self.past]))
    @rule(data=st.data())
    def acknowledge_again(self, data: st.DataObject) -> None:
        """Being done twice is being done."""
        assignment = data.draw(st.sampled_from([one for one in [*self.assignments.values(), *self.past] if one.done]))
        self.complete(assignment, [data.draw(st.sampled_from(sorted(assignment.done)))])

    # --- What has to hold -----------------------------------------------------------------------------------------

    @invariant()
    def watermark_is_the_first_unfinished(self) -> None:
        """For every ledger, those of past assignments too: neither sees what is done in another."""
        for assignment in [*self.assignments.values(), *self.past]:
            assert assignment.ledger.watermark == assignment.first_unfinished

    @invariant()
    def nothing_below_the_watermark_is_unfinished(self) -> None:
        """What the ledger still holds is what was begun from the watermark on."""
        for assignment in [*self.assignments.values(), *self.past]:
            watermark = assignment.ledger.watermark
            below = [offset for offset in assignment.begun if watermark is not None and offset < watermark]
            assert assignment.done.issuperset(below)
            assert assignment.ledger.unfinished == len(assignment.begun) - len(below)

    @invariant()
    def nothing_committed_is_unanswered(self) -> None:
        """Over all assignments: each message below the committed offset was answered."""
        for partition in PARTITIONS:
            below = {offset for offset in self.log[partition] if offset < self.committed[partition]}
            assert below <= self.answered[partition]

    @invariant()
    def a_lane_keeps_the_order_of_arrival(self) -> None:
        """What a lane gave is the beginning of what it got."""
        for lane, taken in self.taken.items():
            assert taken == self.arrived[lane][: len(taken)]

    @invariant()
    def a_lane_is_active_while_it_has_work(self) -> None:
        """Whatever waits, waits in an active lane, and a lane that ended leaves nothing behind."""
        assert len(self.lanes) == len(self.active)
        for lane, arrived in self.arrived.items():
            assert lane in self.active or len(self.taken.get(lane, [])) == len(arrived)

    def teardown(self) -> None:
        """Serve and acknowledge what is left: every lane ends, and everything delivered may be committed."""
        while self.active:
            for lane in sorted(self.active - set(self.running)):
                self.take_next_of(lane)
            self.unacknowledged.extend(self.running.values())
            self.running.clear()
        for command in reversed(self.unacknowledged):
            self.complete(command.assignment, [command.offset])
        assert len(self.lanes) == 0
        for partition, assignment in self.assignments.items():
            assert assignment.ledger.unfinished == 0
            assert self.committed[partition] == self.position[partition]
            self.nothing_committed_is_unanswered()

    # --- The steps in full ----------------------------------------------------------------------------------------

    def undelivered(self, partition: int) -> list[int]:
        """The offsets that the broker has yet to deliver under the present assignment."""
        return sorted(offset for offset in self.log[partition] if offset >= self.position[partition])

    def is_past(self, command: Command) -> bool:
        """Whether the command's assignment is over."""
        return command.assignment is not self.assignments[command.assignment.partition]

    def take_next_of(self, lane: Lane) -> None:
        """Take the lane's next command, which is the oldest that it has not given."""
        arrived, taken = self.arrived[lane], self.taken.setdefault(lane, [])
        expected = arrived[len(taken)] if len(taken) < len(arrived) else None
        assert self.lanes.next(lane) is expected
        if expected is None:
            self.active.remove(lane)
        else:
            taken.append(expected)
            self.running[lane] = expected

    def complete(self, assignment: Assignment, offsets: list[int]) -> None:
        """Note offsets as done where they were begun; only an assignment that is in force commits."""
        assignment.ledger.complete(offsets)
        assignment.done.update(offsets)
        self.answered[assignment.partition].update(offsets)
        if assignment is self.assignments[assignment.partition]:
            watermark = assignment.ledger.watermark
            assert watermark is not None
            assert watermark >= self.committed[assignment.partition]
            self.committed[assignment.partition] = watermark


TestLedgersAndLanesAgainstModel = LedgersAndLanesAgainstModel.TestCase
