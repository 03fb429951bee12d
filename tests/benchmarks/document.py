"""The document of a benchmark: under which conditions it ran, what it compares, and its tables."""

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.benchmarks.contestants import PINS, peer_versions, versions

_HOST_PACKAGES = ["omnibase-infra", "confluent-kafka", "pydantic"]


@dataclass(frozen=True)
class Conditions:
    """What a run was made with, in lines that can be read, and its parameters."""

    lines: list[str]
    commands: int
    rounds: int
    seconds: float


def conditions(broker: str, bin_folder: Path, *, commands: int, rounds: int, seconds: float) -> Conditions:
    """Gather what a figure means nothing without."""
    memory_gib = psutil.virtual_memory().total / 2**30
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; load before: {os.getloadavg()[0]:.2f}",
        f"{psutil.cpu_count()} CPUs, {_cpu_model()}, {memory_gib:.0f} GiB; {platform.system()} {platform.release()}",
        f"{broker}; Python {platform.python_version()}",
        f"{rounds} round{'s' if rounds > 1 else ''}; backlog of {commands:,} commands; steady load for {seconds:g} s",
        f"host: {versions(bin_folder / 'python', _HOST_PACKAGES)}",
        *(f"{name}: {peer_versions(name)}" for name in PINS),
    ]
    return Conditions(lines, commands, rounds, seconds)


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def document(here: Conditions, tables: str, footprint: str) -> str:
    """Write the document. Every number of a measurement in it stems from this run."""
    return _TEXT.format(conditions="\n".join(here.lines), tables=tables, footprint=footprint)


_TEXT = """\
# Benchmarks

How fast a host is, compared with hand-written loops and with other frameworks.

`make bench` runs the benchmarks; `python -m tests.benchmarks --write docs/benchmarks.md` regenerates this page,
and `--quick` shows in a few minutes that everything still runs. All figures on this page are from one run:

```text
{conditions}
```

## The job

All contestants do the same: take a command of 450 bytes from Kafka (our envelope as JSON, 1,000 different keys),
parse and validate it, build the answer (a UUID of version 5 from the command's id, correlation, causation, time),
write it as JSON, publish it to the answer topic under the same key, and commit the offset only after the broker's
delivery report: at-least-once. Producers are idempotent and wait for `acks=all`.

| Contestant | What it is |
|---|---|
| bare, msgspec | a hand-written, pipelined loop on confluent-kafka, with msgspec; the base of all ratios |
| bare, pydantic | the same loop with pydantic |
| host, N nodes | one `runtime-host` process; the commands are spread evenly over the topics of N nodes |
| bare, traced; host, traced | each command carries a `traceparent`, which its answer continues |
| expressions | the host; the answer is computed by two CEL expressions |
| awaits, N nodes | the host; the handler of each node awaits, and has its result in the next loop iteration |
| awaits 20 ms | the same, one node, 20 ms later |
| query, by hand | asyncio, confluent-kafka and psycopg's pool: a query per command, 10 connections, 256 in flight |
| query, host | the same by the handler `db`, with its defaults |
| FastStream | its Confluent broker, one message at a time, acknowledged manually after the publish |
| FastStream, batches | the same with batches of up to 500, which its users write for throughput |
| FastStream, awaits; 20 ms | message by message, each after `asyncio.sleep(0)`, or after 20 ms |
| batches, 20 ms | the same by batches, whose messages all wait at the same time |
| Quix Streams | a StreamingDataFrame from topic to topic, with its default guarantee and commit interval |
| Quix, 20 ms | the same; its functions are not asynchronous, so that each waits by itself |
| 10 hosts of 1 node | the old way: a process for each node, here with our own host |
| 10 bare, pydantic | the old way by hand: ten bare loops |

Topics have 4 partitions, those of the 500 nodes 1. The programs of the peers are in `tests/benchmarks/peers`, each with
a note on its tuning; each has its own environment, with pinned versions.

## Figures

Medians of the rounds; in every round each contestant runs once, alone beside the broker, in alternating order.
Before the first round, each runs once to warm up the broker. No consumer reads the answers during the measurement.

- `msg/s`: answers per second from a backlog. The processes are stopped (`SIGSTOP`) while the backlog is published;
  the rate is that of the answers after the first, by the broker's timestamps (`LogAppendTime`).
- `CPU us`: user and system time of the contestant's processes per message of the backlog.
- `p50 ms`, `p99 ms`: from before the sender's call to the broker's timestamp of the answer, at 200 commands a
  second; timestamps are in whole milliseconds, so half a millisecond is added.
- `idle`, `peak`: resident memory in MiB, four seconds after the start and at the maximum; processes are added up,
  and pages that several of them share count for each.
- `up s`: from the start of the process until every node has answered a command that waited for it.
- `idle%`: of one CPU, without commands. `thr`, `con`: threads, and connections to the broker, under load.
- `others%`: the share of the machine's CPU time that processes unrelated to the benchmark used while a
  contestant was measured. The higher it is, the less a rate or a latency means; CPU time is affected least.

```text
{tables}
```

Latency by rate, up to the rate at which a contestant falls behind, or the sender, a Python program on the same
machine, has no CPU left (an open loop of 3 s at each rate, once):

![Latency by rate](latency.svg)

Ten idle nodes, in one host and in ten processes:

```text
{footprint}
```

## What is fair, and what is not

- The bare loops are a lower bound and not a product: one topic, no contracts, no limits on messages in flight except
  batches, no dead letters, no order by key among concurrent commands, no health, no drain at a rebalance. The host
  does all of that for every command, and the echo does nothing else: the work of a real handler makes every ratio
  smaller.
- An echo is served inline by the host. A node that awaits something (HTTP, a database) goes through lanes and tasks:
  `awaits` shows this. The awaited call takes no CPU time, so all CPU time is the host's.
- Awaiting nodes get half of the backlog, queries a tenth: their rates do not depend on it.
- All contestants parse and validate the same fields, each with its library: the host and the base with msgspec's
  types, the peers with a pydantic model. The host rejects infinite numbers and unknown fields; the peers do not.
- FastStream reads JSON into dicts first and validates these, and writes null fields and its own headers. By design it
  commits for each acknowledgement, and one subscriber serves one message (or batch) at a time. Message by message it
  is given a fortieth of the backlog: its rate does not depend on it. With batches it waits up to 10 ms for more,
  which its latency shows, as does its CPU when idle.
- Quix commits every 5 s and waits for its producer only then: that is its default, and more is repeated after a crash
  than with the others (host and bare loops: 0.5 s; FastStream: one message or batch). Its producer collects for
  librdkafka's default of 5 ms; all others send at once. It pins an older confluent-kafka.
- The nodes of the 100 and the 500 have topics of their own, so that their requests to the broker carry less each, and
  the broker has more to do for every message: part of what these rows lose is the broker's time, not the host's CPU.
  Their `up s` includes the subscription to all topics.
- Where `others%` is not near nothing, the machine was shared while it was measured. The ranges then say more than the
  medians: differences that are smaller than a range are none. Compare `CPU us` first.
- Sender, broker and contestant share the CPUs named above. Latencies hold the broker and the measuring client, and
  the contestants are not CPU-bound where the broker is the one to wait for: ratios of `CPU us` carry over to other
  machines sooner than those of `msg/s`. CPU time is counted by the system in steps of 10 ms.
- Ten processes run on the same CPUs as one: on a machine with more of them they scale out, and so do more hosts of one
  pool. One host is one Python process, and uses about one CPU.

## Many partitions and latency

librdkafka names every partition in every fetch (it has no incremental fetch sessions, KIP-227), and the broker looks at
all of them for each message. So the host reads with a consumer for each 64 partitions: what that is worth at 200
commands a second is in [decision 32](decisions/0032-speed.md). What is left is the broker's CPU and not the host's:
where it has none to spare, requests queue up.
"""
