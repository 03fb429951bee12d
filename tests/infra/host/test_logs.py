"""The log: what a line looks like, that logging never disturbs the work, and how lines reach the log topic."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Message, Refusal
from omnibase_infra.host.logs import LogObserver, LogShipper, open_log

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Answer = Sequence[Refusal] | Exception


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Describe so."""
        return True


def opened(stream: io.StringIO, form: Literal["auto", "json", "console"], level: str = "info") -> LogObserver:
    """Open a log whose clock stands at noon."""
    return open_log(host="demo", level=level, form=form, stream=stream, now=lambda: NOON)[0]


def told(form: Literal["json", "console"], name: str, /, *, at: str = "info", **fields: object) -> str:
    """Log one event, and give what is written."""
    stream = io.StringIO()
    opened(stream, form).event(at, name, **fields)
    return stream.getvalue()


def shipped(
    scenario: Callable[[LogShipper, Callable[[int], Awaitable[None]]], Awaitable[None]],
    *answers: Answer,
    bytes_max: int = 1_000_000,
) -> list[list[Any]]:
    """Play a scenario while a shipper runs, end the shipper, and give the batches that the topic got.

    The topic answers each batch as told, and takes all once the answers are used up. A line that tells of a loss is
    given as its count. The scenario may wait until so many batches have come.
    """
    batches: list[list[Any]] = []
    left = list(answers)

    def publish(messages: Sequence[Message]) -> asyncio.Future[Sequence[Refusal]]:
        assert {message[:2] for message in messages} == {("logs", b"demo")}
        values = [message.value or b"" for message in messages]
        batches.append([json.loads(it)["count"] if b"log_lines_lost" in it else it for it in values])
        answer = left.pop(0) if left else ()
        outcome: asyncio.Future[Sequence[Refusal]] = asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            outcome.set_exception(answer)
        else:
            outcome.set_result(answer)
        return outcome

    async def until(count: int) -> None:
        async with asyncio.timeout(10):
            while len(batches) < count:  # noqa: ASYNC110 - the topic tells nobody
                await asyncio.sleep(0.01)

    async def play() -> None:
        shipper = LogShipper(bytes_max=bytes_max, now=lambda: NOON)
        running = asyncio.create_task(shipper.run(publish, "logs", "demo"))
        await scenario(shipper, until)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(play())
    return batches


def test_an_event_is_one_line_of_json() -> None:
    """It begins with the time in UTC, the level, the event and the host; a field that is None is left out."""
    line = json.loads(told("json", "host_started", nodes=6, absent=None))
    assert list(line.items()) == [
        ("timestamp", "2026-03-01T12:00:00.000Z"),
        ("level", "info"),
        ("event", "host_started"),
        ("host", "demo"),
        ("nodes", 6),
    ]


def test_no_value_breaks_a_line_of_json() -> None:
    """Line ends, any letters and values that JSON does not know stay in one ASCII line, beside the fixed keys."""
    text = told("json", "odd", text="a\nb\u2028ü\ud800", number=float("nan"), when=NOON, level="high")
    assert text.isascii()
    assert text.count("\n") == 1
    line = json.loads(text)
    assert (line["text"], line["number"], line["when"]) == ("a\nb\u2028ü\ud800", "nan", str(NOON))
    assert (line["level"], line["level_"]) == ("info", "high")


def test_an_exception_is_told_by_type_and_message() -> None:
    """Its traceback is told at level error alone."""
    for level in ("warning", "error"):
        line = json.loads(told("json", "failed", at=level, error=ValueError("no")))
        assert (line["error_type"], line["error"], "traceback" in line) == ("ValueError", "no", level == "error")


def test_what_is_below_the_level_is_not_logged() -> None:
    """A level that does not exist counts as error, since the event may matter."""
    stream = io.StringIO()
    for level in ("debug", "info", "warning", "error", "grave"):
        opened(stream, "json", level="warning").event(level, level)
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == ["warning", "error", "error"]


def test_the_form_for_readers_wraps_at_80_columns() -> None:
    """Later lines of an event are indented, and no field is torn apart."""
    lines = told("console", "host_started", **{f"field-{at}": f"value-{at}" for at in range(12)}).splitlines()
    assert lines[0].startswith("12:00:00Z info    host_started host=demo field-0=value-0 ")
    assert len(lines) > 2
    assert all(len(line) <= 80 for line in lines)
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert "field-11=value-11" in lines[-1].split()


def test_the_form_for_readers_escapes_control_characters() -> None:
    """What came from elsewhere cannot act upon the terminal, nor pretend to be another line."""
    text = told("console", "odd\x1b[2J", at="error", text="a\r\nb\x07\u202e", error=ValueError("\x1b]0;x\x07"))
    assert text.replace("\n", "").isprintable()
    assert r"odd\x1b[2J" in text
    assert r"text=a\r\nb\x07\u202e" in text


def test_auto_is_for_readers_on_a_terminal_and_json_elsewhere() -> None:
    """Colours are for a terminal alone."""
    terminal, plain = Terminal(), io.StringIO()
    for stream in (terminal, plain):
        opened(stream, "auto").event("info", "up")
    assert terminal.getvalue() == "12:00:00Z \x1b[32minfo\x1b[0m    up host=demo\n"
    assert json.loads(plain.getvalue())["event"] == "up"


def test_an_event_never_raises() -> None:
    """Not for a value that cannot be shown, and not when the stream is closed."""

    class Unshown:
        def __repr__(self) -> str:
            raise RuntimeError

    assert json.loads(told("json", "odd", value=Unshown()))["value"] == "<Unshown>"
    stream = io.StringIO()
    observer = opened(stream, "json")
    stream.close()
    observer.event("error", "late", error=ValueError("no"))


def test_lines_leave_in_order_and_in_batches() -> None:
    """Two hundred lines leave at once, fewer after a moment, and what is left when the shipper is ended."""
    lines = [b"%03d" % at for at in range(450)]

    async def scenario(shipper: LogShipper, until: Callable[[int], Awaitable[None]]) -> None:
        for batch, part in ((2, lines[:400]), (3, lines[400:440]), (3, lines[440:])):
            for line in part:
                shipper.ship(line)
            await until(batch)

    assert shipped(scenario) == [lines[:200], lines[200:400], lines[400:440], lines[440:]]


def test_the_oldest_lines_are_dropped_and_the_loss_is_told_once() -> None:
    """Memory is bounded by the bytes of the lines."""

    async def scenario(shipper: LogShipper, until: Callable[[int], Awaitable[None]]) -> None:
        for line in (b"one", b"two", b"six", b"ten"):
            shipper.ship(line)
        await until(1)
        shipper.ship(b"end")

    assert shipped(scenario, bytes_max=8) == [[2, b"six", b"ten"], [b"end"]]


def test_lines_that_do_not_arrive_are_counted() -> None:
    """A failed batch counts whole, and the count lives on when the line that tells it is refused."""

    async def scenario(shipper: LogShipper, until: Callable[[int], Awaitable[None]]) -> None:
        for batch in (1, 2, 3):
            shipper.ship(b"a")
            shipper.ship(b"b")
            await until(batch)
        shipper.ship(b"c")

    no = PublishFailed("too_large", "it is")
    answers: list[Answer] = [OSError("gone"), [Refusal(0, no), Refusal(2, no)], [Refusal(1, no)]]
    assert shipped(scenario, *answers) == [[b"a", b"b"], [2, b"a", b"b"], [3, b"a", b"b"], [1, b"c"]]
