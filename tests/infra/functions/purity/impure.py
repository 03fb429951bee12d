"""Functions that are not pure, each in its own way."""

import builtins
import contextlib
import ctypes
import datetime as dt
import functools
import gc
import http.client
import importlib
import io
import itertools
import json
import logging
import operator
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, lru_cache
from os import environ
from os import getenv as setting
from pathlib import Path
from time import time as t
from typing import Any

COUNT = 0
SEEN: list[Any] = []
TABLE: dict[str, Any] = {"rows": []}
NUMBERS = itertools.count()
LOG = logging.getLogger("x")
DICE = random.Random(4)
STARTED = time.time()
HOME = os.environ.get("HOME", "")
LOCK = threading.Lock()
CLIENT = http.client.HTTPConnection("localhost")
SQUARES = (n * n for n in range(10))
BUILTINS = __builtins__


def clock(p):
    return {"at": time.time()}


def clock_alias(p):
    return {"at": t()}


def now(p):
    return {"at": datetime.now().isoformat()}


def now_alias(p):
    d = datetime
    return {"at": d.now().isoformat()}


def now_module(p):
    module = dt
    kind = module.datetime
    return {"at": str(kind.utcnow())}


def today_in_list(p):
    return {"at": str([date][0].today())}


def today_param(p):
    def make(kind):
        return kind.today()

    return {"at": str(make(date))}


class Clock(datetime):
    pass


def now_subclass(p):
    return {"at": str(Clock.now())}


def clock_default(p, now=time.time):
    return {"at": now()}


def clock_at_import(p):
    return {"at": STARTED}


def dice(p):
    return {"n": random.randint(1, 6)}


def choice_default(p, choose=random.choice):
    return {"n": choose([1, 2])}


def unseeded(p):
    return {"n": random.Random().random()}


def shared_dice(p):
    return {"n": DICE.random()}


def ids(p):
    return {"id": str(uuid.uuid4())}


def urandom(p):
    return {"id": os.urandom(4).hex()}


def token(p):
    return {"id": secrets.token_hex()}


def read_file(p):
    with open(p["path"]) as file:
        return {"text": file.read()}


def read_path(p):
    return {"t": Path(p["path"]).read_text()}


def sock(p):
    return {"s": socket.create_connection(("localhost", 1)).fileno()}


def fetch(p):
    return {"s": urllib.request.urlopen(p["url"]).read()}


def client(p):
    CLIENT.request("GET", "/")
    return {}


def _closure_over(client):
    def inner(p):
        return {"s": client.getresponse().read()}

    return inner


with_client = _closure_over(CLIENT)


def run(p):
    return {"n": subprocess.run(["true"]).returncode}


def system(p):
    return {"n": os.system("true")}


def environment(p):
    return {"h": os.environ["HOME"]}


def environment_alias(p):
    return {"h": environ.get("HOME")}


def environment_get(p):
    return {"h": setting("HOME")}


def environment_at_import(p):
    return {"h": HOME}


def argv(p):
    return {"h": sys.argv}


def counter(p):
    global COUNT
    COUNT += 1
    return {"n": COUNT}


def append(p):
    SEEN.append(p)
    return {"n": len(SEEN)}


def alias_append(p):
    seen = SEEN
    push = seen.append
    push(p)
    return {"n": len(seen)}


def inner_rows(p):
    copy = dict(TABLE)
    copy["rows"].append(1)
    return {"n": len(copy["rows"])}


def subscript(p):
    TABLE[p["k"]] = 1
    return {}


def augmented(p):
    seen = SEEN
    seen += [p]
    return {}


def setitem(p):
    operator.setitem(TABLE, "a", 1)
    return {}


def unbound(p):
    list.append(SEEN, 1)
    return {}


def through_helper(p):
    _push(SEEN, p)
    return {}


def _push(into, what):
    into.append(what)


def mapped(p):
    return {"n": list(map(SEEN.append, p["x"]))}


def passed(p):
    return {"n": [_push(it, 1) for it in [SEEN]]}


def module_attribute(p):
    json.seen = p
    return {}


def mutable_default(p, seen=[]):
    seen.append(p)
    return {"n": len(seen)}


@cache
def _cached(n):
    return {"n": n}


def cached(p):
    return _cached(p["n"])


@lru_cache(maxsize=3)
def cached_node(p):
    return {"n": 1}


def _memo(function):
    store = {}

    @functools.wraps(function)
    def wrapper(p):
        if p["n"] not in store:
            store[p["n"]] = function(p)
        return store[p["n"]]

    return wrapper


@_memo
def memoised(p):
    return {"n": p["n"]}


def attribute_counter(p):
    attribute_counter.n = 1
    return {}


class Counter:
    n = 0
    items: list = []

    def up(self, p=None):
        self.n += 1
        return self.n

    @classmethod
    def up_all(cls):
        cls.n += 1
        return cls.n

    def up_by_class(self):
        self.__class__.n += 1
        return self.n

    def up_type(self):
        type(self).n += 1
        return self.n

    def push(self, x):
        self.items.append(x)
        return len(self.items)

    def __call__(self, p):
        self.n += 1
        return {"n": self.n}

    @property
    def at(self):
        return time.monotonic()


class Dice:
    def __add__(self, other):
        return random.random()


STATEFUL = Counter()
stateful = STATEFUL
bound = STATEFUL.up


def instance_state(p):
    return {"n": STATEFUL.up()}


def class_counter(p):
    return {"n": Counter.up_all()}


def class_counter2(p):
    return {"n": Counter().up_by_class()}


def class_counter3(p):
    return {"n": Counter().up_type()}


def class_list(p):
    return {"n": Counter().push(1)}


def prop(p):
    return {"n": Counter().at}


def oper(p):
    return {"n": Dice() + 1}


def thread(p):
    threading.Thread(target=print).start()
    return {}


def lock(p):
    with LOCK:
        return {}


def late_import(p):
    import math as m

    return {"n": m.pi}


def late_from(p):
    from time import time

    return {"n": time()}


def dynamic_import(p):
    return {"n": importlib.import_module("time").time()}


def dunder_import(p):
    return {"n": __import__("time").time()}


def builtins_trick(p):
    return {"n": __builtins__["open"]("/etc/hosts")}


def builtins_trick2(p):
    return {"n": builtins.open("/etc/hosts").read()}


def builtins_trick3(p):
    return {"n": BUILTINS}


def subclasses(p):
    return {"n": len(().__class__.__base__.__subclasses__())}


def globals_trick(p):
    return {"n": _push.__globals__["time"].time()}


def getattr_trick(p):
    return {"n": getattr(time, "ti" + "me")()}


def getattr_const(p):
    return {"n": getattr(time, "time")()}


def getattr_name(p):
    return {"n": getattr(p, p["attribute"])}


def methodcaller(p):
    return {"n": str(operator.methodcaller("now")(datetime))}


def attrgetter(p):
    return {"n": str(operator.attrgetter("__class__")(p))}


def evaluate(p):
    return {"n": eval("1 + 1")}


def execute(p):
    exec("x = 1")
    return {}


def compiled(p):
    return {"n": compile("1", "", "eval").co_name}


def use_globals(p):
    return {"n": list(globals())}


def use_vars(p):
    return {"n": vars(time)["time"]()}


def identity(p):
    return {"n": id(p)}


def hashed(p):
    return {"n": hash(p["name"])}


def c_types(p):
    return {"n": ctypes.c_int(3).value}


def logs(p):
    LOG.info("hello")
    return {}


def prints(p):
    print("hello")
    return {}


def global_iterator(p):
    return {"n": next(NUMBERS)}


def global_generator(p):
    return {"n": next(SQUARES)}


def generator(p):
    yield {"n": 1}


async def coroutine(p):
    return {}


def set_order(p):
    return {"n": list(set(p["names"]))}


def set_loop(p):
    out = []
    for x in {it.upper() for it in p["names"]}:
        out.append(x)
    return {"n": out}


def set_pop(p):
    return {"n": set(p["names"]).pop()}


def set_join(p):
    return {"n": ",".join(set(p["names"]) - {"a"})}


def set_first(p):
    return {"n": next(iter(frozenset(p["names"])))}


def lambda_default(p):
    return {"n": (lambda: time.time())()}


def sleeping(p):
    time.sleep(0.1)
    return {}


def local_zone(p):
    return {"n": datetime.fromtimestamp(p["ts"]).isoformat()}


def local_zone2(p):
    return {"n": datetime.fromisoformat(p["now"]).astimezone().isoformat()}


def gmnow(p):
    return {"n": time.gmtime().tm_year}


def collect(p):
    return {"n": gc.collect()}


def iter_clock(p):
    return {"n": next(iter(time.time, None))}


partial_clock = functools.partial(lambda p, c: {"n": c()}, c=time.time)


def partial_inside(p):
    return {"n": functools.partial(time.time)()}


def context(p):
    with _ctx() as x:
        return {"n": x}


@contextlib.contextmanager
def _ctx():
    yield time.time()


def _nonlocal_factory():
    n = 0

    def inner(p):
        nonlocal n
        n += 1
        return {"n": n}

    return inner


counts = _nonlocal_factory()


@dataclass
class Stamp:
    at: float = field(default_factory=time.time)


def stamp(p):
    return {"at": Stamp().at}


def local_setattr(p):
    setattr(Counter, "n", 3)
    return {}


def object_setattr(p):
    object.__setattr__(STATEFUL, "n", 3)
    return {}


_RULES = {"now": lambda p: datetime.now(), "x": lambda p: 1}


def dispatch(p):
    return {"n": _RULES["now"](p)}


def stringio(p):
    return {"n": io.open("/etc/hosts").read()}
