"""`runtime-host fmt`: contracts in their canonical form."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import click
from pydantic import ValidationError

from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_core.ports import ContractDocument
from omnibase_infra.authoring.formatting import LANGUAGES, formatted
from omnibase_infra.host.contract_files import read_with_tests
from omnibase_infra.host.loading import registry_of


@dataclass(frozen=True, slots=True)
class _Change:
    path: Path
    before: str
    after: str


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def fmt(paths: tuple[Path, ...], *, check: bool, diff: bool) -> None:
    """Format contracts and their tests, and keep their comments.

    Keys come in the order of the reference, with an indentation of two spaces and lines of 120 columns. What a contract
    says stays as it is. A contract with problems is not formatted: they are told, and no file is written.

    \b
    Example:
      runtime-host fmt contracts --diff
    """
    documents = {Path(it.path).resolve(): it for path in paths for it in read_with_tests(path)}
    _refuse_faulty(documents.values())
    changes = [it for document in documents.values() if (it := _change(document)).before != it.after]
    for change in changes:
        if diff:
            click.echo("".join(_difference(change)), nl=False)
        elif check:
            click.echo(f"would format {change.path}")
        else:
            change.path.write_text(change.after, encoding="utf-8", newline="")
            click.echo(f"formatted {change.path}")
    click.echo(f"files: {len(documents)}, {'to change' if check or diff else 'changed'}: {len(changes)}", err=True)
    if changes and check:
        raise SystemExit(1)


def _refuse_faulty(documents: Iterable[ContractDocument]) -> None:
    """Report what `check` would tell of each contract that is no contract. Raises InvalidContracts."""
    problems: list[Problem] = []
    for document in documents:
        if _is_faulty(document):
            try:
                registry_of([document])
            except InvalidContracts as error:
                problems += error.problems
    if problems:
        raise InvalidContracts(problems)


def _is_faulty(document: ContractDocument) -> bool:
    parsed = parse_document(str(document.path), document.text)
    model = LANGUAGES.get(str(parsed.tree.get("contract")))
    if parsed.problems or model is None:
        return True
    try:
        model.model_validate(parsed.tree)
    except ValidationError:
        return True
    return False


def _change(document: ContractDocument) -> _Change:
    return _Change(Path(document.path), document.text, formatted(str(document.path), document.text))


def _difference(change: _Change) -> Iterator[str]:
    before, after = change.before.splitlines(keepends=True), change.after.splitlines(keepends=True)
    return unified_diff(before, after, str(change.path), f"{change.path} (formatted)")
