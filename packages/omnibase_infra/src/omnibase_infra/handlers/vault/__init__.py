"""The `vault` handler: secrets of the KV engine, version 2, of HashiCorp Vault or OpenBao.

`models` holds what contracts may write, `kv` asks. The client is `omnibase_infra.secrets.vault`, which a host's
secrets use, too.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel

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
    VaultSettings,
    WriteSecret,
)
from omnibase_infra.secrets.vault.target import VaultTarget
from omnibase_spi import ErrorDescription, Handler, HandlerDescription, OperationDescription

__all__ = ["VaultHandlerFactory"]

_IF_SAFE = "unless a `write` without `cas`, or a `delete` without `versions`, may have been done"
_ERRORS = {
    "cas_mismatch": ErrorDescription("The secret's latest version is not the one that `cas` names."),
    "permission_denied": ErrorDescription("The policies of the host's token do not allow it."),
    "credentials_refused": ErrorDescription("The host's token, or its login, is not in force.", retryable=True),
    "unavailable": ErrorDescription("The server is sealed, a standby, or overloaded.", retryable=_IF_SAFE),
    "refused": ErrorDescription(
        "The server rejects the request, for example because a namespace or a mount does not exist."
    ),
    "unreachable": ErrorDescription("There was no connection, or it broke off.", retryable=_IF_SAFE),
    "timeout": ErrorDescription("There was no reply in time.", retryable=_IF_SAFE),
    "protocol_error": ErrorDescription("The server's reply is not Vault's.", retryable=_IF_SAFE),
    "response_too_large": ErrorDescription("The reply is larger than the target's `response_bytes_max`."),
    "request_invalid": ErrorDescription("The request has no form in HTTP."),
}
_WITHOUT_CAS = tuple(code for code in _ERRORS if code != "cas_mismatch")


class VaultHandlerFactory:
    """Makes the `vault` handler: one session with each target."""

    description = HandlerDescription(
        handler_type="vault",
        operations={
            "read": OperationDescription(request=ReadSecret, result=SecretRead, errors=_WITHOUT_CAS),
            "write": OperationDescription(request=WriteSecret, result=SecretWritten),
            "delete": OperationDescription(request=DeleteSecret, result=SecretDeleted, errors=_WITHOUT_CAS),
            "list": OperationDescription(request=ListSecrets, result=SecretsListed, errors=_WITHOUT_CAS),
            "metadata": OperationDescription(request=ReadMetadata, result=MetadataRead, errors=_WITHOUT_CAS),
        },
        settings=VaultSettings,
        target=VaultTarget,
        errors=_ERRORS,
    )

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:  # noqa: ARG002 - there is nothing to set
        """Yield the handler; closing it closes its connections. Raises HandlerError for an unusable `tls_ca_file`."""
        # httpcore takes its time to import: a host without this handler does without it.
        from omnibase_infra.handlers.vault.kv import kv_handler

        async with kv_handler({name: it for name, it in targets.items() if isinstance(it, VaultTarget)}) as handler:
            yield handler
