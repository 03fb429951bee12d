"""Contracts in their canonical form: the order of keys, indentation and width. Comments stay with their keys. Pure.

Every word is printed as it was written: only what stands between words changes. A comment on a line of its own belongs
to the key or item below it, unless it is indented like the block above; one behind a value belongs to that value. What
stands at the top of the file, apart from the first key, stays there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from omnibase_core.contracts.handler import HandlerContract
from omnibase_core.contracts.host import RuntimeHostContract
from omnibase_core.contracts.node import NodeContract
from omnibase_core.contracts.tests import NodeTests
from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import OnexError
from omnibase_infra.authoring.yaml_comments import (
    Comment,
    all_comments,
    comments_of,
    compose,
    is_blank,
    lines_of,
    spaced,
)

WIDTH = 120
LANGUAGES: Mapping[str, type[BaseModel]] = {
    "node/v1": NodeContract,
    "host/v1": RuntimeHostContract,
    "handler/v1": HandlerContract,
    "test/v1": NodeTests,
}

_STEP = 2
_BLOCK_HEAD = re.compile(r"([|>])([-+]?)(\d?)([-+]?)[ \t]*(#.*)?")
_SCHEMA_LINE = "yaml-language-server"


class NotFormattable(OnexError):
    """A contract that cannot be formatted without a change to what it says."""

    code = "not_formattable"


def formatted(path: str, text: str) -> str:
    """Format a contract that has no problems. Raises NotFormattable rather than lose a comment or change a value."""
    before = parse_document(path, text)
    model = LANGUAGES.get(str(before.tree.get("contract")))
    result = _Printer(text, model).printed()
    if parse_document(path, result).tree != before.tree or all_comments(result) != all_comments(text):
        raise NotFormattable(f"{path}: formatting would change its meaning; it was left unchanged")
    return result


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key with its value, or an item, ready to be printed: what stands above it, and its own lines."""

    name: str
    lead: Sequence[str]
    lines: Sequence[str]
    after_blank: bool


@dataclass
class _Printer:
    """Prints the nodes of one document in order, and hands out each comment once."""

    text: str
    model: type[BaseModel] | None
    root: yaml.Node = field(init=False)
    lines: list[str] = field(init=False)
    own: list[Comment] = field(init=False)
    behind: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        """Compose the nodes, and find the comments between them."""
        self.lines = lines_of(self.text)
        self.root = compose(self.text)
        self.own, self.behind = comments_of(self.lines, self.root)

    def printed(self) -> str:
        """Print the whole: what stands at the top, the root's entries, what is left at the end."""
        head = self._head()
        body = self._block(self.root, 0, self.model)
        tail = [it.text for it in self.own] + list(self.behind.values())
        return "\n".join([*head, *body, *tail]) + "\n"

    def _head(self) -> list[str]:
        """Take the comments that are about the file, and not about its first key."""
        first = self.root.start_mark.line
        above = [it for it in self.own if it.line < first]
        parted = [index for index, it in enumerate(above) if index and it.after_blank]
        if above and is_blank(self.lines, first - 1):
            parted.append(len(above))
        schema = [index + 1 for index, it in enumerate(above) if _SCHEMA_LINE in it.text]
        count = max([0, *parted, *schema])
        del self.own[:count]
        head = [line for index, it in enumerate(above[:count]) for line in spaced(it, first=index == 0)]
        return [*head, ""] if count in parted else head

    # --- Blocks ---------------------------------------------------------------------------------------------------

    def _block(self, node: yaml.Node, indent: int, declared: Any) -> list[str]:
        """Print the entries of a collection, each on lines of its own; then the comments that close the block."""
        entries = (
            self._pairs(node, indent, declared)
            if isinstance(node, yaml.MappingNode)
            else self._items(node, indent, declared)
        )
        order = {name: index for index, name in enumerate(keys_of(declared))}
        placed = sorted(entries, key=lambda it: order.get(it.name, len(order)))
        lines: list[str] = []
        for index, entry in enumerate(placed):
            lines += [""] if entry.after_blank and index else []
            lines += [*entry.lead, *entry.lines]
        return lines + [" " * indent + it.text for it in self._closing(node)]

    def _pairs(self, node: yaml.Node, indent: int, declared: Any) -> list[_Entry]:
        entries = []
        for key, value, after in _with_next(node.value):
            after_blank, lead = self._lead(key, indent)
            name = self._word(key)
            lines = self._value(value, f"{' ' * indent}{name}:", indent, below(declared, key.value), key, after)
            entries.append(_Entry(key.value, lead, lines, after_blank))
        return entries

    def _items(self, node: yaml.Node, indent: int, declared: Any) -> list[_Entry]:
        entries = []
        for item, _, after in _with_next([(it, it) for it in node.value]):
            after_blank, lead = self._lead(item, indent)
            lines = self._item(item, indent, below(declared, None), after)
            # What now stands above the first key of the item stands above the item.
            above = next(index for index, line in enumerate(lines) if not line.lstrip().startswith("#"))
            lead = [*lead, *(" " * indent + line.lstrip() for line in lines[:above])]
            first = f"{' ' * indent}- {lines[above][indent + _STEP :]}"
            entries.append(_Entry("", lead, [first, *lines[above + 1 :]], after_blank))
        return entries

    def _item(self, node: yaml.Node, indent: int, declared: Any, after: yaml.Node | None) -> list[str]:
        inner = indent + _STEP
        if isinstance(node, yaml.CollectionNode) and node.value and not self._fits(node, inner):
            return self._block(node, inner, declared)
        return self._value(node, " " * (inner - 1), indent, declared, node, after)

    def _value(
        self, node: yaml.Node, head: str, indent: int, declared: Any, key: yaml.Node, after: yaml.Node | None
    ) -> list[str]:
        """Print a value behind its key, or below it where it is a block."""
        if isinstance(node, yaml.CollectionNode):
            if node.value and not self._fits(node, len(head) + 1):
                opening = self._behind(key.start_mark.line, self._first(node))
                return [head + opening, *self._block(node, indent + _STEP, declared)]
            return [f"{head} {self._flow(node, declared)}{self._behind(node.end_mark.line, after)}"]
        assert isinstance(node, yaml.ScalarNode)  # noqa: S101 - narrows the type; there is no third kind of node
        if node.style in ("|", ">"):
            return self._block_text(node, head, indent, key)
        first, *rest = self._written(node)
        lines = [f"{head} {first}", *(f"{' ' * (indent + _STEP)}{it}" if it else "" for it in rest)]
        lines[-1] += self._behind(node.end_mark.line, after)
        return lines

    def _block_text(self, node: yaml.ScalarNode, head: str, indent: int, key: yaml.Node) -> list[str]:
        """Print a literal or folded text: its lines keep what they are indented by beyond the text's own edge."""
        start = node.start_mark
        match = _BLOCK_HEAD.match(self.lines[start.line], start.column)
        assert match is not None  # noqa: S101 - narrows the type; the parser has seen the indicator
        style, before, digit, chomping, comment = match.groups()
        end = node.end_mark.line if node.end_mark.column == 0 else node.end_mark.line + 1
        body = self.lines[start.line + 1 : end]
        filled = [len(it) - len(it.lstrip(" ")) for it in body if it.strip()]
        edge = key.start_mark.column + int(digit) if digit else (filled[0] if filled else 0)
        opening = f"{head} {style}{_STEP if digit else ''}{before}{chomping}"
        opening += f"  {comment.rstrip()}" if comment else ""
        margin = " " * (indent + _STEP)
        return [opening, *(margin + it[edge:] if it[edge:] else "" for it in body)]

    # --- Lines ----------------------------------------------------------------------------------------------------

    def _fits(self, node: yaml.CollectionNode, column: int) -> bool:
        """Check whether a collection stays on one line: it was written so, it is short, and nothing is said within."""
        if not node.flow_style:
            return False
        start, end = node.start_mark.line, node.end_mark.line
        if any(start <= it.line <= end for it in self.own) or any(start <= it < end for it in self.behind):
            return False
        parts = self._flow(node, None)
        return "\n" not in parts and column + len(parts) <= WIDTH

    def _flow(self, node: yaml.Node, declared: Any) -> str:
        if isinstance(node, yaml.MappingNode):
            order = {name: index for index, name in enumerate(keys_of(declared))}
            pairs = sorted(node.value, key=lambda it: order.get(it[0].value, len(order)))
            parts = (f"{self._word(key)}: {self._flow(it, below(declared, key.value))}" for key, it in pairs)
            return f"{{{', '.join(parts)}}}"
        if isinstance(node, yaml.SequenceNode):
            return f"[{', '.join(self._flow(it, below(declared, None)) for it in node.value)}]"
        return "\n".join(self._written(node))

    def _written(self, node: yaml.Node) -> list[str]:
        """Return a plain or quoted text as it was written, its further lines without their indentation."""
        start, end = node.start_mark, node.end_mark
        if start.line == end.line:
            return [self.lines[start.line][start.column : end.column]]
        middle = self.lines[start.line + 1 : end.line]
        lines = [self.lines[start.line][start.column :], *middle, self.lines[end.line][: end.column]]
        return [it.strip(" \t") if index else it.rstrip(" \t") for index, it in enumerate(lines)]

    def _word(self, node: yaml.Node) -> str:
        return self._written(node)[0]

    # --- Comments -------------------------------------------------------------------------------------------------

    def _lead(self, node: yaml.Node, indent: int) -> tuple[bool, list[str]]:
        """Take the comments above a key or an item, and say whether an empty line parts it from what comes before."""
        line = node.start_mark.line
        above = [it for it in self.own if it.line < line]
        del self.own[: len(above)]
        # What is behind something that has no line any more, such as a dash, stands above what came after it.
        strays = [Comment(it, 0, self.behind.pop(it), after_blank=False) for it in sorted(self.behind) if it < line]
        above = sorted([*above, *strays], key=lambda it: it.line)
        margin = " " * indent
        lead = [margin + text if text else "" for i, it in enumerate(above) for text in spaced(it, first=i == 0)]
        after_blank = above[0].after_blank if above else is_blank(self.lines, line - 1)
        return after_blank, lead

    def _closing(self, node: yaml.Node) -> list[Comment]:
        """Take the comments at the end of a block that are indented like it."""
        within = isinstance(node, yaml.CollectionNode) and node.flow_style
        column = 0 if within else node.start_mark.column
        count = 0
        for it in self.own:
            if it.line >= node.end_mark.line or it.column < column:
                break
            count += 1
        closing = self.own[:count]
        del self.own[:count]
        return closing

    def _behind(self, line: int, after: yaml.Node | None) -> str:
        """Take the comment behind a line, unless something else comes on it first."""
        if after is not None and after.start_mark.line == line:
            return ""
        text = self.behind.pop(line, None)
        return f"  {text}" if text else ""

    def _first(self, node: yaml.CollectionNode) -> yaml.Node:
        first = node.value[0]
        inner: yaml.Node = first[0] if isinstance(first, tuple) else first
        return inner


def _with_next(pairs: Sequence[tuple[yaml.Node, yaml.Node]]) -> Iterator[tuple[yaml.Node, yaml.Node, yaml.Node | None]]:
    """Yield each pair with the node that comes after it."""
    for index, (first, second) in enumerate(pairs):
        yield first, second, pairs[index + 1][0] if index + 1 < len(pairs) else None


def keys_of(declared: Any) -> list[str]:
    """Return the keys of a model in their order; none for what is no model."""
    model = _model_of(declared)
    return [] if model is None else [_key(name, model) for name in model.model_fields]


def below(declared: Any, key: str | None) -> Any:
    """Return what is declared for a key of a mapping, or for the items of a list."""
    model = _model_of(declared)
    if model is not None:
        fields = {_key(name, model): it.annotation for name, it in model.model_fields.items()}
        return fields.get(str(key))
    arguments = [arguments for it in _options(declared) if (arguments := get_args(it))]
    return arguments[0][-1] if arguments else None


def _key(name: str, model: type[BaseModel]) -> str:
    return model.model_fields[name].alias or name


def _model_of(declared: Any) -> type[BaseModel] | None:
    return next((it for it in _options(declared) if isinstance(it, type) and issubclass(it, BaseModel)), None)


def _options(declared: Any) -> list[Any]:
    if get_origin(declared) is Annotated:
        return _options(get_args(declared)[0])
    if get_origin(declared) in (Union, UnionType):
        return [it for part in get_args(declared) for it in _options(part) if it is not NoneType]
    return [declared]
