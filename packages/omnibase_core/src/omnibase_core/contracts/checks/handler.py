"""What is wrong with a handler contract: its handler is not installed, or says something else of itself. Pure."""

from collections.abc import Iterator
from shlex import quote

from omnibase_core.contracts.catalog import Catalog
from omnibase_core.contracts.handler import HandlerContract, difference, handler_contract
from omnibase_core.contracts.yaml.document import Document, suggestion
from omnibase_core.errors import Problem


def faults_of_handler(contract: HandlerContract, document: Document, catalog: Catalog) -> Iterator[Problem]:
    """Yield a problem at the name where there is no such handler, or at the first part that differs from it."""
    name = contract.name
    if name not in catalog.handlers:
        hint, near = suggestion(name, catalog.handlers)
        unknown = f"handler {name!r} is not installed here: install its package, or remove this contract; {hint}"
        yield document.problem(("name",), unknown, code="unknown-handler", nearest=near)
    elif (at := difference(document.tree, handler_contract(catalog.handlers[name]))) is not None:
        place = ".".join(map(str, at))
        told = f"{place} does not match the installed handler {name!r}; write the contract again with"
        command = f"runtime-host export handlers {quote(name)} > {quote(document.path)}"
        yield document.problem(at, f"{told}: {command}", code="handler-differs", key=isinstance(at[-1], str))
