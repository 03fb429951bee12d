"""A flow of commands through four nodes of one host, and what became of each command."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from omnibase_core.codec import decode
from omnibase_core.dead_letters import split_headers
from omnibase_core.envelope import EnvelopeError
from omnibase_core.ports import Message
from tests.support.commands import command, node
from tests.support.hosts import POOL, Machine
from tests.support.traffic import create_topics, publish

STEPS = ("http", "db", "vault", "llm")
"""The nodes, in order; each has the name of its handler."""
TROUBLED = {7: "learns", 17: "stubborn", 27: "broke", 37: "cut"}
"""Which commands of a hundred meet a model that is in trouble of its own."""
MODELS = ("echo", *TROUBLED.values(), "smollm2")
_HTTP = """
  post:
    input: {type: object, required: [number], properties: {number: {type: integer}}}
    request: {method: POST, path: [numbers, "${ string(payload.number) }"], json: {}, expect: [200]}
    answer: {number: "${ result.json.number }"}
"""
_DB = """
  insert:
    input: {type: object, required: [number], properties: {number: {type: integer}}}
    call: execute
    request: {statement: insert into flow values (%(number)s), parameters: {number: "${ payload.number }"}}
    answer: {number: "${ payload.number }"}
"""
_VAULT = """
  read:
    input: {type: object, required: [number], properties: {number: {type: integer}}}
    request: {path: [suite, "${ string(payload.number % 100) }"]}
    answer: {number: "${ payload.number }", secret: "${ result.data.number }"}
"""
_LLM = """
  MODEL:
    input: {type: object, required: [number, secret], properties: {number: {type: integer}, secret: {type: integer}}}
    request:
      model: MODEL
      messages: [{text: "say {{number}}", values: {number: "${ payload.number }"}}]
      max_tokens: 8
      temperature: 0
    answer: {number: "${ payload.number }", secret: "${ payload.secret }", text: "${ result.text }"}
"""
_SCHEMA = 'output: {type: object, required: ["n"], properties: {"n": {type: integer}}}'


def flow_nodes(timeout_s: Mapping[str, float]) -> dict[str, str]:
    """Write the nodes; a post and an insert say nowhere that they may be repeated."""
    return {
        step: node(step, handler=step, operations=operations, delivery=f"{{timeout_s: {timeout_s[step]}}}").replace(
            f"handler: {step}", f"handler: {step}\ntarget: main"
        )
        for step, operations in zip(STEPS, (_HTTP, _DB, _VAULT, _models()), strict=True)
    }


def _models() -> str:
    """Write an operation for each model; those that are to answer in a form have a schema in place of a temperature."""
    held = {"learns": _SCHEMA, "stubborn": _SCHEMA}
    return "".join(
        _LLM.replace("MODEL", model).replace("temperature: 0", held.get(model, "temperature: 0")) for model in MODELS
    )


class Flow:
    """Sends commands to the first node and, on each first answer, a command to the next; notes how each ended.

    A command's id is made of its number and its step, so that an answer or a dead letter tells both.
    """

    def __init__(self, machine: Machine, *, model: str = "") -> None:
        """Keep whose broker and topics it uses, and the one model to ask, if it is to be one."""
        names = f"onex.app.test.{machine.tenant}"
        self.commands = [f"{names}.cmd.node.{step}.v1" for step in STEPS]
        self.topics = [*(f"{names}.evt.node.{step}.v1" for step in STEPS), f"{names}.dlq.runtime.{POOL}.v1"]
        create_topics(machine.broker, [*self.commands, *self.topics])
        # By number: the last answer; the step that failed, and its error; the step of a dead letter, and what it tells.
        self.done: dict[int, dict[str, Any]] = {}
        self.failed: dict[int, tuple[int, EnvelopeError]] = {}
        self.letters: dict[int, tuple[int, dict[str, str]]] = {}
        self.counts: Counter[UUID] = Counter()
        """How often each command's answer came."""
        self._broker = machine.broker
        self._model = model
        self._seen = 0

    def begin(self, numbers: Iterable[int]) -> None:
        """Send commands to the first node."""
        publish(self._broker, [self._command(n, 0, {"number": n}) for n in numbers])

    def take(self, messages: Sequence[Any]) -> int:
        """Take what has come since the last time, and send what follows; gives how many commands have ended."""
        fresh, self._seen = messages[self._seen :], len(messages)
        following = [it for message in fresh if (it := self._take(message)) is not None]
        if following:
            publish(self._broker, following)
        return len(self.done) + len(self.failed.keys() & self.letters.keys())

    def codes(self, node: str, model: str = "") -> Counter[str]:
        """Count the codes of a node's dead letters, or of those of one model."""
        found = [(n, facts["code"]) for n, (step, facts) in self.letters.items() if STEPS[step] == node]
        return Counter(code for n, code in found if model in ("", TROUBLED.get(n % 100)))

    def _take(self, message: Any) -> Message | None:
        """Take an answer or a dead letter; gives the command that follows."""
        envelope = decode(message.value())
        n, step = divmod((envelope.causation_id or envelope.envelope_id).int, len(STEPS))
        if message.topic() == self.topics[-1]:
            facts = split_headers(tuple(message.headers()))[1]
            self.letters[n] = step, {name: (fact or b"").decode() for name, fact in facts.items()}
            return None
        assert envelope.causation_id is not None
        self.counts[envelope.causation_id] += 1
        if self.counts[envelope.causation_id] > 1:
            return None
        if envelope.error is not None:
            self.failed[n] = step, envelope.error
        elif step < len(STEPS) - 1:
            return self._command(n, step + 1, envelope.payload)
        else:
            self.done[n] = envelope.payload
        return None

    def _command(self, n: int, step: int, payload: Mapping[str, Any]) -> Message:
        model = (self._model or TROUBLED.get(n % 100, "echo")) if STEPS[step] == "llm" else None
        changes = {"envelope_id": UUID(int=n * len(STEPS) + step), "operation": model}
        return command(self.commands[step], STEPS[step], payload, key=b"%d" % n, **changes)
