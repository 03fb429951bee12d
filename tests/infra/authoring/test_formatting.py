"""The canonical form of contracts: what changes, what stays, and what is refused."""

import re
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contracts.node import NodeContract
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_infra.authoring.formatting import WIDTH, NotFormattable, formatted


def fmt(text: str) -> str:
    """Format a contract."""
    return formatted("node.yaml", text)


UNTIDY = """\
# yaml-language-server: $schema=../schema/node.schema.json
# Licence: MIT

contract:   node/v1
version: 1.0.0
# what it is for
description: a text
   that goes on
kind: effect   # asks somebody
name: find-user
operations:
    find:
        # what is asked
        errors:
        - code: gone  # the code

          # why
          when: "${ result.status == 404 }"
          # closes the rule
        - {when: "${ true }", retryable: true, code: other}
        answer: >-  # folded
           a # that is no comment
            indented
        input: {type: object, required: [name], properties: {name: {type: string}, language: {enum: [de, en]}}, "x": y}
        request: {path: /a,  # within
               # above
               json: [1.50, 1e5, -0.0, [], {}]}
    # closes the operations
# the handler
handler: http
delivery: {max_in_flight: 32, timeout_s: 5}
# the end
"""

TIDY = """\
# yaml-language-server: $schema=../schema/node.schema.json
# Licence: MIT

contract: node/v1
name: find-user
kind: effect  # asks somebody
version: 1.0.0
# what it is for
description: a text
  that goes on
# the handler
handler: http
operations:
  find:
    input: {type: object, required: [name], properties: {name: {type: string}, language: {enum: [de, en]}}, "x": y}
    request:
      path: /a  # within
      # above
      json: [1.50, 1e5, -0.0, [], {}]
    # what is asked
    errors:
      # why
      - when: "${ result.status == 404 }"
        code: gone  # the code
        # closes the rule
      - {when: "${ true }", code: other, retryable: true}
    answer: >-  # folded
      a # that is no comment
       indented
  # closes the operations
delivery: {timeout_s: 5, max_in_flight: 32}
# the end
"""


def test_an_untidy_contract_becomes_tidy() -> None:
    """Keys in their order, two spaces, and each comment where it belongs."""
    assert fmt(UNTIDY) == TIDY


def test_what_is_tidy_stays() -> None:
    """Formatting twice is formatting once."""
    assert fmt(TIDY) == TIDY


def test_a_long_line_is_opened_from_the_outside() -> None:
    """What fits within 120 columns stays on one line."""
    properties = ", ".join(f"field_{number}: {{type: string}}" for number in range(6))
    text = TIDY.replace(
        "properties: {name: {type: string}, language: {enum: [de, en]}}", f"properties: {{{properties}}}"
    )
    lines = fmt(text).splitlines()
    assert "      type: object" in lines
    assert "        field_0: {type: string}" in lines
    assert max(map(len, lines)) <= WIDTH


def test_a_carriage_return_before_each_line_feed_is_dropped() -> None:
    """A file from another system comes out like any other."""
    assert fmt(TIDY.replace("\n", "\r\n")) == TIDY


def test_the_first_comment_goes_with_its_key_unless_it_is_about_the_file() -> None:
    """An empty line tells them apart."""
    head = "version: 1.0.0\ncontract: node/v1\nname: a\nkind: compute\ndescription: x\noperations: {a: {input: {}}}\n"
    assert fmt(f"# the version\n{head}").splitlines()[3:5] == ["# the version", "version: 1.0.0"]
    assert fmt(f"# the file\n\n{head}").splitlines()[:3] == ["# the file", "", "contract: node/v1"]


def test_a_kept_end_of_a_block_text_survives() -> None:
    """Trailing lines that count are neither added nor lost."""
    for chomping in ("|", "|-", "|+", ">+", "|2", "|2-"):
        text = TIDY.replace("description: a text\n  that goes on\n", f"description: {chomping}\n  a\n\n   b\n\n\n")
        try:
            assert parse_document("x", fmt(text)).tree == parse_document("x", text).tree
        except NotFormattable:
            assert chomping.endswith("+")


# --- Properties ---------------------------------------------------------------------------------------------------

TEXT = st.text("abAB \"'#:-{}[],&*!|>%@`\\$\n\t\u00e9\u4e2d0.", max_size=12)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text("abz_-", min_size=1, max_size=6)
JSON = st.recursive(
    LEAVES | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


class Writer:
    """Writes a tree in YAML as an author might: any style that YAML has, and comments wherever they may stand."""

    def __init__(self, dice: Random) -> None:
        """Take what decides."""
        self._dice = dice
        self.count = 0

    def choose(self, *options: Any) -> Any:
        """Return one of these."""
        return self._dice.choice(options)

    def comment(self) -> str:
        """Return a comment that no other is like, or none."""
        if self.choose(0, 0, 1):
            self.count += 1
            return f"# c{self.count}."
        return ""

    def block(self, value: Any, indent: int) -> list[str]:
        """Write a mapping or a list on lines of its own."""
        lines: list[str] = []
        entries = list(value.items()) if isinstance(value, dict) else [(None, it) for it in value]
        for key, part in entries:
            lines += [""] * self.choose(0, 0, 1)
            if above := self.comment():
                lines.append(" " * indent + above)
            head = f"{' ' * indent}-" if key is None else f"{' ' * indent}{self.word(key)}:"
            lines += self.entry(head, part, indent)
        return lines

    def entry(self, head: str, value: Any, indent: int) -> list[str]:
        """Write a value behind its key or dash, or below it."""
        behind = f"  {comment}" if (comment := self.comment()) else ""
        if isinstance(value, dict | list) and value and self.choose(0, 1):
            return [head + behind, *self.block(value, indent + self.choose(1, 2, 4))]
        return [f"{head} {self.flow(value)}{behind}"]

    def flow(self, value: Any) -> str:
        """Write a value on one line."""
        space = self.choose("", " ")
        if isinstance(value, dict):
            inner = ", ".join(f"{self.word(key)}: {self.flow(it)}" for key, it in value.items())
            return f"{{{space}{inner}{space}}}"
        if isinstance(value, list):
            return f"[{space}{', '.join(map(self.flow, value))}{space}]"
        return self.word(value)

    def word(self, value: Any) -> str:
        """Write a scalar."""
        if isinstance(value, str):
            plain = re.fullmatch(r"[a-z]{4,}", value) and value not in ("null", "true", "false")
            return value if plain else '"' + value.translate(ESCAPES) + '"'
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        return repr(value)


ESCAPES = {ord("\\"): r"\\", ord('"'): r"\"", ord("\n"): r"\n", ord("\t"): r"\t"}


@st.composite
def contracts(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the tree of a node contract, its keys in any order."""

    def shuffled(tree: dict[str, Any]) -> dict[str, Any]:
        return dict(draw(st.permutations(list(tree.items()))))

    rules = st.lists(
        st.fixed_dictionaries({"when": TEXT, "code": st.just("gone")}, optional={"message": TEXT}), max_size=2
    )
    operations = {
        name: shuffled(
            {"input": draw(st.dictionaries(KEYS, JSON, max_size=3)), "request": draw(JSON), "errors": draw(rules)}
        )
        for name in draw(st.lists(st.sampled_from(["find", "list_all"]), min_size=1, unique=True))
    }
    return shuffled(
        {
            "contract": "node/v1",
            "name": "a-node",
            "kind": "effect",
            "version": "1.0.0",
            "description": draw(TEXT.filter(bool)),
            "operations": operations,
            "delivery": shuffled({"timeout_s": 5, "ordering": "none", "max_in_flight": draw(st.integers(1, 9))}),
        }
    )


@given(tree=contracts(), dice=st.randoms(use_true_random=False))
def test_formatting_changes_nothing_that_is_said(tree: dict[str, Any], dice: Random) -> None:
    """The same values, all comments, keys in their order, and a form that is final."""
    writer = Writer(dice)
    text = "\n".join(writer.block(tree, 0)) + "\n"
    assert parse_document("x", text).problems == ()
    result = fmt(text)
    assert parse_document("x", result).tree == parse_document("x", text).tree
    assert sorted(re.findall(r"# c\d+\.", result)) == sorted(re.findall(r"# c\d+\.", text))
    assert fmt(result) == result
    order = [it for it in NodeContract.model_fields if it in tree]
    assert list(parse_document("x", result).tree) == order


@given(tree=contracts(), dice=st.randoms(use_true_random=False))
def test_a_comment_stays_with_its_key(tree: dict[str, Any], dice: Random) -> None:
    """What stands above a key, or behind its value, does so afterwards."""
    comments = {key: f"# about {key}." for key in tree}
    behind = {key for key in tree if dice.choice((0, 1))}
    lines = []
    for key, value in tree.items():
        word = Writer(dice).flow(value)
        lines += [f"{key}: {word} {comments[key]}"] if key in behind else [comments[key], f"{key}: {word}"]
    result = fmt("\n".join(lines) + "\n").splitlines()
    for key, comment in comments.items():
        place = next(index for index, line in enumerate(result) if line.endswith(comment))
        if key in behind:
            before = [line for line in result[: place + 1] if re.match(r"[a-z]", line)]
            assert before[-1].startswith(f"{key}:")
        else:
            assert result[place + 1].startswith(f"{key}:")
