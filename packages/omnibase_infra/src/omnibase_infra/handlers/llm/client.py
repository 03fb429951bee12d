"""What the `llm` handler does: a request out, an answer that fits back, within time and budget."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from omnibase_core.errors import HandlerError
from omnibase_core.ports import HandlerCall
from omnibase_infra.handlers.llm.completions import (
    Completion,
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
from omnibase_infra.handlers.llm.target import LlmTarget
from omnibase_infra.handlers.llm.token_budget import Account, Cost, Reservation, estimated_tokens

_BREAKS = frozenset({"protocol_error", "unreachable", "timeout"})


class Api(Protocol):
    """One vendor's interface, at one target."""

    async def chat(self, what: str, prompt: Prompt, into: Pieces) -> None:
        """Ask for an answer and gather its pieces, as far as they come. Raises HandlerError."""

    async def embed(self, what: str, request: EmbedRequest) -> tuple[list[list[float]], str, int | None]:
        """Return the embeddings, the model's name, and how many tokens the texts were. Raises HandlerError."""


@asynccontextmanager
async def llm_handler(
    *, targets: Mapping[str, LlmTarget], accounts: dict[str, Account], monotonic_s: Callable[[], float]
) -> AsyncIterator["LlmHandler"]:
    """Yield the handler. `accounts` has what each target's calls have cost so far, by its name."""
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
        """Keep the opened targets by the names under which nodes know them."""
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


class _Tokens(NamedTuple):
    """How many go in, and how many come out."""

    input: int
    output: int


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
        expected = _Tokens(estimated_tokens(sum(len(text.encode()) for text in request.texts)), 0)
        used = _Tokens(0, 0)
        reservation = self._reserve(expected)
        try:
            embeddings, model, input_tokens = await self.opened.api.embed(self.what, request)
            used = self._used(input_tokens, 0, else_=expected)
        finally:
            self._settle(reservation, used)
        return EmbedResult(embeddings=embeddings, model=model, usage=self._usage).model_dump(by_alias=True)

    async def _answer(self, prompt: Prompt) -> Completion:
        input_tokens = estimated_tokens(prompt.size_bytes)
        pieces = Pieces(self.opened.target.answer_bytes_max)
        reservation = self._reserve(_Tokens(input_tokens, prompt.request.max_tokens))
        try:
            await self.opened.api.chat(self.what, prompt, pieces)
        except HandlerError as error:
            # The server has said why the answer ended: what breaks off behind that is no part of it.
            if pieces.stop is None or error.code not in _BREAKS:
                raise
        finally:
            used = _Tokens(0, 0)
            # An answer that breaks off is on the bill too, once the model has taken up the prompt.
            if pieces.began:
                said = _Tokens(input_tokens, estimated_tokens(pieces.size_bytes))
                used = self._used(pieces.input_tokens, pieces.output_tokens, else_=said)
            self._settle(reservation, used)
        return answer_of(self.what, pieces)

    def _reserve(self, most: _Tokens) -> Reservation:
        opened, target = self.opened, self.opened.target
        reservation = opened.account.reserve(
            self.node,
            self._cost(most),
            budget=target.budget,
            node_budget=target.node_budget,
            now_s=opened.monotonic_s(),
        )
        self.requests += 1
        return reservation

    def _used(self, input_tokens: int | None, output_tokens: int | None, *, else_: _Tokens) -> _Tokens:
        """Return what the server counts, and an estimate in place of what it does not."""
        self.estimated = self.estimated or input_tokens is None or output_tokens is None
        return _Tokens(
            else_.input if input_tokens is None else input_tokens,
            else_.output if output_tokens is None else output_tokens,
        )

    def _settle(self, reservation: Reservation, used: _Tokens) -> None:
        self.input_tokens += used.input
        self.output_tokens += used.output
        reservation.settle(self._cost(used), now_s=self.opened.monotonic_s())

    def _cost(self, tokens: _Tokens) -> Cost:
        price = self.opened.target.models[self.model]
        usd = price.cost_usd(input_tokens=tokens.input, output_tokens=tokens.output)
        return Cost(tokens=tokens.input + tokens.output, usd=usd)

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

    def _result(self, request: ChatRequest, answer: Completion) -> Mapping[str, Any]:
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
