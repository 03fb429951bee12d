"""Functions that are pure, and look like those that are not."""

from __future__ import annotations
import base64, calendar, collections, contextlib, copy, dataclasses, datetime as dt, decimal, enum, functools, hashlib, heapq, io, itertools, json, math, operator, random, re, statistics, string, textwrap, time, types, typing, uuid
import os.path
from bisect import bisect, insort
from collections import Counter as Tally, OrderedDict, defaultdict, deque, namedtuple, ChainMap
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, date
from decimal import ROUND_HALF_UP, Decimal, localcontext
from enum import Enum, StrEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, quote
from zoneinfo import ZoneInfo
from pydantic import BaseModel, Field, TypeAdapter, field_validator, model_validator

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")
PATTERN = re.compile(r"(\w+)@(\w+)")
TABLE = {"a": 1, "b": 2}
DEFAULTS = {"rows": [], "n": 1}
NAMES = frozenset({"x", "y"})
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
STEPS = [(10, "low"), (20, "high")]
RO = types.MappingProxyType({"a": 1})
ADAPTER = TypeAdapter(list[int])
add = functools.partial(operator.add, 1)


def arithmetic(p):
    return {"n": math.floor(p["n"] * 1.5) + sum(range(3))}


def dates(p):
    return {"at": (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=p["n"])).isoformat()}


def strptime(p):
    return {
        "at": datetime.strptime(p["d"], "%Y-%m-%d").date().isoformat(),
        "t": time.strptime(p["d"], "%Y-%m-%d").tm_year,
    }


def from_payload(p):
    return {"late": datetime.fromisoformat(p["now"]) > EPOCH}


class Stamped(BaseModel):
    now: str
    time: int
    random: int


def payload_now(p):
    stamped = Stamped(now=p["now"], time=p["ts"], random=p["seed"])
    return {"n": stamped.now, "t": stamped.time, "r": stamped.random}


def zone(p):
    return {
        "at": datetime.fromtimestamp(p["ts"], tz=UTC).astimezone(BERLIN).isoformat(),
        "g": time.gmtime(p["ts"]).tm_year,
        "c": calendar.timegm((1970, 1, 1, 0, 0, 0)),
    }


def seeded(p):
    return {"n": random.Random(p["seed"]).randint(1, 6)}


def derived(p):
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, p["url"])), "u": uuid.UUID(p["id"]).hex}


def digest(p):
    return {"h": hashlib.sha256(p["s"].encode()).hexdigest(), "b": base64.b64encode(b"x").decode()}


def local_counter(p):
    count = 0

    def up():
        nonlocal count
        count += 1
        return count

    up()
    return {"n": up()}


def local_list(p):
    seen = []
    seen.append(p)
    seen += [1]
    rows = list(STEPS)
    rows.append((30, "x"))
    rows[0] = (1, "y")
    insort(seen, 3, key=str)
    heap = []
    heapq.heappush(heap, 1)
    return {"n": len(seen), "r": rows}


def merged(p):
    made = {**DEFAULTS, **p}
    made["n"] = 2
    other = DEFAULTS.copy()
    other.update(p)
    third = dict(DEFAULTS) | p
    third["z"] = 1
    deep = copy.deepcopy(DEFAULTS)
    deep["rows"].append(1)
    return made


def memo_in_call(p):
    store = {}

    def fib(n):
        if n not in store:
            store[n] = n if n < 2 else fib(n - 1) + fib(n - 2)
        return store[n]

    return {"n": fib(p["n"])}


def default(p, table={"a": 1}, names=()):
    return {"n": table.get(p["k"]), "m": len(names)}


class Box:
    kind = "box"
    items: list = []

    def __init__(self, n):
        self.n = n
        self.items = []

    def up(self):
        self.n += 1
        self.items.append(1)
        return self

    @property
    def double(self):
        return self.n * 2

    @classmethod
    def of(cls, n):
        return cls(n)

    @staticmethod
    def twice(n):
        return n * 2


class Sub(Box):
    def __init__(self, n):
        super().__init__(n)
        self.more = {}

    def up(self):
        self.more["x"] = 1
        return super().up()


def objects(p):
    return {"n": Box(p["n"]).up().double, "m": Box.of(1).n, "s": Sub(2).up().n, "t": Box.twice(3)}


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    rest: list = dataclasses.field(default_factory=list)

    def moved(self):
        return dataclasses.replace(self, x=self.x + 1)

    def __post_init__(self):
        object.__setattr__(self, "y", 3)


def dataclass_(p):
    return dataclasses.asdict(Point(p["n"]).moved())


class Grade(StrEnum):
    A = "a"
    B = "b"

    @property
    def label(self):
        return self.value.upper()


class Colour(Enum):
    RED = 1
    BLUE = 2

    @classmethod
    def first(cls):
        return cls.RED


def plain_enums(p):
    return {
        "n": Colour.RED.value,
        "f": Colour.first().name,
        "b": Colour(2) is Colour.BLUE,
        "t": [it.name for it in Colour],
    }


def enums(p):
    return {"g": Grade(p["g"]).label, "all": [it.value for it in Grade], "x": Grade.A.label, "n": Grade["A"].name}


class Lead(BaseModel):
    size: int
    tags: list[str] = Field(default_factory=list)

    @field_validator("size")
    @classmethod
    def _positive(cls, value):
        if value < 0:
            raise ValueError("no")
        return value

    @model_validator(mode="after")
    def _check(self):
        return self


def models(p):
    lead = Lead(size=p["n"])
    made = lead.model_copy(update={"size": min(lead.size, 3)}, deep=True)
    made.tags.append("x")
    return made.model_dump()


def adapters(p):
    return {"n": ADAPTER.validate_python(p["x"]), "l": Lead(size=3).model_dump()}


def regex(p):
    found = PATTERN.match(p["s"])
    return {
        "u": found.group(1) if found else None,
        "x": re.sub(r"\s+", " ", p["s"]),
        "m": [m[0] for m in PATTERN.finditer(p["s"])],
    }


def sets(p):
    names = set(p["names"]) | NAMES
    return {
        "n": sorted(names),
        "k": len(names),
        "has": "x" in names,
        "any": any(x == "q" for x in names),
        "u": sorted(n.upper() for n in names),
        "ok": isinstance(names, set),
    }


def decimals(p):
    with localcontext() as context:
        context.prec = 5
        return {
            "n": str((Decimal(p["n"]) / 3).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)),
            "f": str(Fraction(1, 3)),
        }


def collections_(p):
    groups = defaultdict(list)
    for x in p["xs"]:
        groups[x % 2].append(x)
    tally = Tally(p["names"])
    tally["x"] += 1
    queue = deque([1])
    queue.append(2)
    return {"g": groups, "t": dict(tally), "q": list(queue), "m": tally.most_common(1)}


RULES = {"double": lambda n: n * 2, "half": lambda n: n / 2}


def dispatch(p):
    return {"n": RULES[p["k"]](p["n"])}


def higher(p):
    return {
        "n": list(map(lambda x: x + 1, filter(None, p["xs"]))),
        "r": functools.reduce(operator.add, p["xs"], 0),
        "s": sorted(p["xs"], key=operator.neg),
        "a": add(2),
    }


def iterators(p):
    numbers = itertools.count()

    def squares():
        for n in numbers:
            yield n * n

    g = squares()
    return {"n": next(g), "l": list(itertools.islice(g, 3)), "z": list(zip(p["a"], p["b"], strict=True))}


def strings(p):
    return {
        "s": f"{p['a']:>10}".format(),
        "t": string.Template("$a").substitute(a=1),
        "w": textwrap.dedent("x"),
        "u": urlsplit(p["url"]).hostname,
        "q": quote("x"),
        "j": json.dumps(p, sort_keys=True),
    }


def paths(p):
    return {"s": PurePosixPath(p["path"]).suffix, "j": os.path.join("a", "b"), "io": io.StringIO("x").read()}


def match(p):
    match p:
        case {"kind": "a", **rest}:
            return rest
        case {"items": [first, *others]}:
            return {"f": first, "o": others}
        case _:
            return {}


def errors(p):
    try:
        return {"n": int(p["n"])}
    except (ValueError, KeyError) as error:
        return {"e": str(error)}


def helper(p):
    return _recursive(p["n"])


def _recursive(n):
    return {"n": n} if n == 0 else _recursive(n - 1)


def typed(p: Mapping[str, Any]) -> dict[str, Any]:
    x: int = typing.cast("int", p["n"])
    return {"x": x, "k": type(x).__name__, "d": type(p)(p)}


def _make(n):
    def inner(p):
        return {"n": p["n"] * n}

    return inner


made = _make(3)


def _logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@_logged
def decorated(p):
    return {"n": p}


@contextlib.contextmanager
def _ctx():
    yield 3


def context(p):
    with _ctx() as x, contextlib.suppress(KeyError):
        return {"n": x, "s": statistics.mean(p["x"])}


class Pair(NamedTuple):
    a: int
    b: int = 2

    def total(self):
        return self.a + self.b


def named(p):
    return {"t": Pair(1).total(), "r": RO["a"], "g": getattr(p, "x", None), "h": hasattr(p, "y")}


@functools.singledispatch
def _show(x):
    return {"n": str(x)}


@_show.register
def _(x: int):
    return {"n": x}


def single(p):
    return _show(p)
