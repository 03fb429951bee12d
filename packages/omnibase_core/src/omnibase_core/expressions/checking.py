"""The checker: what type an expression has, given those of the names that it reads. Pure.

It looks for what is certain to fail. What may be anything is let pass, and fails, if it does, with the command. The
exceptions are keys that a schema declares and does not require, and objects of a payload for which it allows null too:
reading them takes a guard, because the first command without it would fail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NamedTuple

from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions.code import instead_of_absent, instead_of_null, or_else
from omnibase_core.expressions.functions import call_in_words, signatures_of
from omnibase_core.expressions.narrowing import Fact, Facts, guards_of, steps_of, steps_through
from omnibase_core.expressions.syntax import (
    Call,
    Comprehension,
    ListLiteral,
    Literal,
    MapLiteral,
    Name,
    Node,
    Select,
    Tree,
)
from omnibase_core.expressions.type_messages import advice_on, default_in_words, owner_of, said, with_article
from omnibase_core.expressions.types import (
    DYNAMIC,
    NEVER,
    NUMBERS,
    FieldType,
    Type,
    kind_of,
    list_of,
    object_of,
    optional_of,
    scalar,
    union,
)
from omnibase_core.problem_codes import ProblemCode

_DEFAULT_LENGTH_MAX = 40
_BOOL = scalar("bool")
_LISTED_MAX = 8
_WORDS = {"_&&_": "&&", "_||_": "||", "!_": "!", "_?_:_": "?", "@in": "in", "_[_]": "[", "_[?_]": "[?"}


class Checked(NamedTuple):
    """What is known of an expression: its type, and what of keys if it is true, or if it is false."""

    type: Type
    present_if_true: Facts
    present_if_false: Facts


def check(tree: Tree, text: str, names: Mapping[str, Type], present: Facts = frozenset()) -> Checked:
    """Check an expression's tree. `present` is what is known of keys before. Raises InvalidExpression."""
    found = _Checker(tree, text, names).type_of(tree.root, _Known(names, present))
    return Checked(found, *guards_of(tree.root))


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known where a node stands."""

    names: Mapping[str, Type]
    present: Facts

    def given(self, present: Facts) -> "_Known":
        return replace(self, present=self.present | present) if present else self

    def within(self, names: Mapping[str, Type]) -> "_Known":
        """Return what is known in the body of a macro, whose variables hide what has their names."""
        seen = frozenset(fact for fact in self.present if fact.steps[0] not in names)
        return _Known({**self.names, **names}, seen)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Gives types from the leaves up, by recursive descent, which the engine's own limit of depth bounds."""

    tree: Tree
    text: str
    names: Mapping[str, Type]
    """What the whole expression may read."""

    def type_of(self, node: Node, known: _Known) -> Type:
        match node:
            case Literal(value=value):
                return scalar("uint" if node.unsigned else "bytes" if isinstance(value, bytes) else kind_of(value))
            case Name(name=name):
                return known.names.get(name, DYNAMIC)
            case Select():
                return self._select(node, known)
            case Call():
                return self._call(node, known)
            case ListLiteral(items=items):
                return list_of(union(self._item(node, index, known) for index in range(len(items))))
            case MapLiteral():
                return self._map(node, known)
            case Comprehension():
                return self._fold(node, known)

    # --- Keys ---

    def _select(self, node: Select, known: _Known) -> Type:
        owner = self.type_of(node.operand, known)
        if owner.kinds == {"optional"}:
            found = self._key(owner.inner(), node.field, node, known, guarded=True)
            return _BOOL if node.test else optional_of(found)
        found = self._key(owner, node.field, node, known, guarded=node.test)
        return _BOOL if node.test else found

    def _key(self, owner: Type, key: str, node: Select | Call, known: _Known, *, guarded: bool) -> Type:
        """Return the type of one key; without a guard, one that may be absent is a fault."""
        if owner.dynamic:
            return DYNAMIC
        if not owner.may_be(("map",)):
            found = f"{said(owner_of(node))} is {with_article(owner)} and has no {key!r}"
            raise self._fault(found, *self._place_of_key(node, key), code="expression-type")
        field = owner.fields.get(key)
        if field is None and owner.extra is None:
            raise self._unknown_key(owner, key, node)
        self._refuse_null(owner_of(node), owner, known, node, self._place_of_key(node, key))
        if field is None:
            return owner.extra or DYNAMIC
        if not field.required and not guarded and Fact(steps_of(node)) not in known.present:
            raise self._unguarded(key, node, field)
        return field.type

    def _unknown_key(self, owner: Type, key: str, node: Select | Call) -> InvalidExpression:
        near = get_close_matches(key, owner.fields, n=1)
        there = ", ".join([*list(owner.fields)[:_LISTED_MAX], *(["..."] if len(owner.fields) > _LISTED_MAX else [])])
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {there}" if there else "it has no keys"
        told = f"{said(owner_of(node))} has no {key!r}; {hint}"
        place = self._place_of_key(node, key)
        return self._fault(told, *place, code="unknown-field", nearest=near[0] if near else None)

    def _unguarded(self, key: str, node: Select | Call, field: FieldType) -> InvalidExpression:
        steps = steps_of(node)
        instead = instead_of_absent(steps) if steps else or_else("", key)
        told = f"{key!r} may be absent, the schema does not require it; write {instead}"
        if isinstance(field.default, str | int | float) and len(str(field.default)) <= _DEFAULT_LENGTH_MAX:
            value = default_in_words(field.default, field.type)
            told = told.replace("; write", ", and its default is not filled in; write").replace("(...)", f"({value})")
        return self._fault(told, *self._place_of_key(node, key), code="optional-field")

    def _refuse_null(self, node: Node, found: Type, known: _Known, within: Node, place: tuple[int, int]) -> None:
        """Refuse what would look into a null of the payload: `within`, whose `node` is looked into."""
        steps = steps_through(node)
        is_of_payload = steps[:1] == ("payload",) and known.names["payload"] is self.names["payload"]
        if is_of_payload and "null" in found.kinds and Fact(steps, not_null=True) not in known.present:
            instead = instead_of_null(within, steps, known.names["payload"], known.present)
            told = f"{said(node)} may be null, the schema allows it; write {instead}"
            raise self._fault(told, *place, code="optional-field")

    def _index(self, node: Call, known: _Known) -> Type:
        """`owner[key]`, `owner[?key]` and `owner.?key`; the last two give an optional."""
        owner, key = self.type_of(node.arguments[0], known), self.type_of(node.arguments[1], known)
        chained = owner.kinds == {"optional"}
        holder = owner.inner() if chained else owner
        guarded = chained or node.function != "_[_]"
        found = self._indexed(node, holder, key, known, guarded=guarded)
        return optional_of(found) if guarded else found

    def _indexed(self, node: Call, holder: Type, key: Type, known: _Known, *, guarded: bool) -> Type:
        word = node.arguments[1]
        if isinstance(word, Literal) and isinstance(word.value, str) and holder.may_be(("map",)):
            return self._key(holder, word.value, node, known, guarded=guarded)
        self._refuse_null(node.arguments[0], holder, known, node, self._place_of_call(node))
        if holder.dynamic or (holder.may_be(("map",)) and key.may_be(("string",))):
            return DYNAMIC
        if holder.may_be(("list",)) and key.may_be(NUMBERS):
            return holder.inner()
        raise self._no_meaning(node, [holder, key])

    # --- Literals ---

    def _item(self, node: ListLiteral, index: int, known: _Known) -> Type:
        item = self.type_of(node.items[index], known)
        return item.inner() if index in node.optional else item

    def _map(self, node: MapLiteral, known: _Known) -> Type:
        fields: dict[str, FieldType] = {}
        extra: list[Type] = []
        for entry in node.entries:
            value = self.type_of(entry.value, known)
            value = value.inner() if entry.optional else value
            if isinstance(entry.key, Literal) and isinstance(entry.key.value, str):
                fields[entry.key.value] = FieldType(value, required=not entry.optional)
            else:
                extra.append(value)
        return DYNAMIC if node.message else object_of(fields, extra=union(extra) if extra else None)

    # --- Calls ---

    def _call(self, node: Call, known: _Known) -> Type:
        match node.function:
            case "_&&_" | "_||_":
                return self._logical(node, known)
            case "_?_:_":
                return self._choice(node, known)
            case "_[_]" | "_[?_]" | "_?._":
                return self._index(node, known)
        written = node.arguments if node.target is None else (node.target, *node.arguments)
        types = [self.type_of(argument, known) for argument in written]
        if node.function == "@in" and types[1].may_be(("list", "map")):
            self._refuse_null(node.arguments[1], types[1], known, node, self._place_of_call(node))
        return self._result(node, types)

    def _result(self, node: Call, types: Sequence[Type]) -> Type:
        function, first = node.function, types[0] if types else NEVER
        if function == "!_":
            return self._boolean(node, types)
        if function in ("_==_", "_!=_"):
            return self._compared(node, *types)
        if function == "@in":
            return self._contained(node, *types)
        if (
            function == "_+_"
            and any(it.kinds == {"list"} for it in types)
            and all(it.may_be(("list",)) for it in types)
        ):
            return list_of(union(it.inner() for it in types))
        if function in ("math.@max", "math.@min"):
            return union(it.inner() if it.kinds == {"list"} else it for it in types)
        if function in ("optional.of", "optional.ofNonZeroValue", "optional.none"):
            return optional_of(first)
        if node.target is not None and first.kinds == {"optional"}:
            return self._of_optional(node, types)
        if node.target is not None and function in ("first", "last"):
            return optional_of(first.inner())
        return self._listed(node, types)

    def _listed(self, node: Call, types: Sequence[Type]) -> Type:
        """Look a function up; what is not listed is known to the engine, which has let it pass."""
        ways = signatures_of(node.function, method=node.target is not None)
        if not ways:
            return DYNAMIC
        fitting = [way.gives for way in ways if _takes(way.takes, types)]
        if not fitting:
            raise self._no_meaning(node, types)
        return union(fitting)

    def _of_optional(self, node: Call, types: Sequence[Type]) -> Type:
        inner, others = types[0].inner(), types[1:]
        match node.function, len(others):
            case "orValue", 1:
                return union([inner, others[0]])
            case "or", 1:
                return optional_of(union([inner, others[0].inner()]))
            case "value", 0:
                return inner
            case "hasValue", 0:
                return _BOOL
        raise self._no_meaning(node, types)

    def _logical(self, node: Call, known: _Known) -> Type:
        """Each side may rely on the other: a failure on one side does not count where the other has decided."""
        left, right = node.arguments
        side = 0 if node.function == "_&&_" else 1
        types = [
            self.type_of(left, known.given(guards_of(right)[side])),
            self.type_of(right, known.given(guards_of(left)[side])),
        ]
        return self._boolean(node, types)

    def _choice(self, node: Call, known: _Known) -> Type:
        condition, yes, no = node.arguments
        decided = self.type_of(condition, known)
        if not decided.may_be(("bool",)):
            told = f"the condition is {with_article(decided)}, expected a boolean"
            raise self._fault(told, *self._place_of_call(node), code="expression-type")
        if_true, if_false = guards_of(condition)
        return union([self.type_of(yes, known.given(if_true)), self.type_of(no, known.given(if_false))])

    def _boolean(self, node: Call, types: Sequence[Type]) -> Type:
        wrong = next((it for it in types if not it.may_be(("bool",))), None)
        if wrong is None:
            return _BOOL
        if self.text.startswith(_WORDS[node.function], self.tree.offset(node)):
            raise self._no_meaning(node, types)
        # Nobody wrote the operator: it is what a macro is made of.
        offset, width = self._place_of_method(node)
        told = f"the condition of {self.text[offset : offset + width]} is {with_article(wrong)}, expected a boolean"
        raise self._fault(told, offset, width, code="expression-type")

    def _compared(self, node: Call, left: Type, right: Type) -> Type:
        if not _comparable(left, right):
            word, result = ("==", "false") if node.function == "_==_" else ("!=", "true")
            told = f"{left} {word} {right} is always {result}{advice_on(node, [left, right])}"
            raise self._fault(told, *self._place_of_call(node), code="expression-type")
        return _BOOL

    def _contained(self, node: Call, item: Type, container: Type) -> Type:
        in_map = container.may_be(("map",)) and item.may_be(("string",))
        in_list = container.may_be(("list",)) and (container.item in (None, NEVER) or _comparable(item, container.item))
        if not in_map and not in_list and not container.dynamic:
            raise self._no_meaning(node, [item, container])
        return _BOOL

    # --- Macros ---

    def _fold(self, node: Comprehension, known: _Known) -> Type:
        over = self.type_of(node.range, known)
        if not over.may_be(("list", "map")):
            told = f"{said(node.range)} is {with_article(over)}, expected an array or an object"
            raise self._fault(told, *self._place_of_method(node), code="expression-type")
        self._refuse_null(node.range, over, known, node, self._place_of_method(node))
        each = DYNAMIC if over.dynamic else union(_each(over))
        start = self.type_of(node.start, known)
        inside = known.within({node.variable: each, node.result_name: start})
        self.type_of(node.condition, inside)
        folded = union([start, self.type_of(node.step, inside)])
        return self.type_of(node.result, known.within({node.result_name: folded}))

    # --- Faults ---

    def _no_meaning(self, node: Call, types: Sequence[Type]) -> InvalidExpression:
        called = call_in_words(node.function, [str(it) for it in types], method=node.target is not None)
        told = f"{called} has no meaning{advice_on(node, types)}"
        return self._fault(told, *self._place_of_call(node), code="expression-type")

    def _place_of_key(self, node: Select | Call, key: str) -> tuple[int, int]:
        if isinstance(node, Call) and node.function != "_?._":
            return self.tree.offset(node.arguments[1]), len(key) + 2
        offset = self.tree.offset(node)
        found = self.text.find(key, offset)
        return (found, len(key)) if found >= 0 else (offset, 1)

    def _place_of_call(self, node: Call) -> tuple[int, int]:
        sign, offset = _WORDS.get(node.function, node.function.strip("_")), self.tree.offset(node)
        return (offset, len(sign)) if self.text.startswith(sign, offset) else self._place_of_method(node)

    def _place_of_method(self, node: Node) -> tuple[int, int]:
        """Find the name before a bracket, which is what the engine takes for the place of a function."""
        offset = self.tree.offset(node)
        before = self.text[:offset].rstrip()
        name = len(before) - len(before.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))
        return (len(before) - name, name) if name else (offset, 1)

    def _fault(
        self, message: str, offset: int, width: int, *, code: ProblemCode, nearest: str | None = None
    ) -> InvalidExpression:
        return InvalidExpression.at(message, text=self.text, offset=offset, width=width, problem=code, nearest=nearest)


# --- Types against each other -----------------------------------------------------------------------------------------


def _takes(taken: Sequence[frozenset[str] | None], types: Sequence[Type]) -> bool:
    return len(taken) == len(types) and all(
        kinds is None or it.may_be(kinds) for kinds, it in zip(taken, types, strict=True)
    )


def _comparable(left: Type, right: Type) -> bool:
    """Check whether two values can be equal. Anything may be compared with null, and numbers with each other."""
    if left.dynamic or right.dynamic or "null" in left.kinds | right.kinds:
        return True
    return left.may_be(right.kinds) or (left.may_be(NUMBERS) and right.may_be(NUMBERS))


def _each(over: Type) -> Iterable[Type]:
    """Yield what the variable of a macro stands for: items of an array, keys of an object."""
    if over.may_be(("list",)):
        yield over.inner()
    if over.may_be(("map",)):
        yield scalar("string")
