"""Reading and redriving dead letters, on the embedded broker: what the command line rests on."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from omnibase_core.dead_letters import dead_letter
from omnibase_core.errors import BusError, CommandFailed
from omnibase_core.ports import Delivery, Headers, Partition
from omnibase_infra.kafka import (
    DeadLetterPosition,
    DeadLetters,
    KafkaSettings,
    NoSuchDeadLetter,
    Redrive,
    RedriveOutcome,
    Selection,
)
from omnibase_infra.kafka.settings import embedded_broker
from tests.support.raw_produce import produce_raw

LETTERS = "onex.app.dev.acme.dlq.runtime.pool.v1"
COMMANDS = "onex.app.dev.acme.cmd.node.echo.v1"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Bench:
    """A broker with letters on it."""

    def __init__(self, address: str) -> None:
        """Connect to the broker."""
        self.address = address
        self.settings = KafkaSettings(bootstrap_servers=address)
        self._producer = Producer({"bootstrap.servers": address, "log_level": 0})
        for topic in (LETTERS, COMMANDS):
            self._producer.list_topics(topic, timeout=10)

    def write(self, offset: int = 0, *, partition: int = 1, node: str = "echo", **options: Any) -> None:
        """Write a dead letter of the command at an offset."""
        source = Partition(options.pop("topic", COMMANDS), options.pop("source", 2))
        headers: Headers = options.pop("headers", ())
        message = dead_letter(
            Delivery(source, offset, b"k", options.pop("value", b"%d" % offset), headers, 0),
            CommandFailed(options.pop("code", "timeout"), "no result"),
            topic=LETTERS,
            node=node,
            contract_version="1.0.0",
            host="host",
            now=options.pop("failed_at", NOON),
            bytes_max=options.pop("bytes_max", 1_000_000),
        )
        assert not options
        topic, key, value, found = message
        self._producer.produce(topic, value, key, partition, headers=list(found))
        assert self._producer.flush(10) == 0

    def letters(self) -> DeadLetters:
        """Open the letters."""
        return DeadLetters(self.settings, address=self.address, topic=LETTERS)

    def redrive(self, *, generation_max: int = 5) -> Redrive:
        """Open a redrive."""
        return Redrive(
            self.settings,
            address=self.address,
            dead_letter_topic=LETTERS,
            command_topic=COMMANDS,
            generation_max=generation_max,
            now=lambda: NOON,
        )

    def places(self, **selection: Any) -> list[str]:
        """Return the places of the letters that are chosen and wait."""
        with self.letters() as letters:
            return [str(it.place) for it in letters.chosen(Selection(**selection)) if it.mark is None]

    def run(self, *, limit: int | None = None, stop_after: int | None = None, **selection: Any) -> list[RedriveOutcome]:
        """Redrive what waits, or begin to."""
        with self.letters() as letters, self.redrive() as redrive:
            waiting = (it for it in letters.chosen(Selection(**selection)) if it.mark is None)
            return list(islice(redrive.run(waiting, limit=limit), stop_after))

    def commands(self) -> int:
        """Count the commands."""
        client = Consumer({"bootstrap.servers": self.address, "group.id": "tests", "log_level": 0})
        ends = [client.get_watermark_offsets(TopicPartition(COMMANDS, number), timeout=10)[1] for number in range(4)]
        client.close()
        return sum(ends)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Yield a broker of the test's own."""
    with embedded_broker() as address:
        yield Bench(address)


def test_letters_are_chosen_by_node_code_time_and_place(bench: Bench) -> None:
    """Each narrows; a broker that knows no times is read from the beginning."""
    bench.write(0)
    bench.write(1, node="other")
    bench.write(2, code="unreachable", failed_at=NOON + timedelta(hours=1))
    bench.write(3, partition=0)
    assert sorted(bench.places()) == ["0:0", "1:0", "1:1", "1:2"]
    assert sorted(bench.places(node="echo")) == ["0:0", "1:0", "1:2"]
    assert bench.places(codes=("unreachable", "no_such_code")) == ["1:2"]
    assert bench.places(since=NOON + timedelta(minutes=1)) == ["1:2"]
    assert bench.places(places=(DeadLetterPosition(None, 2), DeadLetterPosition(1, 0))) == ["1:0", "1:2"]


def test_a_place_without_a_letter_or_with_several_is_told(bench: Bench) -> None:
    """What an operator named is one letter, or nothing is done."""
    bench.write()
    bench.write(partition=0)
    bench.write(node="other")
    with bench.letters() as letters:
        assert [it.place for it in letters.at("echo", DeadLetterPosition(1, 0), DeadLetterPosition(0, 0))] in (
            [DeadLetterPosition(1, 0), DeadLetterPosition(0, 0)],
            [DeadLetterPosition(0, 0), DeadLetterPosition(1, 0)],
        )
        assert [it.place for it in letters.at("other", DeadLetterPosition(None, 1))] == [DeadLetterPosition(1, 1)]
        faults: list[tuple[DeadLetterPosition, str]] = [
            (DeadLetterPosition(None, 0), r"^0 may be [01]:0 or [01]:0: say which$"),
            (DeadLetterPosition(1, 1), r"^there is no dead letter of 'echo' at 1:1$"),
            (DeadLetterPosition(1, 2), r"^there is no dead letter of 'echo' at 1:2$"),
            (DeadLetterPosition(9, 0), r"^there is no dead letter of 'echo' at 9:0$"),
        ]
        for place, said in faults:
            with pytest.raises(NoSuchDeadLetter, match=said):
                letters.at("echo", place)


def test_what_was_redriven_is_marked_and_not_sent_again(bench: Bench) -> None:
    """Any number of runs sends each once."""
    for offset in range(250):
        bench.write(offset)
    first = bench.run(limit=120)
    assert [it.place.offset for it in first] == list(range(120))
    assert all(it.fault is None for it in first)
    assert bench.commands() == 120
    assert len(bench.run()) == 130
    assert bench.run() == []
    assert bench.commands() == 250
    with bench.letters() as letters:
        [letter] = letters.at("echo", DeadLetterPosition(1, 249))
    assert letter.mark is not None
    assert (letter.mark.generation, letter.mark.redriven_at, letter.mark.redriven_to) == (
        1,
        NOON,
        DeadLetterPosition(2, 249),
    )


def test_leaving_early_marks_what_was_acknowledged(bench: Bench) -> None:
    """After Ctrl-C, the next run sends the rest and repeats nothing."""
    for offset in range(300):
        bench.write(offset)
    assert len(bench.run(stop_after=1)) == 1
    sent = bench.commands()
    assert 0 < sent < 300
    assert len(bench.places()) == 300 - sent
    bench.run()
    assert bench.commands() == 300


REFUSED: list[tuple[Callable[[Bench], None], str]] = [
    (
        lambda it: it.write(topic="onex.app.dev.acme.cmd.node.echo.v0"),
        "it came from onex.app.dev.acme.cmd.node.echo.v0",
    ),
    (lambda it: it.write(headers=[("onex-redrive", b"5")]), "it was redriven 5 times, the limit is 5"),
    (lambda it: it.write(7, value=b"x" * 9000, bytes_max=5000), "the original no longer exists at "),
    (lambda it: it.write(0, value=b"x" * 9000, bytes_max=5000), "is not the original: its sha256 differs"),
]


@pytest.mark.parametrize(("write", "said"), REFUSED)
def test_what_cannot_be_sent_is_told_and_stops_no_other(
    bench: Bench, write: Callable[[Bench], None], said: str
) -> None:
    """It keeps waiting, and the next one is sent."""
    bench.write()
    bench.run()
    write(bench)
    bench.write(1)
    faults = [it.fault for it in bench.run()]
    assert faults.count(None) == 1
    assert [said in it for it in faults if it is not None] == [True]
    assert len(bench.places()) == 1
    assert bench.commands() == 2


def test_a_command_topic_that_is_not_there_is_told(bench: Bench) -> None:
    """Nothing is created by looking, and the topic is named."""
    with (
        DeadLetters(bench.settings, address=bench.address, topic="onex.app.dev.nobody.dlq.runtime.pool.v1") as letters,
        pytest.raises(BusError, match=r"^topic onex\.app\.dev\.nobody\.dlq\.runtime\.pool\.v1 is not there"),
    ):
        list(letters.chosen(Selection()))


def test_a_broker_that_is_away_is_told_in_bounded_time() -> None:
    """The address is named."""
    with (
        DeadLetters(KafkaSettings(), address="127.0.0.1:1", topic=LETTERS) as letters,
        pytest.raises(BusError, match=r"^Kafka at 127\.0\.0\.1:1: "),
    ):
        list(letters.chosen(Selection()))


@pytest.mark.parametrize("value", [b"{}", b'{"a":' * 1000 + b"1" + b"}" * 1000])
def test_a_letter_whose_headers_cannot_be_read_is_told_and_stays(bench: Bench, value: bytes) -> None:
    """Anybody may write to the topic: what is unreadable there hides nothing else, and is not sent anywhere."""
    bench.write(41)
    offset = produce_raw(bench.address, LETTERS, 1, b"echo", value, [(b"\xff\xfe", b"1"), (b"onex-dlq-code", b"x")])
    bench.write(42)
    with bench.letters() as letters:
        found = list(letters.chosen(Selection(node="echo")))
    assert [it.value for it in found] == [b"41", value, b"42"]
    odd = found[1]
    assert odd.headers_error is not None
    assert "headers cannot be read" in odd.headers_error
    assert (odd.code, odd.facts, odd.place) == ("", {}, DeadLetterPosition(1, offset))
    outcomes = {str(it.place): it.fault for it in bench.run()}
    assert "headers cannot be read" in str(outcomes.pop(f"1:{offset}"))
    assert set(outcomes.values()) == {None}


def test_an_original_whose_headers_cannot_be_read_is_sent_without_them(bench: Bench) -> None:
    """Of a letter that was cut short: value and key are the original's, and it can be served then."""
    value = b"x" * 5000
    offset = produce_raw(bench.address, COMMANDS, 2, b"k", value, [(b"\xff", b"1")])
    bench.write(offset, value=value, bytes_max=1500)
    [outcome] = bench.run()
    assert outcome.fault is None
    assert outcome.resend is not None
    message = outcome.resend.message
    assert (message.key, message.value, message.headers) == (b"k", value, [("onex-redrive", b"1")])


def test_letters_since_the_beginning_of_time(bench: Bench) -> None:
    """No moment is too early."""
    bench.write(41)
    assert len(bench.places(since=datetime.min.replace(tzinfo=UTC))) == 1
