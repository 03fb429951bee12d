"""What an expression may be given: no command makes the engine take gigabytes."""

import resource
import subprocess
import sys
from typing import Any

import pytest

from omnibase_core.expressions.input_bounds import ITEMS_MAX, PARTS_MAX, TEXT_LENGTH_MAX, Bounds, check_parts

HOSTILE = """
import sys
from uuid import uuid4
from datetime import UTC, datetime
from omnibase_core.envelope import OnexEnvelope
from omnibase_core.expressions import Scope
from omnibase_core.expressions.engine import Program
text, payload = sys.argv[1], eval(sys.argv[2])
one = uuid4()
command = OnexEnvelope(envelope_version=1, envelope_id=one, correlation_id=one, node_slug="a", payload=payload,
                       timestamp=datetime.now(UTC))
try:
    print("value", len(str(Program(text, names=("payload",)).evaluate(Scope(command)))))
except ValueError as error:
    print("refused", error)
"""
ROOM_BYTES = 700 * 1024 * 1024


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("payload.items.map(it, it + 1)", "{'items': [1] * 10_000}"),
        ("payload.items.map(it, payload.items.map(x, x))", "{'items': [1] * 1000}"),
        ("payload.text.replace('a', payload.by)", "{'text': 'a' * 100_000, 'by': 'b' * 100_000}"),
        ("payload.items.join(payload.by)", "{'items': ['a'] * 1000, 'by': 'b' * 1_000_000}"),
        ("payload.text.matches(payload.by)", "{'text': 'a' * 300_000, 'by': '(a*)*b' * 10_000}"),
        ("payload.text.replace('a', payload.by)", "{'text': 'a' * 2048, 'by': 'b' * 2048}"),
    ],
)
def test_no_command_makes_an_expression_take_gigabytes(text: str, payload: str) -> None:
    """It has its value, or is refused, within 700 MB and 20 seconds."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ROOM_BYTES, ROOM_BYTES))

    ended = subprocess.run(
        [sys.executable, "-c", HOSTILE, text, payload], capture_output=True, text=True, timeout=20, preexec_fn=bound
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.split()[0] in ("value", "refused")


@pytest.mark.parametrize(
    ("text", "values", "refused"),
    [
        ("payload.items.exists(it, it == 1)", [0] * ITEMS_MAX, False),
        ("payload.items.exists(it, it == 1)", [0] * (ITEMS_MAX + 1), True),
        ("size(payload.items)", [0] * (ITEMS_MAX + 1), False),
        ("payload.text.replace('a', 'b')", "a" * 100_000, False),
        ("payload.text.split(',')[0].matches('^a+$')", "a" * 100_000, False),
        ("payload.text.replace('a', payload.by)", "a" * TEXT_LENGTH_MAX, False),
        ("payload.text.replace('a', payload.by)", "a" * (TEXT_LENGTH_MAX + 1), True),
        ("matches(payload.text, payload.by)", "a" * (TEXT_LENGTH_MAX + 1), True),
        ("payload.text + 'x'", "a" * 100_000, False),
    ],
)
def test_only_what_could_grow_is_bounded(text: str, values: Any, refused: bool) -> None:  # noqa: FBT001 - a column
    """What a contract writes itself has a length that no sender chooses."""
    bounds = Bounds(text)
    fault = bounds.fault({"payload": {"deep": [{"it": values}]}}) if bounds else None
    assert (fault is not None) is refused
    assert fault is None or "write a function instead" in fault


def test_an_expression_reads_so_many_values_and_no_more() -> None:
    """The engine makes a value of its own of each part of what it can read."""
    few = {"payload": {"items": [[]] * (PARTS_MAX - 3)}}
    check_parts(few)
    with pytest.raises(ValueError, match=r"^more than 20000 values are here"):
        check_parts({"payload": {"items": [[]] * (PARTS_MAX - 2)}})
