"""A handler with rules of its own, and a node that asks it: for tests of what tests play."""

from collections.abc import Mapping
from pathlib import PurePath

from pydantic import BaseModel, ConfigDict

from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.errors import HandlerError
from omnibase_core.ports import ContractDocument, ErrorDescription, HandlerDescription, OperationDescription
from tests.support.commands import AnyModel, catalog


class Question(BaseModel):
    """What the oracle is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    politely: bool = True


class Saying(BaseModel):
    """What it says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mood: str
    words: list[str] = []


def refusal(question: Question, saying: Saying) -> HandlerError | None:
    """Return no saying in anger."""
    return HandlerError("angry", f"not about {question.about}", retryable=True) if saying.mood == "angry" else None


def late(_question: Question, timeout_s: float) -> HandlerError:
    """Fall asleep."""
    return HandlerError("asleep", f"for {timeout_s:g} s")


ORACLE = HandlerDescription(
    handler_type="oracle",
    operations={"ask": OperationDescription(request=Question, result=Saying, refusal=refusal, late=late)},
    settings=AnyModel,
    errors={
        "away": ErrorDescription("The oracle is not there.", retryable=True),
        "refused": ErrorDescription("It does not want to."),
    },
)

NODE = """
contract: node/v1
name: seer
kind: effect
version: 1.0.0
description: Asks the oracle.
handler: oracle
operations:
  ask:
    input: {type: object, required: [about], properties: {about: {type: string}}}
    request: {about: "${ payload.about }"}
    errors:
      - {when: "${ result.mood == 'bored' }", code: bored}
      - {when: "${ result.mood == 'busy' }", code: busy, retryable: true}
    answer: {mood: "${ result.mood }", words: "${ result.words }"}
delivery: {timeout_s: 4, retry: {attempts: 3, initial_s: 1, jitter: 0.5}}
"""


def registry_with_oracle(files: Mapping[str, str]) -> FileRegistry:
    """Load contracts, which may name the oracle, from texts by file name."""
    documents = [ContractDocument(PurePath(name), text) for name, text in files.items()]
    return FileRegistry(PurePath(), lambda _: documents, catalog(ORACLE))
