"""Where whoever is given a secret at run time, such as the token of a login, tells the host, which redacts it then.

The host says so around the opening of a handler: it would otherwise be in each signature on the way to where tokens
are received. What is opened takes its `learner` once, and keeps it: it does not matter in which task a token arrives.
Nothing else may be passed in this way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Learn = Callable[[str, str], None]
"""Takes the name of what gives secrets, and the one that it gave; of each name, the latest few are known."""


def _nobody(_name: str, _value: str, /) -> None:
    """Report to nobody: there is no host."""


_LEARN: ContextVar[Learn] = ContextVar("omnibase_infra.secrets.runtime_secrets", default=_nobody)


def learner() -> Learn:
    """Return what is to be told of each secret that is received, from an opening on."""
    return _LEARN.get()


@contextmanager
def taught(learn: Learn) -> Iterator[None]:
    """Let what is opened meanwhile tell this one."""
    former = _LEARN.set(learn)
    try:
        yield
    finally:
        _LEARN.reset(former)
