"""What `check` finds in a request of `db` as a contract writes it, before any command. Pure.

A statement has to be fixed, and the names of its parameters have to be there to be read: then it is known that each
placeholder is bound and each value is used.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omnibase_core.errors import InvalidExpression
from omnibase_infra.handlers.db.models import TABLE, RowShape, TransactionStatement
from omnibase_infra.handlers.db.row_shapes import shape_faults
from omnibase_infra.handlers.db.statements import Statement, column_of, statement_of

Path = tuple[str | int, ...]
Fault = tuple[Path, InvalidExpression]


def faults_of_query(written: Any) -> Iterator[Fault]:
    """Find what is wrong with a request of `query`."""
    yield from _faults_of(written, reads=True)


def faults_of_execute(written: Any) -> Iterator[Fault]:
    """Find what is wrong with a request of `execute`."""
    yield from _faults_of(written, reads=False)


def faults_of_batch(written: Any) -> Iterator[Fault]:
    """Find what is wrong with a request of `batch`: sets that an expression gives are held to the names when bound."""
    if not isinstance(written, Mapping):
        yield _unwritten("statement", "parameter_sets")
        return
    proved = yield from _statement(written.get("statement"), ("statement",), reads=False)
    sets = written.get("parameter_sets")
    if proved is not None and isinstance(sets, list):
        for index, parameters in enumerate(sets):
            yield from _bindings(proved, parameters, ("parameter_sets", index))


def faults_of_copy(written: Any) -> Iterator[Fault]:
    """Find what is wrong with a request of `copy`."""
    if not isinstance(written, Mapping):
        yield _unwritten("table", "columns", "rows")
        return
    table = written.get("table", "")
    if _is_dynamic(table):
        message = "a table is fixed by its contract; write its name in place of an expression"
        yield ("table",), InvalidExpression(message)
    elif not isinstance(table, str) or (table and re.match(TABLE, table) is None):
        yield ("table",), InvalidExpression(f"found {table!r}, expected the name of a table, or schema.table")
    columns = written.get("columns", [])
    if not isinstance(columns, list):
        yield ("columns",), InvalidExpression("columns are fixed by their contract; write them as a list of names")
        return
    for index, column in enumerate(columns):
        if not isinstance(column, str) or column_of(column) is None:
            message = f"found {column!r}, expected the name of a column, with ::jsonb or ::text[] where it takes such"
            yield ("columns", index), InvalidExpression(message)


def faults_of_transaction(written: Any) -> Iterator[Fault]:
    """Find what is wrong with a request of `transaction`."""
    statements = written.get("statements") if isinstance(written, Mapping) else None
    if not isinstance(statements, Mapping):
        yield _unwritten("statements")
        return
    # Whether it reads only may come from nowhere but the contract: it decides what may be repeated.
    reads = written.get("read_only", False) is True
    for name, part in statements.items():
        at: Path = ("statements", name)
        if not isinstance(part, Mapping):
            yield at, InvalidExpression("expected a mapping with 'statement' and, where it has some, 'parameters'")
            continue
        for key in part.keys() - TransactionStatement.model_fields.keys():
            known = ", ".join(TransactionStatement.model_fields)
            yield (*at, key), InvalidExpression(f"unknown key {key!r}; expected one of: {known}")
        yield from _under(at, _faults_of(part, reads=reads))


@dataclass(frozen=True, slots=True)
class WrittenStatement:
    """A statement of a contract, and where in its request it stands."""

    at: Path
    text: str
    row: RowShape | None = None


def statements_of(written: Any) -> Iterator[WrittenStatement]:
    """Yield every statement of a request that passed the check."""
    if not isinstance(written, Mapping):
        return
    if isinstance(table := written.get("table"), str):
        names = [column[0] for it in written["columns"] if (column := column_of(it)) is not None]
        quoted = ", ".join(f'"{name}"' for name in names)
        place = ".".join(f'"{part}"' for part in table.split("."))
        yield WrittenStatement(("table",), f"select {quoted} from {place}")  # noqa: S608 - names of the contract, in quotes
    if isinstance(text := written.get("statement"), str):
        yield WrittenStatement(("statement",), text, written.get("row"))
    for name, part in (written.get("statements") or {}).items():
        yield WrittenStatement(("statements", name, "statement"), part["statement"], part.get("row"))


def _faults_of(written: Any, *, reads: bool) -> Iterator[Fault]:
    if not isinstance(written, Mapping):
        yield _unwritten("statement", "parameters")
        return
    proved = yield from _statement(written.get("statement"), ("statement",), reads=reads)
    if proved is not None:
        at: Path = ("parameters",) if "parameters" in written else ()
        yield from _bindings(proved, written.get("parameters", {}), at)
        if proved.twice is not None:
            message = f"two columns are named {proved.twice!r}; give one another name by 'as'"
            yield ("statement",), InvalidExpression(message)
        if "row" in written:
            for column, fault in shape_faults(written["row"], proved):
                yield ("row", *column), InvalidExpression(fault)


def _statement(written: Any, at: Path, *, reads: bool) -> Generator[Fault, None, Statement | None]:
    if not isinstance(written, str):
        if written is not None:
            yield at, InvalidExpression("expected a statement as text")
        return None
    if _is_dynamic(written):
        message = "a statement is fixed by its contract; write it out, with %(name)s where a value belongs, and"
        yield at, InvalidExpression(f"{message} the value in parameters: {{name: ${{ payload.name }}}}")
        return None
    try:
        proved = statement_of(written)
    except InvalidExpression as error:
        yield at, error
        return None
    if reads and not proved.reads:
        message = "a statement that writes cannot be done in a read-only transaction; write call: execute"
        yield at, InvalidExpression(message, text=written)
    elif reads and proved.locks:
        message = (
            "a statement that locks rows cannot be done in a read-only transaction; write call: execute, or remove"
        )
        yield at, InvalidExpression(f"{message} 'for update' or 'for share'", text=written)
    return proved


def _bindings(proved: Statement, parameters: Any, at: Path) -> Iterator[Fault]:
    if not isinstance(parameters, Mapping):
        names = ", ".join(f"{name}: ..." for name in proved.names)
        yield at, InvalidExpression(f"what is bound has to be written out by name: {{{names}}}")
        return
    for name in parameters:
        if name not in proved.forms:
            known = ", ".join(f"%({it})s" for it in proved.names) or "none"
            yield (*at, name), InvalidExpression(f"parameter {name!r} is not used; the placeholders are: {known}")
    for name in proved.names:
        if name not in parameters:
            missing = f"nothing is bound to %({name})s; write {name}: ... in parameters"
            yield at, InvalidExpression(missing)


def _under(at: Path, faults: Iterator[Fault]) -> Iterator[Fault]:
    return (((*at, *path), error) for path, error in faults)


def _is_dynamic(written: Any) -> bool:
    return isinstance(written, str) and "${" in written


def _unwritten(*keys: str) -> Fault:
    return (), InvalidExpression(f"the request of a database is written out: a mapping with {', '.join(keys)}")
