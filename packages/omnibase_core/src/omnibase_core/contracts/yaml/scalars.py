"""Plain scalars: what an unquoted word of a contract stands for. Pure.

A word means what JSON means by it, and everything else is text, with one exception: a word that some version of YAML
takes for something other than text (`on`, `12:30:00`, `017`, `2024-01-01`) is a fault, because its author cannot know
how it is read.
"""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from omnibase_core.problem_codes import ProblemCode

Scalar = str | int | float | bool | None

Fault = tuple[str, ProblemCode]
"""What is wrong with a word, and the kind of fault that it is."""

INTEGER_BITS = 64
"""Integers are signed: that is what an expression, a schema and a database column can hold."""

_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_INTEGER_LENGTH_MAX = len(str(-(2 ** (INTEGER_BITS - 1))))
_SHOWN_LENGTH_MAX = 60

_NOT_TEXT = re.compile(r"[-+.\d~=<]|\Z|(?i:on|off|yes|no|y|n|true|false|null)\Z", re.ASCII)
"""How every word starts that is not simply text: most words are told apart by this one look."""

_TIME = r"(?:[Tt]|[ \t]+)\d\d?:\d\d(?::\d\d(?:\.\d*)?)?(?:[ \t]*(?:[Zz]|[-+]\d\d?(?::?\d\d)?))?"
_NO_NUMBER = "JSON has no such number"
_MISREAD = tuple(
    (re.compile(pattern, re.ASCII), why, instead)
    for pattern, why, instead in (
        (r"(?i:on|yes|y)", "YAML 1.1 reads it as a boolean", "true, or as text "),
        (r"(?i:off|no|n)", "YAML 1.1 reads it as a boolean", "false, or as text "),
        (r"(?i:true)", "only lower case is a boolean here", "true, or as text "),
        (r"(?i:false)", "only lower case is a boolean here", "false, or as text "),
        (r"(?i:null)|~", "only null in lower case is null here", "null, or as text "),
        (r"<<|=", "it has another meaning in YAML 1.1", ""),
        (r"[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?", "YAML 1.1 reads it as a number to the base of 60", ""),
        (rf"\d{{4}}-\d\d?-\d\d?(?:{_TIME})?", "YAML 1.1 reads it as a time", ""),
        (r"[-+]?\.(?i:inf|nan)", _NO_NUMBER, "a finite number, or as text "),
        (r"[-+]?0(?:x[\da-fA-F_]+|o[0-7_]+|b[01_]+)", "it is not a decimal number", "{}, or as text "),
        (r"[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?\d+)?", "it is not a plain number", "{}, or as text "),
    )
)
"""Words on which readers of YAML differ: the pattern, why it is refused, and what to write beside the quoted word."""


def read_plain(word: str) -> tuple[Scalar, Fault | None]:
    """Return what a plain scalar stands for and, where that is unclear, the problem beside the word itself."""
    if _NOT_TEXT.match(word) is None:
        return word, None
    if not word:
        return None, ("found no value; write one, or null, or {}", "no-value")
    if word in _WORDS:
        return _WORDS[word], None
    if _INTEGER.fullmatch(word):
        return _read_integer(word)
    if _NUMBER.fullmatch(word):
        return _read_float(word)
    return word, _fault_of_text(word)


def shown(value: Any) -> str:
    """Show a value in a message: as it is written in YAML, cut short, collections by their kind only."""
    if isinstance(value, Mapping):
        return "a mapping" if value else "{}"
    if isinstance(value, list | tuple):
        return "a list" if value else "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Cut text to the length that a message can carry."""
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[: _SHOWN_LENGTH_MAX - 3] + "..."


def _read_integer(word: str) -> tuple[Scalar, Fault | None]:
    # The length is looked at first: Python refuses to convert some thousands of digits.
    if len(word) > _INTEGER_LENGTH_MAX or not -(2 ** (INTEGER_BITS - 1)) <= int(word) < 2 ** (INTEGER_BITS - 1):
        fits = f"found {shortened(word)}, which does not fit {INTEGER_BITS} bits; write it as text, in quotes"
        return word, (fits, "bad-number")
    return int(word), None


def _read_float(word: str) -> tuple[Scalar, Fault | None]:
    number = float(word)
    if not isfinite(number):
        large = f"found {shortened(word)}, which is too large for a number; write it as text, in quotes"
        return word, (large, "bad-number")
    return number, None


def _fault_of_text(word: str) -> Fault | None:
    for pattern, why, instead in _MISREAD:
        if pattern.fullmatch(word):
            code: ProblemCode = "bad-number" if why == _NO_NUMBER else "ambiguous-word"
            meant = _decimal(word) or "one"
            return f'found {shortened(word)}: {why}; write {instead.format(meant)}"{shortened(word)}"', code
    return None


def _decimal(word: str) -> str | None:
    """Return a number as JSON writes it; None where readers differ on it (`017`), and for a long one."""
    digits = word.replace("_", "").removeprefix("+")
    if _OTHER_BASE.fullmatch(digits):
        number = int(digits, 0)
        return str(number) if number.bit_length() < INTEGER_BITS else None
    whole = re.sub(r"\A(-?)\.", r"\g<1>0.", re.sub(r"\.(?!\d)", ".0", digits))
    return whole if len(whole) <= _INTEGER_LENGTH_MAX and _NUMBER.fullmatch(whole) else None


_OTHER_BASE = re.compile(r"-?0(?:x[\da-fA-F]{1,16}|o[0-7]{1,22}|b[01]{1,64})", re.ASCII)
