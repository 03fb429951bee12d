"""What tests of contracts have shown, as text for a terminal of 80 columns."""

from collections.abc import Iterator, Mapping, Sequence

from omnibase_core.rehearsal import Coverage, Failure
from omnibase_core.rehearsal.coverage import KINDS, percentage
from omnibase_infra.cli.rehearsals import CaseOutcome, FileOutcome

_PATH_WIDTH = 53
_NODE_WIDTH = 33


def counted(number: int, noun: str) -> str:
    """Give `1 case`, `2 cases`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def file_lines(outcome: FileOutcome) -> Iterator[str]:
    """Give a line for a file, and below it what is not as expected."""
    verdict = f"{outcome.failed} failed" if outcome.failed else "ok"
    yield f"{_cut(outcome.path):<{_PATH_WIDTH}} {counted(len(outcome.cases), 'case'):>9}  {verdict}"
    for case in outcome.cases:
        if case.failures:
            yield ""
            yield f"  {outcome.path}:{case.line}: {case.name}"
            yield from (f"    {line}" for number, failure in case.failures for line in failure_lines(number, failure))
    if outcome.failed:
        yield ""


def failure_lines(line: int, failure: Failure) -> Iterator[str]:
    """Give one failure: what it is, the line of the expectation, and the difference."""
    yield f"line {line}: {failure.message}"
    yield from (f"    {it}" for it in failure.lines)


def total_line(outcomes: Sequence[FileOutcome], took_s: float) -> str:
    """Give the sum of all."""
    cases: list[CaseOutcome] = [case for outcome in outcomes for case in outcome.cases]
    failed = sum(outcome.failed for outcome in outcomes)
    where = f"{counted(len(cases), 'case')} in {counted(len(outcomes), 'file')}"
    return f"{where}: {len(cases) - failed} passed, {failed} failed, in {took_s:.2f} s"


def coverage_lines(coverage: Mapping[str, Coverage]) -> Iterator[str]:
    """Give a table of the nodes, and what is not shown of each."""
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
