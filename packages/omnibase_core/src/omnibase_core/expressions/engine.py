"""The expression engine, cel-cpp (https://github.com/google/cel-cpp). This is its only importer.

Four habits of it end here. It returns an evaluation error as a value, which would be truthy. Its own conversion of null
drops a reference to None, which ends a Python 3.11 process after a few thousand nulls. It refuses a whole payload for
one integer beyond 64 bits. And its messages are those of a compiler.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions.functions import FUNCTIONS, call_in_words
from omnibase_core.expressions.input_bounds import Bounds
from omnibase_core.expressions.scope import ALL_NAMES, Scope
from omnibase_core.expressions.syntax import Tree, read_tree
from omnibase_core.expressions.types import KINDS
from omnibase_core.expressions.values import plain

_END = "end of expression"
_STATUS = re.compile(r"^[A-Z_]+: ")
_COMPILE_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?:\n \|| \[[A-Z_]+\]|\Z)", re.DOTALL)
_UNEXPECTED = re.compile(r"Syntax error: (?:mismatched|extraneous) input '(.*)' expecting .*", re.DOTALL)
_UNREADABLE = re.compile(r"Syntax error: token recognition error at: '(.*)'", re.DOTALL)
_UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
_NO_OVERLOAD = re.compile(r"found no matching overload for '(.*)' applied to '\((.*)\)'", re.DOTALL)
_NO_OVERLOAD_FOUND = re.compile(r"No matching overloads found : (\S+?)(?:\((.*)\))?", re.DOTALL)
_NO_KEY = re.compile(r'Key not found in map : "(.*)"', re.DOTALL)
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
        """Give the expression's tree."""
        return read_tree(self._compiled.serialize())

    def evaluate(self, scope: Scope) -> Any:
        """Give the value as JSON. Raises ValueError, which says what went wrong."""
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
            raise ValueError(_failure(str(error))) from error


def syntax_of(text: str, *, names: Sequence[str]) -> Tree | None:
    """Give the tree of a text whether its types fit or not; None for one that has no tree."""
    try:
        return read_tree(_environment(tuple(names), _extensions_of(text)).compile(text, disable_check=True).serialize())
    except RuntimeError:
        return None


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
        raise ValueError(_failure(str(value.value())))
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


def _failure(message: str) -> str:
    """Say what went wrong in an evaluation, and what to write instead."""
    reason = _STATUS.sub("", message).removesuffix(" [INTERNAL]")
    if missing := _NO_KEY.search(reason):
        key = missing[1]
        return f"there is no key {key!r} here; ask with has(...) first, or write .?{key}.orValue(...)"
    if call := _NO_OVERLOAD_FOUND.fullmatch(reason):
        if call[1] == "<jump_condition>":
            return "the condition is no boolean"
        return _no_meaning(call[1], call[2])
    if reason == "Iteration budget exceeded":
        return "its macros go more than 10,000 rounds; filter first, or write a function instead"
    return reason


# --- Faults -----------------------------------------------------------------------------------------------------------

_KIND_WORDS = {**KINDS, "int64": "integer", "uint64": "unsigned integer", "null_type": "null", "dyn": "anything"}


def _explained(message: str, text: str, names: Iterable[str]) -> InvalidExpression:
    """Turn the engine's report into one line and its place, and add what to write instead."""
    match = _COMPILE_ERROR.search(message)
    if match is None or int(match[1]) < 1:
        return InvalidExpression(_limit(_STATUS.sub("", message)), text=text)
    reason, width, near = _reason(match[3].replace(" (in container '')", ""), names)
    line, column = int(match[1]), int(match[2])
    if unknown := _UNDECLARED.match(match[3]):
        column = _column_of(unknown[1].partition(".")[0], text.split("\n")[line - 1], column)
    return InvalidExpression(reason, text=text, line=line, column=column, width=width, nearest=near)


def _reason(said: str, names: Iterable[str]) -> tuple[str, int, str | None]:
    """Give the words, the width of what is meant, and what was probably meant instead."""
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
        return _no_meaning(call[1], call[2]), 1, None
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
    **dict.fromkeys(("env", "secret", "secrets"), "what differs by place stands in the host contract"),
    **dict.fromkeys(("body", "data", "event", "input", "msg"), "what the command carries is the payload"),
}
"""What other languages call it, or have and CEL has not, and what to write here."""


def _no_meaning(function: str, kinds: str | None) -> str:
    """Say which call it is that is not defined, in the words of a contract."""
    words = [_worded(kind.strip()) for kind in _split(kinds or "")]
    said = call_in_words(function, words)
    advice = ""
    if function == "_?_:_":
        advice = "; both results need one type, or dyn(...) around one"
    elif {"number", "integer"} <= set(words):
        advice = "; write 2.0 for 2, and double(...) around an integer"
    elif "string" in words and words[0] != words[-1] and function == "_+_":
        advice = "; write string(...) around what is no text"
    return f"{said} has no meaning{advice}"


def _split(kinds: str) -> Iterable[str]:
    """Split at the commas that are in no brackets."""
    depth, start = 0, 0
    for at, sign in enumerate(kinds):
        depth += (sign in "(<") - (sign in ")>")
        if sign == "," and depth == 0:
            yield kinds[start:at]
            start = at + 1
    if kinds:
        yield kinds[start:]


def _worded(kind: str) -> str:
    head = kind.partition("(")[0]
    return {"list": "array", "map": "object", "optional_type": "optional", **_KIND_WORDS}.get(head, kind)
