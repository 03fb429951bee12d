"""Dead letters on the command line, without a broker: what is read, what is printed, and what is refused."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.dead_letters import PREFIX, dead_letter
from omnibase_core.errors import CommandFailed
from omnibase_core.ports import Delivery, Headers, Message, Partition
from omnibase_infra.cli import main
from omnibase_infra.cli.dlq import dlq
from omnibase_infra.cli.dlq_output import (
    as_json,
    columns,
    cut,
    figures_json,
    figures_lines,
    figures_of,
    hex_dump,
    lines_of,
    whole,
)
from omnibase_infra.kafka import DeadLetter, DeadLetterPosition, Mark

ROOT = Path(__file__).parents[3]
HOST = str(ROOT / "contracts/hosts/local-kafka.yaml")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SOURCE = Partition("onex.app.dev.acme.cmd.node.echo.v1", 2)
VERBS = sorted(dlq.commands)

BYTES = st.none() | st.binary(max_size=60)
HEADERS = st.lists(st.tuples(st.text(max_size=20) | st.sampled_from([f"{PREFIX}redriven", f"{PREFIX}code"]), BYTES))


def call(*arguments: str) -> Result:
    """Run a verb in a terminal of 80 columns."""
    return CliRunner().invoke(main, ["dlq", *arguments], terminal_width=80)


def written(
    *,
    value: bytes | None = b'{"a": 1}',
    key: bytes | None = b"k",
    headers: Headers = (),
    code: str = "timeout",
    message: str = "no result within 5 s",
    node: str = "echo",
    failed_at: datetime = NOON,
    bytes_max: int = 1_000_000,
) -> Message:
    """Return a dead letter as a host writes it."""
    return dead_letter(
        Delivery(SOURCE, 42, key, value, headers, 0),
        CommandFailed(code, message),
        topic="letters",
        node=node,
        contract_version="1.2.3",
        host="main-host",
        now=failed_at,
        bytes_max=bytes_max,
    )


def delivered(message: Message, offset: int = 7) -> Delivery:
    """Return a message as it is read back."""
    return Delivery(Partition("letters", 3), offset, message.key, message.value, message.headers, 0)


def letter(mark: Mark | None = None, offset: int = 7, **options: object) -> DeadLetter:
    """Return a letter as it is read."""
    return DeadLetter.of(delivered(written(**options), offset), mark)  # type: ignore[arg-type]


MARK = Mark(letter=DeadLetterPosition(3, 7), redriven_at=NOON, redriven_to=DeadLetterPosition(2, 99), generation=1)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_an_example_and_fits_the_terminal(verb: str) -> None:
    """Nobody has to read the source to know how to begin."""
    done = call(verb, "--help")
    assert done.exit_code == 0
    assert f"  Example:\n    runtime-host dlq {verb}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "place",
    [
        DeadLetterPosition(None, 0),
        DeadLetterPosition(0, 0),
        DeadLetterPosition(17, 1042),
        DeadLetterPosition(None, 10**18),
    ],
)
def test_a_place_reads_back(place: DeadLetterPosition) -> None:
    """What is printed is what may be given."""
    assert DeadLetterPosition.parse(str(place)) == place


@pytest.mark.parametrize("text", ["", ":", "1:", ":1", "-1", "1:2:3", "x", "1.5", "²", "1 ", "9" * 30])
def test_what_is_no_place_is_refused_with_what_is_expected(text: str) -> None:
    """Status 2, before anything is connected."""
    done = call("show", "echo", "--", text)
    assert done.exit_code == 2
    assert "is not PARTITION:OFFSET or OFFSET" in done.stderr


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("1d12h", timedelta(hours=36)),
        ("2026-01-31T12:00:00Z", None),
        ("2026-01-31T14:00:00+02:00", None),
    ],
)
def test_a_time_is_a_moment_or_how_long_ago(text: str, ago: timedelta | None) -> None:
    """RFC 3339, or a duration."""
    seen: list[datetime] = []
    option = next(it for it in dlq.commands["list"].params if it.name == "since")

    @click.command()
    @click.option("--since", callback=option.callback)
    def probe(since: datetime) -> None:
        seen.append(since)

    assert CliRunner().invoke(probe, ["--since", text]).exit_code == 0
    expected = NOON if ago is None else datetime.now(UTC) - ago
    assert abs(seen[0] - expected) < timedelta(seconds=10 if ago else 0.001)


@pytest.mark.parametrize("text", ["yesterday", "2h ago", "2026-01-31T12:00:00", "999999d", "h", ""])
def test_what_is_no_time_is_refused_with_what_is_expected(text: str) -> None:
    """A time without a zone too: nobody could say which moment is meant."""
    done = call("list", "echo", "--since", text)
    assert done.exit_code == 2
    assert "expected a time such as 2026-01-31T12:00:00Z, or a duration such as 2h" in " ".join(done.stderr.split())


def test_named_letters_cannot_be_narrowed() -> None:
    """Either places or a choice: both would leave open what is meant."""
    done = call("redrive", "echo", "--offset", "1:2", "--code", "timeout")
    assert done.exit_code == 2
    assert "--offset names the dead letters" in done.stderr


@pytest.mark.parametrize("verb", ["list", "stats", "redrive"])
def test_without_a_running_host_the_next_step_is_told(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `send` does."""
    monkeypatch.setenv("RUNTIME_HOST_STATE_DIR", str(tmp_path))
    done = call(verb, *([] if verb == "stats" else ["echo"]))
    assert done.exit_code == 1
    assert "start one with `runtime-host run HOST.yaml`" in done.stderr


def test_a_node_that_the_host_has_not_is_not_redriven() -> None:
    """Nobody would read what is sent."""
    done = call("redrive", "ecko", "--host", HOST)
    assert done.exit_code == 1
    assert "host 'local-kafka' has no node 'ecko'; did you mean 'echo'?" in done.stderr


def test_a_letter_says_what_its_host_wrote() -> None:
    """Read back, each fact is what it was."""
    found = letter(headers=[("mine", b"1"), ("onex-redrive", b"2")])
    assert (found.place, found.node, found.code, found.message) == (
        DeadLetterPosition(3, 7),
        "echo",
        "timeout",
        "no result within 5 s",
    )
    assert (found.key, found.value, found.headers) == (b"k", b'{"a": 1}', (("mine", b"1"), ("onex-redrive", b"2")))
    assert (found.source, found.generation, found.failed_at) == ((SOURCE, 42), 2, NOON)
    assert (found.is_cut, found.size_bytes) == (False, 8)
    short = letter(value=b"x" * 50_000, headers=[("onex-redrive", b"2")], bytes_max=10_000)
    assert (short.is_cut, short.size_bytes, short.generation) == (True, 50_000, 2)


def test_a_mark_reads_back_behind_its_letter_and_nowhere_else() -> None:
    """A mark in another partition, or before its letter, means nothing."""
    message = MARK.message("letters", "echo")
    assert (message.key, message.value) == (b"echo", None)
    assert Mark.of(delivered(message, 8)) == MARK
    assert Mark.of(delivered(message, 7)) is None
    assert Mark.of(delivered(message, 8)._replace(partition=Partition("letters", 4))) is None


def test_a_sender_cannot_make_its_letter_look_like_a_mark() -> None:
    """A letter is hidden from nobody by a header that its sender wrote."""
    forged = delivered(written(headers=[(f"{PREFIX}redriven", b"3:1")]), 9)
    assert Mark.of(forged) is None
    assert DeadLetter.of(forged).code == "timeout"


@given(BYTES, BYTES, HEADERS, st.integers(-1, 2**62))
def test_whatever_is_in_the_topic_can_be_read_and_printed(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]], timestamp_ms: int
) -> None:
    """Reading is total, lines fit the terminal, and no control character gets to it."""
    delivery = Delivery(Partition("letters", 0), 5, key, value, headers, timestamp_ms)
    Mark.of(delivery)
    found = DeadLetter.of(delivery)
    [line] = lines_of([found])
    assert columns(line) <= 80
    for text in (line, *whole(found), *figures_lines(figures_of([found]))):
        assert text.isprintable()
    json.dumps(as_json(found))


def test_a_list_has_one_line_a_letter() -> None:
    """Place, time, code, key and as much of the message as there is room for."""
    rows = [letter(), letter(MARK, 10_000_042, code="expression_failed_in_a_long_way", key=None, message="x" * 99)]
    assert list(lines_of(rows)) == [
        "3:7        2026-01-31T12:00:00Z timeout              k no result within 5 s",
        "3:10000042 2026-01-31T12:00:00Z expression_failed... - (redriven) xxxxxxxxxxx...",
    ]


def test_wide_and_dangerous_characters_keep_the_columns() -> None:
    """A key in Chinese takes two columns a character; an escape sequence is shown, not obeyed."""
    [line] = lines_of([letter(key="鍵鍵鍵鍵鍵鍵鍵".encode(), message="\x1b[31mred\u202e" + "字" * 40)])
    assert columns(line) <= 80
    assert "鍵鍵鍵鍵..." in line
    assert "\\u001b[31m" in line
    assert "\u202e" not in line


def test_all_of_a_letter_is_shown() -> None:
    """Facts, headers and the value; JSON is laid out."""
    shown = "\n".join(whole(letter(MARK, headers=[("traceparent", b"00-ab"), ("none", None)])))
    for expected in (
        "place              3:7\nnode               echo\ncode               timeout",
        f"topic              {SOURCE.topic}\npartition          2\noffset             42",
        "contract version   1.2.3",
        "redriven           2026-01-31T12:00:00Z, as generation 1, now at 2:99 of its topic",
        "headers: 2\n  traceparent      00-ab\n  none             -",
        'value: 8 bytes\n{\n  "a": 1\n}',
    ):
        assert expected in shown


def test_what_is_no_json_is_dumped() -> None:
    """The first 512 bytes, and how to get the others."""
    shown = list(whole(letter(value=bytes(range(256)) * 4)))
    assert shown[-33] == "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|"
    assert shown[-1] == "... 512 bytes more: --raw gives all of them"
    assert list(hex_dump(b"abc")) == ["00000000  61 62 63                                          |abc|"]
    assert list(whole(letter(value=None)))[-1] == "value: none"
    assert len(list(whole(letter(value=b"[" * (sys.getrecursionlimit() * 100))))) > 32


def test_figures_are_by_node_and_code() -> None:
    """What waits and what was redriven; times are of what waits."""
    hour = timedelta(hours=1)
    letters = [
        letter(failed_at=NOON + hour),
        letter(),
        letter(MARK, failed_at=NOON - hour),
        letter(node="other", code="not_json"),
        letter(MARK, node="other", code="long" * 20),
    ]
    figures = figures_of(letters)
    assert list(figures_lines(figures)) == [
        "node, code                 waiting redriven oldest            newest",
        "echo",
        "  timeout                        2        1 2026-01-31T12:00Z 2026-01-31T13:00Z",
        "other",
        "  longlonglonglonglongl...       0        1 -                 -",
        "  not_json                       1        0 2026-01-31T12:00Z 2026-01-31T12:00Z",
    ]
    assert next(figures_json(figures)) == {
        "node": "echo",
        "code": "timeout",
        "waiting": 2,
        "redriven": 1,
        "oldest": "2026-01-31T12:00:00+00:00",
        "newest": "2026-01-31T13:00:00+00:00",
    }


@given(st.text(max_size=100), st.integers(3, 80))
def test_a_cut_text_fits(text: str, width: int) -> None:
    """Whatever the characters are."""
    found = cut(text, width)
    assert columns(found) <= width
    assert found == text or found.endswith("...")
