"""What tests of contracts have shown, as text for a terminal of 80 columns, and as JUnit's XML for CI."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import click

from omnibase_core.contract_tests import Coverage, FailedExpectation
from omnibase_core.contract_tests.coverage import KINDS, percentage
from omnibase_core.errors import Problem
from omnibase_infra.cli.contract_tests import CaseOutcome, FileOutcome

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no form for, escaped or not."""


_PATH_WIDTH = 53
_NODE_WIDTH = 33


def counted(number: int, noun: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def file_lines(outcome: FileOutcome) -> Iterator[str]:
    """Yield a line for a file, and below it what is not as expected."""
    verdict = f"{outcome.failed} failed" if outcome.failed else "ok"
    yield f"{_cut(outcome.path):<{_PATH_WIDTH}} {counted(len(outcome.cases), 'case'):>9}  {verdict}"
    for case in outcome.cases:
        if case.failures:
            yield ""
            yield f"  {outcome.path}:{case.line}: {case.name}"
            yield from (f"    {line}" for number, failure in case.failures for line in failure_lines(number, failure))
    if outcome.failed:
        yield ""


def failure_lines(line: int, failure: FailedExpectation) -> Iterator[str]:
    """Yield one failure: what it is, the line of the expectation, and the difference."""
    yield f"line {line}: {failure.message}"
    yield from (f"    {it}" for it in failure.lines)


def total_line(outcomes: Sequence[FileOutcome], took_s: float) -> str:
    """Return the sum of all."""
    cases: list[CaseOutcome] = [case for outcome in outcomes for case in outcome.cases]
    failed = sum(outcome.failed for outcome in outcomes)
    where = f"{counted(len(cases), 'case')} in {counted(len(outcomes), 'file')}"
    return f"{where}: {len(cases) - failed} passed, {failed} failed, in {took_s:.2f} s"


def coverage_lines(coverage: Mapping[str, Coverage]) -> Iterator[str]:
    """Yield a table of the nodes, and what is not shown of each."""
    yield f"{'node':<{_NODE_WIDTH}} {'operations':>10} {'rules':>9} {'errors':>9} {'shown':>8}"
    for name, shown in coverage.items():
        operations, rules, errors = ("{}/{}".format(*shown.count(kind)) for kind in KINDS)
        label = _cut(name, _NODE_WIDTH)
        yield f"{label:<{_NODE_WIDTH}} {operations:>10} {rules:>9} {errors:>9} {_share([shown])}"
        yield from (f"  not shown: {goal.operation}: {goal.what}" for goal in shown.missing)
    yield f"{'in all':<{_NODE_WIDTH}} {'':>30} {_share(list(coverage.values()))}"


def _share(coverages: Sequence[Coverage]) -> str:
    # Rounded down: what is nearly all is not all.
    return f"{int(percentage(coverages)):>6} %"


def _cut(text: str, width: int = _PATH_WIDTH) -> str:
    return text if len(text) <= width else f"...{text[3 - width :]}"


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
