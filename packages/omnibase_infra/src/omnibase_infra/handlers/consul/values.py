"""The words of Consul that contracts may write: names, keys, waits. Pure.

Each check refuses what could leave its place: a segment its key, a name its path.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)
from pydantic.alias_generators import to_pascal

from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions import is_expression
from omnibase_infra.http.values import Segment, checked_segments, form_of_path

_WAIT_SHARE = 0.84
"""Consul waits for up to a sixteenth longer than it is asked to, and the answer needs a moment: nine tenths of that."""
WAIT_MAX_S = 600.0


def _checked_text(key: str) -> str:
    if key.startswith("/"):
        raise ValueError(f"found {key!r}: a key of Consul does not begin with a slash")
    checked_segments(key.removesuffix("/").split("/"))
    return key


def _checked_prefix(prefix: str) -> str:
    return prefix and _checked_text(prefix)


Segments = Annotated[list[Segment], Field(min_length=1), Tag("segments")]
Key = Annotated[
    Annotated[str, StringConstraints(min_length=1), AfterValidator(_checked_text), Tag("text")] | Segments,
    Discriminator(form_of_path),
]
"""A key as a list of segments, each of which stays one; or as a text that the contract fixes, such as config/web."""
Prefix = Annotated[Annotated[str, AfterValidator(_checked_prefix), Tag("text")] | Segments, Discriminator(form_of_path)]
"""The beginning of keys: a text, which may end within a segment (all keys: ''); or a list of whole segments."""
Seconds = Annotated[float, Field(gt=0, le=3600)]
Index = Annotated[int, Field(ge=0)]


def faults_of_keys(written: Any) -> Iterator[tuple[tuple[str | int, ...], InvalidExpression]]:
    """Yield what is wrong with a request of keys as a contract writes it: the contract fixes where a key stands."""
    if not isinstance(written, Mapping):
        yield (), InvalidExpression("a request of keys is fixed by the contract; write its keys out")
        return
    for name in ("key", "prefix"):
        if is_expression(written.get(name)):
            instead = f'write segments, and the value as one of them: {name}: [config, "${{ payload.id }}"]'
            yield (name,), InvalidExpression(f"any sender of a command could choose any {name} of Consul; {instead}")


def segments_of(key: str | list[str]) -> list[str]:
    """Return a key as segments of a path."""
    return key.split("/") if isinstance(key, str) else list(key)


def segments_of_prefix(prefix: str | list[str]) -> list[str]:
    """Return a prefix as segments of a path: a list means the folder of that name."""
    return prefix.split("/") if isinstance(prefix, str) else [*prefix, ""]


def duration(seconds: float) -> str:
    """Return seconds as Consul reads them."""
    return f"{round(seconds * 1000)}ms"


class ConsulModel(BaseModel):
    """Frozen and strict; what it was given stands in no error, for it may be a secret."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        serialize_by_alias=True,
        defer_build=True,  # Most hosts ask only a few of the operations, or none.
    )


class Query(ConsulModel):
    """A read, which can wait for a change.

    - `index`: of an earlier result: the call waits until there is something newer. Without it, what is now is given.
    - `wait_s`: for how long at most; then what is now is given. By default, as long as `delivery.timeout_s` allows.
    """

    index: Index | None = None
    wait_s: Annotated[float, Field(ge=0.001, le=WAIT_MAX_S)] | None = None

    def waiting(self, timeout_s: float) -> list[tuple[str, str | None]]:
        """Return what Consul is told of it; `timeout_s` is the call's."""
        if not self.index:
            return []
        wait_s = min(timeout_s * _WAIT_SHARE, WAIT_MAX_S) if self.wait_s is None else self.wait_s
        return [("index", str(self.index)), ("wait", duration(wait_s))]


class Wire(BaseModel):
    """A part of a reply of Consul, in its own words; what nobody needs is ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_pascal, hide_input_in_errors=True, defer_build=True
    )
