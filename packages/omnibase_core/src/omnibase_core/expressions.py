"""Expressions and mappings of contracts: compiled at load, evaluated per command. The only importer of the engine.

An expression is CEL (https://github.com/google/cel-spec), evaluated by cel-cpp. A mapping is structure, not text: a
tree in which a leaf that is wholly `${ ... }` is an expression and every other leaf stands for itself.

Two habits of the engine end here: it returns an evaluation error as a value, which would be truthy, and its own
conversion of null drops a reference to None, which ends a Python 3.11 process after a few thousand nulls.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from math import isfinite
from typing import Any

from cel_expr_python import cel
from pydantic_core import to_json

from omnibase_core.envelope import OnexEnvelope
from omnibase_core.errors import ExpressionFailed, InvalidExpression

REQUEST_NAMES = ("payload", "metadata", "envelope")
"""What an expression may read before the handler has answered."""
ANSWER_NAMES = (*REQUEST_NAMES, "result")
"""What an expression may read afterwards."""

Path = tuple[str | int, ...]

_LEAF = re.compile(r"\s*\$\{(.*)\}\s*", re.DOTALL)
_FIELD_PATH = re.compile(r"[a-z]+(?:\.[A-Za-z_]\w*)*", re.ASCII)
_STATUS = re.compile(r"^[A-Z_]+: ")
_COMPILE_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?:\n \|| \[INVALID|\Z)", re.DOTALL)
_END = "end of expression"
_UNEXPECTED = re.compile(r"Syntax error: (?:mismatched|extraneous) input '(.*)' expecting .*", re.DOTALL)
_JOINED = "write it as one: ${ 'text ' + payload.field }"
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)")
_ENVIRONMENTS: Mapping[tuple[str, ...], Any] = {
    names: cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN)) for names in (REQUEST_NAMES, ANSWER_NAMES)
}


class Scope:
    """What the expressions of one command can read. The engine's view of it is built once, and only if needed."""

    __slots__ = ("_activation", "_envelope", "_result", "_view")

    def __init__(self, envelope: OnexEnvelope, result: Mapping[str, Any] | None = None) -> None:
        """Hold the command and, after the handler has answered, its result."""
        self._envelope = envelope
        self._result = result
        self._view: dict[str, Any] | None = None
        self._activation: Any = None

    def with_result(self, result: Mapping[str, Any]) -> "Scope":
        """Give the scope of the same command once its result is known."""
        return Scope(self._envelope, result)

    def read(self, name: str) -> Any:
        """Give what a name stands for."""
        match name:
            case "payload":
                return self._envelope.payload
            case "metadata":
                return self._envelope.metadata
            case "result":
                return self._result
        return self.view()[name]

    def view(self) -> dict[str, Any]:
        """Give every name with its value."""
        if self._view is None:
            envelope = self._envelope
            self._view = {
                "payload": envelope.payload,
                "metadata": envelope.metadata,
                "envelope": {
                    "envelope_id": str(envelope.envelope_id),
                    "correlation_id": str(envelope.correlation_id),
                    "causation_id": None if envelope.causation_id is None else str(envelope.causation_id),
                    "node_slug": envelope.node_slug,
                    "operation": envelope.operation,
                    "timestamp": _plain(envelope.timestamp),
                    "expires_at": _plain(envelope.expires_at),
                },
            }
            if self._result is not None:
                self._view["result"] = self._result
        return self._view

    def activation(self) -> Any:
        """Give the engine's form of the view. Raises ValueError for text with U+0000, which the engine would cut."""
        if self._activation is None:
            view = self.view()
            if b"\\u0000" in to_json(view, fallback=str) and _holds_nul(view):
                raise ValueError("an expression cannot read text with the character U+0000")
            self._activation = _ENVIRONMENTS[REQUEST_NAMES].Activation(view)
        return self._activation


class Expression:
    """A compiled expression. Constructing it raises InvalidExpression for text that does not compile."""

    __slots__ = ("_compiled", "_field_path", "_where")

    def __init__(self, text: str, *, names: tuple[str, ...], where: str) -> None:
        """Compile against the names that may be read; `where` is its place in the contract, for errors."""
        self._where = where
        try:
            self._compiled = _ENVIRONMENTS[names].compile(text)
        except RuntimeError as error:  # the engine has no error class of its own
            raise _explain(str(error), text, names) from error
        # Reading a field is what most leaves do: Python does it at a tenth of the engine's price, with equal results.
        self._field_path = tuple(text.strip().split(".")) if _FIELD_PATH.fullmatch(text.strip()) else ()

    def evaluate(self, scope: Scope) -> Any:
        """Give the value as JSON. Raises ExpressionFailed."""
        try:
            if self._field_path and self._field_path[0] in ANSWER_NAMES:
                return self._read_field(scope)
            return _json_value(self._compiled.eval(scope.activation()))
        except ValueError as error:
            raise ExpressionFailed(str(error), where=self._where) from error

    def _read_field(self, scope: Scope) -> Any:
        name = self._field_path[0]
        value = scope.read(name)
        for field in self._field_path[1:]:
            if not isinstance(value, Mapping):
                raise ExpressionFailed(f"{name!r} is no object, it has no {field!r}", where=self._where)
            if field not in value:
                raise ExpressionFailed(f"{name!r} has no key {field!r}", where=self._where)
            name, value = field, value[field]
        return _plain(value)


Template = Callable[[Scope], Any]
"""A compiled mapping: evaluates to a JSON value, or raises ExpressionFailed."""


def compile_template(
    tree: Any, *, names: tuple[str, ...], at: Path, refuse: Callable[[Path, InvalidExpression], None]
) -> Template:
    """Compile a mapping found at a path of its contract; every expression that does not compile goes to `refuse`."""
    if isinstance(tree, str):
        return _compile_leaf(tree, names=names, at=at, refuse=refuse)
    if isinstance(tree, Mapping):
        fields = {
            key: compile_template(value, names=names, at=(*at, key), refuse=refuse) for key, value in tree.items()
        }
        return lambda scope: {key: template(scope) for key, template in fields.items()}
    if isinstance(tree, list | tuple):
        items = [
            compile_template(value, names=names, at=(*at, index), refuse=refuse) for index, value in enumerate(tree)
        ]
        return lambda scope: [template(scope) for template in items]
    return lambda _scope: tree


def compile_expression(
    text: str, *, names: tuple[str, ...], at: Path, refuse: Callable[[Path, InvalidExpression], None]
) -> Template:
    """Compile a leaf that has to be an expression, such as the condition of an error."""
    if _LEAF.fullmatch(text) is None:
        refuse(at, InvalidExpression(f"found {text!r}, expected an expression: write ${{ {text} }}"))
        return lambda _scope: None
    return _compile_leaf(text, names=names, at=at, refuse=refuse)


def is_expression(written: Any) -> bool:
    """Say whether a value of a contract is one expression as a whole."""
    return isinstance(written, str) and _LEAF.fullmatch(written) is not None


def _compile_leaf(
    text: str, *, names: tuple[str, ...], at: Path, refuse: Callable[[Path, InvalidExpression], None]
) -> Template:
    match = _LEAF.fullmatch(text)
    try:
        if match is not None:
            return Expression(match[1], names=names, where=".".join(str(step) for step in at)).evaluate
        if "${" in text:
            refuse(at, InvalidExpression(f"an expression must be the whole value, found {text!r}; {_JOINED}"))
    except InvalidExpression as error:
        refuse(at, error)
    return lambda _scope: text


def _explain(message: str, text: str, names: tuple[str, ...]) -> InvalidExpression:
    """Turn the engine's report into one line and its place, and add what to write instead."""
    match = _COMPILE_ERROR.search(message)
    if match is None:
        return InvalidExpression(_STATUS.sub("", message))
    reason = match[3].replace(" (in container '')", "").replace("<EOF>", _END)
    if unexpected := _UNEXPECTED.match(reason):
        found = unexpected[1]
        reason = "it ends too early" if found == _END else f"found {found!r}, which cannot stand here"
    if unknown := _UNDECLARED.match(reason):
        reason = f"{unknown[1]!r} is not known here; {_instead_of(unknown[1], names)}"
    return InvalidExpression(reason, text=text, line=int(match[1]), column=int(match[2]))


def _instead_of(name: str, names: tuple[str, ...]) -> str:
    if name == "result":
        return "the result is there only after the handler has answered"
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"an expression reads {', '.join(names)}"


def _json_value(value: Any) -> Any:
    """Convert what the engine gives. Raises ValueError for its errors and for what JSON has no form for."""
    kind = value.type()
    if kind == cel.Type.NULL:
        return None
    if kind == cel.Type.ERROR:
        raise ValueError(_STATUS.sub("", str(value.value())))
    inner = value.value()
    if isinstance(inner, dict):
        if not all(isinstance(key, str) for key in inner):
            raise ValueError("the keys of an object must be text")
        return {key: _json_value(item) for key, item in inner.items()}
    if isinstance(inner, list):
        return [_json_value(item) for item in inner]
    return _plain(inner)


_AS_IT_IS = frozenset({str, int, bool, dict, list, type(None)})


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case Mapping():
            return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
        case list():
            return any(map(_holds_nul, value))
    return False


def _plain(value: Any) -> Any:
    """Give a value its JSON form: times as in RFC 3339, durations in seconds with an s (as protobuf's JSON does)."""
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
        sign, (seconds, rest) = "-" if microseconds < 0 else "", divmod(abs(microseconds), 1_000_000)
        return f"{sign}{seconds}.{rest:06d}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    if isinstance(value, str | int | float | Mapping | list):
        return value
    raise ValueError(f"a value of type {type(value).__name__} has no JSON form")
