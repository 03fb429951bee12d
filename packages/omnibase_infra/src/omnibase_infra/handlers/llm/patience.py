"""How long the next piece of an answer is waited for."""

import asyncio
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.llm.target import LlmTarget

T = TypeVar("T")


@dataclass(slots=True)
class Patience:
    """Waits for the first token as long as the target allows, and then for each that follows.

    What a server sends to keep the connection alive is no token. Raises HandlerError, `timeout`.
    """

    target: LlmTarget
    _ends_s: float = field(init=False)
    _began: bool = False

    def __post_init__(self) -> None:
        """Begin to wait."""
        self._ends_s = get_running_loop().time() + self.target.first_token_timeout_s

    async def wait(self, coming: Awaitable[T]) -> T:
        """Give what comes, if it comes in time."""
        try:
            async with asyncio.timeout_at(self._ends_s):
                return await coming
        except TimeoutError as error:
            raise HandlerError("timeout", self._told, retryable=True) from error

    async def each(self, stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Give each token that comes."""
        while True:
            try:
                token = await self.wait(anext(stream))
            except StopAsyncIteration:
                return
            self._began = True
            self._ends_s = get_running_loop().time() + self.target.token_timeout_s
            yield token

    @property
    def _told(self) -> str:
        if self._began:
            return f"no token for {self.target.token_timeout_s:g} s (token_timeout_s)"
        return f"no token within {self.target.first_token_timeout_s:g} s (first_token_timeout_s)"
