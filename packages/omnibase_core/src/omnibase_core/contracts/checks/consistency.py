"""What every model accepts and what makes no sense all the same: numbers that contradict, and keys that nothing reads.

Pure. A key that is written and cannot matter is a fault, because its author believes that it does.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from omnibase_core.contracts.compiler.compiled import CompiledNode
from omnibase_core.contracts.host import Limits, RuntimeHostContract
from omnibase_core.contracts.node import ContractModel, DeliveryPolicy, Isolation, NodeContract, NodeKind, Retry
from omnibase_core.contracts.secrets import EXPECTED_REFERENCE, VAULT, VaultSecret, references_in
from omnibase_core.contracts.yaml.document import Document, Path, suggestion
from omnibase_core.errors import Problem
from omnibase_core.ports import HandlerDescription


def faults_of_node(contract: NodeContract, document: Document, *, inline: bool) -> Iterator[Problem]:
    """Look at how a node is served. `inline` says that its handler answers at once, so that nothing bounds a call."""
    bounds = _call_bounds(contract, inline=inline)
    yield from _unread(contract, document, bounds)
    delivery = contract.delivery
    if delivery.retry.attempts == 1:
        return
    if bounds:
        yield from _long_call(delivery, document, bounds[0])
    yield from _crossed(delivery.retry, document, ("delivery", "retry"), "initial_s", "max_s")
    yield from _unreachable(delivery, document)


def faults_of_times(contract: RuntimeHostContract, document: Document) -> Iterator[Problem]:
    """Compare the times of a host's circuit breakers, and those of its end."""
    for name, binding in contract.handlers.items():
        yield from _crossed(binding.breaker, document, ("handlers", name, "breaker"), "open_s", "open_max_s")
    yield from _long_drain(contract.limits, document)


def unused_bindings(
    contract: RuntimeHostContract,
    document: Document,
    nodes: Sequence[CompiledNode],
    known: Mapping[str, HandlerDescription],
) -> Iterator[Problem]:
    """Find the handlers, targets and packages that a host binds for none of its nodes; `known` are all handlers."""
    used = {(node.handler_type, node.contract.target) for node in nodes} | set(_targets_of_secrets(contract))
    used |= {(watch.handler, watch.target) for watch in contract.watches.values()}
    types = {handler_type for handler_type, _ in used}
    for name, binding in contract.handlers.items():
        if name not in types and name in known:
            message = f"no node of this host uses the handler {name!r}; remove it"
            yield document.problem(("handlers", name), message, code="unused-binding", key=True)
        elif name in types and known[name].target is not None:
            unbound = [it for kind, it in used if kind == name and it is not None and it not in binding.targets]
            for target in binding.targets:
                if (name, target) not in used:
                    hint, near = suggestion(target, unbound, otherwise="remove it")
                    message = f"no node of this host uses the target {target!r}; {hint}"
                    at = ("handlers", name, "targets", target)
                    yield document.problem(at, message, code="unused-binding", key=True, nearest=near)
    functions = [it.logic for node in nodes for it in node.contract.operations.values() if it.logic is not None]
    for index, package in enumerate(contract.logic_packages):
        if not any(is_of_package(function, package) for function in functions):
            message = f"no node of this host runs a function of {package}; remove it"
            yield document.problem(("logic_packages", index), message, code="unused-binding")


def is_of_package(function: str, package: str) -> bool:
    """Check whether `package.module:function` is a function of a package, or of one below it."""
    return function.startswith((f"{package}.", f"{package}:"))


def _call_bounds(contract: NodeContract, *, inline: bool) -> Sequence[str]:
    """Return the keys that bound one call of what serves the node, the one of the whole call first."""
    if contract.kind is not NodeKind.COMPUTE:
        return () if inline else ("timeout_s",)
    if all(it.logic is None for it in contract.operations.values()):
        return ()
    return ("timeout_s", "budget_s") if contract.delivery.isolation is Isolation.PROCESS else ("budget_s",)


_BOUNDS = {
    "budget_s": "it bounds the functions of a compute node, and this node has none",
    "timeout_s": "it bounds the calls of a handler that waits, and this node makes none",
}


def _unread(contract: NodeContract, document: Document, bounds: Sequence[str]) -> Iterator[Problem]:
    delivery = contract.delivery
    for key, meaning in _BOUNDS.items():
        if key not in bounds and key in delivery.model_fields_set:
            instead = f"remove it, or write {bounds[0]}" if bounds else "remove it"
            yield _unused(document, ("delivery", key), f"nothing reads {key} here: {meaning}; {instead}")
    if delivery.retry.attempts == 1:
        alone = ("initial_s", "max_s", "multiplier", "jitter", "codes")
        paths: list[Path] = [("delivery", "retry", key) for key in alone if key in delivery.retry.model_fields_set]
        paths += [("delivery", key) for key in ("deadline_s", "on_retry") if key in delivery.model_fields_set]
        for path in paths:
            yield _unused(document, path, f"nothing reads {path[-1]} with attempts: 1; remove it, or write attempts: 2")


def _unused(document: Document, at: Path, message: str) -> Problem:
    return document.problem(at, message, code="unused-key", key=True)


def _long_call(delivery: DeliveryPolicy, document: Document, key: str) -> Iterator[Problem]:
    call_s, deadline_s = getattr(delivery, key), delivery.deadline_s
    if call_s > deadline_s:
        yield document.problem(
            ("delivery", key if key in delivery.model_fields_set else "deadline_s"),
            f"one call may take {_number(delivery, key)}, all attempts together {_number(delivery, 'deadline_s')}; "
            f"write {key}: {deadline_s:g} or less, or deadline_s: {call_s:g} or more",
            code="timeout-past-deadline",
        )


def _long_drain(limits: Limits, document: Document) -> Iterator[Problem]:
    if limits.drain_s > limits.stop_s:
        yield document.problem(
            ("limits", "drain_s" if "drain_s" in limits.model_fields_set else "stop_s"),
            f"the drain may take {_number(limits, 'drain_s')}, all of stopping {_number(limits, 'stop_s')}; "
            f"write drain_s: {limits.stop_s:g} or less, or stop_s: {limits.drain_s:g} or more",
            code="wrong-value",
        )


def _crossed(model: ContractModel, document: Document, at: Path, low: str, high: str) -> Iterator[Problem]:
    least, most = getattr(model, low), getattr(model, high)
    if least > most:
        yield document.problem(
            (*at, low if low in model.model_fields_set else high),
            f"the first wait is {_number(model, low)}, the longest {_number(model, high)}; "
            f"write {low}: {most:g} or less, or {high}: {least:g} or more",
            code="wrong-value",
        )


def _unreachable(delivery: DeliveryPolicy, document: Document) -> Iterator[Problem]:
    """Check the attempts against the deadline, as if each failed at once and waited as shortly as it may."""
    retry = delivery.retry
    policy = retry.policy
    waits = [policy.delay_s(attempt, chance=0.0) for attempt in range(1, retry.attempts)]
    if sum(waits) <= delivery.deadline_s:
        return
    reached = next(n for n in range(1, retry.attempts) if sum(waits[:n]) > delivery.deadline_s)
    yield document.problem(
        _place_of_retry(retry),
        f"attempt {reached + 1} of {retry.attempts} can never begin: the waits before it take "
        f"{sum(waits[:reached]):g} s or more, and all has to end within {_number(delivery, 'deadline_s')}; "
        f"write attempts: {reached}, or deadline_s: {ceil(sum(waits))}",
        code="retry-past-deadline",
    )


def _place_of_retry(retry: Retry) -> Path:
    written = [key for key in ("attempts", "initial_s", "max_s", "multiplier") if key in retry.model_fields_set]
    return ("delivery", "retry", written[0]) if written else ("delivery", "deadline_s")


def _number(model: ContractModel, key: str) -> str:
    """Show a number of seconds with its key: what nobody has written has to be named to be found."""
    origin = key if key in model.model_fields_set else f"{key}, by default"
    return f"{getattr(model, key):g} s ({origin})"


def _targets_of_secrets(contract: RuntimeHostContract) -> Iterator[tuple[str, str | None]]:
    yield from ((VAULT, it.vault) for it in contract.secrets.values() if isinstance(it, VaultSecret))


def _faults_of_sources(contract: RuntimeHostContract, document: Document) -> Iterator[Problem]:
    """A secret in Vault needs a target that is bound, and that can be opened without such a secret."""
    targets = contract.handlers[VAULT].targets if VAULT in contract.handlers else {}
    in_vault = {name: it for name, it in contract.secrets.items() if isinstance(it, VaultSecret)}
    for name, source in in_vault.items():
        at: Path = ("secrets", name, "vault")
        if source.vault not in targets:
            otherwise = f"bind it in handlers.{VAULT}.targets.{source.vault}"
            hint, near = suggestion(source.vault, targets, otherwise=otherwise)
            message = f"there is no target {source.vault!r} of the handler {VAULT!r}; {hint}"
            yield document.problem(at, message, code="unbound-target", nearest=near)
        elif circular := {it for _, it in references_in(targets[source.vault])} & in_vault.keys():
            message = f"the target {source.vault!r} needs {min(filter(None, circular))}, which is in Vault itself"
            yield document.problem(at, f"{message}; keep that one in a file or a variable", code="wrong-value")


def faults_of_secrets(contract: RuntimeHostContract, document: Document) -> Iterator[Problem]:
    """What refers to a secret has to say so in full, and a secret to which nothing refers is read by nobody."""
    yield from _faults_of_sources(contract, document)
    used = set()
    for part in ("bus", "handlers", "idempotency"):
        for at, name in references_in(document.tree.get(part), (part,)):
            used.add(name)
            if name is None:
                yield document.problem(at, EXPECTED_REFERENCE, code="wrong-value")
    for name in sorted(contract.secrets.keys() - used):
        message = f"nothing refers to the secret {name!r}; write ${{secret.{name}}} where it belongs, or remove it"
        yield document.problem(("secrets", name), message, code="unused-key", key=True)
