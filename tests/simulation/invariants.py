"""What has to hold in every history. Looked at while it happens where a moment later would be too late."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Message, Partition
from tests.support.strangers import RESULT

ANSWERED_ONLY = frozenset(
    {"unknown_operation", "declined", "host_full", "handler_mismatch", "payload_invalid", "expired"}
)
"""Errors of the sender alone, and of a request that may be sent again: they are answered and get no dead letter."""

MISHAPS = frozenset(
    {
        "answer_too_large",
        "message_too_large",
        "publish_refused",
        "unknown_topic",
        "host_full",
        "unknown_node",
        "timeout",
    }
)
"""Codes with which any command may end: by the broker's will or slowness, or for want of room."""
REFUSALS_MAX = 100
"""So often messages of one command may be refused: each time less is sent, or a longer pause is made."""

RECORDS = "records"
"""What handlers publish, in half of the histories: one record for each success of these nodes."""
PUBLISHING = frozenset({"keyed", "lined", "loose"})


class InvariantViolated(AssertionError):
    """The engine broke a promise."""


@dataclass(eq=False)
class Sent:
    """A command as it was sent, and what came of it.

    `ends` are the codes with which it may end, none where it is not known; `either`: by an answer or a dead letter.
    `carried` counts how often a host put it on another topic.
    """

    partition: Partition
    offset: int
    message: Message
    number: int | None
    ordered_by: bytes | None = None
    answers: list[tuple[int, str]] = field(default_factory=list)
    errors: set[str | None] = field(default_factory=set)
    ends: frozenset[str] = frozenset()
    either: bool = False
    dead_letters: int = 0
    records: int = 0
    refusals: int = 0
    too_large: bool = False
    carried: int = 0
    gone: bool = False
    sent_s: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the broker has refused a message of it."""
        return self.refusals > 0

    @property
    def done(self) -> bool:
        """Whether nothing more is owed: an answer and, for a failure, a dead letter too."""
        if self.either:
            return bool(self.answers or self.dead_letters)
        if self.too_large and self.dead_letters:
            return True  # The broker takes so little that no answer may have fitted: what is left is the last resort.
        if self.number is None:
            # For a request that is too much there is no room to find out what is wrong with it.
            return self.dead_letters > 0 or "host_full" in self.errors
        return None in self.errors or bool(self.errors & ANSWERED_ONLY) or bool(self.answers and self.dead_letters)

    @property
    def settled(self) -> bool:
        """Whether its offset may be committed."""
        return self.done or self.carried > 0

    @property
    def slug(self) -> str:
        """The node, or the pool for a request."""
        return self.partition.topic.split(".")[6]

    def __str__(self) -> str:
        """Describe which command this is, for the reader of a violation."""
        what = "stranger" if self.either else "poison" if self.number is None else f"command {self.number}"
        return f"{what} at {self.slug}[{self.partition.number}]@{self.offset}"


@dataclass(eq=False)
class Carried:
    """A command where a host put it: to be retried later, or for another host of the pool."""

    cause: Sent
    turn: int
    gone: bool = False

    @property
    def settled(self) -> bool:
        """Whether its offset may be committed."""
        return self.cause.done or self.cause.carried > self.turn

    def __str__(self) -> str:
        """Describe which command this is."""
        return f"{self.cause}, carried {self.turn} times"


class Invariants:
    """The witness of a cluster. Collects what is violated; the scenario adds what it sees of hosts and handlers."""

    def __init__(self, *, once: bool, publishing: bool = False) -> None:
        """Start with nothing seen. `once`: each command has exactly one answer, not at least one.

        `publishing`: its handler has published a record for it by then; likewise one, and none with an error.
        """
        self.once = once
        self.publishing = publishing
        self.violations: list[str] = []
        self.sent: dict[Partition, dict[int, Sent | Carried]] = {}
        self.counts: Counter[str] = Counter()
        self.left_to_others_s = 0.0
        """For how long a command of a node that a host lacks is left to others."""
        self.recreated: set[str] = set()
        """Topics of which what was served before the host noticed that they are others may be served again."""
        self.truncated: set[Partition] = set()
        """Where offsets may be committed that are lower than before."""
        self._all: list[Sent] = []
        self._by_id: dict[str, Sent] = {}
        self._at: dict[tuple[Partition, int], list[Sent]] = {}
        self._checked: dict[Partition, int] = {}
        self._appended = 0
        self._read_before: dict[bytes, dict[str, Any]] = {}

    def violated(self, text: str) -> None:
        """Note a violation."""
        if len(self.violations) < 20:
            self.violations.append(text)

    def send(self, sent: Sent, *, identity: int) -> None:
        """Know of a command that is about to be sent, with this id."""
        self._all.append(sent)
        self.sent.setdefault(sent.partition, {})[sent.offset] = sent
        self._at.setdefault((sent.partition, sent.offset), []).append(sent)
        self._by_id[str(UUID(int=identity))] = sent

    def owed(self) -> Iterable[Sent]:
        """Return every command that is not done and not gone."""
        return [sent for sent in self._all if not sent.done and not sent.gone]

    # --- The witness ----------------------------------------------------------------------------------------------

    def published(self, messages: Sequence[Message], held: Collection[Partition]) -> None:
        """Nothing is published for a partition that the host was told it has lost, or that it gave up."""
        for message in messages:
            # What a host puts on another topic, and what its handlers publish, may be seen before its partition is.
            if message.topic == RECORDS or _carries(message.topic):
                continue
            sent = self._cause_of(message)
            if not sent.carried and not sent.gone and sent.partition not in held:
                self.violated(f"published late: {sent}, whose partition the host no longer holds")

    def appended(self, place: Partition, offset: int, message: Message) -> None:
        """An answer to a command always has the same id."""
        if _carries(place.topic):
            self._carry(place, offset, message)
            return
        if ".cmd." in place.topic:
            return
        self._appended += 1
        sent = self._cause_of(message)
        if ".dlq." in place.topic:
            sent.dead_letters += 1
            self._ended(sent, (dict(message.headers)["onex-dlq-code"] or b"").decode())
            self.counts["dead letters"] += 1
        elif place.topic == RECORDS:
            sent.records += 1
            self.counts["records"] += 1
            if self._is_once(sent) and sent.records > 1:
                self.violated(f"published twice: {sent}")
        else:
            self._answered(sent, message)

    def gone(self, place: Partition, begin: int, end: int) -> None:
        """What the broker drops is owed no more."""
        kept = self.sent.get(place, {})
        for offset in range(begin, end):
            if (sent := kept.pop(offset, None)) is not None:
                sent.gone = True
                cause = sent.cause if isinstance(sent, Carried) else sent
                cause.gone = True
                self.counts["records gone"] += 1
        if begin < self._checked.get(place, 0) <= end:
            self._checked[place] = begin

    def refused(self, message: Message, error: PublishFailed) -> None:
        """What was refused once may be overtaken: it is published again later, and not for ever."""
        sent = self._cause_of(message)
        sent.refusals += 1
        sent.too_large |= error.code == "message_too_large"
        self.counts["refusals"] += 1
        if sent.refusals > REFUSALS_MAX:
            self.violated(f"refused without end: {sent}")
            raise InvariantViolated

    def noted(self, offsets: Mapping[Partition, int], held: Collection[Partition]) -> None:
        """At the moment of the commit, all that is owed below the offset is on the broker."""
        for partition, offset in offsets.items():
            if partition not in held:
                self.violated(f"committed late: {partition}, which the host no longer holds")
            kept = self.sent.get(partition, {})
            for number in range(self._checked.get(partition, 0), offset):
                sent = kept.get(number)
                if sent is not None and not sent.settled and not sent.gone:
                    self.violated(f"committed too early: {offset}, and {sent} is not done")
            self._checked[partition] = max(offset, self._checked.get(partition, 0))

    def transacted(self, offsets: Mapping[Partition, int]) -> None:
        """What a transaction commits is done by its own messages, at the latest."""
        self.counts["transactions"] += 1
        self.noted(offsets, offsets)

    def objection(self, text: str) -> None:
        """Note what a client must not do."""
        self.violated(text)

    def committed(self, partition: Partition, offset: int, before: int) -> None:
        """No offset goes back, but where a log was cut off, or is another one and read again once that is noticed."""
        self.counts["commits"] += 1
        if offset < before and partition not in self.truncated and partition.topic not in self.recreated:
            self.violated(f"committed backwards: {partition} from {before} to {offset}")

    # --- At the end -----------------------------------------------------------------------------------------------

    def check_end(self, committed: Mapping[Partition, int], ends: Mapping[Partition, int]) -> None:
        """Everything is answered and committed, gaps at the end included, and first answers of a key are in order."""
        for partition, end in ends.items():
            if (offset := committed.get(partition, 0)) < end:
                left = [str(sent) for number, sent in self.sent.get(partition, {}).items() if number >= offset]
                first = left[0] if left else f"a gap in {partition}"
                self.violated(f"stuck: {first}, {len(left)} to go, committed {offset} of {end}")
        for sent in self._all:
            if sent.gone:
                continue
            if sent.number is not None and not sent.done and not sent.answers:
                self.violated(f"never answered: {sent}")
            elif not sent.done:
                self.violated(f"no dead letter: {sent}, errors {sent.errors}")
        for kept in self.sent.values():
            self._check_order([kept[offset] for offset in sorted(kept)])

    def _answered(self, sent: Sent, message: Message) -> None:
        answer = self._read(message)
        code = answer["error"]["code"] if "error" in answer else None
        if message.key != sent.message.key and not (message.key is None and code is not None):
            self.violated(f"another key: {sent} has {sent.message.key!r}, its answer {message.key!r}")
        if code == "unknown_node" and asyncio.get_running_loop().time() < sent.sent_s + self.left_to_others_s:
            self.violated(f"a stray ended early: {sent}, which another host may have")
        sent.answers.append((self._appended, answer["envelope_id"]))
        sent.errors.add(code)
        self._ended(sent, code or RESULT)
        if self.publishing and message.topic.split(".")[6] in PUBLISHING and ".runtime." not in sent.partition.topic:
            self._check_record(sent, failed="error" in answer)
        if len({identity for _, identity in sent.answers}) > 1:
            self.violated(f"ids of answers differ: {sent}, {sent.answers}")
        self.counts["answers"] += 1
        self.counts["repeats"] += len(sent.answers) > 1
        if self._is_once(sent) and len(sent.answers) > 1:
            self.violated(f"answered twice: {sent}")

    def _ended(self, sent: Sent, code: str) -> None:
        """What is within the limits is served, what is not is refused by them, and a bug is told as one."""
        if sent.ends and code not in sent.ends and code not in MISHAPS:
            self.violated(f"ended otherwise: {sent} by {code}, expected {' or '.join(sorted(sent.ends))}")

    def _is_once(self, sent: Sent) -> bool:
        return self.once and sent.partition.topic not in self.recreated

    def _carry(self, place: Partition, offset: int, message: Message) -> None:
        """Know of a command that a host put on another topic; what a sender put there is known already."""
        kept = self.sent.setdefault(place, {})
        if offset in kept:
            return
        cause = self._by_id[self._read(message)["envelope_id"]]
        cause.carried += 1
        kept[offset] = Carried(cause, cause.carried)
        self.counts["carried"] += 1

    def _check_record(self, sent: Sent, *, failed: bool) -> None:
        """What a success has published is there before its answer is; with `once`, a failure has published nothing."""
        if not failed and not sent.records:
            self.violated(f"answered without its record: {sent}")
        if failed and sent.records and self.once:
            self.violated(f"failed, and its record is there: {sent}")

    def _check_order(self, all_sent: Sequence[Sent | Carried]) -> None:
        """What was never refused is answered, the first time, in the order in which it was sent."""
        last: dict[bytes, Sent] = {}
        for sent in all_sent:
            if isinstance(sent, Carried) or sent.ordered_by is None or not sent.answers:
                continue
            before = last.setdefault(sent.ordered_by, sent)
            if before.answers[0] > sent.answers[0]:
                if before.refused or sent.refused:
                    self.counts["overtaken after a refusal"] += 1
                else:
                    self.violated(f"out of order: {sent} was answered before {before}")
            if not sent.refused:
                last[sent.ordered_by] = sent

    def _cause_of(self, message: Message) -> Sent:
        if ".dlq." in message.topic:
            facts: dict[str, Any] = dict(message.headers)
            partition = Partition(facts["onex-dlq-topic"].decode(), int(facts["onex-dlq-partition"]))
            candidates = self._at[(partition, int(facts["onex-dlq-offset"]))]
            same = [it for it in candidates if (it.message.value or b"").startswith(message.value or b"")]
            return (same or candidates)[-1]
        if message.topic == RECORDS:
            return self._by_id[dict(message.headers)["onex-causation-id"].decode()]
        answer = self._read(message)
        return self._by_id[answer["envelope_id" if _carries(message.topic) else "causation_id"]]

    def _read(self, message: Message) -> dict[str, Any]:
        """Read an answer once: it is looked at when it is published, and again when it is kept or refused."""
        value = message.value or b""
        if (known := self._read_before.get(value)) is None:
            known = self._read_before[value] = from_json(value)
        return known


def _carries(topic: str) -> bool:
    """Check whether a topic is one on which hosts put commands: to be retried, or for another host of the pool."""
    return ".retry." in topic or ".cmd.runtime." in topic
