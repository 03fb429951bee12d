"""What a node's contract writes of `llm`, and what its expressions see: requests and results. Values only."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from omnibase_core.contracts.json_schema import InvalidSchema, Schema
from omnibase_core.errors import InvalidExpression
from omnibase_infra.handlers.llm.target import LlmModel, ModelName
from omnibase_infra.handlers.llm.templates import check_template

_TEXT_LENGTH_MAX = 4 * 1024 * 1024


def _checked_text(text: str) -> str:
    text.encode()  # Half a surrogate pair has no UTF-8 form; UnicodeEncodeError is a ValueError, and says where it is.
    return text


def _checked_schema(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        Schema(schema)
    except InvalidSchema as error:
        raise ValueError(f"not a JSON Schema: {error}") from error
    return schema


Text = Annotated[str, Field(max_length=_TEXT_LENGTH_MAX), AfterValidator(_checked_text)]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
CallId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,200}$")]
_NO_PARAMETERS: Mapping[str, JsonValue] = {"type": "object", "properties": {}}
JsonSchema = Annotated[dict[str, JsonValue], AfterValidator(_checked_schema)]


class ChatMessage(LlmModel):
    """One message that the contract writes.

    - `role`: user, or assistant for an example of a good answer.
    - `text`: fixed, but for places such as {{question}}.
    - `values`: what stands in each of these places: text as it is, anything else as JSON. A value stays within its
      message, whatever it holds: the marks by which prompts are built are broken up in it.
    """

    role: Literal["user", "assistant"] = "user"
    text: Text
    values: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fills_every_place(self) -> Self:
        try:
            check_template(self.text, self.values)
        except InvalidExpression as error:
            raise ValueError(str(error)) from error
        return self


class ToolCall(LlmModel):
    """A call of a tool that the model asks for: `id` tells it from others, `name` is the tool, with `arguments`."""

    id: CallId
    name: ToolName
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Turn(LlmModel):
    """One turn of a conversation that was led before, as a command may bring it.

    - `role`: user, assistant, or tool. No turn can speak as the system.
    - `text`: what was said, or what a tool gave.
    - `tool_calls`: what an assistant asked for; `tool_call_id`: which of those calls a tool's turn answers.
    """

    role: Literal["user", "assistant", "tool"]
    text: Text = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    tool_call_id: CallId | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's turn has tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("a tool's turn, and no other, has a tool_call_id")
        return self


class Tool(LlmModel):
    """A tool that the model may ask for: its `name`, a `description`, and `parameters`, the schema of its arguments.

    The handler calls no tool: what the model asks for is in the result, and the node decides.
    """

    name: ToolName
    description: Text
    parameters: JsonSchema = Field(default_factory=lambda: dict(_NO_PARAMETERS))


class ChatRequest(LlmModel):
    """One answer of a model.

    - `model`: one of the target's `models`.
    - `system`: what the model is to do. Fixed by the contract.
    - `conversation`: turns that were led before; with these alone can a command say who said what.
    - `messages`: what the contract says then, with values of the command in their places.
    - `tools`: what the model may ask for; `tool_choice`: whether it may (auto), has to (required), or may not (none).
    - `output`: JSON Schema of the answer. An answer that does not fit is asked for again with what is wrong with it, in
      all `output_attempts` times within the call's time; `result.json` is what fits.
    - `max_tokens`: the longest answer; `temperature`: how freely it is chosen.
    """

    model: Annotated[ModelName, Field(examples=["smollm2"])]
    system: Text | None = None
    conversation: list[Turn] = Field(default_factory=list)
    messages: Annotated[
        list[ChatMessage], Field(examples=[[{"text": "{{question}}", "values": {"question": "Why?"}}]])
    ] = Field(default_factory=list)
    tools: list[Tool] = Field(default_factory=list)
    tool_choice: Literal["auto", "required", "none"] = "auto"
    output: JsonSchema | None = None
    output_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if not self.conversation and not self.messages:
            raise ValueError("there is nothing to answer: write messages, a conversation, or both")
        names = [tool.name for tool in self.tools]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"tool {min(twice)!r} is there twice")
        if self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice is required, and there are no tools")
        return self

    def parameters_of(self, tool: str) -> Mapping[str, Any] | None:
        """Return the schema of a tool's arguments; None for a tool that is not offered."""
        return next((it.parameters for it in self.tools if it.name == tool), None)


class EmbedRequest(LlmModel):
    """The meaning of texts, as numbers: `texts` in, as many embeddings out, of the `model`.

    - `dimensions`: how many numbers each has, where the model leaves a choice.
    """

    model: Annotated[ModelName, Field(examples=["smollm2"])]
    texts: Annotated[list[Text], Field(min_length=1, max_length=2048, examples=[["a text"]])]
    dimensions: Annotated[int, Field(ge=1, le=100_000)] | None = None


class Usage(LlmModel):
    """What a call took: tokens in and out, as the server counts them, and their cost by the host contract's prices.

    - `requests`: how often the model was asked, the times included when its answer did not fit.
    - `estimated`: whether the server left the counting to the handler, which takes four bytes for a token.
    """

    input_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] = 0
    cost_usd: Annotated[float, Field(ge=0)] = 0.0
    requests: Annotated[int, Field(ge=0)] = 1
    estimated: bool = False


class ChatResult(LlmModel):
    """The model's answer.

    - `text`: all that it said; `json`: the same as a value, where the request has an `output`.
    - `tool_calls`: the tools that it asks for, with arguments that fit their schemas.
    - `stop`: why it ended: at its end, at `max_tokens` (length), to wait for tools, or because it refuses to answer.
    - `model`: which model answered, as the server calls it.
    """

    text: str = ""
    json_output: Annotated[JsonValue, Field(examples=[{"answer": "Because."}])] = Field(default=None, alias="json")
    tool_calls: list[ToolCall] = Field(default_factory=list)
    stop: Literal["end", "length", "tool_calls", "refusal"] = "end"
    model: str = ""
    usage: Usage = Usage()


class EmbedResult(LlmModel):
    """One embedding for each text, in their order; `model` is as the server calls it."""

    embeddings: Annotated[list[list[float]], Field(examples=[[[0.1, -0.2]]])]
    model: str = ""
    usage: Usage = Usage()
