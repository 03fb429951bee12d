"""Finds the functions that compute nodes name. Workers import this too: it needs the standard library alone."""

from collections.abc import Callable
from importlib import import_module
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any


def import_function(name: str) -> Callable[[Any], Any]:
    """Import `package.module:function`. Raises LookupError, which says what is missing."""
    module_name, _, function_name = name.partition(":")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise LookupError(f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise LookupError(  # noqa: TRY004 - what is missing is a function, whatever else has its name
            f"module {module_name!r} has no function {function_name!r}"
        )
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        raise LookupError(f"{name} is async; a compute node's function is pure and awaits nothing")
    result: Callable[[Any], Any] = function
    return result
