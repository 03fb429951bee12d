"""From a request to what a model is asked, and what can be known to be wrong with it before any command. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_json

from omnibase_core.contracts.compiler.schema_lint import compiled_schema
from omnibase_core.errors import InvalidExpression
from omnibase_core.expressions import is_expression
from omnibase_infra.handlers.llm.completions import Completion
from omnibase_infra.handlers.llm.models import ChatRequest, ToolCall, Turn
from omnibase_infra.handlers.llm.target import LlmTarget
from omnibase_infra.handlers.llm.templates import check_template, filled, tree_without_marks, without_marks

Path = tuple[str | int, ...]
_FIXED = ("model", "system", "tools", "tool_choice", "output", "output_attempts", "max_tokens", "temperature")
_IN_WORDS = "Answer with one JSON value that fits this JSON Schema, and with nothing else:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked: who said what, in which no text has a mark that could begin another role."""

    request: ChatRequest
    system: str
    turns: Sequence[Turn]
    schema: Mapping[str, Any] | None
    """The schema of the answer, where the server takes one."""

    @property
    def size_bytes(self) -> int:
        """How much text it is, tools and schema included."""
        request = self.request
        rest = [tool.model_dump() for tool in request.tools], self.schema, [it.model_dump() for it in self.turns]
        return len(self.system.encode()) + len(to_json(rest))

    def again(self, answer: Completion, faults: Sequence[str], special_tokens: Sequence[str]) -> "Prompt":
        """Return what is asked after an answer that does not fit: the same, that answer, and what is wrong with it."""
        complaint = "That does not fit: " + "; ".join(faults) + ". Answer again, in full."
        complaint = without_marks(complaint, special_tokens)
        said = without_marks(answer.text, special_tokens)
        calls = [
            ToolCall(id=it.id, name=it.name, arguments=tree_without_marks(it.arguments, special_tokens))
            for it in answer.calls
            if isinstance(it.arguments, dict) and self.request.parameters_of(it.name) is not None
        ]
        replies = [Turn(role="tool", text=complaint, tool_call_id=call.id) for call in calls]
        # A server wants a result for each call, and refuses an assistant's turn without any word.
        spoken = Turn(role="assistant", text=said or ("" if calls else "(nothing)"), tool_calls=calls)
        return replace(self, turns=(*self.turns, spoken, *(replies or [Turn(role="user", text=complaint)])))


def prompt_of(request: ChatRequest, target: LlmTarget) -> Prompt:
    """Return what a request asks of a model of a target."""
    marks = target.special_tokens
    told = [Turn(role=it.role, text=filled(it.text, it.values)) for it in request.messages]
    turns = (*request.conversation, *told)
    system = request.system or ""
    in_words = request.output is not None and not target.schema_output
    if in_words:
        system = "\n\n".join(filter(None, (system, _IN_WORDS, to_json(request.output).decode())))
    return Prompt(
        request=request,
        system=without_marks(system, marks),
        turns=tuple(_cleaned(turn, marks) for turn in turns),
        schema=None if in_words else request.output,
    )


def faults_of_chat(written: Any) -> Iterable[tuple[Path, InvalidExpression]]:
    """Describe what is wrong with a chat as a contract writes it: what decides who speaks has to be fixed there."""
    if not isinstance(written, Mapping):
        yield (), _not_fixed("a request of llm", "write its keys out")
        return
    for key in _FIXED:
        for path in _expressions(written.get(key), (key,)):
            yield path, _not_fixed(repr(key), "a value of the command belongs into a message's values")
    yield from _faults_of_schemas(written)
    messages = written.get("messages", [])
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        yield ("messages",), _not_fixed("'messages'", "earlier turns belong in 'conversation'")
        return
    for index, message in enumerate(messages):
        yield from _faults_of_message(message, ("messages", index))


def faults_of_embedding(written: Any) -> Iterable[tuple[Path, InvalidExpression]]:
    """Describe what is wrong with an embedding as a contract writes it: the model is the contract's."""
    if isinstance(written, Mapping) and is_expression(written.get("model")):
        yield ("model",), _not_fixed("'model'", "write the name of a model of the target")


def _cleaned(turn: Turn, marks: Sequence[str]) -> Turn:
    calls = [it.model_copy(update={"arguments": tree_without_marks(it.arguments, marks)}) for it in turn.tool_calls]
    return turn.model_copy(update={"text": without_marks(turn.text, marks), "tool_calls": calls})


def _faults_of_message(message: Any, at: Path) -> Iterator[tuple[Path, InvalidExpression]]:
    if not isinstance(message, Mapping):
        yield at, _not_fixed("a message", "write its role, its text, and its values")
        return
    for key in ("role", "text"):
        if is_expression(message.get(key)):
            yield (*at, key), _not_fixed(f"the {key} of a message", "write text: '{{it}}' and values: {it: ${ ... }}")
            return
    values = message.get("values", {})
    if not isinstance(values, Mapping):
        yield (*at, "values"), _not_fixed("'values'", "name each value")
    elif isinstance(text := message.get("text"), str):
        try:
            check_template(text, values)
        except InvalidExpression as error:
            yield (*at, "text"), error


def _faults_of_schemas(written: Mapping[str, Any]) -> Iterator[tuple[Path, InvalidExpression]]:
    tools = written.get("tools", [])
    schemas: list[tuple[Path, Any]] = [(("output",), written.get("output"))]
    if isinstance(tools, list | tuple):
        schemas += [
            (("tools", index, "parameters"), tool.get("parameters"))
            for index, tool in enumerate(tools)
            if isinstance(tool, Mapping)
        ]
    for path, schema in schemas:
        if isinstance(schema, Mapping) and not any(_expressions(schema, ())):
            compiled, faults = compiled_schema(schema, path, written=True)
            # A schema that holds may have words beside those of JSON Schema: models of some vendors read them.
            yield from ((it.at, InvalidExpression(it.message)) for it in faults if compiled is None)


def _expressions(tree: Any, at: Path) -> Iterator[Path]:
    if is_expression(tree):
        yield at
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _expressions(value, (*at, key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _expressions(value, (*at, index))


def _not_fixed(what: str, instead: str) -> InvalidExpression:
    return InvalidExpression(f"{what} is fixed by the contract; {instead}")
