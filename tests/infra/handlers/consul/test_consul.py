"""The `consul` handler against an agent: the stand-in, or a real one where CONSUL_HTTP_ADDR names it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from omnibase_infra.handlers.consul import ConsulHandlerFactory, ConsulSettings, ConsulTarget
from omnibase_infra.handlers.consul.operations import ConsulReply, following, read
from omnibase_infra.handlers.consul.services import ListServices
from omnibase_infra.http import RestReply
from omnibase_infra.http.values import leads_elsewhere
from omnibase_spi import HandlerCall, HandlerError
from tests.support.consul_member import NO_SESSION
from tests.support.consul_standin import Agent
from tests.support.wire import Wire

Ask = Callable[..., Awaitable[Mapping[str, Any]]]
DESCRIPTION = ConsulHandlerFactory.description


def call_of(operation: str, *, timeout_s: float = 10.0, **request: Any) -> HandlerCall:
    """Plan a call as the runtime does."""
    model = DESCRIPTION.operations[operation].request.model_validate(request)
    return HandlerCall("consul", operation, model, "main", timeout_s, UUID(int=1))


@asynccontextmanager
async def asking(agent: Agent, **target: Any) -> AsyncIterator[Ask]:
    """Yield a function that does one operation; its results are held to their models."""
    written = {"address": f"http://127.0.0.1:{agent.port}", "token": agent.token, **target}
    targets = {"main": ConsulTarget.model_validate({name: it for name, it in written.items() if it is not None})}
    async with ConsulHandlerFactory().open(settings=ConsulSettings(), targets=targets) as handler:

        async def ask(operation: str, **request: Any) -> Mapping[str, Any]:
            result = await handler.execute(call_of(operation, **request))
            DESCRIPTION.operations[operation].result.model_validate(result)
            return result

        yield ask


def play(agent: Agent, scenario: Callable[[Ask, str], Awaitable[None]], **target: Any) -> None:
    """Run a scenario with a name that no other has."""

    async def whole() -> None:
        async with asyncio.timeout(60), asking(agent, **target) as ask:
            name = f"t{uuid4().hex[:12]}"
            try:
                await scenario(ask, name)
            finally:
                if agent.stand_in is None:
                    await ask("delete_tree", prefix=[name])

    asyncio.run(whole())


async def failure(asked: Awaitable[object]) -> HandlerError:
    """Return the error that a call ends with."""
    with pytest.raises(HandlerError) as raised:
        await asked
    return raised.value


# --- Keys ---------------------------------------------------------------------------------------------------------


def test_a_key_is_written_read_and_deleted(consul: Agent) -> None:
    """Its value comes back in the form that is asked for, with what Consul keeps of it."""

    async def scenario(ask: Ask, name: str) -> None:
        assert (await ask("get", key=[name, "a"]))["found"] is False
        assert await ask("put", key=[name, "a"], text="héllo", flags=7) == {"written": True}
        found = await ask("get", key=f"{name}/a")
        assert (found["found"], found["key"], found["text"], found["flags"]) == (True, f"{name}/a", "héllo", 7)
        assert (found["json"], found["bytes"], found["session"]) == (None, None, None)
        assert found["index"] >= found["modify_index"] == found["create_index"] > 0
        assert await ask("delete", key=[name, "a"]) == {"deleted": True}
        assert (await ask("get", key=[name, "a"]))["found"] is False
        assert await ask("delete", key=[name, "a"]) == {"deleted": True}

    play(consul, scenario)


@pytest.mark.parametrize(
    ("written", "read", "value"),
    [
        ({"text": ""}, "text", ""),
        ({}, "text", ""),
        ({"json": {"a": [1, None]}}, "json", {"a": [1, None]}),
        ({"json": None}, "json", None),
        ({"bytes": "/wCA"}, "bytes", "/wCA"),
        ({"text": "x"}, "bytes", "eA=="),
    ],
)
def test_values_have_three_forms(consul: Agent, written: Mapping[str, Any], read: str, value: object) -> None:
    """Text, JSON, and bytes as base64; an empty value is empty text."""

    async def scenario(ask: Ask, name: str) -> None:
        await ask("put", key=[name], **written)
        assert (await ask("get", key=[name], read=read))[read] == value

    play(consul, scenario)


@pytest.mark.parametrize(("stored", "read"), [("/wCA", "text"), ("/wCA", "json"), ("eA==", "json")])
def test_a_value_of_another_form_is_an_error_that_names_the_key(consul: Agent, stored: str, read: str) -> None:
    """Nothing is made up for it, and asking again would not help."""

    async def scenario(ask: Ask, name: str) -> None:
        await ask("put", key=[name], bytes=stored)
        error = await failure(ask("get", key=[name], read=read))
        assert (error.code, error.retryable) == ("invalid_response", False)
        assert f"the value of {name!r} cannot be read as {read}" in str(error)

    play(consul, scenario)


def test_check_and_set_lets_one_writer_through(consul: Agent) -> None:
    """Of many at once that have read the same, one writes; with 0, only a new key is written."""

    async def scenario(ask: Ask, name: str) -> None:
        first = await asyncio.gather(*(ask("put", key=[name], text=str(n), cas=0) for n in range(10)))
        assert sum(it["written"] for it in first) == 1
        seen = (await ask("get", key=[name]))["modify_index"]
        again = await asyncio.gather(*(ask("put", key=[name], text=str(n), cas=seen) for n in range(10)))
        assert sum(it["written"] for it in again) == 1
        assert await ask("delete", key=[name], cas=seen) == {"deleted": False}
        seen = (await ask("get", key=[name]))["modify_index"]
        assert await ask("delete", key=[name], cas=seen) == {"deleted": True}

    play(consul, scenario)


def test_keys_are_listed_by_prefix(consul: Agent) -> None:
    """With values or without, up to a separator, and none is no error; a list of segments means that folder."""

    async def scenario(ask: Ask, name: str) -> None:
        for key in ("a", "b/c", "b/d"):
            await ask("put", key=f"{name}/{key}", text=key)
        await ask("put", key=f"{name}x", text="beside")
        listed = await ask("list", prefix=[name])
        assert [it["text"] for it in listed["entries"]] == ["a", "b/c", "b/d"]
        assert [it["key"] for it in (await ask("list", prefix=name))["entries"]][-1] == f"{name}x"
        assert (await ask("keys", prefix=[name]))["keys"] == [f"{name}/a", f"{name}/b/c", f"{name}/b/d"]
        assert (await ask("keys", prefix=[name], separator="/"))["keys"] == [f"{name}/a", f"{name}/b/"]
        assert (await ask("list", prefix=[name, "none"]))["entries"] == []
        assert (await ask("keys", prefix=[name, "none"]))["keys"] == []
        assert await ask("delete_tree", prefix=[name]) == {"deleted": True}
        assert (await ask("keys", prefix=name))["keys"] == [f"{name}x"]
        await ask("delete", key=f"{name}x")

    play(consul, scenario)


SEGMENTS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1).filter(
    lambda text: not leads_elsewhere(text)
)


@given(st.lists(SEGMENTS, min_size=1, max_size=4))
def test_a_segment_stays_one_whatever_it_holds(segments: list[str]) -> None:
    """On the wire there are as many slashes as the contract wrote, and no query that it did not write."""
    message = call_of("get", key=segments).request.message(10.0)
    assert message.target == message.escaped_path
    assert [unquote(part) for part in message.escaped_path.split("/")] == ["", "v1", "kv", *segments]
    assert re.fullmatch(r"[A-Za-z0-9._~%/-]+", message.escaped_path, re.ASCII)


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "a//b", "a/../b", "..", "a\x00", "a/..;x/b", "a/%2e%2e/b", 7),
        *(["a", ".."], ["a/b"], ["a", ""], [], ["a\nb"], ["a\\b"], ["\ud800"], ["..;x"], ["%252e%252e"], ["..%2fb"]),
    ],
)
def test_a_key_that_could_leave_its_place_is_refused(key: object) -> None:
    """Before anything is sent: no escaping would keep it."""
    with pytest.raises(ValidationError):
        call_of("get", key=key)


EXPRESSION = "${ payload.key }"


@pytest.mark.parametrize(
    ("operation", "written", "at"),
    [
        *((operation, {"key": EXPRESSION}, ("key",)) for operation in ("get", "put", "delete", "acquire", "release")),
        *((operation, {"prefix": EXPRESSION}, ("prefix",)) for operation in ("list", "keys", "delete_tree")),
        ("put", EXPRESSION, ()),
    ],
)
def test_a_key_that_a_command_could_choose_is_told(operation: str, written: Any, at: tuple[str, ...]) -> None:
    """Its text may be any, however well formed: `check` tells it, at its place."""
    faults = ConsulHandlerFactory.description.operations[operation].faults
    assert faults is not None
    [(path, error)] = faults(written)
    assert path == at
    assert ("could choose any" if at else "is fixed by the contract") in str(error)


@pytest.mark.parametrize("written", ["a/b", ["config", EXPRESSION], [EXPRESSION]])
def test_a_key_whose_place_the_contract_fixes_is_fine(written: Any) -> None:
    """A value of a command is one segment, which holds no slash."""
    for operation, name in (("get", "key"), ("list", "prefix")):
        faults = ConsulHandlerFactory.description.operations[operation].faults
        assert faults is not None
        assert list(faults({name: written})) == []


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("put", {"key": "a", "text": "x", "json": 1}),
        ("put", {"key": "a", "bytes": "not base64"}),
        ("put", {"key": "a", "text": "x" * (512 * 1024 + 1)}),
        ("put", {"key": "a", "value": "x"}),
        ("delete", {"key": "a", "cas": 0}),
        ("delete_tree", {"prefix": ""}),
        ("delete_tree", {"prefix": []}),
        ("create_session", {"ttl_s": 9.0}),
        ("health", {"service": "a/b"}),
        ("register", {"name": "web", "check": {"type": "ttl"}}),
        ("register", {"name": "web", "check": {"type": "script", "args": ["rm"]}}),
        ("get", {"key": "a", "index": -1}),
    ],
)
def test_a_request_that_means_nothing_is_refused(operation: str, request_: Mapping[str, Any]) -> None:
    """The model says so: nothing is sent."""
    with pytest.raises(ValidationError):
        call_of(operation, **request_)


# --- Sessions and locks -------------------------------------------------------------------------------------------


def test_a_lock_has_one_holder(consul: Agent) -> None:
    """Who has it may take it again, others wait until it is released; the value goes along."""

    async def scenario(ask: Ask, name: str) -> None:
        mine, other = [(await ask("create_session", ttl_s=10, name=name))["session"] for _ in range(2)]
        assert await ask("acquire", key=[name], session=mine, text="mine") == {"acquired": True}
        assert await ask("acquire", key=[name], session=mine, text="mine") == {"acquired": True}
        assert await ask("acquire", key=[name], session=other) == {"acquired": False}
        held = await ask("get", key=[name])
        assert (held["session"], held["lock_index"], held["text"]) == (mine, 1, "mine")
        assert await ask("release", key=[name], session=other) == {"released": False}
        assert await ask("release", key=[name], session=mine, text="free") == {"released": True}
        assert await ask("acquire", key=[name], session=other) == {"acquired": True}
        assert (await ask("get", key=[name]))["lock_index"] == 2
        for session in (mine, other):
            assert await ask("destroy_session", session=session) == {"destroyed": True}

    play(consul, scenario)


@pytest.mark.parametrize(("behavior", "found"), [("release", True), ("delete", False)])
def test_a_session_that_ends_lets_go_of_its_locks(consul: Agent, behavior: str, found: bool) -> None:  # noqa: FBT001 - a case
    """The keys are released or deleted, as it says; nobody may lock them for its delay."""

    async def scenario(ask: Ask, name: str) -> None:
        session = (await ask("create_session", behavior=behavior, lock_delay_s=1.0))["session"]
        other = (await ask("create_session", ttl_s=10))["session"]
        await ask("acquire", key=[name], session=session)
        await ask("destroy_session", session=session)
        left = await ask("get", key=[name])
        assert (left["found"], left["session"]) == (found, None)
        assert await ask("acquire", key=[name], session=other) == {"acquired": False}
        assert await ask("renew_session", session=session) == {"renewed": False}
        assert await ask("destroy_session", session=session) == {"destroyed": True}
        await ask("destroy_session", session=other)

    play(consul, scenario)


def test_a_session_lives_as_long_as_it_is_renewed(own_consul: Agent) -> None:
    """And no longer: its lock is free then. (A real agent may take twice the time.)"""

    async def scenario(ask: Ask, name: str) -> None:
        tick_s = 1.0 if own_consul.stand_in is None else 0.05
        session = (await ask("create_session", ttl_s=10, lock_delay_s=0.001))["session"]
        await ask("acquire", key=[name], session=session)
        for _ in range(4):
            await asyncio.sleep(4 * tick_s)
            assert await ask("renew_session", session=session) == {"renewed": True}
        freed = await ask("get", key=[name], index=(await ask("get", key=[name]))["index"], wait_s=30.0)
        assert freed["session"] is None
        assert await ask("renew_session", session=session) == {"renewed": False}

    play(own_consul, scenario)


# --- Services -----------------------------------------------------------------------------------------------------


def test_a_service_is_registered_found_and_removed(consul: Agent) -> None:
    """In the catalog with its tags, with the address of its node where it has none of its own."""

    async def scenario(ask: Ask, name: str) -> None:
        assert await ask("register", name=name, id=f"{name}-1", port=80, tags=["a"], meta={"v": "1"}) == {
            "id": f"{name}-1"
        }
        assert await ask("register", name=name, address="10.0.0.2", tags=["b", "a"]) == {"id": name}
        assert (await eventually(lambda: ask("services"), lambda it: it["services"].get(name) == ["a", "b"]))["index"]
        found = await eventually(lambda: ask("instances", service=name), lambda it: len(it["instances"]) == 2)
        bare, other = found["instances"]
        assert (bare["id"], bare["address"], bare["tags"]) == (name, "10.0.0.2", ["b", "a"])
        assert (other["id"], other["port"], other["meta"], other["service"]) == (f"{name}-1", 80, {"v": "1"}, name)
        assert other["address"]
        tagged = await ask("instances", service=name, tags=["a", "b"])
        assert [it["id"] for it in tagged["instances"]] == [name]
        for identity in (name, f"{name}-1"):
            assert await ask("deregister", id=identity) == {"deregistered": True}
        assert await ask("deregister", id=name) == {"deregistered": False}
        await eventually(lambda: ask("instances", service=name), lambda it: it["instances"] == [])
        assert (await ask("health", service=name))["instances"] == []

    play(consul, scenario)


def test_the_health_of_an_instance_is_the_worst_of_its_checks(consul: Agent) -> None:
    """A check with a time to live says what is reported; only what passes is given where that is asked for."""

    async def scenario(ask: Ask, name: str) -> None:
        await ask("register", name=name, check={"type": "ttl", "ttl_s": 600.0})
        for status in ("critical", "warning", "passing"):
            if status != "critical":
                assert await ask("report", id=name, status=status, output="by a test") == {"reported": True}
            health = await eventually(
                lambda: ask("health", service=name), lambda it, s=status: it["instances"][0]["status"] == s
            )
            checks = {it["id"]: it["status"] for it in health["instances"][0]["checks"]}
            assert checks[f"service:{name}"] == status
            well = await ask("health", service=name, passing=True)
            assert len(well["instances"]) == (status == "passing")
        assert await ask("report", id=f"{name}-none") == {"reported": False}
        await ask("deregister", id=name)

    play(consul, scenario)


async def eventually(
    ask: Callable[[], Awaitable[Mapping[str, Any]]], holds: Callable[[Mapping[str, Any]], object]
) -> Mapping[str, Any]:
    """Ask until something holds of the result: an agent tells its cluster in its own time."""
    async with asyncio.timeout(10):
        while True:
            result = await ask()
            if (result.get("instances") or result.get("services") or "instances" in result) and holds(result):
                return result
            await asyncio.sleep(0.05)


# --- Waiting for changes ------------------------------------------------------------------------------------------


def test_a_read_waits_for_a_change(consul: Agent) -> None:
    """It is given as soon as it happens; where nothing does, what is now is given after the wait, as it was."""

    async def scenario(ask: Ask, name: str) -> None:
        await ask("put", key=[name], text="before")
        before = await ask("get", key=[name])
        began_s = time.monotonic()
        same = await ask("get", key=[name], index=before["index"], wait_s=0.2)
        assert 0.2 <= time.monotonic() - began_s < 2
        assert same == before
        waiting = asyncio.create_task(ask("get", key=[name], index=before["index"]))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await ask("put", key=[name], text="after")
        after = await asyncio.wait_for(waiting, 2)
        assert (after["text"], after["index"] > before["index"]) == ("after", True)

    play(consul, scenario)


def test_a_wait_ends_within_the_time_of_its_call(consul: Agent) -> None:
    """Also where the contract names no wait: the result comes, and no timeout."""

    async def scenario(ask: Ask, name: str) -> None:
        index = (await ask("keys", prefix=[name]))["index"]
        began_s = time.monotonic()
        assert (await ask("keys", prefix=[name], index=index, timeout_s=1.0))["keys"] == []
        assert 0.7 < time.monotonic() - began_s < 1.0

    play(consul, scenario)


@pytest.mark.parametrize(("asked", "given", "next_"), [(None, 7, 7), (5, 7, 7), (7, 7, 7), (7, 5, None), (None, 0, 1)])
def test_what_follows_a_result_waits_for_what_is_newer(asked: int | None, given: int, next_: int | None) -> None:
    """An index that went back starts over, and one of 0 would not wait at all."""
    followed = following(ListServices(index=asked, wait_s=2.0), {"index": given})
    assert (followed.index, followed.wait_s) == (next_, 2.0)


# --- What goes wrong ----------------------------------------------------------------------------------------------


def test_a_wrong_token_is_told_and_not_repeated(own_consul: Agent) -> None:
    """It is no use to ask again, and the token is in no error."""
    own_consul.scripted  # noqa: B018 - a real agent may have no tokens at all

    async def scenario(ask: Ask, name: str) -> None:
        error = await failure(ask("get", key=[name]))
        assert (error.code, error.retryable, error.details["status"]) == ("access_denied", False, 403)
        assert "wrong-token" not in str(error)

    play(own_consul, scenario, token="wrong-token")  # noqa: S106 - it opens nothing
    play(own_consul, scenario, token=None)


@pytest.mark.parametrize(
    ("trouble", "code"), [({"leader": False}, "no_leader"), ({"busy": True}, "server_busy")], ids=["leader", "busy"]
)
def test_an_agent_that_could_do_nothing_is_asked_again(own_consul: Agent, trouble: dict[str, bool], code: str) -> None:
    """Nothing was done, so that every call is retryable; when it is well again, it works."""
    stand_in = own_consul.scripted

    async def scenario(ask: Ask, name: str) -> None:
        for key, value in trouble.items():
            setattr(stand_in, key, value)
        for asked in (ask("get", key=[name]), ask("put", key=[name], cas=0), ask("create_session")):
            error = await failure(asked)
            assert (error.code, error.retryable) == (code, True)
        for key, value in trouble.items():
            setattr(stand_in, key, not value)
        assert await ask("put", key=[name], cas=0) == {"written": True}

    play(own_consul, scenario)


def test_a_lost_leader_ends_a_wait(own_consul: Agent) -> None:
    """A read that waits is told of it as soon as the agent knows."""
    stand_in = own_consul.scripted

    async def scenario(ask: Ask, name: str) -> None:
        index = (await ask("keys", prefix=[name]))["index"]
        waiting = asyncio.create_task(failure(ask("keys", prefix=[name], index=index, wait_s=30.0)))
        await asyncio.sleep(0.1)
        stand_in.leader = False
        stand_in.do(lambda: stand_in.state.tick("keys"))
        assert (await asyncio.wait_for(waiting, 2)).code == "no_leader"

    play(own_consul, scenario)


@pytest.mark.parametrize(
    ("operation", "request_", "repeatable"),
    [
        ("get", {"key": "a"}, True),
        ("put", {"key": "a"}, True),
        ("put", {"key": "a", "cas": 0}, False),
        ("delete", {"key": "a"}, True),
        ("delete", {"key": "a", "cas": 3}, False),
        ("acquire", {"key": "a", "session": NO_SESSION}, True),
        ("release", {"key": "a", "session": NO_SESSION}, False),
        ("register", {"name": "web"}, True),
        ("deregister", {"id": "web"}, True),
        ("create_session", {}, False),
        ("renew_session", {"session": NO_SESSION}, True),
    ],
)
def test_what_may_be_done_again_is_retryable(operation: str, request_: Mapping[str, Any], repeatable: bool) -> None:  # noqa: FBT001 - a case
    """A call whose answer was lost is repeated only where that does no other thing, and tells no other story."""
    late = DESCRIPTION.operations[operation].late
    assert late is not None
    assert late(call_of(operation, **request_).request, 2.0).retryable is repeatable


def test_datacenter_and_consistency_are_the_targets(own_consul: Agent) -> None:
    """They go along with each request, and what the agent says against them is told."""
    stand_in = own_consul.scripted

    async def reads(ask: Ask, name: str) -> None:
        await ask("get", key=[name])
        await ask("put", key=[name])
        read, write = stand_in.asked[-2:]
        assert read.endswith("?dc=dc1&stale")
        assert write.endswith("?dc=dc1")

    async def elsewhere(ask: Ask, name: str) -> None:
        error = await failure(ask("get", key=[name]))
        assert (error.code, "No path to datacenter" in str(error)) == ("server_failed", True)

    async def spaces(ask: Ask, name: str) -> None:
        error = await failure(ask("get", key=[name]))
        assert (error.code, error.retryable) == ("request_refused", False)
        assert "Enterprise" in str(error)

    play(own_consul, reads, datacenter="dc1", consistency="stale")
    play(own_consul, elsewhere, datacenter="dc2")
    play(own_consul, spaces, namespace="team")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"address": "127.0.0.1:8500"}, "http(s)://host[:port]"),
        ({"address": "http://user:secret@host:8500"}, "http(s)://host[:port]"),
        ({"address": "http://host:8500/v1"}, "http(s)://host[:port]"),
        ({"address": "http://host:99999"}, "Port"),
        ({"address": "http://host", "token": "a b"}, "printable ASCII"),
        ({"address": "http://host", "tls_ca_file": "/ca.pem"}, "https"),
        ({"address": "https://host", "tls_key_file": "/key.pem"}, "tls_cert_file"),
        ({"address": "http://host", "datacentre": "dc1"}, "datacentre"),
    ],
)
def test_a_target_that_cannot_be_is_refused(target: Mapping[str, str], told: str) -> None:
    """With what is wrong, and without repeating what may be a secret."""
    with pytest.raises(ValidationError) as raised:
        ConsulTarget.model_validate(target)
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("operation", "request_", "body"),
    [
        ("services", {}, "[]"),
        ("services", {}, '{"web": "a"}'),
        ("get", {"key": "a"}, "[]"),
        ("get", {"key": "a"}, '[{"Key": "a", "Value": "not base64"}]'),
        ("get", {"key": "a"}, '[{"Value": ""}]'),
        ("get", {"key": "a"}, '[{"Key": "a", "ModifyIndex": -1}]'),
        ("put", {"key": "a"}, '"done"'),
        ("health", {"service": "a"}, '[{"Node": {}, "Service": {}}]'),
        ("create_session", {}, "{}"),
        ("instances", {"service": "a"}, "<html>"),
    ],
)
def test_a_reply_that_is_not_consuls_is_told(operation: str, request_: Mapping[str, Any], body: str) -> None:
    """Whoever answers there in good HTTP: what has not the form of the API is an error, and asking again no help."""

    async def whole() -> None:
        async with Wire(0).up() as wire, asking(Agent(wire.port, "a-token", None)) as ask:
            wire.rubbish = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
            error = await failure(ask(operation, **request_))
            assert (error.code, error.retryable) == ("invalid_response", False)

    asyncio.run(whole())


JSON_ = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["", "eA==", "serfHealth"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Key", "Value", "ModifyIndex", "Node", "Service", "ID", "Checks"]), inner)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(DESCRIPTION.operations)), JSON_ | st.lists(JSON_, max_size=2), st.text(max_size=22))
def test_any_reply_is_a_result_or_an_error(operation: str, body: object, index: str) -> None:
    """Whatever the JSON says, and whatever stands in the header of the index."""
    fields = {"key": "a", "prefix": "a", "service": "a", "name": "a", "id": "a", "session": "a"}
    model = DESCRIPTION.operations[operation].request
    request = model.model_validate({name: it for name, it in fields.items() if name in model.model_fields})
    reply = RestReply(status=200, headers={"x-consul-index": index}, body=json.dumps(body).encode())
    code = "ok"
    try:
        DESCRIPTION.operations[operation].result.model_validate(read(request, ConsulReply("it", reply)))
    except HandlerError as error:
        code = error.code
    assert code in ("ok", "invalid_response")


def test_a_reply_over_the_limit_is_not_read(consul: Agent) -> None:
    """Its end is not waited for, and the handler goes on."""

    async def scenario(ask: Ask, name: str) -> None:
        await ask("put", key=[name], text="x" * 5000)
        error = await failure(ask("get", key=[name]))
        assert (error.code, error.retryable) == ("response_too_large", False)
        assert "response_bytes_max" in str(error)
        assert await ask("put", key=[name], text="x") == {"written": True}

    play(consul, scenario, response_bytes_max=2048)
