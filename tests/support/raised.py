"""What handlers and functions may raise and give, that nobody expects of them: each is made anew."""

import asyncio
from collections.abc import Callable, Mapping
from math import inf, nan
from typing import Any

from omnibase_core.errors import HandlerError


class Own(BaseException):
    """Derived from the root of all exceptions."""


class Unprintable(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError("no text")


class Escaping(HandlerError):
    """An error that ends what asks it for its code."""

    def __getattribute__(self, name: str) -> Any:
        """Fail."""
        if name == "code":
            raise LookupError("nobody knows")
        return super().__getattribute__(name)


class Endless(Exception):
    """An error whose text is as long as a message may be."""

    def __str__(self) -> str:
        """Return a text with what has no form in UTF-8."""
        return "\ud800x" * 500_000


class Textless:
    """A value that cannot even be shown."""

    def __repr__(self) -> str:
        """Fail."""
        raise ValueError("no text")


class Undigitable(int):
    """A number that cannot even be shown."""

    def __repr__(self) -> str:
        """Fail."""
        raise ValueError("no digits")

    __str__ = __repr__


def odd(**fields: object) -> HandlerError:
    """Return an error whose fields somebody has set to what they may not be."""
    error = HandlerError("odd", "as it was made")
    for name, value in fields.items():
        setattr(error, name, value)
    return error


def circle() -> dict[str, Any]:
    """Return an object that holds itself."""
    found: dict[str, Any] = {}
    found["a"] = found
    return found


RAISED: Mapping[str, Callable[[], BaseException]] = {
    "cancelled": asyncio.CancelledError,
    "generator_exit": GeneratorExit,
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(1),
    "stop_iteration": StopIteration,
    "stop_async_iteration": StopAsyncIteration,
    "recursion": RecursionError,
    "memory": MemoryError,
    "own_base": lambda: Own("mine"),
    "unprintable": Unprintable,
    "endless": Endless,
    "several": lambda: BaseExceptionGroup("several", [Own("mine")]),
}
"""Exceptions of every kind. Each is an `internal_error` of its command."""
ODD: Mapping[str, Callable[[], BaseException]] = {
    "odd_code": lambda: odd(code=None),
    "odd_long_code": lambda: odd(code="\ud800" * 5000),
    "odd_retryable": lambda: odd(retryable="yes"),
    "odd_wait": lambda: odd(retryable=True, retry_after_s=nan),
    "odd_long_wait": lambda: odd(retryable=True, retry_after_s=inf),
    "odd_wait_back": lambda: odd(retryable=True, retry_after_s=-1e300),
    "odd_wait_text": lambda: odd(retryable=True, retry_after_s="soon"),
    "odd_details": lambda: odd(details=circle()),
    "odd_no_details": lambda: odd(details=None),
    "odd_quiet": lambda: odd(quiet=object()),
}
"""Errors of a handler of which a field is off: each costs its command alone."""
GIVEN: Mapping[str, Callable[[], Any]] = {
    "gives_nothing": lambda: None,
    "gives_a_list": lambda: [1],
    "gives_no_number": lambda: {"a": nan},
    "gives_what_is_deep": lambda: deep(600),
    "gives_what_is_deeper": lambda: deep(100_000),
    "gives_a_circle": circle,
    "gives_an_object": lambda: {"a": object()},
    "gives_what_has_no_text": lambda: {"a": Textless()},
    "gives_a_number_without_digits": lambda: {"a": Undigitable(2**70)},
    "gives_keys_of_another_kind": lambda: {"a": {1: 2, None: 3, (4,): 5}},
    "gives_half_a_character": lambda: {"a": "\ud800"},
    "gives_a_long_number": lambda: {"a": 10**5000},
    "gives_too_much": lambda: {"a": "x" * 2_000_000},
}
"""Results that are not a JSON object, or one that cannot be sent."""


def deep(levels: int) -> dict[str, Any]:
    """Return an object nested so deeply."""
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found
