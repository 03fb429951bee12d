"""The ONEX Runtime Host itself: Kafka, handlers, health and the `runtime-host` command. Owns all I/O.

What is listed in `__all__` is public. Each name is imported when it is first asked for.
"""

from importlib import import_module

TYPE_CHECKING = False
"""True to type checkers, by its name: to import `typing` would take longer than all the rest."""

if TYPE_CHECKING:
    from omnibase_infra.client import HostClient
    from omnibase_infra.host.loading import load_host
    from omnibase_infra.host.process import RuntimeHostProcess

__all__ = ["HostClient", "RuntimeHostProcess", "load_host"]

_MODULES = {
    "HostClient": "omnibase_infra.client",
    "RuntimeHostProcess": "omnibase_infra.host.process",
    "load_host": "omnibase_infra.host.loading",
}


def __getattr__(name: str) -> object:
    """Return what a public name stands for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    """Return the public names, beside what every module has."""
    return sorted({*globals(), *__all__})
