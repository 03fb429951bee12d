"""Secrets of a host in a real OpenBao: read again, leased and renewed, and fetched anew when a lease ends."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from omnibase_core.contracts.secrets import FileSecret, SecretSource, VaultSecret
from omnibase_core.errors import SecretMissing
from omnibase_infra.host.settings import EnvironmentSecrets
from omnibase_infra.secrets.reader import HostReader
from omnibase_infra.secrets.vault.target import VaultTarget
from tests.support.openbao import ROOT_TOKEN, OpenBao

ONE, TWO = {"password": "one"}, {"password": "two"}


def play(
    server: OpenBao,
    sources: dict[str, SecretSource],
    scenario: Callable[[HostReader], Awaitable[None]],
    token: str = ROOT_TOKEN,
    environ: dict[str, str] | None = None,
) -> None:
    """Run a scenario with a reader of these sources."""

    async def whole() -> None:
        target = VaultTarget.model_validate({"address": server.address, "token": token})
        reader = HostReader(EnvironmentSecrets(environ or {}, sources), sources, {"main": target})
        try:
            await scenario(reader)
        finally:
            await reader.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


def kv(path: str, field: str, **more: Any) -> VaultSecret:
    """Return a secret of the KV engine."""
    return VaultSecret(vault="main", kv=path, field=field, **more)


async def changed(reader: HostReader, before: object, *names: str, within_s: float = 10) -> dict[str, Any]:
    """Read until it is not what it was."""
    async with asyncio.timeout(within_s):
        while str(found := dict(await reader.read(names, anew=False))) == str(before):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.1)
    return found


def test_fields_of_one_path_are_read_together_and_again(openbao: OpenBao) -> None:
    """A user is never read with the password of another."""
    path = uuid4().hex
    openbao.write(path, user="ada", **ONE)

    async def scenario(reader: HostReader) -> None:
        first = await reader.read(["USER", "PASSWORD", "HERE"], anew=True)
        assert first == {"USER": "ada", "PASSWORD": "one", "HERE": "1"}
        openbao.write(path, user="bob", **TWO)
        found = await changed(reader, first, "USER", "PASSWORD", "HERE")
        assert found == {"USER": "bob", "PASSWORD": "two", "HERE": "1"}

    sources: dict[str, SecretSource] = {"USER": kv(path, "user", refresh_s=1), "PASSWORD": kv(path, "password")}
    play(openbao, sources, scenario, environ={"ONEX_SECRET_HERE": "1"})


def test_what_is_not_there_is_told_by_the_name_of_the_secret(openbao: OpenBao) -> None:
    """A path, a field, or a token that is not in force; never a value."""
    path = uuid4().hex
    openbao.write(path, number=7)

    async def scenario(reader: HostReader) -> None:
        found = await reader.read(["LOST", "FIELD", "NUMBER"], anew=True)
        assert all(isinstance(it, SecretMissing) for it in found.values())
        assert str(found["LOST"]) == "secret LOST: vault main: there is no secret at secret/data/nowhere"
        told = "what Vault has there has no text in the field"
        assert [str(found[it]) for it in ("FIELD", "NUMBER")] == [
            f"secret FIELD: {told} 'other'",
            f"secret NUMBER: {told} 'number'",
        ]

    async def locked_out(reader: HostReader) -> None:
        found = await reader.read(["LOST"], anew=True)
        assert "the token itself is not in force" in str(found["LOST"])

    sources: dict[str, SecretSource] = {
        "LOST": kv("nowhere", "a"),
        "FIELD": kv(path, "other"),
        "NUMBER": kv(path, "number"),
    }
    play(openbao, sources, scenario)
    play(openbao, sources, locked_out, token="wrong")  # noqa: S106 - it opens nothing


def test_a_new_token_in_a_file_opens_a_new_session(openbao: OpenBao, tmp_path: Path) -> None:
    """Secrets of the environment open the Vault that has the others."""
    path, file = uuid4().hex, tmp_path / "token"
    openbao.write(path, **ONE)
    first = openbao.token(policies=["root"])
    file.write_text(first)

    async def scenario(reader: HostReader) -> None:
        assert await reader.read(["PASSWORD"], anew=True) == {"PASSWORD": "one"}
        openbao.revoke(first)
        openbao.write(path, **TWO)
        found = await changed(reader, {"PASSWORD": "one"}, "PASSWORD")
        assert isinstance(found["PASSWORD"], SecretMissing)
        file.write_text(openbao.token(policies=["root"]))
        assert await changed(reader, found, "PASSWORD") == {"PASSWORD": "two"}

    sources: dict[str, SecretSource] = {
        "PASSWORD": kv(path, "password", refresh_s=1),
        "TOKEN": FileSecret(file=str(file)),
    }
    play(openbao, sources, scenario, token="${secret.TOKEN}")  # noqa: S106 - a reference


@pytest.mark.parametrize(("ttl", "max_ttl"), [(2, 60), (2, 3)])
def test_a_lease_is_renewed_and_replaced_before_it_ends(openbao: OpenBao, ttl: int, max_ttl: int) -> None:
    """What Vault makes for a time is in force at every moment; without need, no other is made."""
    mount = f"kv-{uuid4().hex[:8]}"
    openbao.ask("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "1"}})
    openbao.ask("POST", f"{mount}/app", {"password": "made", "ttl": f"{ttl}s"})
    assert max_ttl > ttl

    async def scenario(reader: HostReader) -> None:
        assert await reader.read(["LEASED"], anew=True) == {"LEASED": "made"}
        openbao.ask("POST", f"{mount}/app", {"password": "made anew", "ttl": f"{ttl}s"})
        assert await changed(reader, {"LEASED": "made"}, "LEASED", within_s=ttl * 2) == {"LEASED": "made anew"}

    play(openbao, {"LEASED": VaultSecret(vault="main", lease=f"{mount}/app", field="password")}, scenario)
