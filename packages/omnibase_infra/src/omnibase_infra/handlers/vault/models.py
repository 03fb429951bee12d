"""What contracts may write of `vault`: requests and results of the KV engine, version 2. Values only."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from omnibase_infra.http import values
from omnibase_infra.secrets.vault.target import FixedPath

_SEGMENT_LENGTH_MAX = 255


Segment = Annotated[values.Segment, Field(max_length=_SEGMENT_LENGTH_MAX)]
SecretPath = Annotated[
    Annotated[FixedPath, Tag("text")] | Annotated[list[Segment], Field(min_length=1, max_length=20), Tag("segments")],
    Discriminator(values.form_of_path),
]
FolderPath = Annotated[
    Annotated[FixedPath, Tag("text")] | Annotated[list[Segment], Field(max_length=20), Tag("segments")],
    Discriminator(values.form_of_path),
]
Number = Annotated[int, Field(ge=1)]


class _VaultModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class VaultSettings(_VaultModel):
    """There is nothing to set for all targets."""


class _Request(_VaultModel):
    mount: FixedPath = "secret"

    def at(self, operation: str, path: str | list[str]) -> list[str]:
        """Return the segments of the path below `/v1/`."""
        return [*self.mount.split("/"), operation, *(path.split("/") if isinstance(path, str) else path)]


class ReadSecret(_Request):
    """Read a secret.

    - `path`: a list of segments, each of which stays one whatever it holds; or a text, which is fixed by the contract.
      What comes from a command belongs into a list: [users, "${ payload.id }"].
    - `mount`: where the engine is mounted.
    - `version`: which of its versions; else the latest.
    """

    path: Annotated[SecretPath, Field(examples=[["users", "${ payload.id }"]])]
    version: Number | None = None


class SecretRead(_VaultModel):
    """What was read. Where there is nothing, or it was deleted, `found` is false, and the rest is null."""

    found: Annotated[bool, Field(examples=[True])]
    data: Annotated[dict[str, JsonValue] | None, Field(examples=[{"password": "s3cret"}])] = None
    version: Annotated[int | None, Field(examples=[3])] = None
    created_time: str | None = None


class WriteSecret(_Request):
    """Write a new version of a secret.

    - `path`, `mount`: as of `read`.
    - `data`: all of it: what is left out is not in the new version.
    - `cas`: the version that must be the latest, or 0 where there must be none; else the error `cas_mismatch`. A write
      without it is not repeated where it may have been done.
    """

    path: Annotated[SecretPath, Field(examples=[["users", "${ payload.id }"]])]
    data: Annotated[dict[str, JsonValue], Field(examples=[{"password": "${ payload.password }"}])]
    cas: Annotated[int, Field(ge=0)] | None = None


class SecretWritten(_VaultModel):
    """The version that was written."""

    version: Annotated[int, Field(examples=[4])]
    created_time: str | None = None


class DeleteSecret(_Request):
    """Delete versions of a secret, so that they are not read any more; Vault can undelete them.

    - `path`, `mount`: as of `read`.
    - `versions`: which; else the latest. Only with them it is repeated where it may have been done.
    """

    path: Annotated[SecretPath, Field(examples=[["users", "${ payload.id }"]])]
    versions: Annotated[list[Number], Field(min_length=1, max_length=100)] | None = None


class SecretDeleted(_VaultModel):
    """It was done; also where there was nothing."""

    deleted: Annotated[bool, Field(examples=[True])] = True


class ListSecrets(_Request):
    """List what is in a folder.

    - `path`: of the folder, as of `read`; by default that of the mount itself.
    - `mount`: as of `read`.
    """

    path: FolderPath = Field(default_factory=list)


class SecretsListed(_VaultModel):
    """The names in the folder; those of folders end in a slash. None where there is no such folder."""

    keys: Annotated[list[str], Field(examples=[["ada", "teams/"]])]


class ReadMetadata(_Request):
    """Read what is known of a secret, and nothing of what it holds. `path`, `mount`: as of `read`."""

    path: Annotated[SecretPath, Field(examples=[["users", "${ payload.id }"]])]


class VersionMetadata(_VaultModel):
    """One version. `deletion_time` is empty, or when it is deleted; one that is `destroyed` is gone for good."""

    created_time: str
    deletion_time: str
    destroyed: bool


class MetadataRead(_VaultModel):
    """What is known. Where there is no such secret, `found` is false, and the rest is null or empty."""

    found: Annotated[bool, Field(examples=[True])]
    current_version: int | None = None
    oldest_version: int | None = None
    created_time: str | None = None
    updated_time: str | None = None
    cas_required: bool | None = None
    custom_metadata: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, VersionMetadata] = Field(default_factory=dict)
