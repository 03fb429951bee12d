"""The `llm` handler in the conformance suite: by each interface against the stand-in, and against a real model."""

from collections.abc import Callable
from typing import Any

from omnibase_infra.handlers.llm import LlmHandlerFactory
from tests.support import smollm
from tests.support.handlers import Ask, Member

_SECRET = "sk-a-secret-of-the-suite"  # noqa: S105 - it opens nothing
_PATHS = {"openai": "/v1", "anthropic": ""}


def llm_member(api: str, port: int) -> Member:
    """Return the member of an interface, whose server listens there."""
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


def smollm_member(port: int) -> Member:
    """Return the member whose server is the real model, which listens there.

    Its working call embeds up to three digits, which takes milliseconds: a hundred at once are answered in their time
    on a busy machine too. Each digit is one token, so the count of tokens tells neighbouring calls apart. Its slow call
    is an answer of some 840 tokens, each of which the schema prescribes.
    """
    return Member(
        factory=LlmHandlerFactory(),
        port=port,
        target=lambda at: {**_target("openai")(at), "models": {smollm.MODEL: {}}},
        ask=_embed,
        slow=_ask(smollm.MODEL, "Count.", output={"const": [1] * 420}),
        refused=(_ask(smollm.MODEL, "word " * 3000), "refused"),
        secrets=(_SECRET,),
        rubbish=(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"data": 5}',
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"data": []}',
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello",
        ),
    )


def _embed(number: int) -> Ask:
    digits = 1 + number % 3
    return Ask(
        operation="embed",
        request={"model": smollm.MODEL, "texts": ["1" * digits]},
        answers=lambda it: [len(one) for one in it["embeddings"]] == [576] and it["usage"]["input_tokens"] == digits,
    )


def _target(api: str) -> Callable[[int], dict[str, Any]]:
    return lambda port: {
        "api": api,
        "base_url": f"http://127.0.0.1:{port}{_PATHS[api]}",
        "api_key": _SECRET,
        "models": {"echo": {}, "slow": {}, "locked": {}},
    }


def _ask(model: str, text: str, *, answers: Callable[[Any], object] = bool, **more: Any) -> Ask:
    return Ask(operation="chat", request={"model": model, "messages": [{"text": text}], **more}, answers=answers)
