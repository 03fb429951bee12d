"""Reads the code of a function, and of every function that it comes to in the read packages, for what is not pure.

Nothing of it is run. Names are looked up in the modules as they were imported, so an alias hides nothing; what they may
stand for is followed through assignments, arguments, results and containers until nothing new is learnt.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from functools import _lru_cache_wrapper
from inspect import unwrap
from types import FunctionType

from omnibase_infra.functions.purity.expressions import Expressions
from omnibase_infra.functions.purity.findings import Finding, Impurity
from omnibase_infra.functions.purity.judge import Judge
from omnibase_infra.functions.purity.values import (
    CHANGEABLE,
    DATA,
    Fresh,
    Known,
    Value,
    elements,
    held,
    known,
    looked_up,
)
from omnibase_infra.functions.purity.world import (
    FunctionScope,
    FunctionSources,
    StepLimitExceeded,
    World,
    text_of,
    within,
)


def findings_of(function: object, *, name: str, packages: Sequence[str], sources: FunctionSources) -> Sequence[Finding]:
    """Return every finding on the way from a node's function, in the order of their places.

    `name` is that of the contract, `package.module:function`. The code of `packages` is read; what belongs to others is
    judged by its name.
    """
    world = World(packages, sources)
    path, line = _place(function, name)
    attribute = name.partition(":")[2]
    named = ast.Name(id=attribute, lineno=line, col_offset=0)
    entry = FunctionScope(-1, ast.Module([], []), path, {}, ())
    try:
        Judge(world).refer(known(function), entry, named)
        if any(map(_gives_a_generator, world.scopes)) and isinstance(function, FunctionType):
            text = f"{attribute} is a generator, which goes on where it stopped"
            world.found(entry, named, Impurity.STATE, text)
        statements = Statements(world)
        for scope in world.unread():
            statements.read(scope)
    except StepLimitExceeded:
        world.found(entry, named, Impurity.UNREADABLE, f"{attribute} comes to more code than can be followed")
    return sorted(world.findings)


def _place(function: object, name: str) -> tuple[str, int]:
    """Return where a node's function is written, as far as it says so; else the top of its module."""
    written = unwrap(function) if isinstance(function, FunctionType | _lru_cache_wrapper) else function
    if isinstance(written, FunctionType):
        return written.__code__.co_filename, written.__code__.co_firstlineno
    module = name.partition(":")[0]
    return str(getattr(sys.modules.get(module), "__file__", None) or module), 1


def _gives_a_generator(scope: FunctionScope) -> bool:
    return any(isinstance(it, ast.Yield | ast.YieldFrom) for it in within(scope.node))


class Statements:
    """Reads the statements of scopes, and binds names."""

    def __init__(self, world: World) -> None:
        """Add to what is known."""
        self._world = world
        self._expressions = Expressions(world, self._bind)

    def read(self, scope: FunctionScope) -> None:
        """Read a whole function once more."""
        if isinstance(scope.node, ast.Lambda):
            self._world.learn_return(scope, self._value(scope.node.body, scope))
            return
        for statement in scope.body:
            self._statement(statement, scope)

    def _statement(self, node: ast.AST, scope: FunctionScope) -> None:
        match node:
            case ast.Return(value=value):
                self._world.learn_return(scope, self._value(value, scope))
            case ast.Assign(targets=targets, value=value):
                found = self._value(value, scope)
                for target in targets:
                    self._bind(target, found, scope)
            case ast.AnnAssign(target=target, value=value):
                if value is not None:
                    self._bind(target, self._value(value, scope), scope)
            case ast.AugAssign():
                self._augmented(node, scope)
            case ast.Delete(targets=targets):
                for target in targets:
                    self._changed(target, scope)
            case ast.For(target=target, iter=iterable, body=body, orelse=orelse):
                found = self._value(iterable, scope)
                self._expressions.iterated(found, iterable, scope)
                self._bind(target, elements(found), scope)
                self._each([*body, *orelse], scope)
            case ast.AsyncFor() | ast.AsyncWith():
                self._world.found(scope, node, Impurity.ASYNC, "async waits")
            case ast.withitem(context_expr=context, optional_vars=target):
                found = self._value(context, scope)
                if target is not None:
                    self._bind(target, found | elements(found), scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node, scope)
            case ast.ClassDef(name=name, body=body, bases=bases, decorator_list=decorators):
                self._each([*bases, *decorators, *body], scope)
                self._world.learn(scope, name, DATA)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.Match(subject=subject, cases=cases):
                found = self._value(subject, scope)
                for case in cases:
                    self._captures(case.pattern, found | elements(found), scope)
                    self._each([it for it in (case.guard, *case.body) if it is not None], scope)
            case ast.expr():
                self._value(node, scope)
            case _:
                self._each(ast.iter_child_nodes(node), scope)

    def _each(self, nodes: Iterable[ast.AST], scope: FunctionScope) -> None:
        for node in nodes:
            self._statement(node, scope)

    def _value(self, node: ast.AST | None, scope: FunctionScope) -> Value:
        return self._expressions.value(node, scope)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: FunctionScope) -> None:
        """Bind a function that is defined inside of another; what decorates it may call it, or give something else."""
        if isinstance(node, ast.AsyncFunctionDef):
            self._world.found(scope, node, Impurity.ASYNC, f"{node.name} is async")
        made = self._expressions.closure(node, scope)
        for decorator in node.decorator_list:
            made |= elements(self._value(decorator, scope))
        self._world.learn(scope, node.name, made)

    def _captures(self, pattern: ast.AST, value: Value, scope: FunctionScope) -> None:
        for node in ast.walk(pattern):
            match node:
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                    self._world.learn(scope, name, value)
                case ast.MatchValue(value=inner) | ast.MatchClass(cls=inner):
                    self._value(inner, scope)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: FunctionScope) -> None:
        """An import at run time is a finding; what it brings is judged all the same."""
        self._world.found(scope, node, Impurity.IMPORT, f"{text_of(node)} imports at run time")
        for alias in node.names:
            local = alias.asname or alias.name.partition(".")[0]
            if isinstance(node, ast.Import):
                module = sys.modules.get(alias.name if alias.asname else local)
                value = DATA if module is None else known(module)
            else:
                package = str(scope.names.get("__package__") or "")
                value = known(getattr(sys.modules.get(_module_of(node, package)), alias.name, None))
            self._expressions.judge(value, scope, node)
            self._world.learn(scope, local, value)

    def _augmented(self, node: ast.AugAssign, scope: FunctionScope) -> None:
        """`x += 1` on a name binds it anew, unless what it stands for is changed in place."""
        found = self._value(node.value, scope)
        if not isinstance(node.target, ast.Name):
            self._changed(node.target, scope)
            self._expressions.absorb(node.target, found, scope)
            return
        loaded = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        for atom in self._value(loaded, scope):
            if isinstance(atom, Known) and isinstance(atom.thing, CHANGEABLE):
                self._state(node, scope)
        self._bind(node.target, held(elements(found)), scope)

    # --- What is bound, and what is changed -----------------------------------------------------------------------

    def _bind(self, target: ast.AST, value: Value, scope: FunctionScope) -> None:
        match target:
            case ast.Name(id=name):
                self._bind_name(name, target, value, scope)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                self._expressions.iterated(value, target, scope)
                for part in parts:
                    self._bind(part, elements(value), scope)
            case ast.Starred(value=inner):
                self._bind(inner, held(value), scope)
            case ast.Attribute(value=base, attr=name):
                self._changed(target, scope)
                for atom in self._value(base, scope):
                    if isinstance(atom, Fresh) and self._world.reads(atom.kind.__module__):
                        self._set(atom, name, value)
            case ast.Subscript(value=base, slice=index):
                self._changed(target, scope)
                self._value(index, scope)
                self._expressions.absorb(base, value, scope)

    def _set(self, owner: Fresh, name: str, value: Value) -> None:
        found = looked_up(owner.kind, name)
        setter = found.fset if isinstance(found, property) else None
        if not isinstance(setter, FunctionType):
            self._world.learn_attribute(owner.kind, name, value)
            return
        for scope in self._world.functions(setter, None):
            self._world.call(scope, [frozenset({owner}), value], {})

    def _bind_name(self, name: str, node: ast.AST, value: Value, scope: FunctionScope) -> None:
        if name not in scope.outer:
            self._world.learn(scope, name, value)
            return
        at = None if name in scope.globals else scope.parent
        while at is not None and name not in at.own:
            at = at.parent
        if at is None:
            self._world.found(scope, node, Impurity.STATE, f"{name} is bound again, and outlives the call")
        else:
            self._world.learn(at, name, value)

    def _changed(self, target: ast.AST, scope: FunctionScope) -> None:
        """Record that an attribute or an element is set or deleted: a finding, if its object outlives the call."""
        if isinstance(target, ast.Name):
            self._bind_name(target.id, target, DATA, scope)
        if isinstance(target, ast.Attribute | ast.Subscript):
            base = self._value(target.value, scope)
            if any(isinstance(it, Known) and _can_change(it, target) for it in base):
                self._state(target, scope)

    def _state(self, node: ast.AST, scope: FunctionScope) -> None:
        self._world.found(scope, node, Impurity.STATE, f"{text_of(node)} changes what outlives the call")


def _module_of(node: ast.ImportFrom, package: str) -> str:
    try:
        return importlib.util.resolve_name(f"{'.' * node.level}{node.module or ''}", package)
    except ImportError:  # it leads out of the package, and fails at run time
        return ""


def _can_change(atom: Known, target: ast.Attribute | ast.Subscript) -> bool:
    """Check whether the change can be of this object: nobody sets an attribute of a list, or an item of a tuple."""
    if isinstance(target, ast.Attribute):
        return not isinstance(atom.thing, (*CHANGEABLE, tuple, frozenset))
    return hasattr(type(atom.thing), "__setitem__")
