"""Whatever is on a command topic: nothing is lost, and the next command is served."""

import json
from hashlib import sha256
from typing import Any

from omnibase_core.codec import encode
from omnibase_core.ports import Message
from tests.support.commands import ECHO, command, envelope, node
from tests.support.hosts import POOL, Machine, echo_nodes
from tests.support.traffic import Reader, publish

LARGEST = 1_048_588
"""What a broker takes where nobody has set `message.max.bytes`: more than the host itself may send."""
STRICT = ECHO.replace(
    "input: {type: object}", "input: {type: object, required: [count], properties: {count: {type: integer}}}"
)


def corpus() -> dict[str, tuple[bytes | None, str]]:
    """Return values that are no envelope, and the reason that their dead letter has to name."""
    good = json.loads(encode(envelope("echo")))
    return {
        "null": (None, "empty"),
        "empty": (b"", "empty"),
        "a list": (b"[1,2]", "not_an_object"),
        "truncated": (encode(envelope("echo"))[:40], "not_json"),
        "no UTF-8": (b'{"a": "\xff\xfe"}', "not_json"),
        "binary": (bytes(range(256)), "not_json"),
        "not a number": (b'{"a": NaN}', "not_json"),
        "nested": (b"[" * 50_000, "not_json"),
        "an unknown version": (json.dumps({**good, "envelope_version": 99}).encode(), "unsupported_version"),
        "an unknown field": (json.dumps({**good, "surprise": 1}).encode(), "invalid_envelope"),
        "no identity": (b'{"envelope_version": 1}', "invalid_envelope"),
    }


def test_bad_input_gets_dead_letters_and_the_next_command_is_served(machine: Machine) -> None:
    """Each of the corpus, a thousand in a row, and messages as large as the broker takes."""
    machine.write({**echo_nodes(["echo"]), "strict": node("strict", handler="local", operations=STRICT)})
    host = machine.start()
    host.until_ready(partitions=8)
    commands, answers = (f"onex.app.test.{machine.tenant}.{it}.node.echo.v1" for it in ("cmd", "evt"))
    letters = f"onex.app.test.{machine.tenant}.dlq.runtime.{POOL}.v1"
    values = corpus()
    largest = b"x" * (LARGEST - 300)
    bad = [Message(commands, name.encode(), value, (("mine", b"1"),)) for name, (value, _) in values.items()]
    bad.append(Message(commands, b"large", largest))
    bad.extend(Message(commands, b"row", b"%d" % n) for n in range(1000))
    too_large_to_echo = command(commands, "echo", {"text": "y" * (LARGEST - 600)}, key=b"echo")
    elsewhere = Message(commands, b"elsewhere", encode(envelope("strict", {"count": 1})))
    publish(machine.broker, [*bad, too_large_to_echo, elsewhere])
    good = [command(commands, "echo", {"n": n}, key=b"%d" % n) for n in range(100)]
    publish(machine.broker, good)

    with Reader(machine.broker, [letters]) as reader:
        found = reader.until(lambda it: len(it) >= len(bad) + 2, within_s=90)
    by_key = {headers_of(it).get("onex-dlq-key"): it for it in found if headers_of(it).get("onex-dlq-key") != b"row"}
    for name, (value, code) in values.items():
        letter = by_key[name.encode()]
        headers = headers_of(letter)
        assert headers["onex-dlq-code"] == code.encode(), name
        assert (letter.value(), letter.key(), headers["mine"]) == (value, b"echo", b"1"), name
        assert headers["onex-dlq-topic"] == commands.encode()
    assert by_key[b"elsewhere"].value() == elsewhere.value
    cut = by_key[b"large"]
    assert headers_of(cut)["onex-dlq-cut"] == b"%d" % len(largest)
    assert headers_of(cut)["onex-dlq-sha256"] == sha256(largest).hexdigest().encode()
    rows = [int(it.value()) for it in found if headers_of(it).get("onex-dlq-key") == b"row"]
    assert rows == list(range(1000))

    with Reader(machine.broker, [answers]) as reader:
        told = reader.until(lambda it: len(it) >= len(good) + 2, within_s=60)
    results = [json.loads(it.value()) for it in told]
    assert sorted(it["payload"]["n"] for it in results if "error" not in it) == list(range(100))
    assert {it["error"]["code"] for it in results if "error" in it} == {"node_mismatch", "answer_too_large"}

    done = machine.call("send", "strict", "--payload", '{"count": "one"}')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: payload_invalid: $.count: ")
    done = machine.call("send", "strict", "--payload", '{"count": 1}')
    assert (done.returncode, json.loads(done.stdout)) == (0, {"count": 1})
    assert host.child.stop() == 0


def headers_of(message: Any) -> dict[str, bytes]:
    """Return a message's headers."""
    return dict(message.headers() or [])
