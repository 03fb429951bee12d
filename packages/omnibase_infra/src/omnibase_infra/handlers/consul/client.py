"""What the `consul` handler does: an operation out, its typed result back, and every failure as a HandlerError."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.consul.operations import ConsulOperation, ConsulReply, read, refused
from omnibase_infra.handlers.consul.target import ConsulTarget
from omnibase_infra.http import RestServer
from omnibase_infra.http.json_client import RestClient, rest_client


@asynccontextmanager
async def consul_handler(targets: Mapping[str, ConsulTarget]) -> AsyncIterator["ConsulHandler"]:
    """Yield the handler with connections of its own for each target; nothing connects before the first call."""
    async with AsyncExitStack() as stack:
        agents: dict[str, _Agent] = {}
        for name, target in targets.items():
            server = target.server(name)
            agents[name] = _Agent(target, server, await stack.enter_async_context(rest_client(server)))
        yield ConsulHandler(agents)


class ConsulHandler:
    """Asks agents of Consul. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError with one of these codes:

    - `timeout`, `unreachable`, `protocol_error`: retryable, unless the call may have been done and must not be repeated
      (a `put` or `delete` with `cas`, `release`, `create_session`).
    - `no_leader`, `server_busy`: nothing was done; retryable. `server_failed`: any other 5xx; retryable likewise.
    - `access_denied`, `session_invalid`, `request_refused` (any other status); `response_too_large`,
      `invalid_response`, `request_invalid`: not retryable.
    """

    def __init__(self, agents: "Mapping[str, _Agent]") -> None:
        """Keep the agents by the names under which nodes know them."""
        self._agents = agents

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the operation, and give its result as JSON values."""
        operation, agent = call.request, self._agents.get(call.target or "")
        assert isinstance(operation, ConsulOperation)  # noqa: S101 - narrows the type; the runtime validated it
        if agent is None:
            raise HandlerError("request_invalid", f"there is no consul target {call.target!r}")
        return await agent.ask(operation, timeout_s=call.timeout_s)


@dataclass(frozen=True, slots=True)
class _Agent:
    """A target with its client."""

    target: ConsulTarget
    server: RestServer
    client: RestClient

    async def ask(self, operation: ConsulOperation, *, timeout_s: float) -> Mapping[str, Any]:
        written = operation.message(timeout_s)
        where = self.target.query(reads=written.method == "GET")
        message = replace(written, query=[*written.query, *where])
        reply = await self.client.send(message, timeout_s=timeout_s)
        what = f"{self.server.name}: {message}"
        if reply.status not in operation.expects:
            raise refused(what, message, reply, said=self.server.redacted(reply.text))
        return read(operation, ConsulReply(what, reply))
