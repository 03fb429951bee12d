"""The `vault` handler in the conformance suite, against OpenBao."""

from typing import Any

from omnibase_infra.handlers.vault import VaultHandlerFactory
from tests.support.handlers import Ask, Member
from tests.support.openbao import OpenBao

_MOST = 100
_POLICY = 'path "secret/data/suite/*" { capabilities = ["create", "read", "update"] }'


def vault_member(server: OpenBao, *, logs_in: bool = False) -> Member:
    """Return the member, with a token or a login, once the server has what it asks for."""
    server.policy("suite", _POLICY)
    token, role = server.token(policies=["suite", "default"]), server.approle("suite", token_policies=["suite"])
    shown = {"approle": role} if logs_in else {"token": token}
    for number in range(_MOST):
        server.write(f"suite/{number}", number=number)
    return Member(
        factory=VaultHandlerFactory(),
        port=server.port,
        target=lambda there: {"address": f"http://127.0.0.1:{there}", **shown},
        ask=lambda number: _ask("read", lambda it: it["data"] == {"number": number}, path=["suite", number]),
        unsafe=_ask("write", lambda it: it["version"] > 0, path="suite/unsafe", data={}),
        refused=(_ask("write", lambda _: False, path="suite/0", data={}, cas=0), "cas_mismatch"),
        secrets=(token, role["secret_id"]),
        rubbish=(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\n<html",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        ),
    )


def _ask(operation: str, answers: Any, **request: Any) -> Ask:
    return Ask(operation=operation, request=request, answers=answers)
