"""Asks a database, whose connection string is given, for a row that is too large; tells how much memory that took."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from omnibase_infra.handlers.db import DbHandlerFactory, DbSettings, DbTarget
from omnibase_spi import HandlerCall, HandlerError


def _peak_kib() -> int:
    """Return the most memory that this process had so far."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


async def _run(dsn: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    target = DbTarget.model_validate({"dsn": dsn, "sslmode": "disable", "connections_max": 1})
    operations = DbHandlerFactory.description.operations
    async with DbHandlerFactory().open(settings=DbSettings(), targets={"it": target}) as handler:

        async def ask(operation: str, request: dict[str, Any]) -> Any:
            model = operations[operation].request.model_validate(request)
            return await handler.execute(HandlerCall("db", operation, model, "it", 60.0, UUID(int=1)))

        small = {"statement": "select 1 as n"}
        await ask("query", small)
        before_kib, began_s = _peak_kib(), time.monotonic()
        try:
            code = str(await ask(operation, request))[:100]
        except HandlerError as error:
            code = error.code
        took_s = time.monotonic() - began_s
        after = await ask("query", small)
        return {"code": code, "grown_kib": _peak_kib() - before_kib, "took_s": took_s, "after": after["rows"]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
