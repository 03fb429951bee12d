"""What can be known of a record before any command: keys that contradict, and what a target refuses. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.yaml.document import Path
from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions import is_expression
from omnibase_infra.handlers.kafka.models import KafkaTarget

_VALUES = ("json", "text", "base64")


def faults_of_record(written: Any) -> Iterator[tuple[Path, InvalidExpression]]:
    """Yield what is wrong with the value of a record, as a contract writes it."""
    if not isinstance(written, Mapping):
        return
    tombstone = written.get("tombstone", False)
    if tombstone is False and not any(it in written for it in _VALUES):
        yield (), InvalidExpression("a record has one value; write json, text, base64, or tombstone: true")
    # A null that is written is a JSON value, too; of a text an expression may give null, which is none.
    values = [it for it in _VALUES if it in written and (it == "json" or _is_certain(written[it]))]
    for surplus in values[1:]:
        yield (surplus,), InvalidExpression(f"a record has one value, and {values[0]!r} is one too; remove one of them")
    if tombstone is True and values:
        told = f"no record has {values[0]!r} beside tombstone: true; remove one, or write an expression that decides"
        yield ("tombstone",), InvalidExpression(told)


def clashes_of_record(target: KafkaTarget, written: Any) -> Iterator[tuple[Path, str]]:
    """Yield the keys of a record that a target refuses, whatever the command."""
    topic = written.get("topic") if isinstance(written, Mapping) else None
    if isinstance(topic, str) and _is_certain(topic) and target.topics and topic not in target.topics:
        yield ("topic",), f"names the topic {topic!r}, and the target has {', '.join(target.topics)}; add it to topics"


def _is_certain(value: Any) -> bool:
    return value is not None and not is_expression(value)
