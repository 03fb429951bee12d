"""FastStream, message by message: the handler that its documentation shows, acknowledged after the publish.

Tuned: nothing is logged a message; uvloop and orjson are installed. More workers are no way out: FastStream allows one
only, unless it acknowledges first, which would be at-most-once.
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


@broker.subscriber(commands, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL)
async def echo(command: Envelope, message: KafkaMessage) -> None:
    """Answer a command, after a while where that is asked for."""
    for seconds in wait_s:
        await asyncio.sleep(float(seconds))
    await broker.publish(command.echo(), answers, key=message.raw_message.key())
    await message.ack()


uvloop.run(FastStream(broker, logger=logger).run())
