"""The key-value operations of `consul`: requests and results, how they are written and read. Pure.

https://developer.hashicorp.com/consul/api-docs/kv
"""

from base64 import b64decode, b64encode
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, PlainValidator, TypeAdapter, model_validator
from pydantic_core import to_json

from omnibase_infra.handlers.consul.operations import ConsulOperation, ConsulReply
from omnibase_infra.handlers.consul.values import (
    ConsulModel,
    Index,
    Key,
    Prefix,
    Query,
    Wire,
    segments_of,
    segments_of_prefix,
)
from omnibase_infra.http import RestRequest
from omnibase_infra.http.json_values import json_value
from omnibase_infra.http.values import Name

_NOT_FOUND = frozenset({200, 404})
_VALUE_BYTES_MAX = 512 * 1024


def _checked_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


Base64 = Annotated[str, PlainValidator(_checked_base64, json_schema_input_type=str)]
Read = Literal["text", "json", "bytes"]


class KvEntry(ConsulModel):
    """A key with its value, in the form that the request says: `text`, `json` or `bytes` (base64); the others are null.

    `flags` are a number that writers may give; `session` holds the lock, if anybody does. `modify_index` is what a
    check-and-set compares, and grows with each write; `lock_index` counts how often the key was locked.
    """

    key: str = ""
    text: Annotated[str | None, Field(examples=["on"])] = None
    json_value: JsonValue = Field(default=None, alias="json")
    bytes_: str | None = Field(default=None, alias="bytes")
    flags: int = 0
    session: str | None = None
    create_index: Index = 0
    modify_index: Index = 0
    lock_index: Index = 0


class KvResult(KvEntry):
    """The key, if it was `found`. Where it was not, everything else but `index` is empty."""

    found: Annotated[bool, Field(examples=[True])] = True
    index: Index = 0


class KvEntries(ConsulModel):
    """Every key that begins so, in their order; none is no error."""

    entries: list[KvEntry] = Field(default_factory=list)
    index: Index = 0


class Keys(ConsulModel):
    """The keys that begin so, in their order; none is no error."""

    keys: list[str] = Field(default_factory=list)
    index: Index = 0


class Written(ConsulModel):
    """Whether the key was `written`: with `cas`, it is not where somebody else was there first."""

    written: bool = True


class Deleted(ConsulModel):
    """Whether the key is gone: with `cas`, it is not where somebody has written it since."""

    deleted: bool = True


class Acquired(ConsulModel):
    """Whether the session holds the lock now."""

    acquired: bool = True


class Released(ConsulModel):
    """Whether the session held the lock, and does not any more."""

    released: bool = True


class Get(Query, ConsulOperation):
    """Read a key. `read` is the form of its value: `text`, `json`, or `bytes` for any other (as base64)."""

    expects = _NOT_FOUND

    key: Annotated[Key, Field(examples=[["config", "${ payload.id }"]])]
    read: Read = "text"

    def message(self, timeout_s: float) -> RestRequest:
        """Write the request."""
        path = ["v1", "kv", *segments_of(self.key)]
        return RestRequest(method="GET", path=path, query=self.waiting(timeout_s), repeatable=True)

    def result(self, reply: ConsulReply) -> KvResult:
        """Read the entry; an absent key is a result too."""
        if not reply.is_ok:
            return KvResult(key="/".join(segments_of(self.key)), found=False, index=reply.index)
        wires = reply.read(_ENTRIES)
        if len(wires) != 1:
            raise reply.broken(f"expected one entry, found {len(wires)}")
        told = wires[0].fields(self.read, reply)
        return KvResult.model_validate({**told, "index": reply.index})


class List(Query, ConsulOperation):
    """Read every key that begins with `prefix`. `read` is the form of all values, as in `get`."""

    expects = _NOT_FOUND

    prefix: Prefix
    read: Read = "text"

    def message(self, timeout_s: float) -> RestRequest:
        """Write the request."""
        path = ["v1", "kv", *segments_of_prefix(self.prefix)]
        query = [("recurse", None), *self.waiting(timeout_s)]
        return RestRequest(method="GET", path=path, query=query, repeatable=True)

    def result(self, reply: ConsulReply) -> KvEntries:
        """Read the entries."""
        wires = reply.read(_ENTRIES) if reply.is_ok else []
        entries = [KvEntry.model_validate(wire.fields(self.read, reply)) for wire in wires]
        return KvEntries(entries=entries, index=reply.index)


class ListKeys(Query, ConsulOperation):
    """Read the keys that begin with `prefix`, without values. With a `separator`, keys end at its first after that."""

    expects = _NOT_FOUND

    prefix: Prefix
    separator: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    def message(self, timeout_s: float) -> RestRequest:
        """Write the request."""
        path = ["v1", "kv", *segments_of_prefix(self.prefix)]
        separator = [] if self.separator is None else [("separator", self.separator)]
        query = [("keys", None), *separator, *self.waiting(timeout_s)]
        return RestRequest(method="GET", path=path, query=query, repeatable=True)

    def result(self, reply: ConsulReply) -> Keys:
        """Read the keys."""
        return Keys(keys=reply.read(_KEYS) if reply.is_ok else [], index=reply.index)


class _Write(ConsulOperation):
    """A write to one key. Its value is `text`, `json` or `bytes` (base64); without one, it is empty."""

    key: Key
    text: str | None = None
    json_value: JsonValue = Field(default=None, alias="json")
    bytes_: Base64 | None = Field(default=None, alias="bytes")
    flags: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        given = [self.text is not None, self.bytes_ is not None, "json_value" in self.model_fields_set]
        if sum(given) > 1:
            raise ValueError("a key has one value: text, json or bytes")
        if len(self.content) > _VALUE_BYTES_MAX:
            raise ValueError(f"a value of Consul is at most {_VALUE_BYTES_MAX} bytes")
        return self

    @property
    def content(self) -> bytes:
        """The value as it is stored."""
        if self.text is not None:
            return self.text.encode()
        if self.bytes_ is not None:
            return b64decode(self.bytes_)
        return to_json(self.json_value) if "json_value" in self.model_fields_set else b""

    def written(self, *how: tuple[str, str | None], repeatable: bool) -> RestRequest:
        """Write the request."""
        flags: list[tuple[str, str | None]] = [("flags", str(self.flags))] if self.flags else []
        return RestRequest(
            method="PUT",
            path=["v1", "kv", *segments_of(self.key)],
            query=[*how, *flags],
            content=self.content,
            repeatable=repeatable,
        )


class Put(_Write):
    """Write a key.

    - `cas`: only if the key's `modify_index` is still this; with 0, only if there is no such key. Then a call whose
      answer was lost is not retryable: done again, it would say that somebody else was there first.
    - `flags`: a number to keep with it.
    """

    cas: Index | None = None

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        if self.cas is None:
            return self.written(repeatable=True)
        return self.written(("cas", str(self.cas)), repeatable=False)

    def result(self, reply: ConsulReply) -> Written:
        """Read whether it was done."""
        return Written(written=reply.flag)


class Delete(ConsulOperation):
    """Delete a key; one that is not there is no error. `cas`: only if its `modify_index` is still this."""

    key: Key
    cas: Annotated[int, Field(ge=1)] | None = None

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        query = [] if self.cas is None else [("cas", str(self.cas))]
        path = ["v1", "kv", *segments_of(self.key)]
        return RestRequest(method="DELETE", path=path, query=query, repeatable=self.cas is None)

    def result(self, reply: ConsulReply) -> Deleted:
        """Read whether it was done."""
        return Deleted(deleted=reply.flag)


class DeleteTree(ConsulOperation):
    """Delete every key that begins with `prefix`, which cannot be empty."""

    prefix: Annotated[Prefix, Field(min_length=1)]

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        path = ["v1", "kv", *segments_of_prefix(self.prefix)]
        return RestRequest(method="DELETE", path=path, query=[("recurse", None)], repeatable=True)

    def result(self, reply: ConsulReply) -> Deleted:
        """Read whether it was done."""
        return Deleted(deleted=reply.flag)


class Acquire(_Write):
    """Lock a key for a session, and write it. It may be done again: who has the lock keeps it."""

    session: Name

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        return self.written(("acquire", self.session), repeatable=True)

    def result(self, reply: ConsulReply) -> Acquired:
        """Read whether it was done."""
        return Acquired(acquired=reply.flag)


class Release(_Write):
    """Unlock a key that a session has locked, and write it: its value becomes the one given, or empty.

    A call whose answer was lost is not retryable: done again, it would say that the session had no lock.
    """

    session: Name

    def message(self, timeout_s: float) -> RestRequest:  # noqa: ARG002 - it waits for nothing
        """Write the request."""
        return self.written(("release", self.session), repeatable=False)

    def result(self, reply: ConsulReply) -> Released:
        """Read whether it was done."""
        return Released(released=reply.flag)


class _WireEntry(Wire):
    key: str
    value: str | None = None
    flags: int = 0
    session: str | None = None
    create_index: int = 0
    modify_index: int = 0
    lock_index: int = 0

    def fields(self, read: Read, reply: ConsulReply) -> dict[str, JsonValue]:
        """Return the fields of an Entry."""
        told: dict[str, JsonValue] = self.model_dump(by_alias=False, exclude={"value"})
        try:
            return told | {read: _read(b64decode(self.value or "", validate=True), read)}
        except ValueError as error:
            raise reply.broken(f"the value of {self.key!r} cannot be read as {read}: {error}") from error


def _read(value: bytes, read: Read) -> JsonValue:
    if read == "bytes":
        return b64encode(value).decode()
    if read == "text":
        return value.decode()
    return json_value(value)


_ENTRIES = TypeAdapter(list[_WireEntry])
_KEYS = TypeAdapter(list[str])
