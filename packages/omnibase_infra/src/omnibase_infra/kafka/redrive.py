"""Redrive: sends the originals of dead letters again, and marks each letter once that is acknowledged. Blocks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from omnibase_core.dead_letters import PREFIX, REDRIVE, size_of
from omnibase_core.errors import BusError, OnexError
from omnibase_core.ports import Delivery, Headers, Message
from omnibase_infra.kafka.dead_letters import CLIENT_ID, DeadLetter, DeadLetterPosition, Mark
from omnibase_infra.kafka.settings import KafkaSettings
from omnibase_infra.kafka.topic_reader import Spans, TopicReader

_ACKNOWLEDGED_WITHIN_S = 30.0
_POLL_S = 0.1
_UNDER_WAY_MAX = 100
_UNDER_WAY_BYTES_MAX = 8_000_000
_UNANSWERED = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE})


class NotRedrivable(OnexError):
    """A dead letter whose original cannot, or must not, be sent again."""

    code = "not_redrivable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """What is sent for a letter, and to which partition of its topic."""

    letter: DeadLetter
    message: Message
    partition: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveOutcome:
    """What became of one letter. `fault` is None where it was sent and marked."""

    place: DeadLetterPosition
    resend: Resend | None = None
    sent_to: DeadLetterPosition | None = None
    fault: str | None = None


class Redrive:
    """Sends commands of one node again. Use it as a context: leaving it, even early, marks what was acknowledged.

    A letter is marked after the broker has acknowledged its original. A crash between the two lets a second run send
    it once more, as the same generation, so that its answer has the same id and is discarded as a repeat.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        address: str,
        dead_letter_topic: str,
        command_topic: str,
        generation_max: int,
        now: Callable[[], datetime],
    ) -> None:
        """Connect in the background."""
        self._address = address
        self._dead_letter_topic = dead_letter_topic
        self._command_topic = command_topic
        self._generation_max = generation_max
        self._now = now
        self._error: KafkaError | None = None
        self._lost: str | None = None
        self._outcomes: deque[RedriveOutcome] = deque()
        self._under_way: dict[DeadLetterPosition, int] = {}
        self._source = TopicReader(settings, address=address, topic=command_topic, client_id=CLIENT_ID)
        self._spans: Spans | None = None
        self._producer = Producer(
            {
                **settings.common(CLIENT_ID),
                "bootstrap.servers": address,
                "error_cb": self._on_error,
                "enable.idempotence": True,
                "acks": "all",
                # For a command whose partition is there no more.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "queue.buffering.max.messages": 100_000,
                # An original may be larger than what a host sends: the broker is the judge.
                "message.max.bytes": 1_000_000_000,
                "batch.size": settings.message_bytes_max,
                "message.timeout.ms": int(_ACKNOWLEDGED_WITHIN_S * 1000),
            }
        )

    def __enter__(self) -> "Redrive":
        """Return the redrive."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is under way, and close the clients."""
        self._producer.flush(2 * _ACKNOWLEDGED_WITHIN_S)
        self._producer.close()
        self._source.__exit__()

    def plan(self, letter: DeadLetter) -> Resend:
        """Describe what is to be sent for a letter. Raises NotRedrivable."""
        if letter.headers_error is not None:
            raise NotRedrivable(f"it does not say where it came from: its {letter.headers_error}")
        if letter.source is None or not letter.code:
            raise NotRedrivable("it does not say where it came from")
        partition, _ = letter.source
        if partition.topic != self._command_topic:
            raise NotRedrivable(f"it came from {partition.topic}, and the host reads {self._command_topic}")
        if letter.generation >= self._generation_max:
            raise NotRedrivable(f"it was redriven {letter.generation} times, the limit is {self._generation_max}")
        there = self._there()
        value, key, headers = letter.value, letter.key, letter.headers
        if letter.is_cut:
            original = self.original(letter)
            value, key, headers = original.value, original.key, original.headers
        generation = letter.generation + 1
        return Resend(
            letter=letter,
            message=Message(self._command_topic, key, value, [*_own(headers), (REDRIVE, b"%d" % generation)]),
            # Where its key's other commands are, whatever partitioner its sender used.
            partition=partition.number if partition.number in there else -1,
            generation=generation,
        )

    def original(self, letter: DeadLetter) -> Delivery:
        """Fetch the original of a letter that was cut short. Raises NotRedrivable when it is there no more."""
        if letter.source is None:
            raise NotRedrivable("it was truncated and has no original topic")
        partition, offset = letter.source
        where = f"{partition.topic} partition {partition.number} offset {offset}"
        begin, end = self._there().get(partition.number, (0, 0))
        found = self._source.read({partition.number: (offset, offset + 1)}) if begin <= offset < end else iter(())
        original = next(found, None)
        if original is None or original.offset != offset:
            raise NotRedrivable(f"it was truncated, and the original no longer exists at {where} (retention)")
        if sha256(original.value or b"").hexdigest().encode() != letter.facts.get("sha256"):
            raise NotRedrivable(f"it was truncated, and the message at {where} is not the original: its sha256 differs")
        return original

    def run(self, letters: Iterable[DeadLetter], *, limit: int | None) -> Iterator[RedriveOutcome]:
        """Send letters again until `limit` of them were sent. Raises BusError when the broker stays away."""
        sent = 0
        for letter in letters:
            try:
                resend = self.plan(letter)
            except NotRedrivable as error:
                yield RedriveOutcome(place=letter.place, fault=str(error))
                continue
            self._send(resend)
            if self._lost is not None:
                break
            while self._is_full(None if limit is None else limit - sent):
                for outcome in self._settled():
                    sent += outcome.fault is None
                    yield outcome
                if sent == limit:
                    return
        while self._under_way or self._outcomes or self._lost:
            yield from self._settled()

    def _is_full(self, left: int | None) -> bool:
        under_way = len(self._under_way) + len(self._outcomes)
        most = _UNDER_WAY_MAX if left is None else min(left, _UNDER_WAY_MAX)
        return under_way >= most or sum(self._under_way.values()) >= _UNDER_WAY_BYTES_MAX

    def _settled(self) -> Iterator[RedriveOutcome]:
        """Wait a moment, and give what has an end."""
        if not self._outcomes:
            self._producer.poll(_POLL_S)
        while self._outcomes:
            yield self._outcomes.popleft()
        if self._lost is not None and not self._under_way:
            raise BusError(f"Kafka at {self._address}: {self._lost}; a second run continues from here")

    def _send(self, resend: Resend) -> None:
        self._under_way[resend.letter.place] = size_of(resend.message)
        self._produce(resend.message, resend.partition, lambda error, sent: self._acknowledged(resend, error, sent))

    def _acknowledged(self, resend: Resend, error: KafkaError | None, sent: Any) -> None:
        if error is not None:
            self._conclude(RedriveOutcome(place=resend.letter.place, resend=resend, fault=self._fault(error)))
            return
        mark = Mark(
            letter=resend.letter.place,
            redriven_at=self._now(),
            redriven_to=DeadLetterPosition(sent.partition(), sent.offset()),
            generation=resend.generation,
        )
        self._produce(
            mark.message(self._dead_letter_topic, resend.letter.node),
            resend.letter.place.partition or 0,
            lambda error, _: self._marked(resend, mark, error),
        )

    def _marked(self, resend: Resend, mark: Mark, error: KafkaError | None) -> None:
        fault = error and f"sent, but not marked as sent ({self._fault(error)}): a second run repeats it"
        self._conclude(
            RedriveOutcome(place=resend.letter.place, resend=resend, sent_to=mark.redriven_to, fault=fault or None)
        )

    def _conclude(self, outcome: RedriveOutcome) -> None:
        del self._under_way[outcome.place]
        self._outcomes.append(outcome)

    def _produce(self, message: Message, partition: int, report: Callable[[KafkaError | None, Any], None]) -> None:
        topic, key, value, headers = message
        try:
            self._producer.produce(topic, value, key, partition, headers=list(headers), on_delivery=report)
        except KafkaException as error:
            report(error.args[0], None)

    def _fault(self, error: KafkaError) -> str:
        if error.code() not in _UNANSWERED:
            return error.str()
        # What the connection complained of tells more than that an operation timed out.
        self._lost = self._error.str() if self._error is not None else error.str()
        return f"not acknowledged within {_ACKNOWLEDGED_WITHIN_S:g} s"

    def _there(self) -> Spans:
        if self._spans is None:
            self._spans = self._source.spans()
        return self._spans

    def _on_error(self, error: KafkaError) -> None:
        self._error = error


def _own(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Return the headers that the sender wrote, without those by which dead letters and redrives are told."""
    return [header for header in headers if header[0] != REDRIVE and not header[0].startswith(PREFIX)]
