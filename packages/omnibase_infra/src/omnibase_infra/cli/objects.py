"""JSON objects that are given to a verb: as text, as a file, or on stdin."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from omnibase_core.codec import is_json


def object_of(option: str, written: str) -> dict[str, Any]:
    """Read an object from where it is (`{...}`, `@FILE` or `-`). Raises UsageError for anything else."""
    try:
        if written.startswith("@"):
            written = Path(written[1:]).read_text(encoding="utf-8")
        elif written == "-":
            written = sys.stdin.buffer.read().decode()
        document = json.loads(written)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{option}: {error}") from error
    except RecursionError as error:
        raise click.UsageError(f"{option}: objects and lists are nested too deep to be read") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"{option}: found {type(document).__name__}, expected an object such as '{{\"a\": 1}}'")
    if not is_json(document):
        found = "found a number that is infinite or none (NaN), or half of a character"
        raise click.UsageError(f"{option}: {found}; expected what JSON can say, such as null")
    return document


def check_depth(option: str, document: dict[str, Any], *, depth_max: int) -> None:
    """Check how deep objects and lists are nested. Raises UsageError for what no host would serve."""
    depth = 0
    level: list[Any] = [document]
    while level:
        depth += 1
        if depth > depth_max:
            found = f"found objects and lists that are nested more than {depth_max} deep"
            raise click.UsageError(f"{option}: {found}; a host takes no deeper ones (limits.depth_max)")
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]


def _children(parent: Any) -> Iterable[Any]:
    return parent.values() if isinstance(parent, dict) else parent
