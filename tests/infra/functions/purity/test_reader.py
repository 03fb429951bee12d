"""The code of functions is read: what is not pure is refused with its place, and what only looks like it is not."""

import argparse
import contextlib
import csv
import email.message
import fractions
import linecache
import plistlib
import statistics
import uuid
from itertools import count
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnibase_infra.demo import scoring
from omnibase_infra.functions.purity.findings import ADVICE, Finding, Impurity
from omnibase_infra.functions.purity.reader import findings_of
from omnibase_infra.functions.purity.world import FunctionSources
from tests.infra.functions.purity import impure, pure
from tests.infra.functions.purity.samples import REFUSED, nodes_of

SOURCES = FunctionSources()
NUMBERS = count()


def read(function: object, module: ModuleType) -> list[Finding]:
    """Read a function of a sample module."""
    name = f"{module.__name__}:{getattr(function, '__name__', 'it')}"
    return list(findings_of(function, name=name, packages=[module.__name__], sources=SOURCES))


def read_source(source: str, *, name: str = "node") -> list[Finding]:
    """Read a function that stands in a text, as if that were a module of a package that is read."""
    path = f"<sample {next(NUMBERS)}>.py"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    names: dict[str, Any] = {"__name__": "sample", "__file__": path}
    exec(compile(source, path, "exec"), names)  # noqa: S102 - the sample itself
    return list(findings_of(names[name], name=f"sample:{name}", packages=["sample"], sources=FunctionSources()))


def test_every_sample_has_its_row() -> None:
    """A sample that nobody expects anything of proves nothing."""
    assert set(REFUSED) == set(nodes_of(impure))
    assert len(REFUSED) >= 20
    assert len(nodes_of(pure)) >= 10


@pytest.mark.parametrize("name", REFUSED)
def test_an_impure_function_is_refused(name: str) -> None:
    """Each finding stands in the sample, and says what to use instead."""
    found = read(nodes_of(impure)[name], impure)
    assert REFUSED[name].impurity in {it.impurity for it in found}
    assert {it.path for it in found} == {impure.__file__}
    assert all(it.message.endswith(ADVICE[it.impurity]) for it in found)


@pytest.mark.parametrize("name", nodes_of(pure))
def test_a_pure_function_that_looks_alike_is_not(name: str) -> None:
    """Nobody writes worse code to please the check."""
    assert read(nodes_of(pure)[name], pure) == []


@pytest.mark.parametrize("function", [scoring.score_lead, scoring.mask_email])
def test_the_examples_are_pure(function: object) -> None:
    """They are what a user copies."""
    assert read(function, scoring) == []


def test_a_finding_has_its_place_and_the_way_there() -> None:
    """File, line and column are those of the offending code, in whichever function it stands."""
    source = (
        "import time\ndef node(p):\n    return {'at': _stamp(p)}\ndef _stamp(p):\n    return p['n'] + time.time()\n"
    )
    [found] = read_source(source)
    assert (found.line, found.column, found.impurity) == (5, 21, Impurity.CLOCK)
    assert str(found) == (
        f"{found.path}:5:21: time.time (in node > _stamp); time is an input: read it from the payload, "
        "or write request: {now: '${ envelope.timestamp }'}"
    )


MORE = {
    "a sort by dice": ("import random", "sorted(p['xs'], key=lambda _: random.random())", Impurity.RANDOMNESS),
    "a table of clocks": ("import time\nT = {'a': [time.time]}", "T['a'][0]()", Impurity.CLOCK),
    "a walrus": ("import time", "(m := time).time()", Impurity.CLOCK),
    "a loop over functions": ("import os", "[f() for f in (os.getpid,)]", Impurity.ENVIRONMENT),
    "a deleted key": ("T = {}", "[T.pop(k) for k in p]", Impurity.STATE),
    "a method of a table": ("T = {'a': []}", "T.get('a').append(p)", Impurity.STATE),
    "an item of items": ("T = {'a': []}", "[rows.append(p) for _, rows in T.items()]", Impurity.STATE),
    "a shallow copy": ("T = {'a': []}", "{**T}['a'].append(p)", Impurity.STATE),
    "a copy of a copy": ("import copy\nT = {'a': []}", "copy.copy(T)['a'].append(p)", Impurity.STATE),
    "a heap": ("import heapq\nH = []", "heapq.heappush(H, p)", Impurity.STATE),
    "a module that is not known": ("import hypothesis", "hypothesis.seed(p)", Impurity.UNKNOWN),
    "a set in a text": ("", "f'{set(p)}'", Impurity.ORDER),
    "a set that is unpacked": ("", "[*{k for k in p}]", Impurity.ORDER),
    "a frame": ("", "(i for i in p).gi_frame.f_globals", Impurity.DYNAMIC),
    "a partial clock": ("import functools, time\nnow = functools.partial(time.time)", "now()", Impurity.CLOCK),
    "another name": ("from datetime import datetime as d\ne = d", "e.now()", Impurity.CLOCK),
    "a clock handed over": ("import time\ndef f(g): return g()", "f(time.time)", Impurity.CLOCK),
    "a class handed over": ("import datetime\ndef f(g): return g.now()", "f(datetime.datetime)", Impurity.CLOCK),
    "a class given back": ("import datetime\ndef f(): return datetime.datetime", "f().now()", Impurity.CLOCK),
    "a class in an object": (
        "import datetime\nclass C:\n def __init__(self, k): self.k = k",
        "C(datetime.datetime).k.now()",
        Impurity.CLOCK,
    ),
    "an unseeded die": ("import random", "random.Random(None).random()", Impurity.RANDOMNESS),
    "a zone made in the call": ("from zoneinfo import ZoneInfo", "ZoneInfo(p['zone'])", Impurity.IO),
}


@pytest.mark.parametrize(("top", "expression", "impurity"), MORE.values(), ids=list(MORE))
def test_no_detour_hides_it(top: str, expression: str, impurity: Impurity) -> None:
    """What something stands for is followed through names, arguments, results, containers and attributes."""
    found = read_source(f"{top}\ndef node(p):\n    return {expression}\n")
    assert impurity in {it.impurity for it in found}, found


def test_a_function_without_source_is_refused() -> None:
    """What cannot be read cannot be vouched for."""
    names: dict[str, Any] = {"__name__": "sample"}
    exec("def node(p): return p", names)  # noqa: S102 - the sample itself
    [found] = findings_of(names["node"], name="sample:node", packages=["sample"], sources=FunctionSources())
    assert found.impurity is Impurity.UNREADABLE


@pytest.mark.parametrize("module", [argparse, contextlib, csv, email.message, fractions, plistlib, statistics, uuid])
def test_whatever_is_read_reading_ends_and_raises_nothing(module: ModuleType) -> None:
    """The standard library is as odd as code gets: each of these modules' functions and classes is read as a node's."""
    sources = FunctionSources()
    for name, thing in vars(module).items():
        if callable(thing):
            packages = [module.__name__.partition(".")[0]]
            findings_of(thing, name=f"{module.__name__}:{name}", packages=packages, sources=sources)


def test_a_package_that_is_not_listed_is_judged_by_name() -> None:
    """Listing it has it read."""
    function = nodes_of(pure)["helper"]
    name = f"{pure.__name__}:helper"
    [found] = findings_of(function, name=name, packages=["another"], sources=SOURCES)
    assert found.impurity is Impurity.UNKNOWN
    assert "logic_packages" in found.message


PURE_PARTS = st.recursive(
    st.sampled_from(["p['n']", "1", "len(NAMES)", "TABLE['a']", "datetime(2020, 1, 1).year", "EPOCH.year"]),
    lambda part: (
        st.builds("({} + {})".format, part, part)
        | st.builds("sum([{}, {}])".format, part, part)
        | st.builds("max({}, {}, key=lambda it: -it)".format, part, part)
        | st.builds("twice({})".format, part)
        | st.builds("(lambda it: it * {})({})".format, part, part)
        | st.builds("sorted({{{}, {}}})[0]".format, part, part)
        | st.builds("dict(TABLE, b={})['b']".format, part)
        | st.builds("Box({}).up().n".format, part)
        | st.builds("math.floor({})".format, part)
    ),
    max_leaves=8,
)
IMPURE_PARTS = st.sampled_from(
    ["time.time()", "random.random()", "datetime.now().year", "id(p)", "TABLE.setdefault('c', 1)", "len(os.environ)"]
)
HEAD = """
import math, os, random, time
from datetime import datetime
EPOCH = datetime(1970, 1, 1)
NAMES = frozenset({'a'})
TABLE = {'a': 1}
def twice(n):
    return n * 2
class Box:
    def __init__(self, n):
        self.n = n
    def up(self):
        self.n += 1
        return self
"""


@settings(max_examples=60)
@given(PURE_PARTS)
def test_what_is_made_of_pure_parts_is_pure(part: str) -> None:
    """However they are put together."""
    assert read_source(f"{HEAD}\ndef node(p):\n    return {{'n': {part}}}\n") == []


@settings(max_examples=60)
@given(PURE_PARTS, IMPURE_PARTS, st.randoms(use_true_random=False))
def test_one_impure_part_is_found_anywhere(part: str, bad: str, dice: Any) -> None:
    """Wherever it stands among pure ones, and nothing else is found."""
    places = [at for at in range(len(part)) if part.startswith("p['n']", at)]
    at = dice.choice(places) if places else None
    whole = f"{part} + {bad}" if at is None else part[:at] + bad + part[at + len("p['n']") :]
    found = read_source(f"{HEAD}\ndef node(p):\n    return {{'n': {whole}}}\n")
    assert len({(it.line, it.impurity) for it in found}) == 1
