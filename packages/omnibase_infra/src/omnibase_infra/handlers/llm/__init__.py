"""The `llm` handler: answers and embeddings of language models, through the vendors' own libraries.

Which servers and models there are, and what they may cost, is the host contract's affair (`target`); who says what in a
prompt is the node's (`models`, `templates`, `prompts`). `completions` judges answers, `token_budget` keeps the
accounts, `failures` names what goes wrong. `wire`, `openai_api` and `anthropic_api` do the I/O, and `client` leads it.
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel

from omnibase_infra.handlers.llm.completions import refusal
from omnibase_infra.handlers.llm.failures import ERRORS, late
from omnibase_infra.handlers.llm.models import ChatRequest, ChatResult, EmbedRequest, EmbedResult
from omnibase_infra.handlers.llm.prompts import faults_of_chat, faults_of_embedding
from omnibase_infra.handlers.llm.target import LlmSettings, LlmTarget
from omnibase_infra.handlers.llm.token_budget import Account
from omnibase_spi import Handler, HandlerDescription, HandlerError, OperationDescription

__all__ = ["LlmHandlerFactory"]


def _late(request: ChatRequest | EmbedRequest, timeout_s: float) -> HandlerError:
    return late(request.model, timeout_s)


class LlmHandlerFactory:
    """Makes the `llm` handler. What was spent is kept beyond its closing: new settings leave budgets as they are."""

    description = HandlerDescription(
        handler_type="llm",
        operations={
            "chat": OperationDescription(
                request=ChatRequest, result=ChatResult, refusal=refusal, late=_late, faults=faults_of_chat
            ),
            "embed": OperationDescription(
                request=EmbedRequest, result=EmbedResult, late=_late, faults=faults_of_embedding
            ),
        },
        settings=LlmSettings,
        target=LlmTarget,
        errors=ERRORS,
    )

    def __init__(self) -> None:
        """Begin with nothing spent."""
        self._accounts: dict[str, Account] = {}

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:  # noqa: ARG002 - there is nothing to set
        """Yield the handler; closing it closes its connections. Raises HandlerError for an unusable `tls_ca_file`."""
        # The vendors' libraries take a second to import: a host without this handler does without them.
        from omnibase_infra.handlers.llm.client import llm_handler

        llm_targets = {name: target for name, target in targets.items() if isinstance(target, LlmTarget)}
        async with llm_handler(targets=llm_targets, accounts=self._accounts, monotonic_s=time.monotonic) as handler:
            yield handler
