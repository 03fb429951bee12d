"""The expression engine, cel-cpp (https://github.com/google/cel-cpp). This is its only importer.

Five habits of it end here. It returns an evaluation error as a value, which would be truthy. Its own conversion of null
drops a reference to None, which ends a Python 3.11 process after a few thousand nulls. It asks what it does not know
for its text, and ends the process where that fails. It refuses a whole payload for one integer beyond 64 bits. And its
messages are those of a compiler.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions.failures import STATUS, failure, no_meaning
from omnibase_core.expressions.functions import FUNCTIONS
from omnibase_core.expressions.input_bounds import Bounds
from omnibase_core.expressions.scope import ALL_NAMES, Scope
from omnibase_core.expressions.syntax import Tree, read_tree
from omnibase_core.expressions.values import plain

_END = "end of expression"
_COMPILE_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?:\n \|| \[[A-Z_]+\]|\Z)", re.DOTALL)
_UNEXPECTED = re.compile(r"Syntax error: (?:mismatched|extraneous) input '(.*)' expecting .*", re.DOTALL)
_UNREADABLE = re.compile(r"Syntax error: token recognition error at: '(.*)'", re.DOTALL)
_UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
_NO_OVERLOAD = re.compile(r"found no matching overload for '(.*)' applied to '\((.*)\)'", re.DOTALL)
_LARGE = "integer beyond 64 bits"
_TOO_LARGE = re.compile(r"Integer value '(-?\d+)' out of range")


class Program:
    """A compiled expression. Constructing it raises InvalidExpression for text that the engine refuses."""

    __slots__ = ("_bounds", "_compiled", "_reads_envelope")

    def __init__(self, text: str, *, names: Sequence[str]) -> None:
        """Compile against the names that may be read, which may hold anything."""
        self._reads_envelope = "envelope" in text
        self._bounds = Bounds(text)
        try:
            self._compiled = _environment(tuple(names), _extensions_of(text)).compile(text)
        except RuntimeError as error:  # the engine has no error class of its own
            raise _explained(str(error), text, names) from error

    def tree(self) -> Tree:
        """Return the expression's tree."""
        return read_tree(self._compiled.serialize())

    def evaluate(self, scope: Scope) -> Any:
        """Return the value as JSON. Raises ValueError, which says what went wrong."""
        value = self._value(scope)
        if value.type() == _cel().Type.ERROR and _TOO_LARGE.search(str(value.value())):
            scope.narrow()
            value = self._value(scope)
        try:
            return _json_value(value)
        except ValueError as error:
            # Nothing else can be of the kind that stands for such an integer.
            raise ValueError(str(error).replace("bytes", _LARGE)) if scope.narrowed else error from error

    def _value(self, scope: Scope) -> Any:
        if scope.activation is None or (self._reads_envelope and not scope.shows_envelope):
            view = scope.view(envelope=self._reads_envelope)
            scope.activation = _environment(ALL_NAMES, frozenset()).Activation(view)
        if self._bounds and (fault := self._bounds.fault(scope.view(envelope=False))) is not None:
            raise ValueError(fault)
        try:
            return self._compiled.eval(scope.activation)
        except RuntimeError as error:
            raise ValueError(failure(str(error))) from error


def syntax_of(text: str, *, names: Sequence[str]) -> Tree | None:
    """Return the tree of a text whether its types fit or not; None for one that has no tree."""
    try:
        return read_tree(_environment(tuple(names), _extensions_of(text)).compile(text, disable_check=True).serialize())
    except RuntimeError:
        return None


def failure_of(text: str) -> str | None:
    """Return why an expression that reads nothing fails; None where it gives a value, and for one that is none."""
    try:
        environment = _environment((), _extensions_of(text))
        value = environment.compile(text).eval(environment.Activation({}))
    except RuntimeError:
        return None
    return failure(str(value.value())) if value.type() == _cel().Type.ERROR else None


# --- Environments -------------------------------------------------------------------------------------------------


def _optionals() -> Any:
    from cel_expr_python.ext.ext_optional import ExtOptional

    return ExtOptional()


def _strings() -> Any:
    from cel_expr_python.ext.ext_strings import ExtStrings

    return ExtStrings()


def _mathematics() -> Any:
    from cel_expr_python.ext.ext_math import ExtMath

    return ExtMath()


def _encoders() -> Any:
    from cel_expr_python.ext.ext_encoders import ExtEncoders

    return ExtEncoders()


_TEXT_METHODS = "charAt|format|indexOf|join|lastIndexOf|lowerAscii|upperAscii|replace|reverse|split|substring|trim"
_EXTENSIONS: Mapping[Callable[[], Any], re.Pattern[str]] = {
    _optionals: re.compile(r"[.\[{,]\s*\?|\boptional\.|\bopt(?:Flat)?Map\b|\b(?:orValue|hasValue|first|last)\s*\("),
    _strings: re.compile(rf"\b(?:{_TEXT_METHODS})\s*\(|\bstrings\."),
    _mathematics: re.compile(r"\bmath\."),
    _encoders: re.compile(r"\bbase64\."),
}
"""What the engine loads for 2 to 4 MB of memory each, and the words by which an expression shows that it needs it."""


def _extensions_of(text: str) -> frozenset[Callable[[], Any]]:
    return frozenset(extension for extension, words in _EXTENSIONS.items() if words.search(text))


@cache
def _cel() -> Any:
    """Load the engine: 6 MB, which a host of contracts that only read fields does without."""
    from cel_expr_python import cel

    return cel


@cache
def _environment(names: tuple[str, ...], extensions: frozenset[Callable[[], Any]]) -> Any:
    variables = dict.fromkeys(names, _cel().Type.DYN)
    return _cel().NewEnv(variables=variables, extensions=[extension() for extension in extensions])


# --- Values ---------------------------------------------------------------------------------------------------------


@cache
def _scalars() -> tuple[Any, ...]:
    kinds = _cel().Type
    return (kinds.STRING, kinds.BOOL, kinds.INT)


def _json_value(value: Any) -> Any:
    """Convert what the engine gives. Raises ValueError for its errors and for what JSON has no form for."""
    kind = value.type()
    if kind in _scalars():
        return value.value()
    if kind == _cel().Type.NULL:
        return None
    if kind == _cel().Type.ERROR:
        raise ValueError(failure(str(value.value())))
    try:
        inner = value.value()
    except TypeError as error:
        raise ValueError(f"a value of type {kind.name()} has no JSON form") from error
    if isinstance(inner, dict):
        if not all(isinstance(key, str) for key in inner):
            raise ValueError("the keys of an object must be text")
        return {key: _json_value(item) for key, item in inner.items()}
    if isinstance(inner, list):
        return [_json_value(item) for item in inner]
    return plain(inner)


# --- Faults -----------------------------------------------------------------------------------------------------------


def _explained(message: str, text: str, names: Iterable[str]) -> InvalidExpression:
    """Turn the engine's report into one line and its place, and add what to write instead."""
    match = _COMPILE_ERROR.search(message)
    if match is None or int(match[1]) < 1:
        return InvalidExpression(_limit(STATUS.sub("", message)), text=text)
    reason, width, near = _reason(match[3].replace(" (in container '')", ""), names)
    line, column = int(match[1]), int(match[2])
    written = text.split("\n")[line - 1]
    if reason == _HAS and (asked := _ASKED.match(written, written.rfind("(", 0, column))):
        owner, key = asked["owner"].strip(), asked["key"]
        reason = f"has(...) takes a key after a point; write {key} in {owner}, or {owner}[?{key}].orValue(...)"
        column, width = asked.start("written") + 1, len(asked["written"])
    if unknown := _UNDECLARED.match(match[3]):
        column = _column_of(unknown[1].partition(".")[0], text.split("\n")[line - 1], column)
    return InvalidExpression(reason, text=text, line=line, column=column, width=width, nearest=near)


_HAS = "has() argument must be a field selection"
_ASKED = re.compile(r"""\(\s*(?P<written>(?P<owner>[^()]*?)\[\s*(?P<key>'[^'\\]*'|"[^"\\]*")\s*\])\s*\)""")
"""What stands in the brackets of `has`, where it reads a key in brackets."""


def _reason(said: str, names: Iterable[str]) -> tuple[str, int, str | None]:
    """Return the words, the width of what is meant, and what was probably meant instead."""
    reason = said.replace("<EOF>", _END)
    if unexpected := _UNEXPECTED.match(reason):
        found = unexpected[1]
        if found == _END:
            return "it ends too early", 1, None
        return f"found {found!r}, which cannot stand here", len(found), None
    if unreadable := _UNREADABLE.match(reason):
        found = unreadable[1] or "\x00"  # The engine's own words end there.
        hint = "a text lacks its closing quote" if found[0] in "'\"" else _INSTEAD_OF_SIGNS.get(found.strip(), "")
        return f"found {found.strip()!r}, which cannot stand here{hint and '; ' + hint}", len(found.strip()), None
    if unknown := _UNDECLARED.match(reason):
        word = unknown[1].partition(".")[0]
        hint, near = _instead_of(word, names)
        return f"{word!r} is not known here; {hint}", len(word), near
    if call := _NO_OVERLOAD.fullmatch(reason):
        return no_meaning(call[1], call[2]), 1, None
    return reason, 1, None


_INSTEAD_OF_SIGNS = {"=": "write == to compare", "&": "write &&", "|": "write ||"}


def _limit(reason: str) -> str:
    return "it is nested too deeply; write a function instead" if "recursion" in reason else reason.partition("\n")[0]


def _column_of(word: str, line: str, column: int) -> int:
    """Find a word at or right before a column: the engine gives the place of the bracket, or of the last point."""
    if line.startswith(word, column - 1):
        return column
    before = line[: column - 1].rfind(word)
    return column if before < 0 else before + 1


def _instead_of(name: str, names: Iterable[str]) -> tuple[str, str | None]:
    if name == "result" and name not in names:
        return "the result is there only after the handler has answered", None
    if name == "error" and name not in names:
        return "the error is there only in a rule with 'on'", None
    if advice := _FROM_ELSEWHERE.get(name):
        return advice, None
    methods = (function.lstrip(".") for function in FUNCTIONS if not function.startswith(("_", "@")))
    near = get_close_matches(name, [*names, *methods], n=1)
    return (f"did you mean {near[0]!r}?", near[0]) if near else (f"an expression reads {', '.join(names)}", None)


_FROM_ELSEWHERE = {
    **dict.fromkeys(("upper", "toUpper", "toUpperCase", "uppercase"), "write .upperAscii()"),
    **dict.fromkeys(("lower", "toLower", "toLowerCase", "lowercase"), "write .lowerAscii()"),
    **dict.fromkeys(("len", "length", "count"), "write size(...)"),
    **dict.fromkeys(("isEmpty", "empty"), "write size(...) == 0"),
    **dict.fromkeys(("substr", "slice"), "write .substring(start, end)"),
    **dict.fromkeys(("includes", "contain"), "write .contains(...), or `item in list`"),
    **dict.fromkeys(("str", "toString"), "write string(...)"),
    **dict.fromkeys(("parseInt", "toInt"), "write int(...)"),
    **dict.fromkeys(("float", "parseFloat"), "write double(...)"),
    **dict.fromkeys(("True", "False"), "write it in lower case"),
    **dict.fromkeys(("None", "nil", "undefined"), "write null; has(payload.key) tells whether a key is there"),
    **dict.fromkeys(("now", "today", "Date"), "an expression has no clock; a command was sent at envelope.timestamp"),
    **dict.fromkeys(("uuid", "uuid4", "random", "rand"), "nothing here is random; envelope.envelope_id is unique"),
    **dict.fromkeys(("env", "secret", "secrets"), "settings of an environment belong in the host contract"),
    **dict.fromkeys(("body", "data", "event", "input", "msg"), "what the command carries is the payload"),
}
"""What other languages call it, or have and CEL has not, and what to write here."""
