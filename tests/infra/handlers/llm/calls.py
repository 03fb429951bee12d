"""How the tests of `llm` ask: a handler opened as a host opens it, and calls as the runtime plans them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from omnibase_infra.handlers.llm import LlmHandlerFactory
from omnibase_infra.handlers.llm.target import LlmSettings, LlmTarget
from omnibase_spi import Handler, HandlerCall, HandlerError

SECRET = "sk-s3cr3t-of-the-host"  # noqa: S105 - it opens nothing
PATHS = {"openai": "/v1", "anthropic": ""}


@asynccontextmanager
async def opened(
    port: int, *models: str, api: str = "openai", factory: LlmHandlerFactory | None = None, **more: Any
) -> AsyncIterator[Handler]:
    """Open a handler with one target, `models`, at a port of the loopback."""
    written = {
        "api": api,
        "base_url": f"http://127.0.0.1:{port}{PATHS[api]}",
        "api_key": SECRET,
        "models": {model: {} for model in models},
        **more,
    }
    target = LlmTarget.model_validate(written)
    async with (factory or LlmHandlerFactory()).open(settings=LlmSettings(), targets={"models": target}) as handler:
        yield handler


async def ask(
    handler: Handler, model: str, text: str = "hello there", *, timeout_s: float = 10, node: str = "n", **more: Any
) -> Mapping[str, Any]:
    """Ask for an answer."""
    request = {"model": model, "messages": [{"text": text}], **more}
    return await call(handler, "chat", request, timeout_s=timeout_s, node=node)


async def call(
    handler: Handler, operation: str, request: Mapping[str, Any], *, timeout_s: float = 10, node: str = "n"
) -> Mapping[str, Any]:
    """Make a call."""
    model = LlmHandlerFactory.description.operations[operation].request
    return await handler.execute(
        HandlerCall("llm", operation, model.model_validate(request), "models", timeout_s, UUID(int=1), node)
    )


async def failure(handler: Handler, model: str, text: str = "hello there", **more: Any) -> HandlerError:
    """Ask for an answer that does not come, and give the error; the API key is in no part of it."""
    with pytest.raises(HandlerError) as caught:
        await ask(handler, model, text, **more)
    assert SECRET not in f"{caught.value} {caught.value.details}"
    return caught.value
