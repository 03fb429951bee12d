"""HostReader: reads a host's secrets wherever they are, those in Vault over sessions of its own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from omnibase_core.contracts.secrets import SecretSource, VaultSecret
from omnibase_core.errors import HandlerError, OnexError, SecretMissing
from omnibase_infra.secrets.current import Reading, ResolvingReader, resolved
from omnibase_infra.secrets.runtime_secrets import Learn, learner, taught
from omnibase_infra.secrets.shared_resource import SharedResource
from omnibase_infra.secrets.vault.target import VaultTarget
from omnibase_spi import SecretResolver

if TYPE_CHECKING:
    from omnibase_infra.secrets.vault.client import VaultReply
    from omnibase_infra.secrets.vault.session import Session

_ASK_S = 10.0
_READ_APART_S = 5.0
"""How long what was read is not read again, even where it was refused: each reading may make new credentials."""
_RENEWED_AT = 2 / 3
_LEAST_S = 0.5
_AWAY_S = 5.0
"""How long a place that could not be read is left alone: whoever waits for it holds up the reading of all others."""


@dataclass(slots=True)
class _Place:
    """One path of a Vault: what was read there, by its fields, and when it is to be looked at again."""

    source: VaultSecret
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    read_s: float | None = None
    due_s: float = 0.0
    lease_id: str = ""
    lease_s: float = 0.0
    renewable: bool = False


@dataclass(slots=True)
class _Vault:
    """One Vault with its session, which is opened anew when the settings that it was opened with have changed."""

    target: VaultTarget
    settings: VaultTarget | None = None
    opening: "SharedResource[Session] | None" = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    places: dict[tuple[str | None, str | None, str], _Place] = field(default_factory=dict)


class HostReader:
    """Reads the secrets of a host contract: in Vault those that it says are there, and all others by a resolver.

    What is in Vault is read every `refresh_s` seconds; a lease is renewed after two thirds of its time, and where it
    cannot be, other credentials are fetched while the old ones are still in force. A SecretReader; close it in the end.
    """

    def __init__(
        self,
        resolver: SecretResolver,
        sources: Mapping[str, SecretSource],
        targets: Mapping[str, VaultTarget],
        *,
        learn: Learn | None = None,
    ) -> None:
        """Open nothing yet. `targets` are those of the handler `vault`; `learn` is told of the tokens of logins."""
        self._learn = learn or learner()
        self._resolver = resolver
        self._local = ResolvingReader(resolver)
        self._vaults: dict[str, _Vault] = {}
        self._places: dict[str, tuple[_Vault, _Place]] = {}
        for name, source in sources.items():
            if isinstance(source, VaultSecret):
                vault = self._vaults.setdefault(source.vault, _Vault(targets[source.vault]))
                key = (source.kv, source.lease, source.mount)
                place = vault.places.setdefault(key, _Place(source))
                if source.refresh_s < place.source.refresh_s:
                    place.source = source
                self._places[name] = (vault, place)
        self._fields = {name: it.field for name, it in sources.items() if isinstance(it, VaultSecret)}

    async def read(self, names: Sequence[str], /, *, anew: bool) -> Reading:
        """Return each of them as it is now."""
        found = dict(await self._local.read([name for name in names if name not in self._places], anew=anew))
        wanted = {
            id(place): (vault, place) for vault, place in (self._places[it] for it in names if it in self._places)
        }
        await asyncio.gather(*(self._look(vault, place, anew=anew) for vault, place in wanted.values()))
        for name in names:
            if name in self._places:
                found[name] = _value(name, self._fields[name], self._places[name][1])
        return found

    async def close(self) -> None:
        """End the sessions."""
        for vault in self._vaults.values():
            if vault.opening is not None:
                await vault.opening.retire()

    async def _look(self, vault: _Vault, place: _Place, *, anew: bool) -> None:
        """Read a place, or renew its lease, where that is due. What goes wrong is noted there."""
        now_s = asyncio.get_running_loop().time()
        settled = place.read_s is not None and now_s - place.read_s < _READ_APART_S
        if now_s < place.due_s and (settled or not anew):
            return
        try:
            async with asyncio.timeout(_ASK_S):
                async with vault.turn:
                    session = await self._session(vault)
                if not (place.lease_id and place.renewable and await _renewed(session, place)):
                    await _read(session, place)
            place.fault = None
        except TimeoutError:
            place.fault = f"vault {place.source.vault}: no reply within {_ASK_S:g} s"
            place.due_s = now_s + _ASK_S + _AWAY_S
        except OnexError as error:
            place.fault = f"vault {place.source.vault}: {error}"
            place.due_s = now_s + 1.0

    async def _session(self, vault: _Vault) -> "Session":
        """Return the session, opened with what its own secrets are now."""
        settings = await asyncio.to_thread(resolved, vault.target, self._resolver)
        if vault.opening is None or settings != vault.settings:
            former = vault.opening
            # The opening's task begins with what is said here.
            with taught(self._learn):
                vault.opening = await SharedResource.begin(partial(_opened, settings), drain_s=0.0)
            vault.settings = settings
            if former is not None:
                await former.retire()
        return vault.opening.resource


def _opened(settings: VaultTarget) -> "AbstractAsyncContextManager[Session]":
    # httpcore takes its time to import: a host without secrets in Vault does without it.
    from omnibase_infra.secrets.vault.session import vault_session

    open_: Callable[[VaultTarget], AbstractAsyncContextManager[Session]] = vault_session
    return open_(settings)


async def _read(session: "Session", place: _Place) -> None:
    source, now_s = place.source, asyncio.get_running_loop().time()
    path = source.lease or f"{source.mount}/data/{source.kv}"
    answer = await session.ask("GET", path, repeatable=True)
    fields = answer.data if source.lease else answer.data.get("data")
    if not answer.found or not isinstance(fields, dict):
        raise SecretMissing(f"there is no secret at {path}")
    place.fields, place.read_s = fields, now_s
    place.lease_id, place.renewable = answer.lease_id, answer.renewable
    if source.lease:
        _note_lease(place, answer, now_s)
    else:
        place.due_s = now_s + source.refresh_s


async def _renewed(session: "Session", place: _Place) -> bool:
    """Renew the lease; False where it can be renewed no further, or is not in force any more."""
    now_s, before_s = asyncio.get_running_loop().time(), place.lease_s
    try:
        answer = await session.ask("PUT", "sys/leases/renew", body={"lease_id": place.lease_id}, repeatable=True)
    except HandlerError as error:
        if error.code in ("refused", "permission_denied"):
            return False
        raise
    _note_lease(place, answer, now_s)
    return place.lease_s > before_s / 2


def _note_lease(place: _Place, answer: "VaultReply", now_s: float) -> None:
    place.lease_s = answer.lease_duration_s
    # What has no lease may be read as if it had one, and is read again now and then.
    place.due_s = now_s + (max(place.lease_s * _RENEWED_AT, _LEAST_S) if place.lease_s else place.source.refresh_s)


def _value(name: str, key: str, place: _Place) -> str | SecretMissing:
    if place.fault is not None:
        return SecretMissing(f"secret {name}: {place.fault}")
    value = place.fields.get(key)
    if not isinstance(value, str) or not value:
        return SecretMissing(f"secret {name}: what Vault has there has no text in the field {key!r}")
    return value
