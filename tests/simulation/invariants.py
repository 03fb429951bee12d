"""What has to hold in every history. Looked at while it happens where a moment later would be too late."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from omnibase_core.ports import Message, Partition

ANSWERED_ONLY = frozenset({"unknown_operation", "declined"})
"""Errors of the sender alone: they are answered and get no dead letter."""

RECORDS = "records"
"""What handlers publish, in half of the histories: one record for each success of these nodes."""
PUBLISHING = frozenset({"keyed", "lined", "loose"})


class InvariantViolated(AssertionError):
    """The engine broke a promise."""


@dataclass(eq=False)
class Sent:
    """A command as it was sent, and what came of it."""

    partition: Partition
    offset: int
    key: bytes | None
    number: int | None
    ordered_by: bytes | None = None
    answers: list[tuple[int, str]] = field(default_factory=list)
    errors: set[str | None] = field(default_factory=set)
    dead_letters: int = 0
    records: int = 0
    refused: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing more is owed: an answer and, for a failure, a dead letter too."""
        if self.number is None:
            return self.dead_letters > 0
        return None in self.errors or bool(self.errors & ANSWERED_ONLY) or bool(self.answers and self.dead_letters)

    def __str__(self) -> str:
        """Say which command this is, for whoever reads of a violation."""
        what = "poison" if self.number is None else f"command {self.number}"
        return f"{what} at {self.partition.topic.split('.')[6]}[{self.partition.number}]@{self.offset}"


class Invariants:
    """The witness of a cluster. Collects what is violated; the scenario adds what it sees of hosts and handlers."""

    def __init__(self, *, once: bool, publishing: bool = False) -> None:
        """Start with nothing seen. `once`: each command has exactly one answer, not at least one.

        `publishing`: its handler has published a record for it by then; likewise one, and none with an error.
        """
        self.once = once
        self.publishing = publishing
        self.violations: list[str] = []
        self.sent: dict[Partition, list[Sent]] = {}
        self.counts: Counter[str] = Counter()
        self._by_id: dict[str, Sent] = {}
        self._checked: dict[Partition, int] = {}
        self._appended = 0
        self._read_before: dict[bytes, dict[str, Any]] = {}

    def violated(self, text: str) -> None:
        """Note a violation."""
        if len(self.violations) < 20:
            self.violations.append(text)

    def send(self, sent: Sent) -> None:
        """Know of a command that is about to be sent."""
        self.sent.setdefault(sent.partition, []).append(sent)
        if sent.number is not None:
            self._by_id[str(UUID(int=sent.number))] = sent

    # --- The witness ----------------------------------------------------------------------------------------------

    def published(self, messages: Sequence[Message], held: Collection[Partition]) -> None:
        """Nothing is published for a partition that the host was told it has lost, or that it gave up."""
        for message in messages:
            # A handler that is under way when its partition is lost may still have its effect.
            if message.topic != RECORDS and (sent := self._cause_of(message)).partition not in held:
                self.violated(f"published late: {sent}, whose partition the host no longer holds")

    def appended(self, place: Partition, offset: int, message: Message) -> None:
        """An answer to a command always has the same id."""
        del offset
        if ".cmd." in place.topic:
            return
        self._appended += 1
        sent = self._cause_of(message)
        if ".dlq." in place.topic:
            sent.dead_letters += 1
            self.counts["dead letters"] += 1
            return
        if place.topic == RECORDS:
            sent.records += 1
            self.counts["records"] += 1
            if self.once and sent.records > 1:
                self.violated(f"published twice: {sent}")
            return
        answer = self._read(message)
        if message.key != sent.key:
            self.violated(f"another key: {sent} has {sent.key!r}, its answer {message.key!r}")
        sent.answers.append((self._appended, answer["envelope_id"]))
        sent.errors.add(answer["error"]["code"] if "error" in answer else None)
        if self.publishing and place.topic.split(".")[6] in PUBLISHING:
            self._check_record(sent, failed="error" in answer)
        if len({identity for _, identity in sent.answers}) > 1:
            self.violated(f"ids of answers differ: {sent}, {sent.answers}")
        self.counts["answers"] += 1
        self.counts["repeats"] += len(sent.answers) > 1
        if self.once and len(sent.answers) > 1:
            self.violated(f"answered twice: {sent}")

    def refused(self, message: Message) -> None:
        """What was refused once may be overtaken: it is published again later."""
        self._cause_of(message).refused = True
        self.counts["refusals"] += 1

    def noted(self, offsets: Mapping[Partition, int], held: Collection[Partition]) -> None:
        """At the moment of the commit, all that is owed below the offset is on the broker."""
        for partition, offset in offsets.items():
            if partition not in held:
                self.violated(f"committed late: {partition}, which the host no longer holds")
            for sent in self.sent[partition][self._checked.get(partition, 0) : offset]:
                if not sent.done:
                    self.violated(f"committed too early: {offset}, and {sent} is not done")
            if offset > len(self.sent[partition]):
                self.violated(f"committed beyond the end: {partition} {offset}")
            self._checked[partition] = max(offset, self._checked.get(partition, 0))

    def transacted(self, offsets: Mapping[Partition, int]) -> None:
        """What a transaction commits is done by its own messages, at the latest."""
        self.counts["transactions"] += 1
        self.noted(offsets, offsets)

    def objection(self, text: str) -> None:
        """Note what a client must not do."""
        self.violated(text)

    def committed(self, partition: Partition, offset: int, before: int) -> None:
        """No offset goes back."""
        self.counts["commits"] += 1
        if offset < before:
            self.violated(f"committed backwards: {partition} from {before} to {offset}")

    # --- At the end -----------------------------------------------------------------------------------------------

    def check_end(self, committed: Mapping[Partition, int]) -> None:
        """Everything is answered and committed, and no key's first answers are out of order."""
        for partition, all_sent in self.sent.items():
            if (offset := committed.get(partition, 0)) < len(all_sent):
                self.violated(f"stuck: {all_sent[offset]}, {len(all_sent) - offset} to go")
            for sent in all_sent:
                if sent.number is not None and not sent.answers:
                    self.violated(f"never answered: {sent}")
                elif not sent.done:
                    self.violated(f"no dead letter: {sent}, errors {sent.errors}")
            self._check_order(all_sent)

    def _check_record(self, sent: Sent, *, failed: bool) -> None:
        """What a success has published is there before its answer is; with `once`, a failure has published nothing."""
        if not failed and not sent.records:
            self.violated(f"answered without its record: {sent}")
        if failed and sent.records and self.once:
            self.violated(f"failed, and its record is there: {sent}")

    def _check_order(self, all_sent: Sequence[Sent]) -> None:
        """What was never refused is answered, the first time, in the order in which it was sent."""
        last: dict[bytes, Sent] = {}
        for sent in all_sent:
            if sent.ordered_by is None or not sent.answers:
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
            return self.sent[partition][int(facts["onex-dlq-offset"])]
        if message.topic == RECORDS:
            return self._by_id[dict(message.headers)["onex-causation-id"].decode()]
        return self._by_id[self._read(message)["causation_id"]]

    def _read(self, message: Message) -> dict[str, Any]:
        """Read an answer once: it is looked at when it is published, and again when it is kept or refused."""
        value = message.value or b""
        if (known := self._read_before.get(value)) is None:
            known = self._read_before[value] = from_json(value)
        return known
