"""What the `vault` handler does: one operation of the KV engine, version 2, a call."""

from asyncio import timeout
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import BaseModel, ValidationError

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.vault.models import (
    DeleteSecret,
    ListSecrets,
    MetadataRead,
    ReadMetadata,
    ReadSecret,
    SecretDeleted,
    SecretRead,
    SecretsListed,
    SecretWritten,
    WriteSecret,
)
from omnibase_infra.secrets.vault.session import Session, vault_session
from omnibase_infra.secrets.vault.target import VaultTarget


@asynccontextmanager
async def kv_handler(targets: Mapping[str, VaultTarget]) -> AsyncIterator["KvHandler"]:
    """Yield the handler with a session for each target; no call waits for one that is away."""
    async with AsyncExitStack() as stack:
        sessions = {name: await stack.enter_async_context(vault_session(it)) for name, it in targets.items()}
        yield KvHandler(sessions)


class KvHandler:
    """Reads and writes secrets. A Handler; used concurrently, and usable after any cancellation.

    Its errors are those of `VaultHandlerFactory.description`. Retryable are `credentials_refused`, since a new secret
    of the host may cure it, and `unavailable`, `unreachable`, `timeout` and `protocol_error`, but not for a write
    without `cas` or a delete without `versions` that may have been done.
    """

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        """Keep the sessions by the names under which nodes know them."""
        self._sessions = sessions

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call within its time."""
        session = self._sessions.get(call.target or "")
        if session is None:
            raise HandlerError("request_invalid", f"there is no vault target {call.target!r}")
        try:
            async with timeout(call.timeout_s):
                result = await _done(session, call.request)
        except TimeoutError as error:
            message = f"vault {call.operation}: not done within {call.timeout_s:g} s"
            raise HandlerError("timeout", message, retryable=is_repeatable(call.request)) from error
        except ValidationError as error:
            message = f"vault {call.operation}: the reply is not that of a KV engine, version 2"
            raise HandlerError("protocol_error", message, retryable=is_repeatable(call.request)) from error
        return result.model_dump(mode="json")


def is_repeatable(request: BaseModel) -> bool:
    """Check whether a request may be made again when nobody knows whether it was done."""
    match request:
        case WriteSecret(cas=cas):
            # With it, a second write is refused.
            return cas is not None
        case DeleteSecret(versions=versions):
            return versions is not None
    return True


async def _done(session: Session, request: BaseModel) -> BaseModel:
    match request:
        case ReadSecret():
            return await _read(session, request)
        case WriteSecret():
            return await _written(session, request)
        case DeleteSecret():
            return await _deleted(session, request)
        case ListSecrets():
            return await _listed(session, request)
        case ReadMetadata():
            return await _metadata(session, request)
    raise HandlerError("request_invalid", f"the vault handler has no request {type(request).__name__}")


async def _read(session: Session, request: ReadSecret) -> SecretRead:
    query = [] if request.version is None else [("version", str(request.version))]
    answer = await session.ask("GET", request.at("data", request.path), query=query, repeatable=True)
    if not answer.found:
        return SecretRead(found=False)
    metadata = _part(answer.data, "metadata")
    return SecretRead.model_validate(
        {
            "found": True,
            "data": _part(answer.data, "data"),
            "version": metadata.get("version"),
            "created_time": metadata.get("created_time"),
        }
    )


async def _written(session: Session, request: WriteSecret) -> SecretWritten:
    options = {} if request.cas is None else {"options": {"cas": request.cas}}
    answer = await session.ask(
        "POST",
        request.at("data", request.path),
        body={"data": request.data, **options},
        repeatable=is_repeatable(request),
    )
    return SecretWritten.model_validate(
        {"version": answer.data.get("version"), "created_time": answer.data.get("created_time")}
    )


async def _deleted(session: Session, request: DeleteSecret) -> SecretDeleted:
    if request.versions is None:
        await session.ask("DELETE", request.at("data", request.path), repeatable=False)
    else:
        body = {"versions": request.versions}
        await session.ask("POST", request.at("delete", request.path), body=body, repeatable=True)
    return SecretDeleted()


async def _listed(session: Session, request: ListSecrets) -> SecretsListed:
    # A folder's path ends in a slash; the method LIST is one that proxies may not know.
    path = [*request.at("metadata", request.path), ""]
    answer = await session.ask("GET", path, query=[("list", "true")], repeatable=True)
    return SecretsListed.model_validate({"keys": answer.data.get("keys") if answer.found else []})


async def _metadata(session: Session, request: ReadMetadata) -> MetadataRead:
    answer = await session.ask("GET", request.at("metadata", request.path), repeatable=True)
    if not answer.found:
        return MetadataRead(found=False)
    known = {name: it for name, it in answer.data.items() if name in MetadataRead.model_fields and it is not None}
    versions = {
        number: {name: it for name, it in version.items() if name in ("created_time", "deletion_time", "destroyed")}
        for number, version in _part(answer.data, "versions").items()
    }
    return MetadataRead.model_validate({**known, "found": True, "versions": versions})


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of a reply that has to be there."""
    part = data.get(name)
    if not isinstance(part, dict):
        raise HandlerError(
            "protocol_error", f"the reply is not that of a KV engine, version 2: no {name!r}", retryable=True
        )
    return part
