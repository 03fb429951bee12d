"""Problems of contracts as people and programs read them: text with the line and a caret, JSON, GitHub, SARIF. Pure."""

import json
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import PurePath
from textwrap import wrap
from typing import Any, Literal, get_args
from unicodedata import combining, east_asian_width
from urllib.parse import quote

import click

from omnibase_core.errors import Problem, sendable
from omnibase_infra.cli.error_pages import page, pages

Format = Literal["text", "json", "github", "sarif"]
FORMATS: Sequence[Format] = get_args(Format)

_WIDTH_LEAST = 40
_WIDTH_MOST = 120
_WIDTH_ELSEWHERE = 80
_LEFT_OF_CARET = 24
"""How much of a long line is shown before the caret."""
_CUT = "..."


def report(problems: Sequence[Problem], form: Format, *, width: int) -> str:
    """Return all problems in one of the formats; `width` is that of the terminal, in columns, for text."""
    match form:
        case "text":
            told = "\n\n".join(_as_text(problem, width=width) for problem in problems)
        case "github":
            told = "\n".join(map(_as_github, problems))
        case "json":
            told = _json({"problems": [_as_json(problem) for problem in problems]})
        case "sarif":
            told = _json(_as_sarif(problems))
    return sendable(told)


def terminal_width() -> int:
    """Return the columns that there are to fill; beside a terminal, 80."""
    return min(shutil.get_terminal_size((_WIDTH_ELSEWHERE, 0)).columns, _WIDTH_MOST)


def summary(problems: Sequence[Problem]) -> str:
    """Describe how many problems there are and, in as many words, where more is said about them."""
    files = len({problem.path for problem in problems})
    codes = sorted({problem.code for problem in problems})
    more = codes[0] if len(codes) == 1 else "CODE"
    return f"{_count(len(problems), 'problem')} in {_count(files, 'file')}; more: runtime-host explain {more}"


# --- Text ---------------------------------------------------------------------------------------------------------


def _as_text(problem: Problem, *, width: int) -> str:
    """Return `file:line:column: message [code]`, then the line as it is written, and a caret below what is meant."""
    width = max(width, _WIDTH_LEAST)
    said = f"{problem.message} [{problem.code}]"
    place = f"{problem.path}:{problem.line}:{problem.column}:"
    first, *rest = wrap(
        f"{place} {said}", width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    head = "\n".join([first.replace(place, click.style(place, bold=True), 1), *rest])
    code = f"[{problem.code}]"
    lines = [head.removesuffix(code) + click.style(code, fg="cyan")]
    return "\n".join([*lines, *_excerpt(problem, width)])


def _excerpt(problem: Problem, width: int) -> Iterator[str]:
    if not problem.source:
        return
    gutter = f"{problem.line:>5} | "
    shown, caret = _window(problem, width - len(gutter))
    yield click.style(gutter, dim=True) + shown
    yield click.style(" " * (len(gutter) - 2) + "| ", dim=True) + caret


def _window(problem: Problem, width: int) -> tuple[str, str]:
    """Cut a line to what has room around the place, and point at it. Columns of a terminal, not characters."""
    glyphs = [_glyph(character) for character in problem.source.rstrip()]
    cells = [_cells(glyph) for glyph in glyphs]
    start = problem.column - 1
    before, meant = sum(cells[:start]), max(1, sum(cells[start : start + problem.width]))
    first, left = 0, ""
    if sum(cells) > width and before + meant > width - len(_CUT):
        while first < start and before > _LEFT_OF_CARET:
            before -= cells[first]
            first += 1
        left = _CUT if first else ""
    room = width - len(left)
    shown = "".join(glyphs[first:])
    if sum(cells[first:]) > room:
        shown = _cut("".join(glyphs[first:]), room - len(_CUT)) + _CUT
    indent = len(left) + before
    return left + shown, " " * indent + click.style("^" * min(meant, width - indent), fg="red", bold=True)


def _cut(text: str, room: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _cells(character)
        if used > room:
            return text[:index]
    return text


def _glyph(character: str) -> str:
    """Show a tab as an arrow, and never send a terminal what could be a command to it."""
    return "\u2192" if character == "\t" else character if character.isprintable() else "\ufffd"


def _cells(character: str) -> int:
    """How many columns of a terminal a character takes (Unicode Standard Annex 11)."""
    return 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1


# --- For programs -------------------------------------------------------------------------------------------------


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "end_column": problem.column + problem.width,
        "code": problem.code,
        "message": problem.message,
        "nearest": problem.nearest,
        "source": problem.source,
    }


def _as_github(problem: Problem) -> str:
    """Return a workflow command, which GitHub shows at the line of a pull request."""
    properties = {
        "file": problem.path,
        "line": problem.line,
        "endLine": problem.line,
        "col": problem.column,
        "endColumn": problem.column + problem.width,
        "title": problem.code,
    }
    written = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in properties.items())
    return f"::error {written}::{_escaped(problem.message, '')}"


def _escaped(text: str, also: str) -> str:
    return "".join(f"%{ord(it):02X}" if it in f"%\r\n{also}" else it for it in text)


def _as_sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    """Return a log as of https://docs.oasis-open.org/sarif/sarif/v2.1.0/: each code is a rule with its page."""
    rules = list(pages())
    driver = {
        "name": "runtime-host check",
        "semanticVersion": version("omnibase-infra"),
        "rules": [_rule(code) for code in rules],
    }
    results = [_result(problem, rules.index(problem.code)) for problem in problems]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    text = page(code)
    return {
        "id": code,
        "shortDescription": {"text": pages()[code]},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": "error"},
    }


def _result(problem: Problem, rule_index: int) -> dict[str, Any]:
    artifact = {"uri": quote(PurePath(problem.path).as_posix())}
    region = {
        "startLine": problem.line,
        "startColumn": problem.column,
        "endLine": problem.line,
        "endColumn": problem.column + problem.width,
    }
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": rule_index,
        "level": "error",
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, "region": region}}],
    }
    if problem.nearest is not None:
        replacement = {"deletedRegion": region, "insertedContent": {"text": problem.nearest}}
        change = {"artifactLocation": artifact, "replacements": [replacement]}
        result["fixes"] = [{"description": {"text": f"write {problem.nearest}"}, "artifactChanges": [change]}]
    return result


def _json(tree: Any) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
