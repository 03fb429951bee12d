"""The `waiting` handler: what most handlers do, without the server that they wait for."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from omnibase_spi import Handler, HandlerCall, HandlerDescription, OperationDescription


class Wait(BaseModel):
    """For how many seconds to wait (0: until the loop's next turn), and what to give back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = 0.0
    message: JsonValue


class Waited(BaseModel):
    """What came back."""

    message: JsonValue


class Nothing(BaseModel):
    """There is nothing to set."""


class WaitingHandler:
    """Waits, and holds nothing meanwhile."""

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Return the message back after a while."""
        assert isinstance(call.request, Wait)
        await asyncio.sleep(call.request.seconds)
        return {"message": call.request.message}


class WaitingHandlerFactory:
    """What the entry point names an instance of."""

    description = HandlerDescription(
        handler_type="waiting",
        operations={"wait": OperationDescription(request=Wait, result=Waited)},
        settings=Nothing,
    )

    @asynccontextmanager
    async def open(self, *, settings: BaseModel, targets: Mapping[str, BaseModel]) -> AsyncIterator[Handler]:
        """Return the handler."""
        del settings, targets
        yield WaitingHandler()


FACTORY = WaitingHandlerFactory()
