"""What a model answered, put together from its pieces, and whether it fits what was asked for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import JsonValue, TypeAdapter

from omnibase_core.contracts.json_schema import Schema
from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.llm.models import CallId, ChatRequest, ChatResult, ToolCall
from omnibase_infra.handlers.llm.token_budget import counted_tokens
from omnibase_infra.http.json_values import json_value

Stop = Literal["end", "length", "tool_calls", "refusal"]

_CALL_ID: TypeAdapter[str] = TypeAdapter(CallId)
_FENCE = "```"


@dataclass(slots=True)
class CallPieces:
    """A call of a tool on its way in: its arguments are JSON in the making; `index` is its place among the others."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Pieces:
    """An answer on its way in. `stop` is None until the server has said why it ended: before, it is not whole."""

    bytes_max: int
    text: list[str] = field(default_factory=list)
    calls: list[CallPieces] = field(default_factory=list)
    stop: Stop | None = None
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    size_bytes: int = 0
    _known: dict[int | str, CallPieces] = field(default_factory=dict)
    """The calls by their index, and by their id."""
    _current: CallPieces | None = None

    @property
    def began(self) -> bool:
        """Whether the model has taken up the prompt: anything came of it, if only its name."""
        counted = self.input_tokens is not None or self.output_tokens is not None
        return bool(self.model or self.size_bytes or self.stop is not None or counted)

    def say(self, piece: Any) -> None:
        """Add text, or a list of parts, of which text is text; None is none."""
        for part in piece if isinstance(piece, list) else [piece]:
            self.text.append(self._counted(part if part is piece else _text_of(part)))

    def call(self, index: int | None, *, id_: Any = None, name: Any = None, arguments: Any = None) -> None:
        """Add to the call of a tool that the index names; where there is none the id does, and else it is the last.

        A name that follows arguments begins a call of its own: a call's name comes before them.
        """
        call_id, name = self._counted(id_), self._counted(name)
        if index is not None or call_id:
            call = self._known.get(call_id if index is None else index)
        else:
            call = None if name and self._current and self._current.arguments else self._current
        if call is None:
            call = CallPieces(len(self.calls) if index is None else index)
            self.calls.append(call)
        self._current = call
        if index is not None:
            self._known.setdefault(index, call)
        if call_id:
            self._known.setdefault(call_id, call)
        call.id = call.id or call_id
        call.name += name
        call.arguments += self._counted(arguments)

    def count(self, *, input_tokens: Any = None, output_tokens: Any = None) -> None:
        """Take the server's own count, where it has one; what is none leaves the one before."""
        tokens_in, tokens_out = counted_tokens(input_tokens), counted_tokens(output_tokens)
        self.input_tokens = self.input_tokens if tokens_in is None else tokens_in
        self.output_tokens = self.output_tokens if tokens_out is None else tokens_out

    def _counted(self, piece: Any) -> str:
        if piece is None:
            return ""
        if not isinstance(piece, str):
            raise TypeError(f"found {type(piece).__name__} in the place of text")
        self.size_bytes += len(piece.encode(errors="replace"))
        if self.size_bytes > self.bytes_max:
            message = f"the answer is over {self.bytes_max} bytes (answer_bytes_max of the target)"
            raise HandlerError("response_too_large", message)
        return piece


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call of a tool that the model asks for; `arguments` is text where it is no JSON."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer."""

    text: str
    calls: Sequence[AnsweredCall]
    stop: Stop
    model: str


def answer_of(what: str, pieces: Pieces) -> Completion:
    """Put the pieces together. Raises HandlerError where the server never said that this is all."""
    if pieces.stop is None:
        raise HandlerError("protocol_error", f"{what}: the answer ends before its end", retryable=True)
    calls = [_answered(number, it) for number, it in enumerate(sorted(pieces.calls, key=lambda it: it.index))]
    # Some servers end with `stop` where they ask for tools.
    stop = "tool_calls" if calls and pieces.stop == "end" else pieces.stop
    text = "".join(pieces.text).encode(errors="replace").decode()
    return Completion(text=text, calls=calls, stop=stop, model=pieces.model)


def faults_of(request: ChatRequest, answer: Completion) -> Sequence[str]:
    """Describe why an answer is not what was asked for; nothing for one that is."""
    if answer.calls:
        return [fault for call in answer.calls for fault in _faults_of_call(request, call)]
    if request.output is None or answer.stop == "refusal":
        return []
    if answer.stop == "length":
        return [f"it was cut off at {request.max_tokens} tokens (max_tokens)"]
    try:
        value = _json_of(answer.text)
    except ValueError as error:
        return [f"it is not valid JSON: {_first_line(error)}"]
    return Schema(request.output).faults(value)


def output_of(request: ChatRequest, answer: Completion) -> JsonValue:
    """Return the value of an answer that fits; None where no value was asked for, or a tool is asked for instead."""
    if request.output is None or answer.calls or answer.stop == "refusal":
        return None
    return _json_of(answer.text)


def tool_calls_of(answer: Completion) -> list[ToolCall]:
    """Return the calls of an answer that fits."""
    return [ToolCall(id=it.id, name=it.name, arguments=it.arguments) for it in answer.calls]


def output_invalid(faults: Sequence[str], *, requests: int) -> HandlerError:
    """Return the error for a model that did not come to an answer that fits."""
    times = "once" if requests == 1 else f"{requests} times"
    message = f"the model was asked {times}, and its answer does not fit: {'; '.join(faults)}"
    return HandlerError("output_invalid", message, details={"faults": list(faults)})


def refusal(request: ChatRequest, result: ChatResult) -> HandlerError | None:
    """Return the error that the handler raises in place of a result; None where it gives it."""
    calls = [AnsweredCall(it.id, it.name, it.arguments) for it in result.tool_calls]
    faults = [fault for call in calls for fault in _faults_of_call(request, call)]
    if request.output is not None and not calls and result.stop != "refusal":
        faults += Schema(request.output).faults(result.json_output)
    return output_invalid(faults, requests=request.output_attempts) if faults else None


def _answered(index: int, pieces: CallPieces) -> AnsweredCall:
    call_id = pieces.id
    try:
        _CALL_ID.validate_python(call_id)
    except ValueError:
        call_id = f"call_{index}"
    try:
        arguments: Any = _finite(pieces.arguments or "{}")
    except ValueError:
        arguments = pieces.arguments
    return AnsweredCall(call_id, pieces.name, arguments)


def _faults_of_call(request: ChatRequest, call: AnsweredCall) -> Sequence[str]:
    parameters = request.parameters_of(call.name)
    if parameters is None:
        offered = ", ".join(tool.name for tool in request.tools) or "none"
        return [f"there is no tool {call.name[:64]!r}; there are: {offered}"]
    if not isinstance(call.arguments, dict):
        return [f"the arguments of {call.name} are not a JSON object"]
    return [f"the arguments of {call.name}: {fault}" for fault in Schema(parameters).faults(call.arguments)]


def _json_of(text: str) -> JsonValue:
    text = text.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text:
        # Models like to fence code in, whatever they are told.
        text = text.partition("\n")[2].removesuffix(_FENCE)
    return _finite(text)


def _finite(text: str) -> JsonValue:
    return json_value(text.encode(errors="surrogatepass"))


def _text_of(part: Any) -> Any:
    """Return the text of a part of a content; None for a part of another kind, such as a thought."""
    return (part.get("text") if part.get("type") == "text" else None) if isinstance(part, dict) else part


def _first_line(error: ValueError) -> str:
    return str(error).partition("\n")[0]
