"""RedactingHandler: a handler whose errors tell no secret, whatever its server or its vendor put into them."""

from collections.abc import Mapping
from typing import Any

from omnibase_core.errors import CommandFailed, CommandRejected
from omnibase_infra.secrets.redaction import Redactor
from omnibase_spi import Handler, HandlerCall


class RedactingHandler:
    """Lets another do each call, and redacts what it raises: message and details. A Handler."""

    def __init__(self, handler: Handler, redactor: Redactor) -> None:
        """Take both."""
        self._handler = handler
        self._redactor = redactor

    async def execute(self, call: HandlerCall, /) -> Mapping[str, Any]:
        """Do the call."""
        try:
            return await self._handler.execute(call)
        except (CommandFailed, CommandRejected) as error:
            self._redact(error)
            raise
        except TimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised again, redacted
            # Not chained: the original holds what is left out here. The runtime would give it the same code.
            message = self._redactor.redacted(f"{type(error).__name__}: {error}")
            raise CommandFailed("internal_error", message) from None

    def _redact(self, error: CommandFailed | CommandRejected) -> None:
        """Change the error in place: a copy would lose its class, and with it what the engine makes of it."""
        error.args = (self._redactor.redacted(str(error)), *error.args[1:])
        details = self._redactor.redacted_tree(error.details)
        error.details = details if isinstance(details, dict) else {}
