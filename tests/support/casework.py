"""Contracts on trial: what `check` tells of them, and what a host of them answers, with its real handlers.

The host is that of production but for its bus, which is in memory: contracts are loaded, secrets read and handlers
opened by the code that `runtime-host run` uses. Numbers of JSON are compared as they are written, digit by digit.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Any, TypeVar

from omnibase_core.codec import encode
from omnibase_core.contracts.catalog import LoadedHost
from omnibase_core.dead_letters import split_headers
from omnibase_core.engine.runtime import NodeRuntime
from omnibase_core.errors import InvalidContracts, OnexError, Problem
from omnibase_core.ports import ContractDocument, Headers, Message
from omnibase_core.testing import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_infra.handlers.kafka import RequestContext
from omnibase_infra.host.contract_files import find_contracts
from omnibase_infra.host.loading import registry_of
from omnibase_infra.host.plugins import handler_factories
from omnibase_infra.host.process import SystemClock
from omnibase_infra.host.resources import HostResources, vaults_of
from omnibase_infra.host.settings import EnvironmentSecrets
from omnibase_infra.secrets.current import CurrentSecrets
from omnibase_infra.secrets.reader import HostReader
from omnibase_infra.secrets.redaction import Redactor
from omnibase_infra.secrets.rotation import Rotation
from tests.support.commands import envelope
from tests.support.scripted_http import Script, Server

_LOOKS_APART_S = 0.002
_LOOKS = 15_000

T = TypeVar("T")

# --- Contracts ----------------------------------------------------------------------------------------------------


def contract(name: str, rest: str) -> str:
    """Write a node contract from what follows its first lines."""
    kind = "effect" if "handler:" in rest else "compute"
    first = f"contract: node/v1\nname: {name}\nkind: {kind}\nversion: 1.0.0\ndescription: A node of a case.\n"
    return first + rest.removeprefix("\n")


def computes(schema: str, answer: str) -> str:
    """Write the rest of a contract whose one operation takes what fits a schema and answers with expressions."""
    return f"operations:\n  go:\n    input: {schema}\n    answer: {answer}\n"


def problems_of(text: str | bytes, folder: Path) -> list[Problem]:
    """Return every problem that `check` tells of one file."""
    path = folder / "node.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    found = find_contracts(path)
    try:
        registry_of(found.documents, found.problems)
    except InvalidContracts as error:
        return list(error.problems)
    return []


@dataclass(frozen=True)
class Told:
    """What `check` should tell: the code, what stands at the place, and words that the message cannot do without."""

    code: str
    at: str
    words: tuple[str, ...]

    def is_told_by(self, problem: Problem) -> bool:
        """Check whether a problem is this one."""
        place = problem.source[problem.column - 1 :]
        return (
            problem.code == self.code
            and place.startswith(self.at)
            and all(word in problem.message for word in self.words)
        )


def told(code: str, at: str, *words: str) -> Told:
    """Expect a problem."""
    return Told(code, at, words)


def check_tells(rest: str, *expected: Told, folder: Path) -> None:
    """Assert that `check` tells these problems of a node, in the order of their places, and no others."""
    found = problems_of(contract("case", rest), folder)
    shown = "\n".join(f"{it}\n    {it.code}: {it.source}" for it in found) or "no problem"
    assert len(found) == len(expected), shown
    assert all(it.is_told_by(problem) for it, problem in zip(expected, found, strict=True)), shown


# --- JSON, digit by digit -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number of JSON as it is written: 10 and 10.0 are two."""

    written: str


def as_written(text: str | bytes) -> Any:
    """Read JSON; its numbers stay as they are written."""
    return json.loads(text, parse_int=Number, parse_float=Number)


@dataclass(frozen=True)
class Failure:
    """An error answer."""

    code: str
    message: str = field(compare=False)
    details: Any = field(compare=False, default=None)


# --- The host -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letter:
    """A dead letter: why it was written, and the bytes that it holds."""

    code: str
    message: str
    value: bytes | None


@dataclass
class Trial:
    """A host that serves, and everything that came of it."""

    loaded: LoadedHost
    broker: MemoryBroker
    observer: RecordingObserver

    async def ask(self, payload: str = "{}", *, node: str = "case") -> Any:
        """Send a command whose payload is this JSON, and return its answer: a payload, or a Failure."""
        sent = envelope(node)
        value = encode(sent).replace(b'"payload":{}', b'"payload":' + payload.encode())
        self.send(value, node=node)
        answer = await self.until(partial(self._answer_to, str(sent.envelope_id), node), what=f"answer to {payload}")
        if (error := answer.get("error")) is not None:
            return Failure(error["code"], error["message"], error["details"])
        return answer["payload"]

    def send(self, value: bytes | None, *, node: str = "case", key: bytes | None = b"k", headers: Headers = ()) -> None:
        """Produce any bytes to a node's command topic."""
        topic = self.loaded.contract.namespace.command(node, 1)
        assert self.broker.append(Message(topic, key, value, headers)) is None

    @property
    def letters(self) -> list[Letter]:
        """Every dead letter."""
        found = []
        for message in self.broker.messages(self.loaded.contract.namespace.dead_letter("pool")):
            _, facts = split_headers(message.headers)
            found.append(Letter((facts["code"] or b"").decode(), (facts["message"] or b"").decode(), message.value))
        return found

    async def until(self, find: Callable[[], T | None], *, what: str) -> T:
        """Return what is found as soon as it is. Raises AssertionError where it is not there in time."""
        for _ in range(_LOOKS):
            if (found := find()) is not None:
                return found
            await asyncio.sleep(_LOOKS_APART_S)
        raise AssertionError(f"no {what}; the log: {self.observer.events}")

    def _answer_to(self, command_id: str, node: str) -> Any:
        for message in reversed(self.broker.messages(self.loaded.contract.namespace.event(node, 1))):
            answer = as_written(message.value or b"")
            if answer["causation_id"] == command_id:
                return answer
        return None


@asynccontextmanager
async def hosted(
    nodes: Mapping[str, str],
    *,
    more: str = "",
    script: Script | None = None,
    secrets: Mapping[str, str] | None = None,
    observer: RecordingObserver | None = None,
) -> AsyncIterator[Trial]:
    """Serve nodes, of which the rest of each contract is given; `more` are keys of the host contract.

    A `script` answers at the port PORT, which is that of the target `web` of the handler http unless `more` says more.
    `secrets` are the variables `ONEX_SECRET_...`; the `observer` hears of what fails before anything is served.
    """
    async with AsyncExitStack() as stack:
        if script is not None:
            server = await stack.enter_async_context(Server(script).listen())
            more = more or 'handlers: {http: {targets: {web: {base_url: "http://127.0.0.1:PORT"}}}}\n'
            more = more.replace("PORT", str(server.port))
        loaded = _loaded(nodes, more)
        trial = Trial(loaded, MemoryBroker(), observer or RecordingObserver())
        await _serve(trial, secrets or {}, stack)
        yield trial


def serve(node: str, *payloads: str, **options: Any) -> list[Any]:
    """Send commands with these payloads to one node, one after another, and return what it answers to each."""

    async def scenario() -> list[Any]:
        async with hosted({"case": node}, **options) as trial:
            return [await trial.ask(payload) for payload in payloads]

    return asyncio.run(scenario())


def _loaded(nodes: Mapping[str, str], more: str) -> LoadedHost:
    host = (
        "contract: host/v1\nname: cases\nversion: 1.0.0\ndescription: A host of cases.\nenvironment: dev\n"
        f"tenant: test\npool: pool\nnodes: [{', '.join(nodes)}]\nbus: {{bootstrap_servers: embedded}}\n{more}"
    )
    texts = {name: contract(name, rest) for name, rest in nodes.items()} | {"host": host}
    documents = [ContractDocument(PurePath(f"{name}.yaml"), text) for name, text in texts.items()]
    return registry_of(documents).hosts["cases"]


async def _serve(trial: Trial, environment: Mapping[str, str], stack: AsyncExitStack) -> None:
    """Open the handlers of a host as a process of it does, and start it; the stack ends both."""
    loaded, clock, redactor = trial.loaded, SystemClock(), Redactor()
    variables = {f"ONEX_SECRET_{name}": value for name, value in environment.items()}
    resolver = EnvironmentSecrets(variables, loaded.contract.secrets)
    reader = HostReader(resolver, loaded.contract.secrets, vaults_of(loaded), learn=redactor.learn)
    stack.push_async_callback(reader.close)
    current = CurrentSecrets(reader, redactor, observer=trial.observer)
    openings = HostResources(
        loaded,
        secrets=current,
        rotation=Rotation(current, observer=trial.observer),
        redactor=redactor,
        log=trial.observer,
        calls={},
        tracer=None,
    )
    await current.load(openings.names_of_secrets())
    place = RequestContext(namespace=loaded.contract.namespace, pool="pool", listen=_nobody, now=clock.now)
    factories = handler_factories(place=place)
    bus = MemoryBus(trial.broker, group="cases")
    runtime = NodeRuntime(loaded.contract, bus=bus, clock=clock, observer=trial.observer)
    for handler_type in openings.handler_types:
        handler = await stack.enter_async_context(openings.handler(factories[handler_type]))
        runtime.register_handler(handler_type, handler)
    runtime.load_nodes(loaded.nodes)
    await runtime.start()
    stack.push_async_callback(runtime.stop)


def _nobody(topics: Sequence[str], **_: Any) -> Any:
    """Listen to the answers of other hosts, of which there are none here."""
    raise OnexError(f"no case asks another node, and none may listen to {sorted(topics)}")
