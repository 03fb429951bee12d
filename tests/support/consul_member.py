"""The `consul` handler in the conformance suite, against the stand-in or a real agent."""

from omnibase_infra.handlers.consul import ConsulHandlerFactory
from tests.support.consul_standin import Agent
from tests.support.handlers import Ask, Member

NO_SESSION = "00000000-0000-0000-0000-000000000000"


def consul_member(agent: Agent) -> Member:
    """Return the member that asks this agent."""
    return Member(
        factory=ConsulHandlerFactory(),
        port=agent.port,
        target=lambda there: {"address": f"http://127.0.0.1:{there}", "token": agent.token},
        ask=lambda number: Ask(
            operation="get",
            request={"key": ["conformance", number]},
            answers=lambda result: (result["key"], result["found"]) == (f"conformance/{number}", False),
        ),
        slow=Ask(operation="get", request={"key": "conformance/slow", "index": 2**40, "wait_s": 60.0}),
        unsafe=Ask(operation="put", request={"key": "conformance/unsafe", "text": "x", "cas": 2**40}),
        refused=(
            Ask(operation="acquire", request={"key": "conformance/lock", "session": NO_SESSION}),
            "session_invalid",
        ),
        secrets=(agent.token,),
        rubbish=(
            b"HTTP/1.1 999999 X\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ),
    )
