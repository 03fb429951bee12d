"""The `vault` handler against a real OpenBao: every operation, logins and their renewal, refusals, and seals."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.vault import VaultHandlerFactory
from omnibase_infra.secrets.vault.session import vault_session
from omnibase_infra.secrets.vault.target import VaultTarget
from omnibase_spi import Handler, HandlerCall
from tests.support.openbao import ROOT_TOKEN, OpenBao
from tests.support.scripted_http import Server, reply, says

DESCRIPTION = VaultHandlerFactory.description
APP = 'path "secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }'
TOKENS = {"token_ttl": 2}
Ask = Callable[..., Awaitable[Mapping[str, Any]]]


def play(target: Mapping[str, Any], scenario: Callable[[Ask], Awaitable[None]]) -> None:
    """Open the handler with a target, and run a scenario that asks it."""

    async def whole() -> None:
        settings, opened = DESCRIPTION.settings(), VaultTarget.model_validate(target)
        async with VaultHandlerFactory().open(settings=settings, targets={"main": opened}) as handler:

            async def ask(operation: str, *, timeout_s: float = 10.0, **request: Any) -> Mapping[str, Any]:
                model = DESCRIPTION.operations[operation]
                call = HandlerCall(
                    "vault", operation, model.request.model_validate(request), "main", timeout_s, UUID(int=1)
                )
                subject: Any = handler
                result: Mapping[str, Any] = await subject.execute(call)
                assert model.result.model_validate(result).model_dump(mode="json") == result
                return result

            await scenario(ask)

    asyncio.run(whole())


def as_root(server: OpenBao, **more: Any) -> dict[str, Any]:
    """Return a target that may do everything."""
    return {"address": server.address, "token": ROOT_TOKEN, **more}


async def refused(asked: Awaitable[Any]) -> HandlerError:
    """Return the error of a call that fails."""
    with pytest.raises(HandlerError) as caught:
        await asked
    return caught.value


def test_a_secret_is_written_read_listed_told_and_deleted(openbao: OpenBao) -> None:
    """All that the KV engine has for a secret's life, in its versions."""
    folder = uuid4().hex

    async def scenario(ask: Ask) -> None:
        path = [folder, "ada b?#%"]
        assert (await ask("read", path=path))["found"] is False
        first = await ask("write", path=path, data={"password": "one", "deep": {"n": [1, None]}}, cas=0)
        assert first["version"] == 1
        assert (await ask("write", path=path, data={"password": "two"}))["version"] == 2
        read = await ask("read", path=path)
        assert (read["found"], read["data"], read["version"]) == (True, {"password": "two"}, 2)
        assert (await ask("read", path=path, version=1))["data"] == {"password": "one", "deep": {"n": [1, None]}}
        await ask("write", path=[folder, "teams", 7], data={})
        assert (await ask("list", path=[folder]))["keys"] == ["ada b?#%", "teams/"]
        assert f"{folder}/" in (await ask("list"))["keys"]
        assert (await ask("list", path=f"{folder}/nobody"))["keys"] == []
        metadata = await ask("metadata", path=path)
        assert (metadata["current_version"], metadata["cas_required"], set(metadata["versions"])) == (
            2,
            False,
            {"1", "2"},
        )
        assert (await ask("metadata", path=f"{folder}/nobody"))["found"] is False
        await ask("delete", path=path)
        assert (await ask("read", path=path))["found"] is False
        assert (await ask("read", path=path, version=1))["found"] is True
        await ask("delete", path=path, versions=[1])
        assert (await ask("read", path=path, version=1))["found"] is False

    play(as_root(openbao), scenario)


def test_check_and_set_lets_one_of_many_writers_win(openbao: OpenBao) -> None:
    """The others are told, and not to try again."""
    path = uuid4().hex

    async def scenario(ask: Ask) -> None:
        outcomes = await asyncio.gather(
            *(ask("write", path=path, data={"n": n}, cas=0) for n in range(10)), return_exceptions=True
        )
        lost = [it for it in outcomes if isinstance(it, HandlerError)]
        assert len(lost) == 9
        assert {(it.code, it.retryable) for it in lost} == {("cas_mismatch", False)}

    play(as_root(openbao), scenario)


@pytest.mark.parametrize(
    "path", [["a", ".."], ["."], ["a", ""], ["a/b"], ["a\\b"], ["a\nb"], [], "a//b", "../sys", "/a", "a?x=1", "a%2f"]
)
def test_a_path_stays_in_its_place(path: Any) -> None:
    """No value of a command names another secret than the one that the contract means."""
    with pytest.raises(ValidationError):
        DESCRIPTION.operations["read"].request.model_validate({"path": path})


def test_namespaces_are_apart(openbao: OpenBao) -> None:
    """A target is in one; one that is not there is told, and no reason to try again."""
    name = f"t{uuid4().hex[:8]}"
    openbao.ask("POST", f"sys/namespaces/{name}")
    openbao.ask("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}}, namespace=name)

    async def inside(ask: Ask) -> None:
        async with asyncio.timeout(20):
            while True:  # An engine of version 2 takes a moment to be ready.
                try:
                    await ask("write", mount="kv", path="here", data={"a": 1})
                except HandlerError:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert (await ask("read", mount="kv", path="here"))["data"] == {"a": 1}

    async def outside(ask: Ask) -> None:
        error = await refused(ask("read", mount="kv", path="here"))
        assert (error.code, error.retryable) in {("refused", False), ("permission_denied", False)}

    async def nowhere(ask: Ask) -> None:
        error = await refused(ask("read", path="here"))
        assert (error.code, error.retryable) == ("refused", False)
        assert "namespace not found" in str(error)

    play(as_root(openbao, namespace=name), inside)
    play(as_root(openbao), outside)
    play(as_root(openbao, namespace="nowhere"), nowhere)


def test_what_a_policy_denies_is_no_trouble_of_the_token(openbao: OpenBao) -> None:
    """Nobody logs in anew for it, and nobody tries again."""
    token = openbao.token(policies=["default"])

    async def scenario(ask: Ask) -> None:
        error = await refused(ask("read", path="anything"))
        assert (error.code, error.retryable) == ("permission_denied", False)
        assert token not in str(error)

    play({"address": openbao.address, "token": token}, scenario)


def test_a_token_that_is_not_in_force_is_told_and_may_be_cured(openbao: OpenBao) -> None:
    """The host's secrets are then read again, and the command is tried with the new one."""
    openbao.policy("app", APP)
    token = openbao.token(policies=["app"])

    async def scenario(ask: Ask) -> None:
        assert (await ask("read", path="nothing-here"))["found"] is False
        openbao.revoke(token)
        for _ in range(2):
            error = await refused(ask("read", path="nothing-here"))
            assert (error.code, error.retryable) == ("credentials_refused", True)
            assert token not in str(error)

    play({"address": openbao.address, "token": token}, scenario)


def test_an_app_role_logs_in_once_for_many_and_again_when_its_token_is_revoked(openbao: OpenBao) -> None:
    """A call that was refused is retryable, and the next one has a token of its own."""
    openbao.policy("app", APP)
    name = f"r{uuid4().hex[:8]}"
    role = openbao.approle(name, token_policies=["app"], secret_id_num_uses=2)

    async def scenario(ask: Ask) -> None:
        # More than two logins would be refused.
        await asyncio.gather(*(ask("read", path="nothing-here") for _ in range(20)))
        for accessor in openbao.ask("LIST", "auth/token/accessors")["data"]["keys"]:
            of_role = openbao.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]["meta"] or {}
            if of_role.get("role_name") == name:
                openbao.ask("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        error = await refused(ask("read", path="nothing-here"))
        assert (error.code, error.retryable) == ("credentials_refused", True)
        assert (await ask("read", path="nothing-here"))["found"] is False

    play({"address": openbao.address, "approle": role}, scenario)


def test_a_login_that_is_refused_is_told_without_its_credentials(openbao: OpenBao) -> None:
    """It is retryable: another secret id may be on its way."""
    role = {**openbao.approle(f"r{uuid4().hex[:8]}"), "secret_id": "wrong-secret-id-of-the-test"}

    async def scenario(ask: Ask) -> None:
        error = await refused(ask("read", path="nothing-here"))
        assert (error.code, error.retryable) == ("credentials_refused", True)
        assert "wrong-secret-id" not in f"{error} {error.details} {error.__cause__}"

    play({"address": openbao.address, "approle": role}, scenario)


def test_a_token_is_renewed_before_it_ends(openbao: OpenBao) -> None:
    """It outlives its time, whether it was given or came of a login, and although nobody asks for anything."""
    openbao.policy("app", APP)
    role = openbao.approle(
        f"r{uuid4().hex[:8]}", token_policies=["app"], **TOKENS, token_max_ttl=3600, secret_id_num_uses=1
    )

    async def scenario(ask: Ask) -> None:
        await ask("read", path="nothing-here")
        await asyncio.sleep(4)
        assert (await ask("read", path="nothing-here"))["found"] is False

    async def both() -> None:
        given = {"address": openbao.address, "token": openbao.token(policies=["app"], ttl="2s")}
        login = {"address": openbao.address, "approle": role}
        await asyncio.gather(*(asyncio.to_thread(play, target, scenario) for target in (given, login)))

    asyncio.run(both())


def test_a_login_whose_token_can_be_renewed_no_further_is_repeated(openbao: OpenBao) -> None:
    """No call fails for it: the old token serves until there is a new one."""
    openbao.policy("app", APP)
    role = openbao.approle(f"r{uuid4().hex[:8]}", token_policies=["app"], **TOKENS, token_max_ttl=3)

    async def scenario(ask: Ask) -> None:
        for _ in range(80):
            assert (await ask("read", path="nothing-here"))["found"] is False
            await asyncio.sleep(0.08)

    play({"address": openbao.address, "approle": role}, scenario)


def test_a_sealed_server_is_waited_for(own_openbao: OpenBao) -> None:
    """It has surely done nothing, so that even a write is tried again."""
    own_openbao.ask("POST", "sys/seal")

    async def scenario(ask: Ask) -> None:
        for asked in (ask("read", path="a"), ask("write", path="a", data={})):
            error = await refused(asked)
            assert (error.code, error.retryable) == ("unavailable", True)
            assert "sealed" in str(error)

    play(as_root(own_openbao), scenario)


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (307, b"", "unavailable", True),
        (429, b'{"errors": []}', "unavailable", True),
        (472, b"{}", "unavailable", True),
        (473, b"{}", "unavailable", True),
        (412, b'{"errors": ["required index state not present"]}', "unavailable", True),
        (500, b'{"errors": ["internal error"]}', "unavailable", False),
        (503, b'{"errors": ["Vault is sealed"]}', "unavailable", True),
        (502, b"<html>bad gateway</html>", "protocol_error", False),
        (200, b"[]", "protocol_error", False),
        (200, b'{"data": {}}', "protocol_error", False),
        (400, b'{"errors": ["missing client token"]}', "refused", False),
        (404, b'{"errors": ["no handler for route"]}', "refused", False),
    ],
)
def test_what_other_servers_say_is_told(status: int, body: bytes, code: str, retryable: bool) -> None:  # noqa: FBT001 - a case
    """What a standby or a proxy says, which no single server of a test does; asked with a write that is not safe."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            target = VaultTarget(address=f"http://127.0.0.1:{port}", token="t")  # type: ignore[arg-type] # noqa: S106
            async with VaultHandlerFactory().open(settings=DESCRIPTION.settings(), targets={"main": target}) as handler:
                subject: Any = handler
                request = DESCRIPTION.operations["write"].request.model_validate({"path": "a", "data": {"a": 1}})
                error = await refused(subject.execute(HandlerCall("vault", "write", request, "main", 5.0, UUID(int=1))))
        assert (error.code, error.retryable) == (code, retryable)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ns3cret\r\n\r\n",
        reply(b'{"auth": {"client_token": "s3cret-\xc3\xbc"}}'),
        reply(b'{"auth": {"client_token": "s3cret\\r\\nx-evil: 1"}}'),
    ],
    ids=["no HTTP", "not ASCII", "two lines"],
)
def test_a_login_that_gives_no_token_is_told_without_what_came(said: bytes) -> None:
    """What came may hold a secret, or be what no header can carry."""

    async def scenario() -> None:
        async with Server(says(said)).listen() as server:
            role = {"role_id": "r", "secret_id": "s"}
            target = VaultTarget.model_validate({"address": f"http://127.0.0.1:{server.port}", "approle": role})
            async with vault_session(target) as session:
                error = await refused(session.ask("POST", "secret/data/a", body={}, repeatable=False))
        assert (error.code, error.retryable) == ("protocol_error", True)
        assert "s3cret" not in str(error)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "a", "approle": {"role_id": "r", "secret_id": "s"}},
        {},
        {"token": "s3cret\r\nx-evil: 1"},
        {"token": "s3cret", "address": "https://user:s3cret@vault"},
        {"token": "s3cret", "address": "vault:8200"},
        {"token": "s3cret", "address": "http://vault/v1"},
        {"token": "s3cret", "tls_ca_file": "/ca.pem"},
        {"token": "s3cret", "namespace": "a\r\nb"},
    ],
)
def test_a_target_that_cannot_be_one_is_refused_without_its_secrets(wrong: Mapping[str, Any]) -> None:
    """Its text may be shown to anybody."""
    with pytest.raises(ValidationError) as caught:
        VaultTarget.model_validate({"address": "http://vault:8200", **wrong})
    assert "s3cret" not in str(caught.value)


def test_a_session_that_waits_for_its_login_may_be_left(openbao: OpenBao) -> None:
    """One who stops waiting takes the login from nobody else."""
    openbao.policy("app", APP)
    target = VaultTarget.model_validate(
        {"address": openbao.address, "approle": openbao.approle(f"r{uuid4().hex[:8]}", token_policies=["app"])}
    )

    async def scenario() -> None:
        async with vault_session(target) as session:
            asked = [
                asyncio.create_task(session.ask("GET", "secret/data/nothing-here", repeatable=True)) for _ in range(5)
            ]
            await asyncio.sleep(0)
            asked[0].cancel()
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert not any(isinstance(it, BaseException) for it in outcomes[1:])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_handler_knows_its_targets_alone() -> None:
    """A target that is not bound is told."""

    async def scenario() -> None:
        async with VaultHandlerFactory().open(settings=DESCRIPTION.settings(), targets={}) as handler:
            subject: Handler = handler  # type: ignore[assignment]
            request = DESCRIPTION.operations["read"].request.model_validate({"path": "a"})
            error = await refused(subject.execute(HandlerCall("vault", "read", request, "other", 5.0, UUID(int=1))))
        assert error.code == "request_invalid"

    asyncio.run(scenario())
