"""What a pydantic model refused, without a word of pydantic: what was expected, and where it is in the value. Pure."""

import binascii
from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError
from typing import Any, NamedTuple

from pydantic import ValidationError

Path = tuple[str | int, ...]


class Words(NamedTuple):
    """What is said of one fault: all of it, by a check of the model's own, or what was `expected`. One is empty."""

    said: str
    expected: str


def words_of(details: Mapping[str, Any]) -> Words:
    """Describe one of the errors of `ValidationError.errors`, without its value unless a model's check repeats it."""
    kind, message, context = details["type"], details["msg"], details.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        for of_python, expected in _OF_PYTHON.items():
            if isinstance(context.get("error"), of_python):
                return Words("", expected)
        return Words(message.removeprefix("Value error, ").removeprefix("Assertion failed, "), "")
    if kind in ("missing", "extra_forbidden"):
        return Words(_SAID[kind], "")
    if kind == "string_pattern_mismatch":
        return Words("", f"text that matches {context['pattern']}")
    if kind in ("enum", "literal_error"):
        return Words("", str(context["expected"]))
    if kind == "union_tag_invalid":
        return Words("", f"{context['discriminator']} to be one of: {context['expected_tags']}")
    if kind == "union_tag_not_found":
        return Words("", f"a key {context['discriminator']}")
    if kind == "invalid-json-value":
        return Words("", "a JSON value")
    if kind in EXPECTED:
        bounds = {name: int(it) if isinstance(it, float) and it.is_integer() else it for name, it in context.items()}
        return Words("", EXPECTED[kind].format(**bounds))
    # A model's own type of error has a message of its own.
    said, _, expected = message.partition("Input should be ")
    return Words("" if expected else said, expected)


def refusals_of(error: ValidationError, tree: Any) -> Iterator[tuple[Path, str]]:
    """Yield each place of a value that a model refused with a sentence, which members of a union say together."""
    told: dict[Path, list[Words]] = {}
    for details in error.errors(include_url=False):
        told.setdefault(place_in(tree, details["loc"]), []).append(words_of(dict(details)))
    for place, words in told.items():
        said = next((it.said for it in words if it.said), "")
        yield place, said or f"expected {' or '.join(dict.fromkeys(it.expected for it in words))}"


def place_in(tree: Any, location: Path) -> Path:
    """Return the steps of an error's location that lead to a value; the others name a member of a union."""
    path: list[str | int] = []
    for step in location:
        is_there = step in tree if isinstance(tree, Mapping) else isinstance(tree, list) and step in range(len(tree))
        if is_there:
            path.append(step)
            tree = tree[step]
    return tuple(path)


_OF_PYTHON: Mapping[type[Exception], str] = {
    UnicodeError: "text that has a form in UTF-8",
    binascii.Error: "bytes as base64",
    AddressValueError: "an IP address",
}
"""What Python itself refuses, in words that are for programmers."""
_SAID = {"missing": "the key is missing", "extra_forbidden": "there is no such key"}
_TIME = "a time, such as 2026-01-31T09:30:00Z"
EXPECTED: Mapping[str, str] = {
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("int_from_float", "int_parsing", "int_type"), "an integer"),
    **dict.fromkeys(("decimal_type", "decimal_parsing"), "a decimal number"),
    **dict.fromkeys(("fraction_type", "fraction_parsing", "complex_type", "complex_str_parsing"), "a number"),
    **dict.fromkeys(("bytes_type", "bytes_invalid_encoding"), "bytes"),
    **dict.fromkeys(("dict_type", "frozen_dict_type", "ordered_dict_type", "counter_type"), "a mapping"),
    **dict.fromkeys(("mapping_type", "model_attributes_type", "model_type"), "a mapping"),
    **dict.fromkeys(("dataclass_type", "dataclass_exact_type", "arguments_type", "named_tuple_type"), "a mapping"),
    **dict.fromkeys(
        ("list_type", "deque_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), "a list"
    ),
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing"), "a date, such as 2026-01-31"),
    **dict.fromkeys(("date_from_datetime_inexact", "date_past", "date_future"), "a date, such as 2026-01-31"),
    **dict.fromkeys(("time_type", "time_parsing"), "a time of day, such as 09:30:00"),
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_object_invalid"), _TIME),
    **dict.fromkeys(("datetime_from_date_parsing", "datetime_past", "datetime_future"), _TIME),
    **dict.fromkeys(("timezone_naive", "timezone_aware", "timezone_offset"), _TIME),
    **dict.fromkeys(("time_delta_type", "time_delta_parsing"), "a duration"),
    **dict.fromkeys(("url_type", "url_parsing", "url_syntax_violation", "url_too_long", "url_scheme"), "a URL"),
    **dict.fromkeys(("uuid_type", "uuid_parsing", "uuid_version"), "a UUID"),
    **dict.fromkeys(("json_invalid", "json_type"), "JSON as text"),
    **dict.fromkeys(("string_too_long", "too_long", "bytes_too_long"), "a length of at most {max_length}"),
    **dict.fromkeys(("string_too_short", "too_short", "bytes_too_short"), "a length of at least {min_length}"),
    "decimal_max_digits": "a number of at most {max_digits} digits",
    "decimal_max_places": "a number of at most {decimal_places} decimal places",
    "decimal_whole_digits": "a number of at most {whole_digits} digits before the point",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "int_parsing_size": "an integer of fewer digits",
    "invalid_key": "text as a key",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "none_required": "null",
    "recursion_loop": "a value that does not hold itself",
    "recursion_depth_exceeded": "a value that is nested less deeply",
    "set_item_not_hashable": "a list of texts, numbers or booleans",
    "string_not_ascii": "text in ASCII",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
}
"""Pydantic's types of errors, as what is expected in a contract."""
