"""The nodes of a YAML document, and the comments that stand between them. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a line of its own, and whether the line above it is empty."""

    line: int
    column: int
    text: str
    after_blank: bool


def compose(text: str) -> yaml.Node:
    """Return the root node of a document that has no problems, and so is a mapping."""
    root = yaml.compose(text, Loader=_LOADER)
    assert root is not None  # noqa: S101 - narrows the type; an empty document is a problem
    return root


def lines_of(text: str) -> list[str]:
    """Return the lines that the marks of nodes count."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def comments_of(lines: Sequence[str], root: yaml.Node) -> tuple[list[Comment], dict[int, str]]:
    """Find the comments of a document: those on lines of their own, and those behind something, by their lines."""
    words: dict[int, list[tuple[int, int]]] = {}
    for node in _scalars(root):
        for line, start, end in _spans(lines, node):
            words.setdefault(line, []).append((start, end))
    own: list[Comment] = []
    behind: dict[int, str] = {}
    for number, text in enumerate(lines):
        column = _comment_at(text, words.get(number, ()))
        if column is None:
            continue
        comment = text[column:].rstrip()
        if text[:column].strip():
            behind[number] = comment
        else:
            own.append(Comment(number, column, comment, is_blank(lines, number - 1)))
    return own, behind


def _comment_at(line: str, words: Iterable[tuple[int, int]]) -> int | None:
    within = list(words)
    for match in re.finditer(r"(?:^|(?<=[ \t]))#", line):
        if not any(start <= match.start() < end for start, end in within):
            return match.start()
    return None


def all_comments(text: str) -> list[str]:
    """Return the comments of a text, whatever their order: what formatting may move, and not lose."""
    own, behind = comments_of(lines_of(text), compose(text))
    return sorted([*(it.text for it in own), *behind.values()])


def _scalars(node: Any) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, tuple):
        for part in node:
            yield from _scalars(part)
    else:
        for part in node.value:
            yield from _scalars(part)


def _spans(lines: Sequence[str], node: yaml.ScalarNode) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of lines that a scalar covers: the head of a block text too, since its comment is its own."""
    start, end = node.start_mark, node.end_mark
    for line in range(start.line, end.line + 1):
        first = start.column if line == start.line else 0
        last = end.column if line == end.line else len(lines[line])
        yield line, first, last


def spaced(comment: Comment, *, first: bool) -> list[str]:
    """Return the comment, below an empty line if it was, and is not the first."""
    return [comment.text] if first or not comment.after_blank else ["", comment.text]


def is_blank(lines: Sequence[str], number: int) -> bool:
    """Check whether there is such a line, and nothing on it."""
    return number >= 0 and not lines[number].strip()
