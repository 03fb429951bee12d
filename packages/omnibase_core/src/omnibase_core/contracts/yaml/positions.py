"""Where a character of a text stands in the file, however YAML has the text written. Pure."""

import re
from collections.abc import Iterator, Sequence

_FOLD = re.compile(r"[ \t]*\n[ \t]*(?:\n[ \t]*)*")
_ESCAPE = re.compile(r"\\(?:x..|u.{4}|U.{8}|\n[ \t]*|.)", re.DOTALL)
_BLOCK_HEADER = re.compile(r"[|>][^\n]*\n")


_DIGIT = re.compile(r"\d")


def spot_in_scalar(lines: Sequence[str], line: int, column: int, value: str, offset: int) -> tuple[int, int] | None:
    """Return line and column of the character at an offset of a scalar's value.

    The scalar starts at `line` and `column` of the file; all of them count from 1, the offset from 0. None where the
    file does not hold the value as it is read here.
    """
    text = "\n".join(lines[line - 1 :])
    spots = (
        _block(text, column - 1, value) if text[column - 1 : column] in ("|", ">") else _flow(text, column - 1, value)
    )
    for index, spot in enumerate(spots):
        if index == offset:
            before = text[:spot]
            return line + before.count("\n"), spot - (before.rfind("\n") + 1) + 1
    return None


def _flow(text: str, at: int, value: str) -> Iterator[int]:
    """Follow a plain or quoted scalar: give the place of each character, and at last that of the end."""
    quote = text[at : at + 1] if text[at : at + 1] in ("'", '"') else ""
    at += len(quote)
    index = 0
    while index < len(value):
        character = value[index]
        while quote == '"' and text.startswith("\\\n", at):
            at += len(_matched(_ESCAPE, text, at))
        if character in " \n" and (fold := _matched(_FOLD, text, at)):
            # One line break is a space of the value; of more, each but the first is a line break.
            breaks = max(1, fold.count("\n") - 1)
            yield from [at] * breaks
            index, at = index + breaks, at + len(fold)
            continue
        yield at
        if quote == '"' and text.startswith("\\", at):
            at += len(_matched(_ESCAPE, text, at))
        elif text[at : at + 1] == character:
            at += 2 if quote == "'" == character else 1
        else:
            return
        index += 1
    yield at


def _block(text: str, at: int, value: str) -> Iterator[int]:
    """Follow a block scalar, literal or folded."""
    header = _matched(_BLOCK_HEADER, text, at)
    if _DIGIT.search(header.partition("#")[0]):
        return  # Its indentation counts from that of what it stands in.
    at += len(header)
    indent = _indent(text, at)
    at = _indented(text, at, indent)
    for index, character in enumerate(value):
        yield at
        is_fold = character == " " and text.startswith("\n", at)
        if text[at : at + 1] != character and not is_fold:
            return
        at += 1
        if text[at - 1] == "\n":
            # Where lines are folded, more line breaks stand in the file than in the value.
            while text.startswith("\n", at) and value[index + 1 : index + 2] not in ("\n", " ", ""):
                at += 1
            at = _indented(text, at, indent)
    yield at


def _indent(text: str, at: int) -> int:
    """Return how far a block is indented: as far as its first line that holds something."""
    for line in text[at:].split("\n"):
        if line.strip():
            return len(line) - len(line.lstrip(" "))
    return 0


def _indented(text: str, at: int, indent: int) -> int:
    """Pass over the indentation of a line."""
    end = at
    while end < at + indent and text.startswith(" ", end):
        end += 1
    return end


def _matched(pattern: re.Pattern[str], text: str, at: int) -> str:
    match = pattern.match(text, at)
    return match[0] if match else ""
