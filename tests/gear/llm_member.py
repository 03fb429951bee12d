"""The `llm` handler in the conformance suite, by each interface that it speaks, against the stand-in."""

from collections.abc import Callable
from typing import Any

from omnibase_infra.handlers.llm import LlmHandlerFactory
from tests.gear.handlers import Ask, Member

_SECRET = "sk-a-secret-of-the-suite"  # noqa: S105 - it opens nothing
_PATHS = {"openai": "/v1", "anthropic": ""}


def llm_member(api: str, port: int) -> Member:
    """Give the member of an interface, whose server listens there."""
    return Member(
        factory=LlmHandlerFactory(),
        port=port,
        target=_target(api),
        ask=lambda number: _ask("echo", f"say {number}", answers=lambda it: it["text"].strip() == f"say {number}"),
        slow=_ask("slow", "x"),
        refused=(_ask("locked", "x"), "unauthorized"),
        secrets=(_SECRET,),
        rubbish=(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {{{\n\n",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: [DONE]\n\n",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello",
        ),
    )


def _target(api: str) -> Callable[[int], dict[str, Any]]:
    return lambda port: {
        "api": api,
        "base_url": f"http://127.0.0.1:{port}{_PATHS[api]}",
        "api_key": _SECRET,
        "models": {"echo": {}, "slow": {}, "locked": {}},
    }


def _ask(model: str, text: str, answers: Callable[[Any], object] = bool) -> Ask:
    return Ask(operation="chat", request={"model": model, "messages": [{"text": text}]}, answers=answers)
