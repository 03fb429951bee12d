"""What the engine reports of an evaluation, in the words of a contract: what went wrong and what to write. Pure."""

import re
from collections.abc import Iterable, Mapping

from omnibase_core.expressions import code
from omnibase_core.expressions.functions import call_in_words
from omnibase_core.expressions.types import KINDS

STATUS = re.compile(r"^[A-Z_]+: ")
"""What the engine's reports begin with."""

_NO_OVERLOAD_FOUND = re.compile(r"No matching overloads found : (\S+?)(?:\((.*)\))?", re.DOTALL)
_NO_KEY = re.compile(r'Key not found in map : "(.*)"', re.DOTALL)
_NO_OBJECT = "a key is read from a value that is not an object, such as null; test it first: ... != null"
_INTO_NOTHING = {
    **dict.fromkeys(("_[?_]", "_?._", "_[_]"), _NO_OBJECT),
    "@in": "'in' needs an array or an object, and the value may be null; test it first: ... != null",
    "<iter_range>": "a macro needs an array or an object, and the value may be null; test it first: ... != null",
    "<jump_condition>": "the condition is not a boolean",
}
"""What is said of functions that look into null, or whose arguments the engine does not tell."""
_WORDS: Mapping[re.Pattern[str], str] = {
    re.compile(pattern): words
    for pattern, words in {
        r"Applying SELECT to non-message type|Invalid container type: .*": _NO_OBJECT,
        r"String to Duration conversion failed": "the text is not a duration with the units h, m, s, ms, us and ns",
        r"String to Timestamp conversion failed": "the text is not a time, which is written as 2026-01-31T09:30:00Z",
        r"cannot convert string to u?int": "the text is not an integer",
        r"cannot convert string to double": "the text is not a number",
        r"Type conversion error from 'string' to 'bool'": "the text is neither true nor false",
        r"invalid base64 data": "the text is not valid base64",
        r"(?s)invalid regular expression: (.*)": "the pattern is not a regular expression (RE2): {0}",
        r"Index error: index=(-?\d+) size=(\d+)": "there is no item {0} in an array of {1}",
    }.items()
}


def failure(message: str) -> str:
    """Describe what went wrong in an evaluation, and what to write instead."""
    reason = STATUS.sub("", message).removesuffix(" [INTERNAL]")
    if missing := _NO_KEY.search(reason):
        key = missing[1]
        asked = "has(...)" if code.is_field(key) else f"{code.literal(key)} in ..."
        return f"there is no key {key!r} here; ask with {asked} first, or write {code.or_else('', key)}"
    if call := _NO_OVERLOAD_FOUND.fullmatch(reason):
        if call[1] in _INTO_NOTHING and (not call[2] or call[2].startswith("null_type")):
            return _INTO_NOTHING[call[1]]
        return no_meaning(call[1], call[2])
    for pattern, words in _WORDS.items():
        if match := pattern.fullmatch(reason):
            return words.format(*match.groups())
    if reason == "Iteration budget exceeded":
        return "its macros go more than 10,000 rounds; filter first, or write a function instead"
    return reason


_KIND_WORDS = {**KINDS, "int64": "integer", "uint64": "unsigned integer", "null_type": "null", "dyn": "anything"}


def no_meaning(function: str, kinds: str | None) -> str:
    """Describe which call it is that is not defined, in the words of a contract."""
    words = [_worded(kind.strip()) for kind in _split(kinds or "")]
    said = call_in_words(function, words)
    advice = ""
    if function == "_?_:_":
        advice = "; both results need one type, or dyn(...) around one"
    elif {"number", "integer"} <= set(words):
        advice = "; write 2.0 for 2, and double(...) around an integer"
    elif "string" in words and words[0] != words[-1] and function == "_+_":
        advice = "; write string(...) around values that are not text"
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
