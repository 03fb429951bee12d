"""Models behind Anthropic's interface. The only importer of anthropic."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.llm.completions import Pieces, Stop
from omnibase_infra.handlers.llm.models import EmbedRequest, Turn
from omnibase_infra.handlers.llm.prompts import Prompt
from omnibase_infra.handlers.llm.target import LlmTarget
from omnibase_infra.handlers.llm.token_budget import counted_tokens
from omnibase_infra.handlers.llm.wire import Patience, http_client, timeouts, translated

_BASE_URL = "https://api.anthropic.com"
_STOPS: Mapping[str, Stop] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
_INPUT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_TOOL_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


@asynccontextmanager
async def anthropic_api(name: str, target: LlmTarget, secret: str | None) -> AsyncIterator["AnthropicApi"]:
    """Yield the interface of a target. Nothing connects before the first call."""
    async with http_client(name, target, _credentials(secret)) as http:
        client = anthropic.AsyncAnthropic(
            # What is left out, the library would look for in the environment; the key is sent by the client below.
            api_key="none",
            webhook_key="",
            open_telemetry=False,
            base_url=target.base_url or _BASE_URL,
            timeout=timeouts(target),
            max_retries=0,
            http_client=http,
        )
        yield AnthropicApi(target, secret, client)


@dataclass(frozen=True, slots=True)
class AnthropicApi:
    """Asks models for answers. An Api."""

    target: LlmTarget
    secret: str | None
    client: anthropic.AsyncAnthropic

    async def chat(self, what: str, prompt: Prompt, into: Pieces) -> None:
        """Ask for an answer and gather its pieces. Raises HandlerError."""
        asked = _asked(prompt)
        patience = Patience(self.target)
        reading = _Reading(into)
        # An argument that the library does not know would be ours to mend: it is no reply.
        asking = self.client.messages.create(**asked)
        with translated(anthropic, what, self.target, self.secret):
            stream = await patience.wait(asking)
            async with stream, aclosing(patience.each(stream)) as events:
                async for event in events:
                    reading.take(event)

    async def embed(self, what: str, request: EmbedRequest) -> tuple[list[list[float]], str, int | None]:  # noqa: ARG002 - there is nothing to ask
        """Raise HandlerError: Anthropic has no embeddings."""
        raise HandlerError("not_offered", f"{what}: Anthropic's API has no embeddings; name a target of another api")


@dataclass(slots=True)
class _Reading:
    """Reads the events of an answer. The reason why it ended comes before its end."""

    into: Pieces
    stop: Stop = "end"

    def take(self, event: Any) -> None:
        match event.type:
            case "message_start":
                self.into.model = str(event.message.model or "")
                # How much was said is not known yet: what stands there is no count of it.
                self.into.count(input_tokens=_input_tokens(event.message.usage))
            case "content_block_start" if event.content_block.type == "tool_use":
                self.into.call(int(event.index), id_=event.content_block.id, name=event.content_block.name)
            case "content_block_start" if event.content_block.type == "text":
                self.into.say(event.content_block.text)
            case "content_block_delta":
                self._add(int(event.index), event.delta)
            case "message_delta":
                self.stop = _STOPS.get(event.delta.stop_reason, "end")
                output_tokens = getattr(event.usage, "output_tokens", None)
                self.into.count(input_tokens=_input_tokens(event.usage), output_tokens=output_tokens)
            case "message_stop":
                self.into.stop = self.stop

    def _add(self, index: int, delta: Any) -> None:
        if delta.type == "text_delta":
            self.into.say(delta.text)
        elif delta.type == "input_json_delta":
            self.into.call(index, arguments=delta.partial_json)


def _input_tokens(usage: Any) -> int | None:
    """Return how long the prompt was, cached parts included; None where one of the counts is none."""
    said = [getattr(usage, name, None) for name in _INPUT_COUNTS]
    counts = [counted_tokens(it) for it in said if it is not None]
    known = [it for it in counts if it is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _asked(prompt: Prompt) -> dict[str, Any]:
    request = prompt.request
    asked: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": _messages(prompt.turns),
        "stream": True,
    }
    if prompt.system:
        asked["system"] = prompt.system
    if request.temperature is not None:
        # The library has no name for it any more. Older models take it, and the server says so where one does not.
        asked["extra_body"] = {"temperature": request.temperature}
    if request.tools:
        asked["tools"] = [
            {"name": it.name, "description": it.description, "input_schema": it.parameters} for it in request.tools
        ]
        asked["tool_choice"] = {"type": _TOOL_CHOICES[request.tool_choice]}
    if prompt.schema is not None:
        asked["output_config"] = {"format": {"type": "json_schema", "schema": dict(prompt.schema)}}
    return asked


def _credentials(secret: str | None) -> Mapping[str, str]:
    return {"x-api-key": secret} if secret else {}


def _messages(turns: Sequence[Turn]) -> Sequence[Mapping[str, Any]]:
    """Return the turns as Anthropic has them: what tools gave is said by the user, all of it in one message."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        role = "assistant" if turn.role == "assistant" else "user"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += _blocks(turn)
        else:
            messages.append({"role": role, "content": _blocks(turn)})
    return messages


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [{"type": "tool_result", "tool_use_id": turn.tool_call_id, "content": turn.text}]
    calls = [{"type": "tool_use", "id": it.id, "name": it.name, "input": it.arguments} for it in turn.tool_calls]
    return [*([{"type": "text", "text": turn.text}] if turn.text else []), *calls]
