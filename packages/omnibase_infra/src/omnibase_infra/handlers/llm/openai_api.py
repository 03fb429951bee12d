"""Models behind OpenAI's interface, of whoever serves it. The only importer of openai."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

import openai
from openai._streaming import ServerSentEvent, SSEDecoder
from pydantic_core import to_json

from omnibase_infra.handlers.llm.completions import Pieces, Stop
from omnibase_infra.handlers.llm.models import EmbedRequest, Turn
from omnibase_infra.handlers.llm.prompts import Prompt
from omnibase_infra.handlers.llm.target import LlmTarget
from omnibase_infra.handlers.llm.token_budget import counted_tokens
from omnibase_infra.handlers.llm.wire import Patience, http_client, timeouts, translated

_BASE_URL = "https://api.openai.com/v1"
_STOPS: Mapping[str, Stop] = {"length": "length", "tool_calls": "tool_calls", "content_filter": "refusal"}


@asynccontextmanager
async def openai_api(name: str, target: LlmTarget, secret: str | None) -> AsyncIterator["OpenAiApi"]:
    """Yield the interface of a target. Nothing connects before the first call."""
    async with http_client(name, target, _credentials(secret)) as http:
        client = _Client(
            # What is left out, the library would look for in the environment; the key is sent by the client below.
            api_key="none",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=target.base_url or _BASE_URL,
            timeout=timeouts(target),
            max_retries=0,
            http_client=http,
        )
        yield OpenAiApi(target, secret, client)


class _Client(openai.AsyncOpenAI):
    """The library's client, to which an event without data is none, as the specification of such events has it."""

    def _make_sse_decoder(self) -> SSEDecoder:
        return _Events()


class _Events(SSEDecoder):
    """Decodes the events of a stream. The library takes a comment behind an `id:` for an event, which is no JSON."""

    def decode(self, line: str) -> ServerSentEvent | None:
        """Return the event that a line ends, if it has data."""
        event = super().decode(line)
        return event if event is not None and event.data else None


@dataclass(frozen=True, slots=True)
class OpenAiApi:
    """Asks models for answers and embeddings. An Api."""

    target: LlmTarget
    secret: str | None
    client: openai.AsyncOpenAI

    async def chat(self, what: str, prompt: Prompt, into: Pieces) -> None:
        """Ask for an answer and gather its pieces. Raises HandlerError."""
        asked = self._asked(prompt)
        patience = Patience(self.target)
        # An argument that the library does not know would be ours to mend: it is no reply.
        asking = self.client.chat.completions.create(**asked)
        with translated(openai, what, self.target, self.secret):
            stream = await patience.wait(asking)
            async with stream, aclosing(patience.each(stream)) as chunks:
                async for chunk in chunks:
                    _take(chunk, into)

    async def embed(self, what: str, request: EmbedRequest) -> tuple[list[list[float]], str, int | None]:
        """Ask for embeddings: give them, the model's name, and how many tokens the texts were. Raises HandlerError."""
        asked: dict[str, Any] = {"model": request.model, "input": request.texts, "encoding_format": "float"}
        if request.dimensions is not None:
            asked["dimensions"] = request.dimensions
        with translated(openai, what, self.target, self.secret):
            reply = await Patience(self.target).wait(self.client.embeddings.create(**asked))
            found = [_vector(it.embedding) for it in sorted(reply.data, key=lambda it: it.index)]
            if len(found) != len(request.texts):
                raise ValueError(f"{len(found)} embeddings for {len(request.texts)} texts")
            return found, str(reply.model or ""), counted_tokens(getattr(reply.usage, "prompt_tokens", None))

    def _asked(self, prompt: Prompt) -> dict[str, Any]:
        request = prompt.request
        # Newer models of OpenAI know the one name alone, most other servers the other.
        limit = "max_completion_tokens" if self.target.base_url is None else "max_tokens"
        asked: dict[str, Any] = {
            "model": request.model,
            "messages": _messages(prompt),
            limit: request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.temperature is not None:
            asked["temperature"] = request.temperature
        if request.tools:
            asked["tools"] = [{"type": "function", "function": it.model_dump()} for it in request.tools]
            asked["tool_choice"] = request.tool_choice
        if prompt.schema is not None:
            schema = {"name": "output", "schema": dict(prompt.schema)}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        return asked


def _credentials(secret: str | None) -> Mapping[str, str]:
    return {"authorization": f"Bearer {secret}"} if secret else {}


def _messages(prompt: Prompt) -> Sequence[Mapping[str, Any]]:
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, *(_message(turn) for turn in prompt.turns)]


def _message(turn: Turn) -> Mapping[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    if turn.tool_calls:
        message["content"] = turn.text or None
        message["tool_calls"] = [
            {
                "id": it.id,
                "type": "function",
                "function": {"name": it.name, "arguments": to_json(it.arguments).decode()},
            }
            for it in turn.tool_calls
        ]
    return message


def _take(chunk: Any, into: Pieces) -> None:
    into.model = into.model or str(chunk.model or "")
    into.count(
        input_tokens=getattr(chunk.usage, "prompt_tokens", None),
        output_tokens=getattr(chunk.usage, "completion_tokens", None),
    )
    # The last chunk counts the tokens, and has no choice.
    for choice in (chunk.choices or [])[:1]:
        delta = choice.delta
        if delta is not None:
            into.say(delta.content)
            into.say(getattr(delta, "refusal", None))
            for call in delta.tool_calls or []:
                index = None if call.index is None else int(call.index)
                into.call(index, id_=call.id, name=call.function.name, arguments=call.function.arguments)
        if choice.finish_reason is not None:
            refused = delta is not None and getattr(delta, "refusal", None)
            into.stop = "refusal" if refused else _STOPS.get(choice.finish_reason, "end")


def _vector(embedding: Any) -> list[float]:
    vector = [float(number) for number in embedding]
    if not all(isfinite(number) for number in vector):
        raise ValueError("an embedding that is not a list of numbers")
    return vector
