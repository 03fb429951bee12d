"""FastStream by batches: more code than its documentation's first example, and its fast way with at-least-once.

Tuned: up to 500 messages a batch as in the bare loop; a batch is answered as soon as 10 ms bring nothing more; all of
its answers are under way before the first is awaited; one acknowledgement a batch; nothing is logged a message; uvloop
and orjson are installed.
"""

import asyncio
import logging
import sys

import uvloop
from envelope import Envelope
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

address, group, commands, answers, *wait_s = sys.argv[1:]
logger = logging.getLogger("peer")
logger.setLevel(logging.WARNING)
broker = KafkaBroker(address, logger=logger, enable_idempotence=True)


@broker.subscriber(
    commands,
    group_id=group,
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.MANUAL,
    batch=True,
    max_records=500,
    polling_interval=0.01,
)
async def echo(batch: list[Envelope], message: KafkaMessage) -> None:
    """Answer a batch of commands, all of them after a while where that is asked for."""
    for seconds in wait_s:
        await asyncio.gather(*(asyncio.sleep(float(seconds)) for _ in batch))
    reports = [
        await broker.publish(command.echo(), answers, key=raw.key(), no_confirm=True)
        for command, raw in zip(batch, message.raw_message, strict=True)
    ]
    await asyncio.gather(*reports)
    await message.ack()


uvloop.run(FastStream(broker, logger=logger).run())
