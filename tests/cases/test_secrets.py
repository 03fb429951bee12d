"""Secrets: what Vault holds, and what shells and editors leave on the secrets of a host."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from omnibase_core.errors import OnexError, SecretMissing
from omnibase_core.testing import RecordingObserver
from omnibase_infra.secrets.current import SecretUnfit
from tests.support.casework import Failure, Number, as_written, hosted, serve
from tests.support.openbao import ROOT_TOKEN, OpenBao
from tests.support.scripted_http import Seen, reply

# --- In Vault -----------------------------------------------------------------------------------------------------

PUT = ("write", '{path: [cases, "${ payload.name }"], data: "${ payload.data }"}', '{version: "${ result.version }"}')
GET = (
    "read",
    '{path: [cases, "${ payload.name }"]}',
    '{found: "${ result.found }", data: "${ result.data }"}',
)


def asks(call: str, request: str, answer: str) -> str:
    """Write a node that asks Vault once."""
    return f"""
handler: vault
target: vault
operations:
  go: {{input: {{type: object}}, call: {call}, request: {request}, answer: {answer}}}
delivery: {{timeout_s: 5, retry: {{attempts: 1}}}}
"""


def vault(server: OpenBao, node: str, *payloads: str) -> list[Any]:
    """Send commands to a node of this Vault, and return the answers."""
    target = f'{{address: "{server.address}", token: "${{secret.TOKEN}}"}}'
    more = f"handlers: {{vault: {{targets: {{vault: {target}}}}}}}\n"
    return serve(node, *payloads, more=more, secrets={"TOKEN": ROOT_TOKEN})


HELD = {
    "nested": '{"of": {"mysql": "x"}, "n": 7, "list": [1, null], "empty": "", "yes": true}',
    "pem": '{"key": "-----BEGIN X-----\\nabc\\n-----END X-----\\n"}',
    "numbers": '{"whole": 9007199254740991, "fraction": 1.2345678901234567}',
    "a b@ü:%2F": '{"v": "1"}',
}


@pytest.mark.parametrize(("name", "data"), HELD.items(), ids=list(HELD))
def test_a_secret_comes_back_from_vault_as_it_was_put(openbao: OpenBao, name: str, data: str) -> None:
    """Nested values, lists, null, line ends, and a name with blanks, `@` and `%`, which is one segment.

    Source: dapr/dapr#7545, dapr/dapr#4779, dapr/components-contrib#841, dapr/components-contrib#925
    """
    quoted = json.dumps(name)
    [put] = vault(openbao, asks(*PUT), f'{{"name": {quoted}, "data": {data}}}')
    assert put.keys() == {"version"}
    assert vault(openbao, asks(*GET), f'{{"name": {quoted}}}') == [{"found": True, "data": as_written(data)}]


def test_what_vault_does_not_hold_is_not_found(openbao: OpenBao) -> None:
    """That is a result, and no error.

    Source: dapr/dapr#3091
    """
    assert vault(openbao, asks(*GET), '{"name": "nothing-here"}') == [{"found": False, "data": None}]


@pytest.mark.parametrize("name", ["x/y", "..", ""])
def test_a_name_that_would_lead_elsewhere_is_refused(openbao: OpenBao, name: str) -> None:
    """A name of a command is one segment, however it is escaped.

    Source: dapr/components-contrib#925, dapr/dapr#4779
    """
    [answer] = vault(openbao, asks(*GET), json.dumps({"name": name}))
    assert answer == Failure("request_invalid", "")
    assert "which would name another path" in answer.message


def test_a_path_of_several_segments_is_a_list(openbao: OpenBao) -> None:
    """Split, or written in the contract; the list of a folder names what is in it.

    Source: dapr/dapr#4779, dapr/components-contrib#841
    """
    openbao.write("apps/web/db", user="ada")
    answer = '{data: "${ result.data }"}'
    found = {"data": {"user": "ada"}}
    split = asks("read", "{path: \"${ payload.path.split('/') }\"}", answer)
    assert vault(openbao, split, '{"path": "apps/web/db"}') == [found]
    assert vault(openbao, asks("read", "{path: apps/web/db}", answer), "{}") == [found]
    listed = vault(openbao, asks("list", "{path: [apps]}", '{keys: "${ result.keys }"}'), "{}")
    assert listed == [{"keys": ["web/"]}]


def test_a_mount_that_is_not_there_is_told(openbao: OpenBao) -> None:
    """It is no secret that is not found: the path is wrong.

    Source: dapr/dapr#3091
    """
    [answer] = vault(openbao, asks("read", "{mount: kv, path: [x]}", '{found: "${ result.found }"}'), "{}")
    assert answer == Failure("refused", "")
    assert 'no handler for route "kv/data/x"' in answer.message
    assert answer.details == {"status": Number("404")}


# --- Of the host --------------------------------------------------------------------------------------------------

SHOWS = """
handler: http
target: web
operations:
  go:
    input: {type: object}
    request: {path: [h]}
    answer: {key: "${ result.json[?'x-key'].orValue('') }", auth: "${ result.json[?'authorization'].orValue('') }"}
"""
HEADER = 'headers: {x-key: "${secret.KEY}"}'
BEARER = 'auth: {type: bearer, token: "${secret.KEY}"}'
BASIC = 'auth: {type: basic, username: ada, password: "${secret.KEY}"}'


async def _shows(seen: Seen, writer: Any) -> None:
    writer.write(reply(json.dumps(dict(seen.headers)).encode(), "content-type: application/json"))


def sent(uses: str, value: str | Path, observer: RecordingObserver | None = None) -> Any:
    """Return what arrives at a server whose target uses a secret, of a variable or of a file."""
    target = f'handlers: {{http: {{targets: {{web: {{base_url: "http://127.0.0.1:PORT", {uses}}}}}}}}}\n'
    source = f"secrets: {{KEY: {{file: {value}}}}}\n" if isinstance(value, Path) else ""
    secrets = {} if isinstance(value, Path) else {"KEY": value}

    async def scenario() -> Any:
        nodes = {"case": SHOWS}
        async with hosted(nodes, more=target + source, script=_shows, secrets=secrets, observer=observer) as trial:
            return await trial.ask()

    return asyncio.run(scenario())


def test_the_signs_of_a_shell_are_part_of_a_secret() -> None:
    """Nothing expands a dollar sign, and quotes, `#` and colons need nothing.

    Source: redpanda-data/connect#840, block/blip#40
    """
    value = "pa$$w0rd${HOME}#x: 'y' \"z\""
    assert sent(HEADER, value)["key"] == value


def test_a_secret_outside_of_ascii_is_sent_where_it_has_a_form() -> None:
    """As a password it is UTF-8 in base64.

    Source: datalpia/laketower#233
    """
    expected = b64encode("ada:schlüssel-0123456789".encode()).decode()
    assert sent(BASIC, "schlüssel-0123456789")["auth"] == f"Basic {expected}"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_line_end_of_a_file_is_no_part_of_the_secret(end: bytes, tmp_path: Path) -> None:
    """Also of one that was written on Windows.

    Source: redpanda-data/connect#840, block/blip#40
    """
    path = tmp_path / "secret.txt"
    path.write_bytes(b"tok-0123456789" + end)
    assert sent(HEADER, path)["key"] == "tok-0123456789"


ODD = {
    "two line ends": ("tok-0123456789\n\n", "it begins or ends with a line end"),
    "a byte order mark": ("\ufefftok-0123456789\n", "it begins with a byte order mark"),
    "blanks": (" tok-0123456789 \n", "it begins or ends with a space"),
}


@pytest.mark.parametrize(("content", "what"), ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("uses", [HEADER, BEARER])
def test_what_an_editor_left_on_a_secret_is_told(uses: str, content: str, what: str, tmp_path: Path) -> None:
    """The error says what is left and of which secret, and does not show it; so does the log.

    Source: redpanda-data/connect#840, block/blip#40, datalpia/laketower#233
    """
    path, observer = tmp_path / "secret.txt", RecordingObserver()
    path.write_bytes(content.encode())
    with pytest.raises(SecretUnfit) as raised:
        sent(uses, path, observer)
    assert f"secret KEY: {what}" in str(raised.value)
    assert "tok-0123456789" not in str(raised.value)
    [odd] = observer.named("secret_suspicious")
    assert "KEY" in odd.values()
    assert str(odd["what"]).startswith(what)


def test_a_secret_without_a_form_in_a_header_is_told_without_being_shown() -> None:
    """A header takes printable ASCII.

    Source: datalpia/laketower#233
    """
    with pytest.raises(SecretUnfit) as raised:
        sent(HEADER, "schlüssel-0123456789")
    assert "headers: the value of the secret cannot stand here" in str(raised.value)
    assert "schlüssel" not in str(raised.value)


def test_an_empty_variable_is_a_missing_secret() -> None:
    """It is what a template with a typing error leaves. The error says what to set.

    Source: redpanda-data/connect#840, block/blip#40
    """
    with pytest.raises(OnexError) as raised:
        sent(HEADER, "")
    assert isinstance(raised.value, SecretMissing)
    assert "set ONEX_SECRET_KEY to its value" in str(raised.value)
