"""What reading has found out so far: functions, what their names may stand for, and findings."""

import ast
import linecache
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from omnibase_infra.functions.purity.findings import Finding, Impurity
from omnibase_infra.functions.purity.values import DATA, Bound, Closure, Known, Value, elements, held, joined, known

_TEXT_MAX = 60

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


_STEPS_MAX = 60_000
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class FunctionSources:
    """The trees of modules, each parsed once."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._trees: dict[str, ast.Module | None] = {}
        self._definitions: dict[str, dict[int, list[Definition]]] = {}

    def definitions(self, function: FunctionType) -> Sequence[Definition]:
        """Return where a function is written: several, if lambdas share the line; none, if there is no source."""
        code: CodeType = function.__code__
        if code.co_filename not in self._definitions:
            tree = self.tree(code.co_filename, function.__globals__)
            self._definitions[code.co_filename] = {} if tree is None else _by_line(tree)
        found = self._definitions[code.co_filename].get(code.co_firstlineno, [])
        return [it for it in found if ("<lambda>" if isinstance(it, ast.Lambda) else it.name) == code.co_name]

    def tree(self, path: str, names: Mapping[str, Any]) -> ast.Module | None:
        """Parse a module's file; None where it cannot be read. `names` are the module's globals."""
        if path not in self._trees:
            linecache.checkcache(path)
            text = "".join(linecache.getlines(path, dict(names)))
            try:
                self._trees[path] = ast.parse(text) if text else None
            except SyntaxError:
                self._trees[path] = None
        return self._trees[path]


@cache
def text_of(node: ast.AST) -> str:
    """Return the text of an expression, cut where it gets long."""
    text = ast.unparse(node)
    return text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 3]}..."


def _by_line(tree: ast.Module) -> dict[int, list[Definition]]:
    """Sort definitions by the line at which their code begins: that of the first decorator."""
    found: dict[int, list[Definition]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min([node.lineno, *(it.lineno for it in node.decorator_list)])
            found.setdefault(line, []).append(node)
    return found


class StepLimitExceeded(Exception):
    """There is more code to read than a node's function can mean."""


@dataclass(eq=False)
class FunctionScope:
    """One function, or the top of one module, and what its names may stand for. It only ever learns more."""

    number: int
    node: Definition | ast.Module
    path: str
    names: Mapping[str, Any]
    """The globals of its module, as they are."""
    through: tuple[str, ...]
    cells: Mapping[str, Any] = field(default_factory=dict)
    parent: "FunctionScope | None" = None
    values: dict[str, Value] = field(default_factory=dict)
    returns: Value = DATA

    def __post_init__(self) -> None:
        """Find out which names are its own."""
        declared = [] if isinstance(self.node, ast.Module) else list(_declared(self.node))
        self.outer = {name for kind in declared for name in kind.names}
        self.globals = {name for kind in declared if isinstance(kind, ast.Global) for name in kind.names}
        own = set() if isinstance(self.node, ast.Module) else {*_bound_names(self.node)}
        self.own = own - self.outer

    @property
    def body(self) -> Sequence[ast.AST]:
        """What is read of it; of a module only what somebody asks for."""
        if isinstance(self.node, ast.Module):
            return ()
        return [self.node.body] if isinstance(self.node, ast.Lambda) else self.node.body

    @property
    def first_argument(self) -> Value:
        """What the first argument may be: in a method, its object."""
        if isinstance(self.node, ast.Module):
            return DATA
        positional = [*self.node.args.posonlyargs, *self.node.args.args]
        return self.values.get(positional[0].arg, DATA) if positional else DATA


class World:
    """Grows until nothing new is learnt: each value only ever gets larger, so it ends."""

    def __init__(self, packages: Sequence[str], sources: FunctionSources) -> None:
        """Read the functions of these packages; what others hold is judged by name."""
        self.packages = tuple(packages)
        self.sources = sources
        self.scopes: list[FunctionScope] = []
        self.findings: set[Finding] = set()
        self.attributes: dict[tuple[type, str], Value] = {}
        self._unread: set[int] = set()
        self._reading = -1
        self._callers: dict[int, set[int]] = {}
        self._inner: dict[int, set[int]] = {}
        self._readers: dict[tuple[type, str], set[int]] = {}
        self._spent = 0
        self._numbers: dict[tuple[object, ...], Sequence[int]] = {}
        self._kept: list[Any] = []
        self._places: set[tuple[str, int, int, Impurity]] = set()

    def reads(self, module: str) -> bool:
        """Check whether the code of a module is read rather than judged by name."""
        return any(module == it or module.startswith(f"{it}.") for it in self.packages)

    def unread(self) -> Iterator[FunctionScope]:
        """Yield the scopes that are to be read, as long as there are any: again, when what they depend on has grown."""
        while self._unread:
            self._reading = self._unread.pop()
            if self._reading >= 0:
                yield self.scopes[self._reading]
                self.spend()

    def attribute(self, kind: type, name: str) -> Value | None:
        """Return what was set as an attribute of the objects of a class; None if nothing was."""
        self._readers.setdefault((kind, name), set()).add(self._reading)
        return self.attributes.get((kind, name))

    def spend(self) -> None:
        """Record a step. Raises TooMuch at the end of all patience: a function of a node is not as large as that."""
        self._spent += 1
        if self._spent > _STEPS_MAX:
            raise StepLimitExceeded

    def found(self, scope: FunctionScope, node: ast.AST, impurity: Impurity, text: str) -> None:
        """Record a finding; the first way that leads to a place is the one that is told."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        if (place := (scope.path, line, column, impurity)) in self._places:
            return
        self._places.add(place)
        self.findings.add(Finding(scope.path, line, column, impurity, text, scope.through))

    def functions(self, function: FunctionType, user: FunctionScope | None) -> Sequence[FunctionScope]:
        """Return the scopes of a function that is there: several, if its place is ambiguous; none without source."""
        key = (id(function),)
        if key not in self._numbers:
            self._kept.append(function)
            through = (*(user.through if user else ()), function.__name__)
            cells = dict(_cells(function))
            scopes = [
                self._add(definition, function.__code__.co_filename, function.__globals__, through, cells=cells)
                for definition in self.sources.definitions(function)
            ]
            self._numbers[key] = [it.number for it in scopes]
            for scope in scopes:
                self._take_defaults(scope, function)
        return [self.scopes[number] for number in self._numbers[key]]

    def inner(self, node: Definition, parent: FunctionScope) -> FunctionScope:
        """Return the scope of a function that is defined inside of another."""
        key = (id(node), parent.number)
        if key not in self._numbers:
            name = "lambda" if isinstance(node, ast.Lambda) else node.name
            scope = self._add(node, parent.path, parent.names, (*parent.through, name), parent=parent)
            self._numbers[key] = [scope.number]
        return self.scopes[self._numbers[key][0]]

    def module(self, names: Mapping[str, Any], user: FunctionScope) -> FunctionScope | None:
        """Return the scope of the top of a module; None without source."""
        path = str(names.get("__file__", ""))
        tree = self.sources.tree(path, names)
        if tree is None:
            return None
        key = ("module", path)
        if key not in self._numbers:
            self._numbers[key] = [self._add(tree, path, names, user.through).number]
        return self.scopes[self._numbers[key][0]]

    def learn(self, scope: FunctionScope, name: str, value: Value) -> None:
        """Record what a name of a scope may stand for."""
        before = scope.values.get(name, DATA)
        if not value <= before:
            scope.values[name] = before | value
            self._read_again(scope.number)

    def learn_attribute(self, kind: type, name: str, value: Value) -> None:
        """Record what an attribute of the objects of a class may stand for."""
        before = self.attributes.get((kind, name))
        if before is None or not value <= before:
            self.attributes[kind, name] = (before or DATA) | value
            self._unread |= self._readers.get((kind, name), set())

    def learn_return(self, scope: FunctionScope, value: Value) -> None:
        """Record what a function may give."""
        if not value <= scope.returns:
            scope.returns |= value
            self._unread |= self._callers.get(scope.number, set())

    def call(
        self, scope: FunctionScope, given: Sequence[Value], named: Mapping[str, Value], rest: Value = DATA
    ) -> Value:
        """Hand arguments to a function and give what it may return; `rest` may go to any parameter."""
        self.spend()
        if isinstance(scope.node, ast.Module):
            return DATA
        self._callers.setdefault(scope.number, set()).add(self._reading)
        of = scope.node.args
        positional = [it.arg for it in (*of.posonlyargs, *of.args)]
        every = [*positional, *(it.arg for it in of.kwonlyargs)]
        for name, value in zip(positional, given, strict=False):
            self.learn(scope, name, value)
        for name, value in named.items():
            if name in every:
                self.learn(scope, name, value)
            elif of.kwarg is not None:
                self.learn(scope, of.kwarg.arg, held(value))
        for name in every:
            self.learn(scope, name, rest)
        if of.vararg is not None:
            self.learn(scope, of.vararg.arg, held(joined([*given[len(positional) :], rest])))
        if of.kwarg is not None:
            self.learn(scope, of.kwarg.arg, held(rest))
        return scope.returns

    def hand_on(self, value: Value, arguments: Value) -> Value:
        """Hand arguments to whatever a value may be that can be called: some function of the library will call it."""
        found = []
        rest = arguments | elements(arguments)
        for atom in value:
            if isinstance(atom, Closure):
                found.append(self.call(self.scopes[atom.scope], (), {}, rest))
            function = atom.function if isinstance(atom, Bound) else atom
            if isinstance(function, Known) and isinstance(function.thing, FunctionType):
                if not self.reads(str(function.thing.__globals__.get("__name__", ""))):
                    continue
                for scope in self.functions(function.thing, None):
                    owner = [frozenset({atom.owner})] if isinstance(atom, Bound) else []
                    found.append(self.call(scope, owner, {}, DATA if owner else rest))
        return joined(found)

    def _add(
        self,
        node: Definition | ast.Module,
        path: str,
        names: Mapping[str, Any],
        through: tuple[str, ...],
        **more: Any,
    ) -> FunctionScope:
        scope = FunctionScope(len(self.scopes), node, path, names, through, **more)
        self.scopes.append(scope)
        self._unread.add(scope.number)
        if scope.parent is not None:
            self._inner.setdefault(scope.parent.number, set()).add(scope.number)
        return scope

    def _read_again(self, number: int) -> None:
        """Have a scope read again, and those inside of it, which see its names."""
        self._unread.add(number)
        for inner in self._inner.get(number, ()):
            self._read_again(inner)

    def _take_defaults(self, scope: FunctionScope, function: FunctionType) -> None:
        assert not isinstance(scope.node, ast.Module)  # noqa: S101 - narrows the type
        positional = [it.arg for it in (*scope.node.args.posonlyargs, *scope.node.args.args)]
        defaults = function.__defaults__ or ()
        for name, default in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
            self.learn(scope, name, known(default))
        for name, default in (function.__kwdefaults__ or {}).items():
            self.learn(scope, name, known(default))


def within(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when a function runs: not the insides of functions and classes that it defines."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            yield from within(child)


def _declared(node: ast.AST) -> Iterator[ast.Global | ast.Nonlocal]:
    return (it for it in within(node) if isinstance(it, ast.Global | ast.Nonlocal))


def _bound_names(node: Definition) -> Iterator[str]:
    arguments = node.args
    optional = [it for it in (arguments.vararg, arguments.kwarg) if it is not None]
    yield from (it.arg for it in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *optional))
    for it in within(node):
        match it:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from ((alias.asname or alias.name).partition(".")[0] for alias in aliases)


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a cell that nothing has filled yet
            continue
