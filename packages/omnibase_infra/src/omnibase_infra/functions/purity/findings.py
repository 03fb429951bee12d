"""What makes a function impure, and what to write instead."""

from dataclasses import dataclass
from enum import StrEnum


class Impurity(StrEnum):
    """A way of not being a function of one's arguments."""

    ASYNC = "async"
    CACHE = "cache"
    CLOCK = "clock"
    DYNAMIC = "dynamic"
    ENVIRONMENT = "environment"
    IDENTITY = "identity"
    IMPORT = "import"
    IO = "io"
    LOG = "log"
    ORDER = "order"
    PROCESS = "process"
    RANDOMNESS = "randomness"
    STATE = "state"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


ADVICE = {
    Impurity.ASYNC: "a function answers at once; whatever has to be awaited belongs in a handler: use an effect node",
    Impurity.CACHE: "a cache is state: compute the value, or write the table at the top of the module",
    Impurity.CLOCK: "time is an input: read it from the payload, or write request: {now: '${ envelope.timestamp }'}",
    Impurity.DYNAMIC: "what is found by name at run time cannot be read: write it out, or use a dict of functions",
    Impurity.ENVIRONMENT: "settings are inputs: write them into the contract's request, or send them in the payload",
    Impurity.IDENTITY: "it differs from process to process: compare values, or use hashlib",
    Impurity.IMPORT: "import at the top of the module",
    Impurity.IO: "I/O belongs in a handler: let an effect node do it and send its result to this one",
    Impurity.LOG: "the host logs each command: return the information as a result",
    Impurity.ORDER: "the order of a set differs from process to process: write sorted(...)",
    Impurity.PROCESS: "a function computes by itself: the host runs commands side by side",
    Impurity.RANDOMNESS: "randomness is an input: take a seed, for random.Random(seed), or derive ids by uuid5",
    Impurity.STATE: "what one call leaves behind the next one sees: build the value inside the function and return it",
    Impurity.UNKNOWN: "it is not known to be pure: do without it, or have it read, by its package in the host's "
    "logic_packages (its C code is then trusted)",
    Impurity.UNREADABLE: "what cannot be read cannot be checked: define the function in a file, with def",
}
"""What to do about each."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place of a function that is not pure. Lines and columns count from 1."""

    path: str
    line: int
    column: int
    impurity: Impurity
    found: str
    through: tuple[str, ...] = ()
    """The functions on the way, from the node's own to that of the place."""

    @property
    def message(self) -> str:
        """What was found, how a node comes there, and what to use instead."""
        way = f" (in {' > '.join(self.through)})" if self.through else ""
        return f"{self.found}{way}; {ADVICE[self.impurity]}"

    def __str__(self) -> str:
        """`file:line:column: message`."""
        return f"{self.path}:{self.line}:{self.column}: {self.message}"
