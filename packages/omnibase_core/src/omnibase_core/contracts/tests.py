"""The tests of a contract as they are written: `contract: test/v1`. Values only; `contract_tests` runs them."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from omnibase_core.contracts import patterns
from omnibase_core.contracts.node import ContractModel, Slug
from omnibase_core.contracts.yaml.document import Path
from omnibase_core.envelope import JsonObject

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Text = Annotated[str, StringConstraints(min_length=1)]


class Given(ContractModel):
    """The command that is sent, `after_s` seconds from the start of the case; it expires `expires_in_s` after that."""

    operation: str | None = None
    payload: JsonObject = Field(default_factory=dict)
    key: str | None = None
    metadata: JsonObject = Field(default_factory=dict)
    after_s: Seconds = 0.0
    expires_in_s: Seconds | None = None


class ScriptedError(ContractModel):
    """A handler's failure. Whether it is retryable has to be written: a test must not guess it."""

    code: Text
    retryable: bool
    message: str = "as the test says"
    retry_after_s: Seconds | None = None
    details: JsonObject = Field(default_factory=dict)


class ScriptedCall(ContractModel):
    """One call of the handler: what it has to be asked (a part of it is enough), and what it then does."""

    request: JsonObject | None = None
    result: JsonObject | None = None
    error: ScriptedError | None = None
    hangs: Literal[True] | None = None
    after_s: Seconds = 0.0

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if sum(it is not None for it in (self.result, self.error, self.hangs)) != 1:
            raise ValueError("a call of the handler does one thing; write one of result, error and hangs")
        if self.hangs and self.after_s:
            raise ValueError("a call that hangs never ends; remove after_s")
        return self


class ExpectedError(ContractModel):
    """A part of an error answer."""

    code: str
    message: str | None = None
    retryable: bool | None = None
    details: JsonObject | None = None


class ExpectedDeadLetter(ContractModel):
    """A part of what a dead letter says."""

    code: str | None = None
    attempts: int | None = None


class TimeRange(ContractModel):
    """From when to when something may happen, in seconds."""

    at_least: Seconds = 0.0
    at_most: Seconds | None = None


class Expectation(ContractModel):
    """What has to come of a command, or of a case.

    `state`, `breaker` and `order` are a case's: the node and its breaker afterwards, and the order of the answers.
    """

    answer: JsonObject | None = None
    answer_includes: JsonObject | None = None
    error: str | ExpectedError | None = None
    dead_letter: bool | ExpectedDeadLetter = False
    took_s: Seconds | TimeRange | None = None
    state: Literal["ok", "degraded"] | None = None
    breaker: Literal["closed", "open", "half_open"] | None = None
    order: list[str] | None = None

    @property
    def outcomes(self) -> Sequence[str]:
        """The keys that say how the command is answered: there has to be one."""
        return [key for key in ("answer", "answer_includes", "error") if getattr(self, key) is not None]

    @property
    def code(self) -> str | None:
        """The code of the error that is expected."""
        return self.error.code if isinstance(self.error, ExpectedError) else self.error


OF_A_CASE = ("state", "breaker", "order")
"""The keys of an expectation that are about a case as a whole."""


class Sent(ContractModel):
    """One of a case's commands: what is sent, what the handler does for it, what has to come of it."""

    name: Text
    given: Given = Given()
    handler: list[ScriptedCall] = Field(default_factory=list)
    expect: Expectation


class Case(ContractModel):
    """One case: a single command, or `commands`."""

    name: Text
    given: Given | None = None
    handler: list[ScriptedCall] = Field(default_factory=list)
    commands: Annotated[list[Sent], Field(min_length=1)] | None = None
    expect: Expectation = Expectation()

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if (self.given is None) == (self.commands is None):
            raise ValueError("a case sends one command, as given, or several, as commands; write one of the two")
        if self.commands is not None and self.handler:
            raise ValueError("with commands, each of them has a handler of its own; move it there")
        return self

    @property
    def sent(self) -> Sequence[tuple[Path, Sent]]:
        """The commands, and where each of them stands within the case."""
        if self.commands is not None:
            return [(("commands", index), sent) for index, sent in enumerate(self.commands)]
        given = self.given or Given()
        return [((), Sent(name=self.name, given=given, handler=self.handler, expect=self.expect))]


class NodeTests(ContractModel):
    """The tests of one node.

    `logic_packages` are the Python packages whose functions the node may name here, as in a host's contract.
    """

    contract: Literal["test/v1"]
    node: Slug
    logic_packages: list[Annotated[str, StringConstraints(pattern=patterns.PACKAGE)]] = Field(default_factory=list)
    cases: Annotated[list[Case], Field(min_length=1)]
