"""`runtime-host test`: the tests beside contracts, on the real runtime in virtual time."""

import time
from pathlib import Path

import click

from omnibase_core.contract_tests.coverage import percentage
from omnibase_core.errors import InvalidContracts
from omnibase_infra.cli.contract_test_output import (
    coverage_lines,
    file_lines,
    total_line,
    write_outcomes,
    write_problems,
)
from omnibase_infra.cli.contract_tests import ContractTests, FileOutcome, load_contract_tests
from omnibase_infra.cli.problems import report, summary, terminal_width
from omnibase_infra.cli.watch_mode import watch

FAULTY = 2


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--watch", "watching", is_flag=True, help="Run again whenever a contract, a test or a function changes.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to FILE as JUnit XML."
)
@click.option("--coverage", is_flag=True, help="Show which operations, error rules and errors the tests reach.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), metavar="PERCENT", help="Fail if coverage is below PERCENT."
)
def test(
    paths: tuple[Path, ...], *, watching: bool, junit: Path | None, coverage: bool, fail_under: float | None
) -> None:
    """Run the tests beside contracts, files named *.test.yaml.

    A PATH is a folder, a test, or a contract. Exit status 1: something is not as expected. 2: a file is faulty, and
    nothing was run.

    \b
    Example:
      runtime-host test contracts --coverage
    """
    if watching:
        watch(["test", *_arguments(paths, junit=junit, coverage=coverage, fail_under=fail_under)], paths)
        return
    began_s = time.perf_counter()
    rehearsals = _loaded(paths, junit)
    outcomes = _run(rehearsals)
    if junit is not None:
        write_outcomes(junit, outcomes)
    if not outcomes[-1].failed:
        click.echo()
    if coverage or fail_under is not None:
        for line in coverage_lines(rehearsals.coverage):
            click.echo(line)
        click.echo()
    click.echo(total_line(outcomes, time.perf_counter() - began_s))
    reached = percentage(list(rehearsals.coverage.values()))
    if fail_under is not None and reached < fail_under:
        click.echo(f"coverage: {reached:.1f} %, expected {fail_under:g} % or more", err=True)
        raise SystemExit(1)
    if any(outcome.failed for outcome in outcomes):
        raise SystemExit(1)


def _loaded(paths: tuple[Path, ...], junit: Path | None) -> ContractTests:
    try:
        rehearsals = load_contract_tests(paths)
    except InvalidContracts as error:
        click.echo(report(error.problems, "text", width=terminal_width()))
        click.echo(f"\nNothing was run: {summary(error.problems)}", err=True)
        if junit is not None:
            write_problems(junit, error.problems)
        raise SystemExit(FAULTY) from error
    if not rehearsals.tests:
        where = ", ".join(str(path) for path in paths)
        raise click.UsageError(f"no tests in {where}; expected files named NAME.test.yaml, beside their contracts")
    return rehearsals


def _run(rehearsals: ContractTests) -> list[FileOutcome]:
    outcomes = []
    for outcome in rehearsals.run():
        outcomes.append(outcome)
        for line in file_lines(outcome):
            click.echo(line)
    return outcomes


def _arguments(paths: tuple[Path, ...], *, junit: Path | None, coverage: bool, fail_under: float | None) -> list[str]:
    """Return the command line again, without --watch."""
    options = [f"--junit={junit}"] if junit is not None else []
    options += ["--coverage"] if coverage else []
    options += [f"--fail-under={fail_under}"] if fail_under is not None else []
    return [*options, "--", *(str(path) for path in paths)]
