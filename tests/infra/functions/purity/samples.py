"""What is expected of each sample: the impurity that reading finds, and whether the guard sees it too."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from omnibase_infra.functions.purity.findings import Impurity

ARGUMENT = {
    "a": "abc",
    "attribute": "keys",
    "b": "abc",
    "d": "2020-01-01",
    "g": "a",
    "id": "12345678123456781234567812345678",
    "k": "half",
    "n": 3,
    "name": "n",
    "names": ["a", "b"],
    "now": "2020-01-01T00:00:00+00:00",
    "path": "/etc/hosts",
    "s": "a@b",
    "seed": 1,
    "ts": 0,
    "url": "http://x/y",
    "x": [1, 2],
    "xs": [1, 2],
}
"""What every sample takes."""


class Refusal(NamedTuple):
    """How a sample is refused. Reading finds them all."""

    impurity: Impurity
    guarded: bool
    """Whether the guard sees it too: no result shows a state that is only kept, and no call what happened at import."""


_BOTH = {
    Impurity.ASYNC: "coroutine",
    Impurity.CLOCK: """
clock clock_alias now now_alias now_module today_in_list today_param now_subclass clock_default prop late_from
getattr_const lambda_default sleeping iter_clock partial_inside context stamp dispatch
""",
    Impurity.DYNAMIC: """
dynamic_import dunder_import builtins_trick subclasses globals_trick getattr_trick methodcaller evaluate execute
compiled use_globals use_vars collect
""",
    Impurity.ENVIRONMENT: "environment environment_alias environment_get",
    Impurity.IDENTITY: "identity hashed",
    Impurity.IO: "read_file read_path sock fetch client with_client builtins_trick2 stringio",
    Impurity.LOG: "logs prints",
    Impurity.PROCESS: "run system thread lock",
    Impurity.RANDOMNESS: "dice choice_default unseeded shared_dice ids urandom token oper",
    Impurity.STATE: """
counter append alias_append inner_rows mutable_default stateful bound instance_state class_counter class_counter2
class_counter3 class_list global_iterator global_generator generator counts
""",
}
_READING = {
    Impurity.CACHE: "cached cached_node",
    Impurity.CLOCK: "clock_at_import local_zone local_zone2 gmnow",
    Impurity.DYNAMIC: "builtins_trick3 getattr_name attrgetter c_types",
    Impurity.ENVIRONMENT: "environment_at_import argv",
    Impurity.IMPORT: "late_import",
    Impurity.ORDER: "set_order set_loop set_pop set_join set_first",
    Impurity.STATE: """
subscript augmented setitem unbound through_helper mapped passed module_attribute memoised attribute_counter
local_setattr object_setattr
""",
}

REFUSED = {
    **{name: Refusal(impurity, guarded=True) for impurity, names in _BOTH.items() for name in names.split()},
    **{name: Refusal(impurity, guarded=False) for impurity, names in _READING.items() for name in names.split()},
}


def nodes_of(module: ModuleType) -> dict[str, Callable[[Any], Any]]:
    """Return the node functions of a sample module by their names."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if name.islower() and not name.startswith("_") and _is_of(thing, module)
    }


def _is_of(thing: Any, module: ModuleType) -> bool:
    return callable(thing) and not isinstance(thing, type) and getattr(thing, "__module__", None) == module.__name__
