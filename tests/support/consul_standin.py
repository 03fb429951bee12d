"""A stand-in for a Consul agent, since none can be had here: real HTTP on loopback, state and waits as documented.

It is stateful: check-and-set, locks, sessions that end, catalog, health, blocking queries, tokens, a cluster without a
leader, indexes that go back. Where `CONSUL_HTTP_ADDR` names a real agent, the same tests run against that.
"""

import asyncio
import os
import random
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.consul_state import ADDRESS, NODE, ConsulState, Refused, seconds

NAME = "stand-in for Consul, from its documented API (HTTP/1.1, on a thread of the tests)"
TOKEN = "a-token-of-the-suite"  # noqa: S105 - it opens nothing
_STARTS_S = 10
_VALUE_BYTES_MAX = 512 * 1024
_WAIT_S, _WAIT_MAX_S = 300.0, 600.0
_EXPIRES_EVERY_S = 0.02


@dataclass(frozen=True)
class Agent:
    """The agent of a test. `stand_in` is what a test can set on it; None for a real one."""

    port: int
    token: str
    stand_in: "ConsulStandIn | None"

    @property
    def name(self) -> str:
        """What the summary says of it."""
        return NAME if self.stand_in is not None else f"Consul at port {self.port} (CONSUL_HTTP_ADDR)"

    @property
    def scripted(self) -> "ConsulStandIn":
        """The stand-in, or the test is skipped: a real agent does not do on demand what it needs."""
        return self.stand_in or pytest.skip("a real agent does not do this on demand")


@contextmanager
def consul_agent(*, hurry: float = 1.0) -> Iterator[Agent]:
    """Yield the agent that `CONSUL_HTTP_ADDR` names, on this machine, or else a stand-in of its own."""
    if address := os.environ.get("CONSUL_HTTP_ADDR"):
        port = urlsplit(address if "//" in address else f"//{address}").port or 8500
        yield Agent(port, os.environ.get("CONSUL_HTTP_TOKEN") or TOKEN, None)
        return
    with ConsulStandIn(hurry=hurry).up() as stand_in:
        stand_in.token = TOKEN
        yield Agent(stand_in.port, TOKEN, stand_in)


class ConsulStandIn:
    """One agent. What a test sets here holds at once: `token` (None: anybody), `leader`, and `busy` (429)."""

    def __init__(self, *, hurry: float = 1.0) -> None:
        """Start with nothing registered."""
        self.state = ConsulState(time.monotonic, hurry=hurry)
        self.token: str | None = None
        self.leader = True
        self.busy = False
        self.asked: list[str] = []
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def up(self) -> Iterator["ConsulStandIn"]:
        """Serve on a free port of the loopback while the context is open."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.port = listener.getsockname()[1]
            config = uvicorn.Config(self._application(), log_config=None, access_log=False, lifespan="off")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.should_exit = server.force_exit = True
                self.do(self.state.wake)
                thread.join(_STARTS_S)

    def do(self, change: Callable[[], object]) -> None:
        """Change the state from another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(change)

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                self._route("/v1/kv/{key:path}", self._kv, "GET", "PUT", "DELETE"),
                self._route("/v1/session/create", self._create_session, "PUT"),
                self._route("/v1/session/renew/{id}", self._renew_session, "PUT"),
                self._route("/v1/session/destroy/{id}", self._destroy_session, "PUT"),
                self._route("/v1/catalog/services", self._services, "GET"),
                self._route("/v1/catalog/service/{name:path}", self._instances, "GET"),
                self._route("/v1/health/service/{name:path}", self._health, "GET"),
                self._route("/v1/agent/service/register", self._register, "PUT"),
                self._route("/v1/agent/service/deregister/{id:path}", self._deregister, "PUT"),
                self._route("/v1/agent/check/update/{id:path}", self._report, "PUT"),
            ]
        )

    def _route(self, path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
        async def guarded(request: Request) -> Response:
            self._loop = asyncio.get_running_loop()
            self.asked.append(f"{request.method} {request.url.path}?{request.url.query}")
            try:
                self._check(request)
                self.state.expire()
                return await answer(request)
            except Refused as refused:
                return Response(refused.text, refused.status, media_type="text/plain")

        return Route(path, guarded, methods=list(methods))

    def _check(self, request: Request) -> None:
        given, where = request.headers.get("x-consul-token"), request.query_params
        if self.busy:
            raise Refused(429, "rate limit exceeded, try again later or against a different server")
        if self.token is not None and given is None:
            raise Refused(403, "Permission denied: anonymous token lacks permission")
        if self.token is not None and given != self.token:
            raise Refused(403, "ACL not found")
        if not self.leader and "stale" not in where:
            raise Refused(500, "No cluster leader")
        if where.get("dc", "dc1") != "dc1":
            raise Refused(500, "No path to datacenter")
        if "ns" in where or "partition" in where:
            raise Refused(400, 'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature')

    async def _wait(self, request: Request, index_of: Callable[[], int]) -> int:
        """Wait as a blocking query does, and give the index of what is read."""
        state, where = self.state, request.query_params
        after = int(where.get("index", "0"))
        wait_s = min(seconds(where["wait"]) if "wait" in where else _WAIT_S, _WAIT_MAX_S)
        ends_s = state.now_s() + wait_s * (1 + random.random() / 16)  # noqa: S311 - as the original does, to spread load
        # Like the original, an index from the future waits too: of what is behind it, nothing is said.
        began_at = state.tables
        while after and index_of() <= after and (left_s := ends_s - state.now_s()) > 0 and state.tables is began_at:
            if await request.is_disconnected():
                break
            changed = state.changed.wait()
            try:
                await asyncio.wait_for(changed, min(left_s, _EXPIRES_EVERY_S))
            except TimeoutError:
                state.expire()
        self._check(request)
        return max(index_of(), 1)

    # --- Keys -----------------------------------------------------------------------------------------------------

    async def _kv(self, request: Request) -> Response:
        key, where = request.path_params["key"], request.query_params
        if len([it for it in ("cas", "acquire", "release") if it in where]) > 1 or {"cas", "recurse"} <= set(where):
            raise Refused(400, "Conflicting flags")
        if "recurse" not in where and "keys" not in where and not key:
            raise Refused(400, "Missing key name")
        if request.method == "PUT":
            return JSONResponse(self._put(key, where, await request.body()))
        if request.method == "DELETE":
            return JSONResponse(self._delete(key, where))
        if "keys" in where:
            return await self._keys(request, key, where.get("separator", ""))
        return await self._entries(request, key, tree="recurse" in where)

    def _put(self, key: str, where: Any, value: bytes) -> bool:
        if len(value) > _VALUE_BYTES_MAX:
            raise Refused(413, f"Request body({len(value)} bytes) too large, max size: {_VALUE_BYTES_MAX} bytes.")
        how = next(((it, where[it]) for it in ("cas", "acquire", "release") if it in where), None)
        return self.state.put(key, value, int(where.get("flags", "0")), how)

    def _delete(self, key: str, where: Any) -> bool:
        if "recurse" in where:
            self.state.delete_tree(key)
            return True
        return self.state.delete(key, int(where["cas"]) if "cas" in where else None)

    async def _keys(self, request: Request, prefix: str, separator: str) -> Response:
        index = await self._wait(request, lambda: self.state.prefix_index(prefix))
        keys = [key for key in sorted(self.state.keys) if key.startswith(prefix)]
        if separator:
            keys = list(dict.fromkeys(_until(key, prefix, separator) for key in keys))
        return _indexed(keys, index, status=200 if keys or not prefix else 404)

    async def _entries(self, request: Request, key: str, *, tree: bool) -> Response:
        state = self.state
        index = await self._wait(request, lambda: state.prefix_index(key) if tree else state.key_index(key))
        found = [it for it in sorted(state.keys) if (it.startswith(key) if tree else it == key)]
        entries = [{**state.told(it), "Value": b64encode(state.keys[it].value).decode() or None} for it in found]
        return _indexed(entries, index) if entries else Response(status_code=404, headers=_headers(index))

    # --- Sessions -------------------------------------------------------------------------------------------------

    async def _create_session(self, request: Request) -> Response:
        return JSONResponse({"ID": self.state.create_session(await request.json())})

    async def _renew_session(self, request: Request) -> Response:
        return JSONResponse([self.state.renew(request.path_params["id"])])

    async def _destroy_session(self, request: Request) -> Response:
        self.state.end_session(request.path_params["id"])
        return JSONResponse(True)  # noqa: FBT003 - the whole body

    # --- Services -------------------------------------------------------------------------------------------------

    async def _services(self, request: Request) -> Response:
        index = await self._wait(request, lambda: self.state.tables["services"])
        tags: dict[str, set[str]] = {"consul": set()}
        for service in self.state.services.values():
            tags.setdefault(service["Name"], set()).update(service["Tags"])
        return _indexed({name: list(found) for name, found in tags.items()}, index)

    async def _instances(self, request: Request) -> Response:
        name = request.path_params["name"]
        index = await self._wait(request, lambda: self.state.service_index(name))
        found = self.state.instances(name, request.query_params.getlist("tag"))
        return _indexed([_catalogued(it) for it in found], index)

    async def _health(self, request: Request) -> Response:
        name = request.path_params["name"]
        index = await self._wait(request, lambda: self.state.service_index(name))
        told = []
        for service in self.state.instances(name, request.query_params.getlist("tag")):
            checks = self.state.checks_of(service["ID"])
            if "passing" not in request.query_params or all(it["Status"] == "passing" for it in checks):
                shown = {**service, "Service": service["Name"]}
                told.append({"Node": {"Node": NODE, "Address": ADDRESS}, "Service": shown, "Checks": checks})
        return _indexed(told, index)

    async def _register(self, request: Request) -> Response:
        self.state.register(await request.json())
        return Response()

    async def _deregister(self, request: Request) -> Response:
        self.state.deregister(request.path_params["id"])
        return Response()

    async def _report(self, request: Request) -> Response:
        self.state.report(request.path_params["id"], (await request.json())["Status"])
        return Response()


def _until(key: str, prefix: str, separator: str) -> str:
    head, found, _ = key[len(prefix) :].partition(separator)
    return prefix + head + found


def _catalogued(service: dict[str, Any]) -> dict[str, Any]:
    told = {f"Service{name}": service[name] for name in ("ID", "Name", "Address", "Port", "Tags", "Meta")}
    return {"Node": NODE, "Address": ADDRESS, "Datacenter": "dc1", **told}


def _headers(index: int) -> dict[str, str]:
    return {"X-Consul-Index": str(index), "X-Consul-Knownleader": "true", "X-Consul-Lastcontact": "0"}


def _indexed(body: Any, index: int, *, status: int = 200) -> Response:
    return JSONResponse(body, status, headers=_headers(index))
