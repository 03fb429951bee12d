"""The `http` handler in the conformance suite, against uvicorn."""

from typing import Any

from omnibase_infra.handlers.http import HttpHandlerFactory
from tests.support.handlers import Ask, Member

_SECRET = "Bearer a-secret-of-the-suite"  # noqa: S105 - it opens nothing


def http_member(port: int) -> Member:
    """Return the member whose server listens there."""
    return Member(
        factory=HttpHandlerFactory(),
        port=port,
        target=lambda there: {"base_url": f"http://127.0.0.1:{there}", "headers": {"authorization": _SECRET}},
        ask=lambda number: _ask(number, path=["numbers", number], expect=[200]),
        slow=Ask(operation="request", request={"path": "/slow"}),
        unsafe=_ask(1, method="POST", path=["numbers", 1], json={}, expect=[200]),
        refused=(Ask(operation="request", request={"path": "/refused", "expect": [200]}), "http_status"),
        secrets=(_SECRET, _SECRET.split()[1]),
        rubbish=(
            b"HTTP/1.1 999999 X\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ),
    )


def _ask(number: int, **request: Any) -> Ask:
    return Ask(operation="request", request=request, answers=lambda result: result["json"] == {"number": number})
