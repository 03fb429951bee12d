"""Statements of contracts: what PostgreSQL's own parser says of them. No I/O.

A statement is parsed once and kept. Its placeholders become `$1`, `$2`: so the server gets text and values apart, it
alone says of which type each value is, and a `%` elsewhere in a statement stands for itself.

The only importer of pgparse (libpg_query), which is loaded with the first statement.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from omnibase_core.errors import InvalidExpression
from omnibase_infra.handlers.db.text_values import Form, UnboundValue, text_of

_PLACEHOLDER = re.compile(
    r"%\((?P<name>[A-Za-z_]\w*)\)s"
    r"(?:\s*+::\s*+(?:(?P<json>jsonb?)\b(?!\s*+\[)|[\w.\s]++(?P<array>(?:\[\d*+\]\s*+)++)))?",
    re.ASCII,
)
"""Nothing of it is tried twice: its time grows with the length of a statement, and no faster."""
_COLUMN = re.compile(r"(?P<name>[A-Za-z_][\w$]*)(?:::(?:(?P<json>jsonb?)|[\w. ]+(?P<array>(?:\[\])+)))?", re.ASCII)
_FOREIGN = re.compile(r"%s\b|:[A-Za-z_]\w*")
_IN = re.compile(r"\b(?P<not>not\s{1,40})?in\s{0,40}$", re.IGNORECASE)
_OVER_LISTS = ("AEXPR_OP_ANY", "AEXPR_OP_ALL")
_NAMELESS = frozenset({"A_Const", "ParamRef"})
_READS = frozenset({"SelectStmt"})
_WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CallStmt"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that passed every check: its text with `$1`, whose parameters those are, and what it does."""

    text: str
    names: tuple[str, ...]
    forms: Mapping[str, Form]
    reads: bool
    """Whether it is a select, which writes nothing by itself."""
    returns_rows: bool
    locks: bool
    """Whether it locks rows, which a transaction that reads only may not."""
    twice: str | None
    """The name of two of its columns, where the text tells it."""
    columns: tuple[str, ...] | None
    """The names of the columns of its rows, where the text tells them: not those of `*`, nor of what has no name."""

    def bound(self, parameters: Mapping[str, Any]) -> list[str | None]:
        """Return the values in the order of their places. Raises UnboundValue."""
        if unknown := [name for name in parameters if name not in self.forms]:
            raise UnboundValue(f"the statement has no placeholder %({unknown[0]})s")
        if missing := [name for name in self.names if name not in parameters]:
            raise UnboundValue(f"nothing is bound to %({missing[0]})s")
        return [text_of(parameters[name], self.forms[name], name=name) for name in self.names]


@lru_cache(maxsize=4096)
def statement_of(written: str) -> Statement:
    """Parse a statement. Raises InvalidExpression, with the place of the fault in the text."""
    import pgparse  # a host without a database does without it

    if "\0" in written:
        raise _at(written, written.index("\0"), "found the character U+0000, at which a statement would end; remove it")
    names, forms = _placeholders(written)
    text, spans = _numbered(written, {name: number for number, name in enumerate(names, start=1)})
    try:
        parsed = pgparse.parse(text)
    except pgparse.PGQueryError as error:
        place = _before(max(error.position - 1, 0), spans)
        raise _at(written, place, f"PostgreSQL: {error.message}{_advice(written, place)}") from None
    except (RecursionError, ValueError):
        raise _at(written, 0, "PostgreSQL's parser cannot take this: it is nested too deeply, or no text") from None
    _refuse_strangers(written, text, spans, parsed)
    _refuse_uncast_lists(written, names, text, spans, parsed)
    if len(parsed) != 1:
        found = f"{len(parsed)} statements" if parsed else "no statement"
        second = parsed[1].get("stmt_location", 0) if parsed else 0
        after = _characters(text, second)
        place = _before(after + len(text[after:]) - len(text[after:].lstrip()), spans)
        advice = "write one; several are statements of the operation 'transaction'"
        raise _at(written, place, f"found {found}, expected exactly one; {advice}")
    [(kind, node)] = parsed[0]["stmt"].items()
    return _described(written, text, names, forms, kind, node)


def column_of(written: str) -> tuple[str, Form] | None:
    """Return a column of a COPY and the form of its values; None where it is no name of a column."""
    match = _COLUMN.fullmatch(written)
    return None if match is None else (match["name"], _form(match))


def _described(
    written: str, text: str, names: tuple[str, ...], forms: Mapping[str, Form], kind: str, node: Any
) -> Statement:
    if kind not in _READS | _WRITES:
        found = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Stmt")).lower()
        raise _at(written, 0, f"found a statement of the kind {found!r}, expected select, insert, update, delete, ...")
    if "intoClause" in node:
        raise _at(written, 0, "select ... into makes a table; write insert into ... select")
    reads = kind in _READS and not any(name in _WRITES for name, _ in _nodes(node))
    gives = _given(kind, node)
    columns = [_column(it["ResTarget"]) for it in gives or ()]
    return Statement(
        text,
        names,
        forms,
        reads,
        returns_rows=gives is not None,
        locks=any(name == "lockingClause" for name, _ in _nodes(node)),
        twice=_twice(gives or (), columns),
        columns=_all_known(columns),
    )


def _given(kind: str, node: Any) -> list[Any] | None:
    """Return what its rows are made of; None where it has none."""
    if kind not in _READS:
        return node.get("returningList") or None
    while "larg" in node:  # the columns of a union are those of its first select
        node = node["larg"]
    return list(node.get("targetList", ()))


def _column(target: Mapping[str, Any]) -> str | None:
    return target.get("name") or _named(target["val"])


def _all_known(columns: Sequence[str | None]) -> tuple[str, ...] | None:
    names = tuple(name for name in columns if name is not None)
    return names if names and len(names) == len(columns) else None


def _twice(gives: Sequence[Any], columns: Sequence[str | None]) -> str | None:
    """Return a name that two columns have; nobody gave one to those that PostgreSQL calls `?column?`."""
    unnamed = (not _NAMELESS.isdisjoint(it["ResTarget"]["val"]) for it in gives)
    names = [name or ("?column?" if is_unnamed else None) for name, is_unnamed in zip(columns, unnamed, strict=True)]
    return next((name for name, count in Counter(names).items() if name is not None and count > 1), None)


def _named(value: Mapping[str, Any]) -> str | None:
    """Return the name that PostgreSQL gives to a column without `as`, where it is plain to see."""
    match value:
        case {"ColumnRef": {"fields": [*_, {"String": {"sval": str(name)}}]}}:
            return name
        case {"FuncCall": {"funcname": [*_, {"String": {"sval": str(name)}}]}}:
            return name
        case {"TypeCast": {"arg": {"ColumnRef": _} | {"FuncCall": _} as cast}}:
            return _named(cast)
    return None


def _nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield every node of a parse tree with its name, in no order."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _placeholders(written: str) -> tuple[tuple[str, ...], Mapping[str, Form]]:
    forms: dict[str, Form] = {}
    for match in _PLACEHOLDER.finditer(written):
        name, form = match["name"], _form(match)
        if forms.setdefault(name, form) != form:
            message = f"%({name})s is {forms[name]} in one place and {form} in another; cast it alike in each"
            raise _at(written, match.start(), message)
    return tuple(forms), forms


def _form(match: "re.Match[str]") -> Form:
    return "json" if match["json"] else "array" if match["array"] else "scalar"


@dataclass(frozen=True, slots=True)
class _Span:
    """Where one placeholder stands: in the text as it is written, and in the one with numbers. In characters."""

    start: int
    length: int
    at: int
    size: int


def _numbered(written: str, numbers: Mapping[str, int]) -> tuple[str, list[_Span]]:
    text, spans, end = "", [], 0
    for match in _PLACEHOLDER.finditer(written):
        length, number = len(f"%({match['name']})s"), f"${numbers[match['name']]}"
        text += written[end : match.start()]
        spans.append(_Span(match.start(), length, len(text), len(number)))
        text, end = text + number, match.start() + length
    return text + written[end:], spans


def _before(place: int, spans: Sequence[_Span]) -> int:
    """Return the place in the written text of one in the text with numbers."""
    passed = [span for span in spans if span.at <= place]
    if not passed:
        return place
    last = passed[-1]
    return last.start if place < last.at + last.size else place - last.at - last.size + last.start + last.length


def _refuse_strangers(written: str, text: str, spans: Sequence[_Span], parsed: Any) -> None:
    """Check that each placeholder is one to PostgreSQL too, and that there are no others."""
    references = (node for name, node in _nodes(parsed) if name == "ParamRef")
    found = {_characters(text, node.get("location", 0)): node.get("number", 0) for node in references}
    for at in sorted(found.keys() - {span.at for span in spans}):
        raise _at(written, _before(at, spans), f"found ${found[at]}, expected a placeholder by name: %(name)s")
    for span in spans:
        if span.at not in found:
            name = written[span.start : span.start + span.length]
            message = f"{name} stands in quotes or in a comment, where nothing is bound; write it without quotes"
            raise _at(written, span.start, message)


def _refuse_uncast_lists(written: str, names: Sequence[str], text: str, spans: Sequence[_Span], parsed: Any) -> None:
    """Check that what `any` and `all` compare with is written out as an array."""
    for kind, node in _nodes(parsed):
        if kind == "A_Expr" and node.get("kind") in _OVER_LISTS and "ParamRef" in node["rexpr"]:
            reference = node["rexpr"]["ParamRef"]
            name = names[reference["number"] - 1]
            place = _before(_characters(text, reference.get("location", 0)), spans)
            message = f"a list needs the type of its array, such as %({name})s::bigint[] or %({name})s::text[]"
            raise _at(written, place, message)


def _advice(written: str, place: int) -> str:
    """Describe what to write in place of what other drivers take, or of a placeholder where no value can stand."""
    rest = written[place:]
    if foreign := _FOREIGN.match(rest):
        return f"; found {foreign[0]}, expected a placeholder by name: %(name)s"
    if (placeholder := _PLACEHOLDER.match(rest)) is None:
        return ""
    name = placeholder["name"]
    if before := _IN.search(written, max(0, place - 100), place):
        compared = "<> all" if before["not"] else "= any"
        return f"; for a list write {compared}(%({name})s::bigint[]), or the type that its items have, in place of in"
    return "; a placeholder stands for a value, not for the name of a table or a column: write the name out"


def _characters(text: str, byte: int) -> int:
    """Return the place of a byte in characters: the parse tree counts in UTF-8."""
    return byte if text.isascii() else len(text.encode(errors="surrogatepass")[:byte].decode(errors="replace"))


def _at(written: str, place: int, message: str) -> InvalidExpression:
    """Make the fault with its line and column in the statement."""
    above = written[: max(place, 0)]
    line, column = above.count("\n") + 1, len(above) - (above.rfind("\n") + 1) + 1
    where = f"line {line} of the statement: " if "\n" in written.strip() else ""
    return InvalidExpression(where + message, text=written, line=line, column=column)
