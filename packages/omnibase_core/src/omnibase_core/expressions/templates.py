"""Expressions and mappings of contracts: compiled and type-checked at load, evaluated per command.

An expression is CEL (https://github.com/google/cel-spec). A mapping is structure, not text: a tree in which a leaf that
is wholly `${ ... }` is an expression and every other leaf stands for itself.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

from omnibase_core.errors import ExpressionFailed, InvalidExpression
from omnibase_core.expressions.checking import Checked, check
from omnibase_core.expressions.code import RESERVED
from omnibase_core.expressions.constants import check_constants
from omnibase_core.expressions.engine import Program, syntax_of
from omnibase_core.expressions.limits import check_growth, check_length
from omnibase_core.expressions.narrowing import Facts
from omnibase_core.expressions.scope import ALL_NAMES, READERS, Scope
from omnibase_core.expressions.syntax import tree_of_path
from omnibase_core.expressions.types import DYNAMIC, NUMBERS, Type, scalar
from omnibase_core.expressions.values import AS_IT_IS, as_integer, plain

Path = tuple[str | int, ...]
Template = Callable[[Scope], Any]
"""A compiled mapping: evaluates to a JSON value, or raises ExpressionFailed."""

_LEAF = re.compile(r"\s*\$\{(.*)\}\s*", re.DOTALL)
_FIELD_PATH = re.compile(r"[a-z]+(?:\.[A-Za-z_]\w*)*", re.ASCII)
_NAMES = "|".join(ALL_NAMES)
_FOREIGN = re.compile(rf"\{{\{{\s*(?:{_NAMES})\..*?\}}\}}|\$(?:{_NAMES})\.\S*")
"""How other languages write what an expression does: here it would be text, and no one would notice."""
_WHOLE = "${ 'text ' + payload.field }"
_JOINED = f"write it as one: {_WHOLE}"


class Expression:
    """A compiled expression. Constructing it raises InvalidExpression for text that does not compile.

    `type` is what it gives, as JSON; `checked` also tells what its truth says of keys.
    """

    __slots__ = ("_where", "checked", "evaluate", "type")

    def __init__(self, text: str, *, types: Mapping[str, Type], where: str, present: Facts = frozenset()) -> None:
        """Compile against the names that may be read and their types; `where` is its place in the contract.

        `present` is what is known of keys: that they are there, or not null.
        """
        check_length(text)
        self._where = where
        field_path = _field_path(text, types)
        program, self.checked = _compiled(text, types, present, field_path)
        self.type = _json_type(self.checked.type, text)
        self.evaluate: Template = (
            _typed(_field_reader(field_path, where), self.type) if program is None else partial(self._run, program)
        )
        """Gives the value as JSON. Raises ExpressionFailed."""

    def _run(self, program: Program, scope: Scope) -> Any:
        try:
            return program.evaluate(scope)
        except ValueError as error:
            raise ExpressionFailed(str(error), where=self._where) from error


def _field_reader(path: tuple[str, ...], where: str) -> Template:
    """Return what reads a field: in few steps, since most leaves do that, and for each command."""
    name, *steps = path
    read = READERS[name]

    def read_field(scope: Scope) -> Any:
        value = read(scope)
        for step in steps:
            if type(value) is not dict or step not in value:
                return _read_warily(read(scope), path, where)
            value = value[step]
        return value if type(value) in AS_IT_IS else _read_warily(read(scope), path, where)

    return read_field


def _typed(read: Template, declared: Type) -> Template:
    """Return what reads an integer as one, where the schema says so: in JSON it may be written 3.0, or 1e2."""
    if declared.kinds & NUMBERS != {"int"}:
        return read
    return lambda scope: as_integer(read(scope))


def _read_warily(value: Any, path: tuple[str, ...], where: str) -> Any:
    """Return a field of what may be another mapping than a dict, in its JSON form. Raises ExpressionFailed."""
    for name, step in pairwise(path):
        if not isinstance(value, Mapping):
            raise ExpressionFailed(f"{name!r} is not an object, it has no {step!r}", where=where)
        if step not in value:
            raise ExpressionFailed(f"{name!r} has no key {step!r}", where=where)
        value = value[step]
    try:
        return plain(value)
    except ValueError as error:
        raise ExpressionFailed(str(error), where=where) from error


@dataclass
class Compiler:
    """Compiles mappings that may read the same names; every expression that does not compile goes to `refuse`.

    `leaves` has the type of each expression by its path; `present`, what is known of keys, that they are there or not
    null.
    """

    types: Mapping[str, Type]
    refuse: Callable[[Path, InvalidExpression], None]
    present: Facts = frozenset()
    leaves: dict[Path, Type] = field(default_factory=dict)

    def reading(self, types: Mapping[str, Type]) -> "Compiler":
        """Return a compiler of mappings that may read more."""
        return replace(self, types={**self.types, **types}, leaves={})

    def template(self, tree: Any, at: Path) -> Template:
        """Compile a mapping found at a path of its contract."""
        if isinstance(tree, str):
            return self._leaf(tree, at)
        if isinstance(tree, Mapping):
            fields = {key: self.template(value, (*at, key)) for key, value in tree.items()}
            return lambda scope: {key: template(scope) for key, template in fields.items()}
        if isinstance(tree, list | tuple):
            items = [self.template(value, (*at, index)) for index, value in enumerate(tree)]
            return lambda scope: [template(scope) for template in items]
        return lambda _scope: tree

    def refusal(self, text: str, at: Path) -> Template:
        """Compile the condition of a refusal: a leaf that has to be an expression and gives a boolean.

        What is compiled afterwards may rely on it that the condition is false.
        """
        match = _LEAF.fullmatch(text)
        if match is None:
            self.refuse(at, InvalidExpression(f"found {text!r}, expected an expression: write ${{ {text} }}"))
            return lambda _scope: None
        expression = self._expression(match[1], at)
        if expression is None:
            return lambda _scope: None
        if not expression.type.may_be(("bool",)):
            told = f"the condition gives {expression.type}, expected boolean"
            start = len(match[1]) - len(match[1].lstrip())
            width = len(match[1].strip())
            self.refuse(
                at, InvalidExpression.at(told, text=match[1], offset=start, width=width, problem="expression-type")
            )
        self.present |= expression.checked.present_if_false
        return expression.evaluate

    def _leaf(self, text: str, at: Path) -> Template:
        match = _LEAF.fullmatch(text)
        if match is not None:
            expression = self._expression(match[1], at)
            return (lambda _scope: text) if expression is None else expression.evaluate
        if "${" in text:
            self.refuse(at, InvalidExpression(f"an expression must be the whole value, found {text!r}; {_JOINED}"))
        elif foreign := _FOREIGN.search(text):
            told = f"found {foreign[0]!r}: an expression is ${{ ... }} and the whole value, such as {_WHOLE}"
            self.refuse(at, InvalidExpression(told))
        return lambda _scope: text

    def _expression(self, text: str, at: Path) -> Expression | None:
        self.leaves[at] = DYNAMIC
        try:
            where = ".".join(str(step) for step in at)
            expression = Expression(text, types=self.types, where=where, present=self.present)
        except InvalidExpression as error:
            self.refuse(at, error)
            return None
        self.leaves[at] = expression.type
        return expression


def without_braces(text: str) -> str:
    """Return the text of an expression, written as a leaf `${ ... }` or without."""
    match = _LEAF.fullmatch(text)
    return text if match is None else match[1].strip()


def is_expression(written: Any) -> bool:
    """Check whether a value of a contract is one expression as a whole."""
    return isinstance(written, str) and _LEAF.fullmatch(written) is not None


def _field_path(text: str, types: Mapping[str, Type]) -> tuple[str, ...]:
    """Return the steps of a text that only reads a field; none for any other.

    Most leaves do that: Python does it at a tenth of the engine's price, with equal results.
    """
    steps = tuple(text.strip().split("."))
    is_path = _FIELD_PATH.fullmatch(text.strip()) and steps[0] in types and RESERVED.isdisjoint(steps)
    return steps if is_path else ()


def _compiled(
    text: str, types: Mapping[str, Type], present: Facts, field_path: tuple[str, ...]
) -> tuple[Program | None, Checked]:
    """Compile and check. Where the engine refuses a type, the checker, which knows more, is asked for its words."""
    if field_path:
        return None, check(tree_of_path(field_path, text), text, types, present)
    try:
        program = Program(text, names=tuple(types))
    except InvalidExpression:
        parsed = syntax_of(text, names=tuple(types))
        if parsed is not None:
            check(parsed, text, types, present)
        raise
    tree = program.tree()
    check_growth(tree.root, text)
    checked = check(tree, text, types, present)
    check_constants(tree, text)
    return program, checked


def _json_type(found: Type, text: str) -> Type:
    """Return the type of a value once it is JSON, where times are text. Raises InvalidExpression."""
    formless = _formless(found)
    if formless is None:
        return _as_json(found)
    advice = "; end it with .orValue(...)" if formless.kinds == {"optional"} else ""
    start, width = len(text) - len(text.lstrip()), len(text.strip())
    told = f"it gives {formless}, which JSON has no form for{advice}"
    raise InvalidExpression.at(told, text=text, offset=start, width=width, problem="expression-type")


def _formless(found: Type) -> Type | None:
    """Return the part of a type that JSON has no form for."""
    if found.kinds and found.kinds <= {"bytes", "type", "optional"}:
        return found
    parts = [*(it.type for it in found.fields.values()), *(it for it in (found.item, found.extra) if it is not None)]
    return next((it for part in parts if (it := _formless(part)) is not None), None)


_IN_JSON = {"timestamp": "string", "duration": "string", "uint": "int"}


def _as_json(found: Type) -> Type:
    if found.kinds.isdisjoint(_IN_JSON) and not found.fields and found.item is None:
        return found
    return replace(
        found,
        kinds=scalar(*(_IN_JSON.get(kind, kind) for kind in found.kinds)).kinds,
        item=None if found.item is None else _as_json(found.item),
        fields={name: replace(it, type=_as_json(it.type)) for name, it in found.fields.items()},
    )
