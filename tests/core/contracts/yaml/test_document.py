"""Strict YAML: what is refused and where, that any text is survived, and that every place points at its value."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contracts.yaml.document import (
    DEPTH_MAX,
    Path,
    nearest,
    parse_document,
)
from omnibase_core.contracts.yaml.scalars import read_plain
from omnibase_core.contracts.yaml.text import LENGTH_MAX, TextPosition


def _problems(text: str) -> list[str]:
    return [str(problem).removeprefix("c.yaml:") for problem in parse_document("c.yaml", text).problems]


ROOT = "expected a mapping that starts with contract: node/v1 or contract: host/v1"
OUT = "write the value out where it is needed"

WRONG = {
    # The file
    "empty": ("", [f"1:1: the file is empty, {ROOT}"]),
    "only a comment": ("# nothing\n", [f"1:1: the file is empty, {ROOT}"]),
    "an empty document": ("---\n", [f"2:1: found nothing, {ROOT}"]),
    "a list": ("- a\n", [f"1:1: found a list, {ROOT}"]),
    "a word": ("hello", [f"1:1: found 'hello', {ROOT}"]),
    "two documents": (
        "a: 1\n---\nb: 2\n",
        ["2:1: a second document starts here; write each contract in a file of its own"],
    ),
    "a directive": ("%YAML 1.1\n---\na: 1", ["1:1: directives (%YAML, %TAG) are not allowed; remove them"]),
    "too large": (
        "a: " + "x" * LENGTH_MAX,
        ["1:1: found 262147 characters, expected at most 262144; split the contract"],
    ),
    # Characters
    "a byte order mark": ("\ufeffa: 1", ["1:1: found a byte order mark; save the file as UTF-8 without it"]),
    "control characters": (
        "a: 1\nb: \x01\nc: \x7f",
        [
            "2:4: found the character U+0001; remove it, or escape it in double quotes",
            "3:4: found the character U+007F; remove it, or escape it in double quotes",
        ],
    ),
    "a binary file": ("a: 1\nb: \x01\nc: \x00\nd: \x01", ["3:4: found the character U+0000: this is not text"]),
    "a byte that is no UTF-8": (
        "a: 1\nb: \udcff",
        ["2:4: found the byte 0xff, which is not UTF-8; save the file as UTF-8"],
    ),
    "half a surrogate pair": (
        "a: \ud83d",
        ["1:4: found the character U+D83D; remove it, or escape it in double quotes"],
    ),
    "a line separator": ("a: x\u2028b", ["1:5: found the character U+2028; remove it, or escape it in double quotes"]),
    "old line ends": ("a: 1\rb: 2", ["1:5: found a carriage return without a line feed; end lines with a line feed"]),
    "leading tabs": (
        "a:\n\tb: 1\n\tc: 1\n",
        [f"{line}:1: found a tab, expected spaces; indent with spaces" for line in (2, 3)],
    ),
    "a tab after spaces": ("a:\n  \tb: 1", ["2:3: found a tab, expected spaces; indent with spaces"]),
    # Syntax
    "text with a colon": (
        "a: b: c",
        [
            "1:5: found ': c', but no key can stand here; "
            "quote text that holds ': ', or indent the key like its neighbours"
        ],
    ),
    "an unquoted condition": (
        "a: ${ a ? b : c }",
        ["1:13: found ': c }', but no key can stand here; quote the whole expression: \"${ ... }\""],
    ),
    "an unquoted expression in braces": (
        "{x: ${ payload.id }}",
        ["1:6: found '{ payload.id }}', expected ',' or '}'; quote the whole expression: \"${ ... }\""],
    ),
    "an expression beside quotes": (
        'k: "${ a }" + b',
        ["1:13: found '+ b', expected a key; quote the whole expression: \"${ ... }\""],
    ),
    "a list beside its key": (
        "a: - b",
        ["1:4: found '- b', but no list can start here; write each item on a line of its own, below the key"],
    ),
    "a key without a colon": (
        "a: 1\nfoo\nb: 2\n",
        ["2:1: found 'foo', expected a colon after a key; write key: value"],
    ),
    "a colon without a space": (
        "a: 1\nname:echo\n",
        ["2:1: found 'name:echo', expected a colon after a key; write a space after the colon: name: echo"],
    ),
    "crooked indentation": (
        "a:\n  b: 1\n c: 2",
        ["3:2: found 'c: 2', expected a key; indent it like its neighbours, or quote the value as a whole"],
    ),
    "a key among items": (
        "a:\n- b\n- c\nd\n- e: 1",
        ["4:1: found 'd', expected a colon after a key; write key: value"],
    ),
    "an open list": (
        "a: [1, 2",
        ["1:4: found the end of the file, expected ',' or ']'; close the list, or quote the item"],
    ),
    "a list closed late": (
        "a: [1, 2\nb: 3\n",
        ["2:2: found ': 3', expected ',' or ']'; close the list, or quote the item"],
    ),
    "an open mapping": (
        "a: {b: 1",
        ["1:4: found the end of the file, expected ',' or '}'; close the mapping, or quote the value"],
    ),
    "an open quote": (
        "a: 'x\nb: 1\n",
        ["1:4: found the end of the file, expected the closing quote; close the text that starts here"],
    ),
    "a stray brace": ("a: }", ["1:4: found '}', expected a value; write one, or null"]),
    "text after the root": ("{a: 1} b", ["1:8: found 'b', expected the end of the file; a contract is one mapping"]),
    "an odd first character": ("a: @x", ["1:4: found '@x', but no value starts like this; quote the text"]),
    "an unknown escape": (
        r'a: "\q"',
        [r"""1:5: found '\\q"', which double quotes do not know; write \\ for \, or use single quotes"""],
    ),
    "half a pair escaped": (
        r'a: "\ud83d"',
        ["1:7: found 'd83d\"', which is not a character; write the character itself"],
    ),
    "a rarer fault": (
        "a: |x\n",
        [
            "1:5: found 'x', which is not valid YAML: did not find expected comment or line break; "
            "quote it if it is text"
        ],
    ),
    # Keys
    "a duplicate key": ("a: 1\nb: 2\na: 3", ["3:1: duplicate key 'a', first in line 1; remove one of them"]),
    "a duplicate below": ("a: {b: 1, c: {}, b: 2}", ["1:18: duplicate key 'b', first in line 1; remove one of them"]),
    "a number as key": ("1: x", ['1:1: found the key 1, which YAML may not read as text; write "1"']),
    "a boolean as key": ("true: x", ['1:1: found the key true, which YAML may not read as text; write "true"']),
    "a date as key": (
        "2024-01-01: x",
        ['1:1: found the key 2024-01-01, which YAML may not read as text; write "2024-01-01"'],
    ),
    "the key on": ("on: x", ['1:1: found the key on, which YAML may not read as text; write "on"']),
    "no key": ("? \n: x", ["1:2: found no key; write its name before the colon"]),
    "a list as key": ("? [a]\n: x", ["1:3: found a list as a key; write a key as text"]),
    "a mapping as key": ("{a: 1}: x", ["1:1: found a mapping as a key; write a key as text"]),
    # Machinery
    "an anchor": ("a: &x 1", [f"1:4: found the anchor &x; anchors are not allowed, {OUT}"]),
    "an alias": ("a: *x", [f"1:4: found the alias *x; aliases are not allowed, {OUT}"]),
    "a merge key": ("<<: {a: 1}", ["1:1: found the merge key <<; merging is not allowed, write the keys out"]),
    "a tag": ("a: !x 1", ["1:4: found the tag !x; tags are not allowed, remove it"]),
    "the tag of an object": (
        "a: !!python/object:os.system {}",
        ["1:4: found the tag !!python/object:os.system; tags are not allowed, remove it"],
    ),
    "a tag without a name": ("a: ! x", ["1:4: found the tag !; tags are not allowed, remove it"]),
    "an undeclared tag": ("a: !e!x y", ["1:4: found '!e!x y', which is a tag; tags are not allowed, remove it"]),
    "too deep": (
        "a: " + "[" * DEPTH_MAX + "]" * DEPTH_MAX,
        ["1:35: nested deeper than 32 levels; make it flatter"],
    ),
    # Values
    "no value": ("key:\nb: 1", ["1:5: found no value; write one, or null, or {}"]),
    "no item": ("a:\n  - \n  - 1", ["2:4: found no value; write one, or null, or {}"]),
    "64 bits and one": (
        "a: 9223372036854775808",
        ["1:4: found 9223372036854775808, which does not fit 64 bits; write it as text, in quotes"],
    ),
    "64 bits and one, below": (
        "a: -9223372036854775809",
        ["1:4: found -9223372036854775809, which does not fit 64 bits; write it as text, in quotes"],
    ),
    "more digits than Python converts": (
        "a: " + "9" * 5000,
        [f"1:4: found {'9' * 57}..., which does not fit 64 bits; write it as text, in quotes"],
    ),
    "a float out of range": (
        "a: 1e999",
        ["1:4: found 1e999, which is too large for a number; write it as text, in quotes"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_says_where_and_what_is_wrong(text: str, expected: list[str]) -> None:
    """A faulty text gives these problems and no others."""
    assert _problems(text) == expected


BOOLEAN = "YAML 1.1 reads it as a boolean"
UNCLEAR = {
    **dict.fromkeys(("on", "On", "ON", "yes", "Yes", "YES", "y", "Y"), (BOOLEAN, "true, or as text ")),
    **dict.fromkeys(("off", "Off", "OFF", "no", "No", "NO", "n", "N"), (BOOLEAN, "false, or as text ")),
    **dict.fromkeys(("True", "TRUE"), ("only lower case is a boolean here", "true, or as text ")),
    **dict.fromkeys(("False", "FALSE"), ("only lower case is a boolean here", "false, or as text ")),
    **dict.fromkeys(("Null", "NULL", "~"), ("only null in lower case is null here", "null, or as text ")),
    **dict.fromkeys(("<<", "="), ("it has another meaning in YAML 1.1", "")),
    **dict.fromkeys(
        ("12:30:00", "1:30", "-1:30", "01:30", "190:20:30.15"), ("YAML 1.1 reads it as a number to the base of 60", "")
    ),
    **dict.fromkeys(
        ("2024-01-01", "2024-1-1", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00.5 +02:00", "2001-12-14t21:59:43-05:00"),
        ("YAML 1.1 reads it as a time", ""),
    ),
    **dict.fromkeys((".inf", "-.Inf", ".NAN"), ("JSON has no such number", "a finite number, or as text ")),
    **{
        word: ("it is not a decimal number", f"{meant}, or as text ")
        for word, meant in {
            "0o17": "15",
            "0x1F": "31",
            "-0xff": "-255",
            "0b1_0": "2",
            "0x_": "one",
            "0xffffffffffffffff": "one",
        }.items()
    },
    **{
        word: ("it is not a plain number", f"{meant}, or as text ")
        for word, meant in {
            **dict.fromkeys(("017", "08", "-017", "1_" + "0" * 30), "one"),
            "1_000": "1000",
            "1_000.5": "1000.5",
            "+1": "1",
            "+1.5": "1.5",
            "1.": "1.0",
            ".5": "0.5",
            "-.5": "-0.5",
            "+1e3": "1e3",
        }.items()
    },
}


@pytest.mark.parametrize(("word", "why", "instead"), [(word, *told) for word, told in UNCLEAR.items()])
def test_refuses_words_that_yaml_guesses_at(word: str, why: str, instead: str) -> None:
    """What some version of YAML takes for something else than text must be quoted or be written as in JSON."""
    assert _problems(f"a: {word}") == [f'1:4: found {word}: {why}; write {instead}"{word}"']
    assert parse_document("", f'a: "{word}"').tree == {"a": word}


def test_collects_every_fault() -> None:
    """One fault hides no other, and each is told in the order of its place."""
    text = "a: on\nb: {c: 1_0, c: off}\na: {<<: *x}\nd: '\n"
    assert _problems(text) == [
        '1:4: found on: YAML 1.1 reads it as a boolean; write true, or as text "on"',
        '2:8: found 1_0: it is not a plain number; write 10, or as text "1_0"',
        "2:13: duplicate key 'c', first in line 2; remove one of them",
        '2:16: found off: YAML 1.1 reads it as a boolean; write false, or as text "off"',
        "3:1: duplicate key 'a', first in line 1; remove one of them",
        "3:5: found the merge key <<; merging is not allowed, write the keys out",
        f"3:9: found the alias *x; aliases are not allowed, {OUT}",
        "4:4: found the end of the file, expected the closing quote; close the text that starts here",
    ]


def test_keeps_what_is_usable_and_no_more() -> None:
    """Faulty words stay as text and the first of two equal keys counts; a text that breaks off leaves no tree."""
    text = "a: 017\nb: {c: 1}\nb: {d: 2}\ne: *x\n[k]: 3\n"
    document = parse_document("", text)
    assert document.tree == {"a": "017", "b": {"c": 1}, "e": None}
    assert set(document.keys) == {("a",), ("b",), ("b", "c"), ("e",)}
    assert set(document.values) == {(), *document.keys}
    broken = parse_document("", f"{text}z: '")
    assert (broken.tree, broken.values, broken.keys) == ({}, {}, {})
    assert broken.problems[:-1] == document.problems


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("-12", -12),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.0", 1.0),
        ("-0.5e-3", -0.0005),
        ("1e+16", 1e16),
        ("true", True),
        ("false", False),
        ("null", None),
        ("1.0.0", "1.0.0"),
        ("only", "only"),
        ("Nothing", "Nothing"),
        ("12:60", "12:60"),
        ("8080:80", "8080:80"),
        ("a:b", "a:b"),
        ("-", "-"),
        ("0x", "0x"),
        ("1.2.", "1.2."),
        ("2024-01-01 was a Monday", "2024-01-01 was a Monday"),
        ("${ payload.id }", "${ payload.id }"),
        ("'on'", "on"),
        ('"\\u2028"', "\u2028"),
        ("|\n  ${ a ? b : c }", "${ a ? b : c }"),
        (">-\n  a\n  b", "a b"),
        ("{}", {}),
        ("[]", []),
    ],
)
def test_reads_a_word_as_json_does(word: str, value: Any) -> None:
    """JSON's words and numbers are values, all else is text; quoted and block text is always text."""
    document = parse_document("", f"a: {word}" if word != "-" else "a: [ -, 1 ]")
    assert not document.problems
    found = document.tree["a"] if word != "-" else document.tree["a"][0]
    assert (found, type(found)) == (value, type(value))


def test_finds_the_place_of_a_value_and_of_its_key() -> None:
    """What is there has its place; what is not is shown at its nearest ancestor, at worst at the start."""
    document = parse_document("c.yaml", "# first\na: 1\nb:\n  - c: {d: x}\n  - ü: y\n")
    assert document.place(()) == TextPosition(2, 1)
    assert document.place(("a",)) == TextPosition(2, 4)
    assert document.place(("a",), key=True) == TextPosition(2, 1)
    assert document.place(("b", 0, "c", "d")) == TextPosition(4, 12)
    assert document.place(("b", 1, "ü"), key=True) == TextPosition(5, 5)
    assert document.place(("b", 1, "ü")) == TextPosition(5, 8)
    assert document.place(("b", 0, "missing", 3), key=True) == TextPosition(4, 5)
    assert document.place(("missing",)) == TextPosition(2, 1)
    assert parse_document("", "").place(("a",)) == TextPosition(1, 1)
    assert str(document.problem(("a",), "odd", code="wrong-value", key=True)) == "c.yaml:2:1: odd"


def test_refuses_a_deep_nesting_at_once() -> None:
    """A hundred thousand brackets are one problem; nothing recurses into them."""
    assert _problems("a: " + "[" * 100_000) == ["1:35: nested deeper than 32 levels; make it flatter"]
    assert _problems("a: " + "{a: " * 50_000) == ["1:128: nested deeper than 32 levels; make it flatter"]
    assert _problems("a:\n" + "- " * 100_000) == ["2:63: nested deeper than 32 levels; make it flatter"]


def test_allows_the_deepest_nesting() -> None:
    """The root is the first of the levels."""
    innermost = DEPTH_MAX - 1
    assert _problems("a: " + "[" * innermost + "]" * innermost) == []


def test_refuses_an_alias_bomb_at_once() -> None:
    """Aliases are never followed: each is a problem, and the tree stays as small as the text."""
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    document = parse_document("", bomb)
    assert len(document.problems) == 30 + 29 * 9
    assert document.tree["a29"] == [None] * 9


@pytest.mark.parametrize("text", ["1" * LENGTH_MAX, "1_" * (LENGTH_MAX // 2), "1:1" * (LENGTH_MAX // 3)])
def test_reads_a_long_word_in_linear_time(text: str) -> None:
    """No pattern runs away on a word that nearly matches it (pytest's timeout would tell)."""
    value, fault = read_plain(text + "x")
    assert (value, fault) == (text + "x", None)


def test_finds_the_nearest_word() -> None:
    """The word that was probably meant, whatever its case; none where nothing is like it."""
    assert nearest("hander", ["name", "handler"]) == "handler"
    assert nearest("HTTP", ["db", "http"]) == "http"
    assert nearest("zebra", ["db", "http"]) is None
    assert nearest("x", []) is None


# --- Properties ---------------------------------------------------------------------------------------------------

INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.sampled_from(
    [*UNCLEAR, "null", "1e5", "1.0.0", "", " a", "a: b", "#", "- a", "${ a ? b : c }", "\u2028", "\t"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | WORDS
TREES = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)
PIECES = st.sampled_from(
    [
        *"abny01._:-?,[]{}#&*!|>'\"%@`~<=\\ \n\t\r",
        "${",
        ": ",
        "- ",
        "\n  ",
        "\n- ",
        "---",
        "...",
        "<<: *a",
        "&a ",
        "!!int ",
    ]
)


@given(st.text() | st.lists(PIECES | WORDS, max_size=40).map("".join))
def test_survives_any_text(text: str) -> None:
    """Any text gives a mapping of JSON values or says why not, and each problem lies within the text."""
    document = parse_document("c.yaml", text)
    assert json.loads(json.dumps(document.tree, allow_nan=False)) == document.tree
    assert isinstance(document.tree, dict)
    assert set(document.values) == set(_paths(document.tree)) | ({()} if document.values else set())
    assert set(document.keys) == {path for path in document.values if path and isinstance(path[-1], str)}
    assert list(document.problems) == sorted(document.problems)
    lines = (text + "\n").split("\n")
    for place in (*document.problems, *document.values.values(), *document.keys.values()):
        assert place.line <= len(lines)
        assert place.column <= len(lines[place.line - 1]) + 1


@given(
    st.lists(PIECES | WORDS, max_size=30).map("".join)
    | st.text("0123456789_.:-+eExobTtZ ", max_size=12).map("a: ".__add__)
)
def test_reads_what_it_accepts_as_others_do(text: str) -> None:
    """Where no problem is found, PyYAML's own loader reads the same tree: nobody can be misled.

    JSON's numbers with an exponent are the exception: YAML 1.1 takes some of them for text.
    """
    document = parse_document("", text)
    if not document.problems and not re.search(r"\d[eE][-+]?\d", text):
        assert document.tree == yaml.load(text, Loader=yaml.CSafeLoader)


@given(TREES, st.sampled_from([None, 0, 2]), st.booleans())
def test_reads_json_with_every_place(tree: dict[str, Any], indent: int | None, ascii_only: bool) -> None:  # noqa: FBT001  # drawn
    """JSON is YAML: the tree comes back, and from the place of each value and key JSON reads just that."""
    text = _without_refused(json.dumps(tree, indent=indent, ensure_ascii=False))
    if ascii_only:
        text = re.sub(r"[^\x00-\uffff]|[^\x00-\x7f]", _escaped, text)
    document = parse_document("", text)
    assert document.problems == ()
    assert document.tree == tree
    assert set(document.values) == {(), *_paths(tree)}
    offsets = _line_offsets(text)
    for path, value in _walk(tree):
        assert _json_at(text, offsets, document.values[path]) == value
        if path and isinstance(path[-1], str):
            assert _json_at(text, offsets, document.keys[path]) == path[-1]


@given(TREES, st.sampled_from([True, False, None]), st.integers(1, 8), st.booleans())
def test_reads_yaml_with_every_place(tree: dict[str, Any], flow: bool | None, indent: int, unicode: bool) -> None:  # noqa: FBT001  # drawn
    """What PyYAML writes comes back, and each place is where PyYAML's own composer finds the value or key."""
    text = yaml.dump(
        tree, Dumper=_Quoting, default_flow_style=flow, indent=indent, allow_unicode=unicode, sort_keys=False
    )
    document = parse_document("", text)
    assert document.problems == ()
    assert document.tree == tree
    assert (dict(document.values), dict(document.keys)) == _composed_places(text)


class _Quoting(yaml.SafeDumper):
    """Writes plain only what is surely text, and no aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        is_safe = read_plain(text) == (text, None) and text.isascii() and text.isprintable()
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_safe else '"')


_Quoting.add_representer(str, _Quoting.represent_text)


def _composed_places(text: str) -> tuple[dict[Path, TextPosition], dict[Path, TextPosition]]:
    values: dict[Path, TextPosition] = {}
    keys: dict[Path, TextPosition] = {}

    def visit(node: Any, at: Path) -> None:
        values[at] = _start(node)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                keys[(*at, key.value)] = _start(key)
                visit(value, (*at, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, (*at, index))

    visit(yaml.compose(text, Loader=yaml.SafeLoader), ())
    return values, keys


def _start(node: Any) -> TextPosition:
    return TextPosition(node.start_mark.line + 1, node.start_mark.column + 1)


def _walk(tree: Any, at: Path = ()) -> list[tuple[Path, Any]]:
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(at, tree), *(found for step, inner in steps for found in _walk(inner, (*at, step)))]


def _paths(tree: Any) -> set[Path]:
    return {path for path, _ in _walk(tree)} - {()}


def _without_refused(text: str) -> str:
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|[\U0001fffe-\U0010ffff]", _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    # YAML has one escape for a character beyond 16 bits, JSON has two: such a character stays as it is.
    return f"\\u{ord(match[0]):04x}" if ord(match[0]) <= 0xFFFF else match[0]


def _line_offsets(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


def _json_at(text: str, offsets: list[int], place: TextPosition) -> Any:
    return json.JSONDecoder().raw_decode(text, offsets[place.line - 1] + place.column - 1)[0]
