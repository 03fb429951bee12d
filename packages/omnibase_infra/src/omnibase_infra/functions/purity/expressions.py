"""What an expression of a function may stand for. Each is looked at as long as anything new is learnt."""

import ast
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any

from omnibase_infra.functions.purity.calls import Arguments, Calls
from omnibase_infra.functions.purity.findings import Impurity
from omnibase_infra.functions.purity.judge import Judge
from omnibase_infra.functions.purity.known import name_of, verdict
from omnibase_infra.functions.purity.names import ImportOrigin, origins_of, resolved
from omnibase_infra.functions.purity.values import (
    DATA,
    MISSING,
    Atom,
    Bound,
    Closure,
    Fresh,
    Getter,
    Inside,
    Known,
    Value,
    attribute_of,
    elements,
    held,
    is_set,
    joined,
    known,
    looked_up,
)
from omnibase_infra.functions.purity.world import FunctionScope, World, text_of

_INNARDS_NAMES = """
__base__ __bases__ __builtins__ __closure__ __code__ __defaults__ __dict__ __func__ __getattribute__ __globals__
__import__ __kwdefaults__ __loader__ __mro__ __reduce__ __reduce_ex__ __self__ __spec__ __subclasses__ __traceback__
__weakref__ __wrapped__ ag_frame cr_code cr_frame f_back f_builtins f_code f_globals f_locals func_globals gi_code
gi_frame tb_frame tb_next
"""
_INNARDS = frozenset(_INNARDS_NAMES.split())
_ORDER_FREE = frozenset({"sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all"})


class Expressions:
    """Gives the value of expressions in their scope. `bind` lets a target stand for a value."""

    def __init__(self, world: World, bind: Callable[[ast.AST, Value, FunctionScope], None]) -> None:
        """Add to what is known."""
        self.world = world
        self.bind = bind
        self._judge = Judge(world)
        self._calls = Calls(world)
        self._read_tops: set[tuple[str, str]] = set()

    def value(self, node: ast.AST | None, scope: FunctionScope) -> Value:
        """Return what an expression may stand for, and judge what it refers to."""
        match node:
            case None | ast.Constant():
                return DATA
            case ast.Name():
                return self._name(node, scope)
            case ast.Attribute():
                return self._attribute(node, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.Lambda():
                return self.closure(node, scope)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return held(joined([self._part(it, scope) for it in parts]))
            case ast.Set(elts=parts):
                return held(joined([self._part(it, scope) for it in parts])) | {Fresh(set)}
            case ast.Dict(keys=keys, values=values):
                return self._dict(keys, values, scope)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node, scope)
            case ast.Subscript(value=base, slice=index):
                self.value(index, scope)
                found = self.value(base, scope)
                return elements(found) | frozenset(
                    it for it in found if isinstance(it, Known) and isinstance(it.thing, type)
                )
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.value(test, scope)
                return self.value(body, scope) | self.value(orelse, scope)
            case ast.BoolOp(values=values):
                return joined([self.value(it, scope) for it in values])
            case ast.BinOp(left=left, right=right):
                return self._operation(self.value(left, scope), self.value(right, scope))
            case ast.NamedExpr(target=target, value=inner):
                found = self.value(inner, scope)
                self.bind(target, found, scope)
                return found
            case ast.Await():
                self.world.found(scope, node, Impurity.ASYNC, f"{text_of(node)} waits")
                return self.value(node.value, scope)
            case ast.Yield(value=inner) | ast.YieldFrom(value=inner):
                self.world.learn_return(scope, held(self.value(inner, scope)))
                return DATA
            case ast.FormattedValue(value=inner):
                self.iterated(self.value(inner, scope), inner, scope)
                return DATA
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child, scope)
                return DATA

    def closure(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: FunctionScope) -> Value:
        """Return a function that is defined inside of another; its defaults are of the moment."""
        inner = self.world.inner(node, scope)
        of = node.args
        positional = [it.arg for it in (*of.posonlyargs, *of.args)]
        for name, default in zip(positional[len(positional) - len(of.defaults) :], of.defaults, strict=True):
            self.world.learn(inner, name, self.value(default, scope))
        for argument, written in zip(of.kwonlyargs, of.kw_defaults, strict=True):
            self.world.learn(inner, argument.arg, self.value(written, scope))
        return frozenset({Closure(inner.number)})

    def judge(self, value: Value, scope: FunctionScope, node: ast.AST) -> None:
        """Judge what a value may be where a function comes by it."""
        self._judge.refer(value, scope, node)

    def iterated(self, value: Value, node: ast.AST, scope: FunctionScope) -> None:
        """Record that the order of a value shows."""
        if is_set(value):
            self.world.found(scope, node, Impurity.ORDER, f"{text_of(node)} is a set, whose order shows here")

    def _part(self, node: ast.expr, scope: FunctionScope) -> Value:
        if not isinstance(node, ast.Starred):
            return self.value(node, scope)
        found = self.value(node.value, scope)
        self.iterated(found, node.value, scope)
        return elements(found)

    def _dict(self, keys: Iterable[ast.expr | None], values: Iterable[ast.expr], scope: FunctionScope) -> Value:
        found = []
        for key, written in zip(keys, values, strict=True):
            value = self.value(written, scope)
            self.value(key, scope)
            found.append(elements(value) if key is None else value)
        return held(joined(found))

    def _comprehension(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp,
        scope: FunctionScope,
        *,
        ordered: bool = True,
    ) -> Value:
        for generator in node.generators:
            found = self.value(generator.iter, scope)
            if ordered and not isinstance(node, ast.SetComp):
                self.iterated(found, generator.iter, scope)
            self.bind(generator.target, elements(found), scope)
            for test in generator.ifs:
                self.value(test, scope)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        made = held(joined([self.value(it, scope) for it in parts]))
        return made | {Fresh(set)} if isinstance(node, ast.SetComp) else made

    def _operation(self, left: Value, right: Value) -> Value:
        found = held(elements(left) | elements(right))
        fresh = frozenset(it for it in left | right if isinstance(it, Fresh))
        return found | fresh | ({Fresh(set)} if is_set(left | right) else frozenset())

    # --- Names ---------------------------------------------------------------------------------------------------

    def _name(self, node: ast.Name, scope: FunctionScope) -> Value:
        found, is_global = resolved(node.id, scope)
        if is_global:
            if node.id in _INNARDS:
                self.world.found(scope, node, Impurity.DYNAMIC, f"{node.id} gives every function there is")
                return DATA
            if node.id in scope.names:
                self._top(scope.names, node.id, scope, node)
        self._judge.refer(found, scope, node)
        return found

    def _top(self, names: Mapping[str, Any], name: str, scope: FunctionScope, node: ast.AST) -> None:
        """Read how the top of a module came by a value: what was the time at import is no less a clock."""
        module = str(names.get("__name__", ""))
        if not self.world.reads(module) or isinstance(names[name], type | FunctionType | ModuleType):
            return
        if (top := self.world.module(names, scope)) is None or (module, name) in self._read_tops:
            return
        self._read_tops.add((module, name))
        assert isinstance(top.node, ast.Module)  # noqa: S101 - narrows the type
        for origin in origins_of(name, top.node, names):
            if isinstance(origin, ImportOrigin):
                self._imported(origin, scope, node)
            else:
                self.value(origin, top)

    def _imported(self, origin: ImportOrigin, scope: FunctionScope, node: ast.AST) -> None:
        module, name = origin
        where = sys.modules.get(module)
        if self.world.reads(module) and where is not None and name in vars(where):
            self._top(vars(where), name, scope, node)
        elif (impurity := verdict(f"{module}.{name}")) is not None and impurity is not Impurity.UNKNOWN:
            self.world.found(scope, node, impurity, f"{text_of(node)} is {module}.{name}")

    # --- Attributes ----------------------------------------------------------------------------------------------

    def _attribute(self, node: ast.Attribute, scope: FunctionScope) -> Value:
        if _is_super(node.value):
            return self._inherited(node.attr, scope)
        return self._of(self.value(node.value, scope), node.attr, node, scope)

    def _of(self, base: Value, name: str, node: ast.AST, scope: FunctionScope) -> Value:
        if name in _INNARDS:
            self.world.found(scope, node, Impurity.DYNAMIC, f"{text_of(node)} reaches into the interpreter")
            return DATA
        found = joined([self._of_atom(atom, name, node, scope) for atom in base])
        self._judge.refer(found, scope, node)
        return found

    def _of_atom(self, atom: Atom, name: str, node: ast.AST, scope: FunctionScope) -> Value:
        if isinstance(atom, Inside):
            return frozenset({atom})
        if not isinstance(atom, Known | Fresh):
            return DATA
        if name == "__class__":
            return known(atom.kind if isinstance(atom, Fresh) else type(atom.thing))
        if isinstance(atom, Known) and isinstance(atom.thing, ModuleType):
            self._of_module(atom.thing, name, node, scope)
        if isinstance(atom, Fresh) and (stored := self.world.attribute(atom.kind, name)) is not None:
            return stored
        found = attribute_of(atom, name)
        if not isinstance(found, Getter):
            return found
        self._judge.refer(known(found.function), scope, node)
        owner: Value = frozenset({found.owner})
        return joined(self.world.call(it, [owner], {}) for it in self.world.functions(found.function, scope))

    def _of_module(self, module: ModuleType, name: str, node: ast.AST, scope: FunctionScope) -> None:
        if self.world.reads(module.__name__):
            if name in vars(module):
                self._top(vars(module), name, scope, node)
            return
        thing = getattr(module, name, None)
        is_judged = callable(thing) or isinstance(thing, ModuleType)
        if not is_judged and (impurity := verdict(f"{name_of(module)}.{name}")) is not None:
            self.world.found(scope, node, impurity, text_of(node))

    def _inherited(self, name: str, scope: FunctionScope) -> Value:
        """Find what `super()` gives: whatever an ancestor has under the name."""
        at: FunctionScope | None = scope
        while at is not None and at.parent is not None:
            at = at.parent
        found: set[Atom] = set()
        for atom in at.first_argument if at else ():
            kind = atom.kind if isinstance(atom, Fresh) else atom.thing if isinstance(atom, Known) else None
            kind = kind if isinstance(kind, type) or kind is None else type(kind)
            for ancestor in kind.__mro__[1:] if kind else ():
                function = looked_up(ancestor, name)
                if function is not MISSING and name in vars(ancestor) and isinstance(atom, Known | Fresh):
                    raw = getattr(function, "__func__", function)
                    found.add(Bound(Known(raw), atom))
        value = frozenset(found)
        self._judge.refer(value, scope, scope.node)
        return value

    # --- Calls ---------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call, scope: FunctionScope) -> Value:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called == "super" and _is_super(node):
            return DATA
        function = self.value(node.func, scope)
        if called in {"getattr", "hasattr"} and any(isinstance(it, Known) for it in function):
            return self._getattr(node, scope, called)
        given, spread = [], DATA
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                spread |= self.value(argument.value, scope)
                self.iterated(spread, argument.value, scope)
            elif isinstance(argument, ast.GeneratorExp) and called in _ORDER_FREE:
                given.append(self._comprehension(argument, scope, ordered=False))
            else:
                given.append(self.value(argument, scope))
        named = {it.arg: self.value(it.value, scope) for it in node.keywords if it.arg is not None}
        spread |= joined([self.value(it.value, scope) for it in node.keywords if it.arg is None])
        arguments = Arguments(given=given, named=named, rest=spread, node=node)
        self._absorb(node.func, arguments.all, scope)
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"join", "extend"}:
            for written, value in zip(node.args, given, strict=False):
                self.iterated(value, written, scope)
        return self._calls.call(function, arguments, scope)

    def _absorb(self, function: ast.expr, value: Value, scope: FunctionScope) -> None:
        """Let a container hold what one of its methods was given."""
        if isinstance(function, ast.Attribute) and value:
            self.absorb(function.value, value, scope)

    def absorb(self, container: ast.expr, value: Value, scope: FunctionScope) -> None:
        """Let a container of the call hold a value from now on."""
        if isinstance(container, ast.Name) and container.id in scope.own:
            self.world.learn(scope, container.id, held(value))
        elif isinstance(container, ast.Attribute):
            for atom in self.value(container.value, scope):
                if isinstance(atom, Fresh) and self.world.reads(atom.kind.__module__):
                    self.world.learn_attribute(atom.kind, container.attr, held(value))

    def _getattr(self, node: ast.Call, scope: FunctionScope, called: str) -> Value:
        values = [self.value(it, scope) for it in node.args]
        match node.args:
            case [_, ast.Constant(value=str(name)), *_] if called == "getattr":
                return self._of(values[0], name, node, scope) | joined(values[2:])
            case [_, ast.Constant(value=str()), *_]:
                return DATA
        self.world.found(scope, node, Impurity.DYNAMIC, f"{text_of(node)} takes an attribute by name")
        return DATA


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
