"""The dead letter verbs on a real broker: what an operator sees of a letter, and what becomes of it if sent again."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from omnibase_core.codec import decode, encode
from omnibase_core.ports import Message
from tests.support.commands import ECHO, envelope, node
from tests.support.hosts import POOL, Machine, RunningHost
from tests.support.raw_produce import produce_raw
from tests.support.traffic import Reader, create_topics, ends, publish

FAULTY = '{echo: {input: {type: object}, request: {message: "${ payload.missing }"}, answer: "${ result.message }"}}'
TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def topic(machine: Machine, stream: str) -> str:
    """Name a topic of the node."""
    return f"onex.app.test.{machine.tenant}.{stream}.node.flaky.v1"


def letters_topic(machine: Machine) -> str:
    """Name the topic of dead letters."""
    return f"onex.app.test.{machine.tenant}.dlq.runtime.{POOL}.v1"


def start(machine: Machine, operations: str) -> RunningHost:
    """Run a host with one node, which does what the contract of this moment says."""
    machine.write({"flaky": node("flaky", handler="local", operations=operations)})
    host = machine.start()
    host.until_ready(partitions=4)
    return host


def commands(machine: Machine, count: int, *, text: str = "") -> list[Message]:
    """Return commands of as many keys."""
    made = [envelope("flaky", {"n": n, "text": text}, envelope_id=uuid4()) for n in range(count)]
    return [Message(topic(machine, "cmd"), b"key-%d" % n, encode(it), (TRACE,)) for n, it in enumerate(made)]


def answers(machine: Machine, count: int) -> Sequence[Any]:
    """Return the answers, once there are so many."""
    with Reader(machine.broker, [topic(machine, "evt")]) as reader:
        return reader.until(lambda it: len(it) >= count, within_s=60)


def letters(machine: Machine, count: int) -> Sequence[Any]:
    """Return what is in the dead letter topic, once there is so much."""
    with Reader(machine.broker, [letters_topic(machine)]) as reader:
        return reader.until(lambda it: len(it) >= count, within_s=60)


def dlq(machine: Machine, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one of the verbs."""
    return machine.call("dlq", verb, *arguments, "--host", str(machine.host_path))


def listed(machine: Machine, *options: str) -> list[dict[str, Any]]:
    """Return what `dlq list` lists."""
    done = dlq(machine, "list", "flaky", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_letters_are_listed_shown_counted_and_redriven_once(machine: Machine) -> None:
    """A node fails, its contract is mended, and what it could not serve is served after all, once."""
    host = start(machine, FAULTY)
    sent = commands(machine, 3)
    publish(machine.broker, [*sent, Message(topic(machine, "cmd"), b"odd", b"\x00no envelope")])
    first = {decode(it.value()).envelope_id for it in answers(machine, 3)}
    letters(machine, 4)

    rows = listed(machine)
    assert sorted(it["key"] for it in rows) == ["key-0", "key-1", "key-2", "odd"]
    assert {it["code"] for it in rows} == {"expression_failed", "not_json"}
    done = dlq(machine, "list", "flaky")
    assert (done.returncode, done.stderr) == (0, "dead letters: 4\n")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [it["place"] for it in rows]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert len(listed(machine, "--code", "not_json")) == 1
    assert [it["place"] for it in listed(machine, "--limit", "2")] == [it["place"] for it in rows[-2:]]
    assert len(listed(machine, "--since", "10m")) == 4
    assert listed(machine, "--since", "2999-01-01T00:00:00Z") == []

    [odd] = [it for it in rows if it["key"] == "odd"]
    shown = dlq(machine, "show", "flaky", odd["place"])
    assert "00000000  00 6e 6f 20 65 6e 76 65  6c 6f 70 65" in shown.stdout
    [zero] = [it for it in rows if it["key"] == "key-0"]
    bare = dlq(machine, "show", "flaky", zero["place"].split(":")[1])
    assert bare.returncode == 0
    assert TRACE[1].decode() in bare.stdout
    assert f'"envelope_id": "{decode(sent[0].value).envelope_id}"' in bare.stdout
    raw = dlq(machine, "show", "flaky", zero["place"], "--raw")
    assert raw.stdout.encode() == sent[0].value
    counted = [json.loads(it) for it in dlq(machine, "stats", "--json").stdout.splitlines()]
    assert [(it["code"], it["waiting"], it["redriven"]) for it in counted] == [
        ("expression_failed", 3, 0),
        ("not_json", 1, 0),
    ]

    before = ends(machine.broker, [topic(machine, "cmd"), letters_topic(machine)])
    dry = dlq(machine, "redrive", "flaky", "--code", "expression_failed", "--dry-run")
    assert (dry.returncode, len(dry.stdout.splitlines())) == (0, 3)
    assert ends(machine.broker, [topic(machine, "cmd"), letters_topic(machine)]) == before

    assert host.child.stop() == 0
    host = start(machine, ECHO)
    begun = dlq(machine, "redrive", "flaky", "--code", "expression_failed", "--limit", "1")
    assert (begun.returncode, begun.stderr) == (0, "sent: 1, not sent: 0, sent before: 0\n")
    rest = dlq(machine, "redrive", "flaky", "--code", "expression_failed")
    assert (rest.returncode, rest.stderr) == (0, "sent: 2, not sent: 0, sent before: 1\n")
    told = answers(machine, 6)
    results = [it for it in (decode(message.value()) for message in told) if it.error is None]
    assert {it.causation_id for it in results} == {decode(it.value).envelope_id for it in sent}
    assert not {it.envelope_id for it in results} & first
    assert [dict(it.headers())["traceparent"] for it in told] == [TRACE[1]] * 6

    before = ends(machine.broker, [topic(machine, "cmd")])
    again = dlq(machine, "redrive", "flaky", "--code", "expression_failed")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "sent: 0, not sent: 0, sent before: 3\n")
    assert dlq(machine, "redrive", "flaky", "--offset", zero["place"]).returncode == 0
    assert ends(machine.broker, [topic(machine, "cmd")]) == before
    assert [it["key"] for it in listed(machine)] == ["odd"]
    assert len(listed(machine, "--all")) == 4
    assert "redriven           20" in dlq(machine, "show", "flaky", zero["place"]).stdout
    counted = [json.loads(it) for it in dlq(machine, "stats", "--json").stdout.splitlines()]
    assert [(it["waiting"], it["redriven"]) for it in counted] == [(0, 3), (1, 0)]
    assert host.child.stop() == 0


def test_what_is_redriven_stays_in_order_and_in_its_partition(machine: Machine) -> None:
    """Key, headers and partition are the original's, whatever partitioner its sender used."""
    host = start(machine, FAULTY)
    sent = [it._replace(key=b"same") for it in commands(machine, 300)]
    publish(machine.broker, sent)
    letters(machine, 300)
    assert host.child.stop() == 0
    done = dlq(machine, "redrive", "flaky")
    assert (done.returncode, done.stderr) == (0, "sent: 300, not sent: 0, sent before: 0\n")
    with Reader(machine.broker, [topic(machine, "cmd")]) as reader:
        found = reader.until(lambda it: len(it) >= 600, within_s=60)
    assert [it.value() for it in found] == [it.value for it in sent] * 2
    assert len({it.partition() for it in found}) == 1
    assert {tuple(it.headers()) for it in found[300:]} == {(TRACE, ("onex-redrive", b"1"))}


def test_what_fails_again_comes_back_and_is_stopped_at_the_limit(machine: Machine) -> None:
    """A letter tells how often its command was redriven, each answer has an id of its own, and it ends."""
    host = start(machine, FAULTY)
    publish(machine.broker, commands(machine, 1))
    for generation in (0, 1):
        letters(machine, 2 * generation + 1)
        [row] = listed(machine)
        assert row["generation"] == generation
        done = dlq(machine, "redrive", "flaky", "--max-generation", "2")
        assert (done.returncode, done.stdout.split(", now")[0]) == (
            0,
            f"{row['place']} sent, generation {generation + 1}",
        )
    letters(machine, 5)
    assert [it["generation"] for it in listed(machine, "--all")] == [0, 1, 2]
    [row] = listed(machine)
    done = dlq(machine, "redrive", "flaky", "--max-generation", "2")
    assert (done.returncode, done.stderr) == (1, "sent: 0, not sent: 1, sent before: 2\n")
    assert done.stdout == f"{row['place']} not sent: it was redriven 2 times, the limit is 2\n"
    identities: set[UUID] = {decode(it.value()).envelope_id for it in answers(machine, 3)}
    assert len(identities) == 3
    assert host.child.stop() == 0


def test_a_letter_that_was_cut_is_redriven_from_its_original_while_that_is_there(machine: Machine) -> None:
    """The whole original is fetched from the source topic; once retention took it, nothing is sent."""
    host = start(machine, FAULTY)
    [sent] = commands(machine, 1, text="x" * 1_030_000)
    publish(machine.broker, [sent])
    letters(machine, 1)
    [row] = listed(machine)
    assert (row["cut"], row["size_bytes"]) == (True, len(sent.value or b""))
    raw = dlq(machine, "show", "flaky", row["place"], "--raw")
    assert raw.stdout.encode() == sent.value
    done = dlq(machine, "redrive", "flaky")
    assert (done.returncode, done.stderr) == (0, "sent: 1, not sent: 0, sent before: 0\n")
    letters(machine, 3)
    assert host.child.stop() == 0
    with Reader(machine.broker, [topic(machine, "cmd")]) as reader:
        [original, redriven] = reader.until(lambda it: len(it) >= 2, within_s=60)
    assert (redriven.key(), redriven.value()) == (original.key(), original.value())
    assert redriven.headers() == [TRACE, ("onex-redrive", b"1")]

    place = TopicPartition(redriven.topic(), redriven.partition(), redriven.offset() + 1)
    admin = AdminClient({"bootstrap.servers": machine.broker})
    for future in admin.delete_records([place]).values():
        future.result(30)
    for options in ([], ["--dry-run"]):
        done = dlq(machine, "redrive", "flaky", *options)
        assert done.returncode == 1
        assert "not sent: it was truncated, and the original no longer exists at onex.app." in done.stdout


def test_what_nobody_can_read_ends_no_verb(machine: Machine) -> None:
    """Headers that are not UTF-8, or none, and JSON of a thousand levels: all verbs tell of it, and go on."""
    machine.write({"flaky": node("flaky", handler="local", operations=ECHO)})
    create_topics(machine.broker, [topic(machine, "cmd"), topic(machine, "evt"), letters_topic(machine)])
    deep = b'{"a":' * 1000 + b"1" + b"}" * 1000
    raw = [(deep, [(b"\xff\xfe", b"1")]), (b"{}", [(b"\xff", None)]), (deep, []), (None, [(b"x", None)])]
    places = [f"0:{produce_raw(machine.broker, letters_topic(machine), 0, b'flaky', *it)}" for it in raw]
    assert [it["place"] for it in listed(machine)] == places
    assert dlq(machine, "list", "flaky").returncode == 0
    for place in places:
        shown = dlq(machine, "show", "flaky", place)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert ("headers cannot be read" in shown.stdout) == (place in places[:2])
        assert dlq(machine, "show", "flaky", place, "--raw").returncode == 0
    assert dlq(machine, "stats").returncode == 0
    done = dlq(machine, "redrive", "flaky")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 4)
    assert done.stderr == "sent: 0, not sent: 4, sent before: 0\n"
