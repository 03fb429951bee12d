"""What is known of the standard library and of pydantic: which names are pure, and why others are not.

A name is that of the place of definition, without the underscore of an accelerator: `_random.Random.random` is
`random.Random.random`, `posix.urandom` is `os.urandom`. The longest entry that a name begins with decides.
"""

import os
import sys
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from omnibase_infra.functions.purity.findings import Impurity

_PURE_NAMES = """
__future__ abc annotated_types array base64 binascii bisect blake2 builtins calendar cmath codecs collections
colorsys contextlib copy copyreg csv dataclasses datetime decimal difflib enum fnmatch fractions functools graphlib
hashlib heapq hmac html io.BytesIO io.StringIO ipaddress itertools json keyword math md5 numbers operator os.PathLike
os.fspath os.path
pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath pprint pydantic pydantic_core quopri random.Random re
regex reprlib sha1 sha2 sha256 sha3 sha512 shlex sre statistics string stringprep strptime struct sys.float_info
sys.maxsize sys.maxunicode textwrap time.gmtime time.strftime time.strptime time.struct_time types typing
typing_extensions unicodedata urllib.parse uuid zlib zoneinfo
"""

_IMPURE_NAMES = {
    Impurity.ASYNC: "asyncio anyio trio",
    Impurity.CACHE: "functools.cache functools.lru_cache",
    Impurity.CLOCK: """
time sched datetime.date.fromtimestamp datetime.date.today datetime.datetime.now datetime.datetime.today
datetime.datetime.utcnow
""",
    Impurity.DYNAMIC: """
builtins.__build_class__ builtins.__import__ builtins.breakpoint builtins.code builtins.compile builtins.eval
builtins.exec builtins.function builtins.globals builtins.locals builtins.object.__subclasses__
builtins.type.__subclasses__ builtins.type.mro builtins.vars code codeop ctypes gc imp importlib inspect marshal pickle
pkgutil pydoc runpy types.CodeType types.FunctionType
""",
    Impurity.ENVIRONMENT: """
sys getpass grp locale os._Environ os.cpu_count os.environ os.environb os.getcwd os.getcwdb os.getenv os.getenvb
os.getlogin os.getpid os.getppid os.path.abspath os.path.expanduser os.path.expandvars os.path.realpath os.path.relpath
os.putenv os.times os.uname os.unsetenv platform pwd resource site sysconfig zoneinfo.available_timezones
zoneinfo.reset_tzpath
""",
    Impurity.IDENTITY: "builtins.hash builtins.id builtins.object.__hash__ builtins.str.__hash__",
    Impurity.IO: """
os io aiohttp builtins.input builtins.open bz2 codecs.open confluent_kafka dbm fcntl fileinput ftplib glob gzip
hashlib.file_digest http httpx imaplib lzma mmap os.path.exists os.path.getatime os.path.getctime os.path.getmtime
os.path.getsize os.path.isdir os.path.isfile os.path.islink os.path.ismount os.path.lexists os.path.samefile pathlib
poplib pty requests select selectors shelve shutil smtplib socket socketserver sqlite3 ssl tarfile telnetlib tempfile
termios tty urllib urllib3 webbrowser xmlrpc zipfile
""",
    Impurity.LOG: "builtins.print logging pprint.pp pprint.pprint structlog syslog traceback warnings",
    Impurity.PROCESS: """
atexit concurrent contextvars multiprocessing os.execv os.fork os.kill os.popen os.posix_spawn os.spawnv os.system queue
signal subprocess thread threading
""",
    Impurity.RANDOMNESS: """
random os.getrandom os.urandom random.SystemRandom secrets uuid.getnode uuid.uuid1 uuid.uuid4
""",
    Impurity.STATE: """
codecs.register copyreg.pickle csv.field_size_limit csv.register_dialect csv.unregister_dialect decimal.getcontext
decimal.setcontext re.purge weakref
""",
}

_MUTATORS = """
__delattr__ __delitem__ __iadd__ __iand__ __imul__ __init__ __ior__ __isub__ __ixor__ __next__ __setattr__ __setitem__
__setstate__ acquire add append appendleft clear close difference_update discard extend extendleft getrandbits insert
intersection_update move_to_end pop popitem popleft put register release remove reverse rotate seed seek send setdefault
shuffle sort subscribe subtract symmetric_difference_update throw truncate update write writelines
"""

_MUTATING_FUNCTIONS = """
bisect.insort bisect.insort_left bisect.insort_right builtins.delattr builtins.next builtins.setattr heapq.heapify
heapq.heappop heapq.heappush heapq.heappushpop heapq.heapreplace operator.delitem operator.iadd operator.iand
operator.iconcat operator.imul operator.ior operator.isub operator.ixor operator.setitem
"""

_ORDERED = """
builtins.bytes.join builtins.dict builtins.dict.fromkeys builtins.enumerate builtins.filter builtins.format
builtins.iter builtins.list builtins.list.extend builtins.map builtins.next builtins.repr builtins.reversed builtins.str
builtins.str.join builtins.tuple builtins.zip collections.deque functools.reduce
"""

_PURE = frozenset(_PURE_NAMES.split())
_IMPURE = {name: impurity for impurity, names in _IMPURE_NAMES.items() for name in names.split()}

MUTATORS = frozenset(_MUTATORS.split())
"""Methods that change the object that they belong to."""

MUTATING_FUNCTIONS = frozenset(_MUTATING_FUNCTIONS.split())
"""Functions that change their first argument."""

ORDERED = frozenset(_ORDERED.split())
"""What makes the order of a set show; the whole of itertools, too."""

LOCAL_TIME = {
    "time.gmtime": 1,
    "time.strftime": 2,
    "datetime.datetime.fromtimestamp": 2,
    "datetime.datetime.astimezone": 1,
    "random.Random": 1,
}
"""How many arguments it takes for these to depend on nothing else."""

_ROOTS = {"posix": "os", "nt": "os", "posixpath": "os.path", "ntpath": "os.path", "genericpath": "os.path"}
_HELD = {
    id(value): f"{module.__name__}.{name}"
    for module in (os, sys)
    for name, value in vars(module).items()
    if isinstance(value, list | dict | set) and not name.startswith("__")
}
"""Plain containers that belong to a module: nothing else tells where they come from."""


def verdict(name: str) -> Impurity | None:
    """Describe why what has this name is impure, or UNKNOWN; None where it is known to be pure."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        stem = ".".join(parts[:length])
        if stem in _IMPURE:
            return _IMPURE[stem]
        if stem in _PURE:
            return None
    return Impurity.UNKNOWN


def name_of(thing: Any) -> str:
    """Return the name of a function, method, class or module, or that of an object's class."""
    if isinstance(thing, ModuleType):
        return _canonical(thing.__name__)
    if isinstance(thing, FunctionType):
        return _canonical(f"{thing.__globals__.get('__name__', '?')}.{thing.__qualname__}")
    if isinstance(thing, MethodType):
        return name_of(thing.__func__)
    if isinstance(thing, type):
        return _canonical(f"{thing.__module__}.{thing.__qualname__}")
    if id(thing) in _HELD:
        return _HELD[id(thing)]
    owner = getattr(thing, "__self__", None) if isinstance(thing, BuiltinFunctionType) else None
    if isinstance(owner, ModuleType) or (isinstance(thing, BuiltinFunctionType) and owner is None):
        return _canonical(f"{thing.__module__}.{thing.__qualname__}")
    if owner is not None:
        return method_name(owner if isinstance(owner, type) else type(owner), thing.__name__)
    if isinstance(thing, MethodDescriptorType | WrapperDescriptorType | ClassMethodDescriptorType):
        return method_name(thing.__objclass__, thing.__name__)
    return name_of(type(thing))


def method_name(owner: type, name: str) -> str:
    """Return the name of a method by the class that defines it: a subclass of datetime has the same clock."""
    defining = next((it for it in owner.__mro__ if name in vars(it)), owner)
    return f"{name_of(defining)}.{name}"


def module_of(thing: Any) -> str:
    """Return the name of the module that a function or class, or the class of an object, was written in."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    if isinstance(thing, FunctionType):
        return str(thing.__globals__.get("__name__", ""))
    if isinstance(thing, MethodType):
        return module_of(thing.__func__)
    if isinstance(thing, type):
        return thing.__module__
    found = getattr(thing, "__module__", None) if isinstance(thing, BuiltinFunctionType) else None
    return found if isinstance(found, str) else type(thing).__module__


def _canonical(name: str) -> str:
    root, dot, rest = name.partition(".")
    root = _ROOTS.get(root, root.lstrip("_") if root not in {"__future__", "__main__"} else root)
    return f"{root}{dot}{rest}"
