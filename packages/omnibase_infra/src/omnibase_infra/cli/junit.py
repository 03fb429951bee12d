"""Outcomes as a file in the form of JUnit, which every CI reads: a suite a file, a case a case."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import click

from omnibase_core.errors import Problem
from omnibase_infra.cli.rehearsals import CaseOutcome, FileOutcome
from omnibase_infra.cli.verdict_text import failure_lines

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no form for, escaped or not."""


def write_outcomes(path: Path, outcomes: Sequence[FileOutcome]) -> None:
    """Write what was run, in a folder that is made if need be. Raises FileError."""
    cases = [case for outcome in outcomes for case in outcome.cases]
    root = _element("testsuites", name="runtime-host test", **_counts(cases))
    for outcome in outcomes:
        suite = _element("testsuite", name=outcome.path, **_counts(outcome.cases))
        suite.extend(_case(outcome, case) for case in outcome.cases)
        root.append(suite)
    _write(path, root)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write why nothing was run: a suite a faulty file, an error a problem. Raises FileError."""
    counts = {"failures": "0", "skipped": "0", "time": "0.000"}
    root = _element("testsuites", name="runtime-host test", tests=_n(problems), errors=_n(problems), **counts)
    for file in dict.fromkeys(problem.path for problem in problems):
        found = [problem for problem in problems if problem.path == file]
        suite = _element("testsuite", name=file, tests=_n(found), errors=_n(found), **counts)
        for problem in found:
            place = f"line {problem.line}, column {problem.column}"
            case = _element(
                "testcase", classname="contract", name=place, file=file, line=str(problem.line), time="0.000"
            )
            case.append(_said("error", problem.message, [str(problem)]))
            suite.append(case)
        root.append(suite)
    _write(path, root)


def _case(outcome: FileOutcome, case: CaseOutcome) -> ElementTree.Element:
    element = _element(
        "testcase",
        classname=outcome.node,
        name=case.name,
        file=outcome.path,
        line=str(case.line),
        time=f"{case.took_s:.3f}",
    )
    if case.failures:
        # One element for all of them: most readers show the first one only.
        lines = [line for number, failure in case.failures for line in failure_lines(number, failure)]
        element.append(_said("failure", "; ".join(failure.message for _, failure in case.failures), lines))
    return element


def _counts(cases: Sequence[CaseOutcome]) -> dict[str, str]:
    failed = sum(bool(case.failures) for case in cases)
    took_s = sum(case.took_s for case in cases)
    return {
        "tests": _n(cases),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{took_s:.3f}",
    }


def _said(tag: str, message: str, lines: Iterable[str]) -> ElementTree.Element:
    element = _element(tag, message=message, type=tag)
    element.text = _sendable("\n".join(lines))
    return element


def _element(tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.Element(tag, {name: _sendable(value) for name, value in attributes.items()})


def _sendable(text: str) -> str:
    return _NOT_IN_XML.sub("?", text)


def _n(things: Sequence[object]) -> str:
    return str(len(things))


def _write(path: Path, root: ElementTree.Element) -> None:
    ElementTree.indent(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise click.FileError(str(path), hint=error.strerror) from error
