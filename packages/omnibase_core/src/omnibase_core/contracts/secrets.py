"""Secrets as a host contract says them: where each one is, and who refers to it. Values only; infra reads them."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from omnibase_core.contracts import patterns
from omnibase_core.contracts.node import ContractModel, Slug
from omnibase_core.contracts.yaml.document import Path

_REFERENCE = re.compile(r"\$\{secret\.(?P<name>[A-Z][A-Z0-9_]*)\}")
_MEANT_AS_REFERENCE = re.compile(r"\$\{\s*secret")

EXPECTED_REFERENCE = "expected the whole value to be ${secret.NAME}, with NAME of A-Z, 0-9 and _"

SecretName = Annotated[str, StringConstraints(pattern=patterns.CAPITALS)]
"""A secret as references call it."""
VaultPath = Annotated[str, StringConstraints(pattern=patterns.VAULT_PATH, max_length=512)]
VAULT = "vault"
"""The handler whose targets have secrets of the host itself, too."""


class EnvironmentSecret(ContractModel):
    """A secret in the variable `env` of the host's environment. It stays as it was when the host started."""

    env: Annotated[str, StringConstraints(pattern=patterns.VARIABLE)]


class FileSecret(ContractModel):
    """A secret in the file `file`, less one newline at its end. When the file changes, the host takes the new one."""

    file: Annotated[str, StringConstraints(pattern=patterns.ABSOLUTE)]


class VaultSecret(ContractModel):
    """A secret that Vault keeps or makes.

    - `vault`: the target of the handler `vault` that has it; it may be bound for this alone.
    - `kv`: the path of a secret of the KV engine, version 2, that is mounted at `mount`. It is read again every
      `refresh_s` seconds.
    - `lease`: in place of `kv`, a path from which Vault gives credentials for a time, such as database/creds/app. They
      are renewed while they can be; others are fetched before they end.
    - `field`: which of its fields is the secret. Secrets of one path are read together.
    """

    vault: Slug
    kv: VaultPath | None = None
    lease: VaultPath | None = None
    mount: VaultPath = "secret"
    field: Annotated[str, Field(min_length=1)]
    refresh_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if (self.kv is None) == (self.lease is None):
            raise ValueError("expected one of kv and lease")
        unread = {"mount", "refresh_s"} & self.model_fields_set
        if self.lease is not None and unread:
            raise ValueError(f"{', '.join(sorted(unread))}: for kv; lease has the whole path, and its own time")
        return self


def _kind(written: Any) -> str | None:
    if isinstance(written, EnvironmentSecret | FileSecret | VaultSecret):
        return type(written).__name__
    keys = written if isinstance(written, Mapping) else ()
    return next((model for key, model in _KINDS.items() if key in keys), None)


_KINDS: Mapping[str, str] = {"env": "EnvironmentSecret", "file": "FileSecret", "vault": "VaultSecret"}

SecretSource = Annotated[
    Annotated[EnvironmentSecret, Tag("EnvironmentSecret")]
    | Annotated[FileSecret, Tag("FileSecret")]
    | Annotated[VaultSecret, Tag("VaultSecret")],
    Discriminator(
        _kind,
        custom_error_type="secret_source",
        custom_error_message="Input should be {env: VARIABLE}, {file: PATH} or {vault: TARGET, ...}",
    ),
]
"""Where one secret is."""


def reference_of(text: str) -> str | None:
    """Return the name of the secret that a text refers to; None for any other text."""
    reference = _REFERENCE.fullmatch(text)
    return reference and reference["name"]


def references_in(tree: Any, at: Path = ()) -> Iterator[tuple[Path, str | None]]:
    """Yield each reference of a tree with its path: the secret's name, or None for what is meant as one and is none."""
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from references_in(child, (*at, key))
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            yield from references_in(child, (*at, index))
    elif isinstance(tree, str) and _MEANT_AS_REFERENCE.search(tree):
        yield at, reference_of(tree)
