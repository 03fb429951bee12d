"""DeadLetters: the dead letters of a pool, read from their topic, and which of them were redriven. Blocks.

A redrive is noted in the topic itself, by a mark: a message in the partition of its letter whose header
`onex-dlq-redriven` is the letter's place. So whoever reads the topic knows, and nothing else has to be kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from omnibase_core.dead_letters import PREFIX, generation_of, split_headers
from omnibase_core.errors import OnexError
from omnibase_core.ports import Delivery, Headers, Message, Partition
from omnibase_infra.kafka.settings import KafkaSettings
from omnibase_infra.kafka.topic_reader import Spans, TopicReader

CLIENT_ID = "runtime-host-dlq"

_MARK = PREFIX + "redriven"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_MAX_MS = 253_402_300_799_000
_CLOCK_SLACK = timedelta(minutes=1)


class NoSuchDeadLetter(OnexError):
    """There is no dead letter at a place, or not of that node."""

    code = "no_such_letter"


class DeadLetterPosition(NamedTuple):
    """Where a dead letter is in its topic. Without a partition: in whichever one holds the node's."""

    partition: int | None
    offset: int

    def __str__(self) -> str:
        """`PARTITION:OFFSET`, or the bare offset."""
        return f"{self.offset}" if self.partition is None else f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a place. Raises ValueError for any other text."""
        parts = text.split(":")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
            raise ValueError(f"{text!r} is not PARTITION:OFFSET or OFFSET, such as 2:1042 or 1042")
        return cls(int(parts[0]) if len(parts) > 1 else None, int(parts[-1]))

    def is_at(self, delivery: Delivery) -> bool:
        """Check whether this is where a message is."""
        return self.offset == delivery.offset and self.partition in (None, delivery.partition.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """That a letter was redriven: when, where in its source topic it is now, and as which generation."""

    letter: DeadLetterPosition
    redriven_at: datetime | None
    redriven_to: DeadLetterPosition | None
    generation: int

    @classmethod
    def of(cls, delivery: Delivery) -> Self | None:
        """Read a mark, or give None for anything else: a sender's header of that name makes none of a letter."""
        original, facts = split_headers(delivery.headers)
        headers = dict(original)
        if facts or _MARK not in headers:
            return None
        place = _place(headers[_MARK])
        if place is None or place.partition != delivery.partition.number or place.offset >= delivery.offset:
            return None
        return cls(
            letter=place,
            redriven_at=_moment(headers.get(PREFIX + "redriven-at")),
            redriven_to=_place(headers.get(PREFIX + "redriven-to")),
            generation=_number(headers.get(PREFIX + "redriven-as")) or 0,
        )

    def message(self, topic: str, node: str) -> Message:
        """Return the mark as it is written. It belongs into the partition of its letter."""
        facts = {
            "redriven": str(self.letter),
            "redriven-at": self.redriven_at.isoformat() if self.redriven_at else "",
            "redriven-to": str(self.redriven_to or ""),
            "redriven-as": str(self.generation),
        }
        return Message(topic, node.encode(), None, [(PREFIX + name, fact.encode()) for name, fact in facts.items()])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter. Reading it is total: what a fact does not say, or not in its form, is None or empty.

    `headers` and `value` are the original's; of a letter that was cut short, they are not whole. `size_bytes` is the
    size of the original's value. `headers_error` says why the letter's own headers, and with them all facts, cannot be
    read.
    """

    place: DeadLetterPosition
    node: str
    facts: Mapping[str, bytes | None]
    headers: Headers
    value: bytes | None
    size_bytes: int
    failed_at: datetime
    mark: Mark | None = None
    headers_error: str | None = None

    @classmethod
    def of(cls, delivery: Delivery, mark: Mark | None = None) -> Self:
        """Read whatever is in the topic and is no mark."""
        headers, facts = split_headers(delivery.headers)
        # Any producer may write any timestamp, and none is -1.
        written_at = _EPOCH + timedelta(milliseconds=min(max(0, delivery.timestamp_ms), _TIMESTAMP_MAX_MS))
        return cls(
            place=DeadLetterPosition(delivery.partition.number, delivery.offset),
            node=_text(facts.get("node") or delivery.key),
            facts=facts,
            headers=headers,
            value=delivery.value,
            size_bytes=len(delivery.value or b"") if "cut" not in facts else _number(facts["cut"]) or 0,
            failed_at=_moment(facts.get("failed-at")) or written_at,
            mark=mark,
            headers_error=delivery.headers_error,
        )

    @property
    def code(self) -> str:
        """Why it failed."""
        return _text(self.facts.get("code"))

    @property
    def message(self) -> str:
        """Why it failed, in words."""
        return _text(self.facts.get("message"))

    @property
    def key(self) -> bytes | None:
        """Key of the original."""
        return self.facts.get("key")

    @property
    def source(self) -> tuple[Partition, int] | None:
        """Where the original is, or was."""
        partition, offset = _number(self.facts.get("partition")), _number(self.facts.get("offset"))
        topic = _text(self.facts.get("topic"))
        return (Partition(topic, partition), offset) if topic and partition is not None and offset is not None else None

    @property
    def generation(self) -> int:
        """How often its command had been redriven when it failed."""
        found = _number(self.facts.get("generation"))
        return generation_of(self.headers) if found is None else found

    @property
    def is_cut(self) -> bool:
        """Whether it was cut short."""
        return "cut" in self.facts

    def without_value(self) -> Self:
        """Return what a list needs: letters may be large, and many."""
        return replace(self, value=None, headers=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters are meant. What is left empty does not narrow it."""

    node: str | None = None
    codes: tuple[str, ...] = ()
    since: datetime | None = None
    places: tuple[DeadLetterPosition, ...] = ()

    def has(self, letter: DeadLetter) -> bool:
        """Check whether a letter is meant; its place was looked at before."""
        return (
            self.node in (None, letter.node)
            and (not self.codes or letter.code in self.codes)
            and (self.since is None or letter.failed_at >= self.since)
        )


class DeadLetters:
    """The dead letters in a topic. Use it as a context. Every method raises BusError."""

    def __init__(self, settings: KafkaSettings, *, address: str, topic: str) -> None:
        """Connect in the background."""
        self._reader = TopicReader(settings, address=address, topic=topic, client_id=CLIENT_ID)

    def __enter__(self) -> "DeadLetters":
        """Return the letters."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self._reader.__exit__()

    def chosen(self, selection: Selection) -> Iterator[DeadLetter]:
        """Yield the letters that are there now, redriven ones with their mark, in the order of each partition.

        The topic is read twice, marks first: a mark stands behind its letter, and no letter has to be kept for it.
        """
        there = self._reader.spans()
        meant = _around(selection.places, there) if selection.places else there
        if selection.since is not None:
            # A letter is written a moment after it says that its command failed.
            meant = self._reader.since(max(selection.since, _EPOCH + _CLOCK_SLACK) - _CLOCK_SLACK, meant)
        behind = {number: (begin, there[number][1]) for number, (begin, _) in meant.items()}
        marks = {mark.letter: mark for delivery in self._reader.read(behind) if (mark := Mark.of(delivery))}
        for delivery in self._reader.read(meant):
            if selection.places and not any(place.is_at(delivery) for place in selection.places):
                continue
            if Mark.of(delivery) is not None:
                continue
            letter = DeadLetter.of(delivery, marks.get(DeadLetterPosition(delivery.partition.number, delivery.offset)))
            if selection.has(letter):
                yield letter

    def at(self, node: str, *places: DeadLetterPosition) -> list[DeadLetter]:
        """Return a node's dead letters at places, each once. Raises NoSuchDeadLetter for none, or several."""
        found = list(self.chosen(Selection(node=node, places=places)))
        faults = []
        for place in dict.fromkeys(places):
            fitting = [
                it.place
                for it in found
                if place.offset == it.place.offset and place in (it.place, (None, place.offset))
            ]
            if not fitting:
                faults.append(f"there is no dead letter of {node!r} at {place}")
            elif len(fitting) > 1:
                faults.append(f"{place} may be {' or '.join(map(str, fitting))}: say which")
        if faults:
            raise NoSuchDeadLetter("; ".join(faults))
        return found


def _around(places: tuple[DeadLetterPosition, ...], there: Spans) -> Spans:
    """Return the part of each partition that holds the places which may be in it."""
    spans = {}
    for number, (begin, end) in there.items():
        meant = [it.offset for it in places if it.partition in (None, number) and begin <= it.offset < end]
        if meant:
            spans[number] = (min(meant), max(meant) + 1)
    return spans


def _place(value: bytes | None) -> DeadLetterPosition | None:
    try:
        return DeadLetterPosition.parse(_text(value))
    except ValueError:
        return None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None) -> int | None:
    return int(value) if value and len(value) < 20 and value.isdigit() else None


def _moment(value: bytes | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(_text(value))
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
