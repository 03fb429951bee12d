"""The host's log: events become lines, for a stream and for the log topic.

Nothing is configured globally, since two hosts may live in one process.
"""

import asyncio
import json
import sys
import textwrap
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TextIO

from omnibase_core.ports import Message, Refusal

_LEVELS = ("debug", "info", "warning", "error")
_COLOURS: Mapping[str, str] = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_COLOUR_OFF = "\x1b[0m"
_WIDTH = 80

_BATCH_LINES = 200
_BATCH_S = 0.5
_LAST_BATCH_S = 1.0
_HELD_BYTES_MAX = 4 * 1024 * 1024

Now = Callable[[], datetime]
Redact = Callable[[object], object]
"""Gives JSON-like fields without the secrets in them."""
Publish = Callable[[Sequence[Message]], "asyncio.Future[Sequence[Refusal]]"]
_Line = Mapping[str, object]


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def open_log(
    *,
    host: str,
    level: str,
    form: Literal["auto", "json", "console"],
    stream: TextIO | None = None,
    now: Now = utc_now,
    redact: Redact = lambda fields: fields,
) -> "tuple[LogObserver, LogShipper]":
    """Log what is of the level (debug, info, warning or error) or above to a stream, by default stderr.

    `form` auto is console on a terminal and json elsewhere. Whatever the form, the shipper gets each line as JSON. What
    an event says passes through `redact` on its way to either.
    """
    stream = stream or sys.stderr
    shipper = LogShipper(now=now)
    terminal = stream.isatty()
    readable = form == "console" or (form == "auto" and terminal)
    in_form = partial(_as_text, coloured=terminal) if readable else _as_json

    def emit(level: str, name: str, fields: Mapping[str, object]) -> None:
        line = _line_of(_head(now, level, name) | {"host": host}, fields, redact)
        shipper.ship(_as_json(line).encode())
        # In one piece: other threads log too.
        stream.write(in_form(line) + "\n")
        stream.flush()

    return LogObserver(emit, level=level), shipper


class LogObserver:
    """An Observer that logs each event as a line. It never raises; an event below the log's level costs a call.

    A field that is None is left out; one with the name of a fixed key gets an underscore after its own. An exception
    under `error` is told by its type and message, and at level error by its traceback too.
    """

    def __init__(self, emit: Callable[[str, str, Mapping[str, object]], None], *, level: str) -> None:
        """Keep what logs an event of a level, by its name and fields, and the lowest level that is logged."""
        self.verbose = level == "debug"
        self._emit = emit
        self._logged = frozenset(_LEVELS[_LEVELS.index(level) :])

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Log one event. A level that does not exist counts as error: the event may matter."""
        known = level if level in _LEVELS else "error"
        if known in self._logged:
            # A stream that is closed or full is no reason for the work to fail.
            with suppress(Exception):
                self._emit(known, name, fields)


class LogShipper:
    """Sends log lines to a topic in batches, beside the work: for whoever logs, it is an append.

    Lines wait for half a second or for 200 of them, whichever comes first, and one batch is under way at a time. While
    the broker is away, `bytes_max` of lines are kept and the oldest dropped. Lines that were dropped or refused are
    counted, and the next batch begins with a line that says how many (`log_lines_lost`). Belongs to one event loop.
    """

    def __init__(self, *, bytes_max: int = _HELD_BYTES_MAX, now: Now = utc_now) -> None:
        """Begin to hold lines; they leave once `run` does."""
        self._bytes_max = bytes_max
        self._now = now
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._under_way: set[asyncio.Future[Sequence[Refusal]]] = set()

    def ship(self, line: bytes) -> None:
        """Take a line."""
        self._lines.append(line)
        self._bytes += len(line)
        while self._bytes > self._bytes_max:
            self._take(1)
            self._lost += 1
        self._wake()

    async def run(self, publish: Publish, topic: str, host: str) -> None:
        """Send until cancelled; what is left then goes out in one last batch, awaited for a second at most."""
        send = partial(self._send, publish, topic, host)
        try:
            while True:
                await self._some.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BATCH_S):
                        await self._many.wait()
                send(self._take(_BATCH_LINES))
                await self._acknowledgements(timeout_s=None)
        finally:
            send(self._take(len(self._lines)))
            await self._acknowledgements(timeout_s=_LAST_BATCH_S)

    async def _acknowledgements(self, *, timeout_s: float | None) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_s)

    def _send(self, publish: Publish, topic: str, host: str, lines: Sequence[bytes]) -> None:
        # The loss alone is never sent: where nothing can be shipped, telling so would go on for ever.
        if not lines:
            return
        told, self._lost = self._lost, 0
        batch = [self._loss(host, told), *lines] if told else lines
        try:
            # One key for all lines keeps them in one partition, and so in order.
            published = publish([Message(topic, host.encode(), line) for line in batch])
        except Exception:  # noqa: BLE001 - whatever the bus has met, the host goes on without these lines
            self._lost += told + len(lines)
            return
        self._under_way.add(published)
        published.add_done_callback(partial(self._settle, told, len(lines)))

    def _settle(self, told: int, count: int, outcome: "asyncio.Future[Sequence[Refusal]]") -> None:
        """Count what did not arrive. The line that tells of a loss is no line of the log: its count lives on."""
        self._under_way.discard(outcome)
        if outcome.cancelled() or outcome.exception() is not None:
            self._lost += told + count
            return
        refused = {refusal.index for refusal in outcome.result()}
        if told and 0 in refused:
            self._lost += told - 1
        self._lost += len(refused)

    def _loss(self, host: str, count: int) -> bytes:
        line = {**_head(self._now, "warning", "log_lines_lost"), "host": host, "count": count}
        return _as_json(line).encode()

    def _take(self, count: int) -> list[bytes]:
        taken = [self._lines.popleft() for _ in range(min(count, len(self._lines)))]
        self._bytes -= sum(map(len, taken))
        self._wake()
        return taken

    def _wake(self) -> None:
        for event, least in ((self._some, 1), (self._many, _BATCH_LINES)):
            if len(self._lines) >= least:
                event.set()
            else:
                event.clear()


# --- From an event to its line ------------------------------------------------------------------------------------


def _line_of(head: _Line, fields: Mapping[str, object], redact: Redact) -> _Line:
    """Put an event in order, as values that JSON can say."""
    if isinstance(error := fields.get("error"), BaseException):
        fields = {**fields, **_told(error, with_traceback=head["level"] == "error")}
    told = redact({key: _plain(value) for key, value in fields.items() if value is not None})
    assert isinstance(told, dict)  # noqa: S101 - redacting keeps the shape
    return {**head, **{f"{key}_" if key in head else key: value for key, value in told.items()}}


def _head(now: Now, level: str, name: str) -> dict[str, object]:
    moment = now().astimezone(UTC).isoformat(timespec="milliseconds")
    return {"timestamp": moment.replace("+00:00", "Z"), "level": level, "event": name}


def _told(error: BaseException, *, with_traceback: bool) -> dict[str, str]:
    told = {"error_type": type(error).__name__, "error": str(_plain(error))}
    if with_traceback:
        told["traceback"] = "".join(traceback.format_exception(error))
    return told


def _plain(value: object) -> object:
    """Return a value as JSON says it; what it cannot say becomes text."""
    if isinstance(value, str):
        return value
    with suppress(Exception):
        return json.loads(json.dumps(value, default=str, allow_nan=False))
    with suppress(Exception):
        return str(value)
    return f"<{type(value).__name__}>"


def _as_json(line: _Line) -> str:
    """Return one line of ASCII: no value can break it, nor the encoding of the stream."""
    return json.dumps(line)


def _as_text(line: _Line, *, coloured: bool) -> str:
    """Return a line for a reader: `12:00:00Z info    host_started host=demo nodes=6`, wrapped at 80 columns."""
    time, level = f"{line['timestamp']}"[11:19] + "Z", str(line["level"])
    shown = [f"{key}={_shown(value)}" for key, value in line.items() if key not in _SHOWN_APART]
    text = textwrap.fill(
        " ".join([f"{time} {level:<7} {_visible(str(line['event']))}", *shown]),
        _WIDTH,
        subsequent_indent=" " * (len(time) + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )
    if coloured:
        text = text.replace(level, f"{_COLOURS[level]}{level}{_COLOUR_OFF}", 1)
    trace = str(line.get("traceback", "")).splitlines()
    return "\n".join([text, *(f"    {_visible(it)}" for it in trace)])


_SHOWN_APART = frozenset({"timestamp", "level", "event", "traceback"})


def _shown(value: object) -> str:
    """Return a field's value as one word, or in quotes."""
    text = _visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if (text and not set(text) & set(" =\"'")) or not isinstance(value, str) else f'"{text}"'


def _visible(text: str) -> str:
    """Escape what a terminal would act upon: what is logged may come from anyone."""
    return "".join(it if it.isprintable() else repr(it)[1:-1] for it in text)
