"""What the `llm` handler does: a request out, an answer that fits back, within time and budget."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.llm.completions import (
    Answer,
    Pieces,
    answer_of,
    faults_of,
    output_invalid,
    output_of,
    tool_calls_of,
)
from omnibase_infra.handlers.llm.failures import late
from omnibase_infra.handlers.llm.models import ChatRequest, ChatResult, EmbedRequest, EmbedResult, Usage
from omnibase_infra.handlers.llm.prompts import Prompt, prompt_of
from omnibase_infra.handlers.llm.spending import Account, estimated_tokens
from omnibase_infra.handlers.llm.target import LlmTarget


class Api(Protocol):
    """One vendor's interface, at one target."""

    async def chat(self, what: str, prompt: Prompt, into: Pieces) -> None:
        """Ask for an answer and gather its pieces, as far as they come. Raises HandlerError."""

    async def embed(self, what: str, request: EmbedRequest) -> tuple[list[list[float]], str, int | None]:
        """Give the embeddings, the model's name, and how many tokens the texts were. Raises HandlerError."""


@asynccontextmanager
async def llm_handler(
    *, targets: Mapping[str, LlmTarget], accounts: dict[str, Account], monotonic_s: Callable[[], float]
) -> AsyncIterator["LlmHandler"]:
    """Give the handler. `accounts` has what each target's calls have cost so far, by its name."""
    async with AsyncExitStack() as stack:
        opened = {}
        for name, target in targets.items():
            api = await stack.enter_async_context(_api(name, target))
            opened[name] = _OpenTarget(name, target, api, accounts.setdefault(name, Account()), monotonic_s)
        yield LlmHandler(opened)


class LlmHandler:
    """Asks the models of its targets. A Handler; used concurrently, and usable after any cancellation.

    Raises HandlerError by the codes of `failures.ERRORS`. Every call may be repeated: it changes nothing but the bill.
    """

    def __init__(self, targets: "Mapping[str, _OpenTarget]") -> None:
        """Hold the opened targets by the names under which nodes know them."""
        self._targets = targets

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Ask, and give the answer as soon as one fits."""
        request, opened = call.request, self._targets.get(call.target or "")
        assert isinstance(request, ChatRequest | EmbedRequest)  # noqa: S101 - narrows the type; the runtime validated it
        if opened is None:
            raise HandlerError("request_invalid", f"there is no llm target {call.target!r}")
        opened.check(request.model)
        asking = _Asking(opened, call.node, request.model)
        try:
            async with asyncio.timeout(call.timeout_s):
                if isinstance(request, EmbedRequest):
                    return await asking.embed(request)
                return await asking.chat(request)
        except TimeoutError as error:
            raise late(asking.what, call.timeout_s) from error


@dataclass(frozen=True, slots=True)
class _OpenTarget:
    """A target with its interface and its account."""

    name: str
    target: LlmTarget
    api: Api
    account: Account
    monotonic_s: Callable[[], float]

    def check(self, model: str) -> None:
        """Raise HandlerError for a model that the target does not list."""
        if model not in self.target.models:
            listed = ", ".join(self.target.models)
            raise HandlerError("model_not_allowed", f"target {self.name!r} lists the models {listed}; found {model!r}")


@dataclass(slots=True)
class _Asking:
    """One call: how often the model was asked, and what that took."""

    opened: _OpenTarget
    node: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    estimated: bool = False

    @property
    def what(self) -> str:
        """The call, as its errors name it."""
        return f"{self.model} of {self.opened.name}"

    async def chat(self, request: ChatRequest) -> Mapping[str, Any]:
        """Ask until an answer fits. Raises HandlerError where none does."""
        target = self.opened.target
        prompt = prompt_of(request, target)
        while True:
            answer = await self._answer(prompt)
            faults = faults_of(request, answer)
            if not faults:
                return self._result(request, answer)
            if self.requests >= request.output_attempts:
                raise output_invalid(faults, requests=self.requests)
            prompt = prompt.again(answer, faults, target.special_tokens)

    async def embed(self, request: EmbedRequest) -> Mapping[str, Any]:
        """Ask for embeddings."""
        self._admit()
        embeddings, model, tokens = await self.opened.api.embed(self.what, request)
        self._charge(tokens, 0, size_bytes=sum(len(text.encode()) for text in request.texts))
        return EmbedResult(embeddings=embeddings, model=model, usage=self._usage).model_dump(by_alias=True)

    async def _answer(self, prompt: Prompt) -> Answer:
        self._admit()
        pieces = Pieces(self.opened.target.answer_bytes_max)
        try:
            await self.opened.api.chat(self.what, prompt, pieces)
        finally:
            # An answer that breaks off is on the bill too, once the model has begun to speak.
            if pieces.size_bytes or pieces.stop is not None:
                self._charge(pieces.input_tokens, pieces.output_tokens, size_bytes=prompt.size_bytes, said=pieces)
        return answer_of(self.what, pieces)

    def _admit(self) -> None:
        opened, target = self.opened, self.opened.target
        opened.account.admit(
            self.node, budget=target.budget, node_budget=target.node_budget, now_s=opened.monotonic_s()
        )
        self.requests += 1

    def _charge(
        self, input_tokens: int | None, output_tokens: int | None, *, size_bytes: int, said: Pieces | None = None
    ) -> None:
        opened, target = self.opened, self.opened.target
        self.estimated = self.estimated or input_tokens is None or output_tokens is None
        tokens_in = estimated_tokens(size_bytes) if input_tokens is None else input_tokens
        said_bytes = 0 if said is None else said.size_bytes
        tokens_out = estimated_tokens(said_bytes) if output_tokens is None else output_tokens
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        opened.account.charge(
            self.node,
            tokens=tokens_in + tokens_out,
            usd=target.models[self.model].cost_usd(input_tokens=tokens_in, output_tokens=tokens_out),
            budget=target.budget,
            node_budget=target.node_budget,
            now_s=opened.monotonic_s(),
        )

    @property
    def _usage(self) -> Usage:
        price = self.opened.target.models[self.model]
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_usd=price.cost_usd(input_tokens=self.input_tokens, output_tokens=self.output_tokens),
            requests=self.requests,
            estimated=self.estimated,
        )

    def _result(self, request: ChatRequest, answer: Answer) -> Mapping[str, Any]:
        result = ChatResult(
            text=answer.text,
            json=output_of(request, answer),
            tool_calls=tool_calls_of(answer),
            stop=answer.stop,
            model=answer.model,
            usage=self._usage,
        )
        return result.model_dump(by_alias=True)


@asynccontextmanager
async def _api(name: str, target: LlmTarget) -> AsyncIterator[Api]:
    """Open a target's interface. Each library is imported by the first target that speaks it."""
    secret = None if target.api_key is None else target.api_key.get_secret_value()
    if target.api == "anthropic":
        from omnibase_infra.handlers.llm.anthropic_api import anthropic_api

        async with anthropic_api(name, target, secret) as api:
            yield api
    else:
        from omnibase_infra.handlers.llm.openai_api import openai_api

        async with openai_api(name, target, secret) as api:
            yield api
