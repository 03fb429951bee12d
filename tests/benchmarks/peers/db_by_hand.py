"""One query a command, as a careful user writes it by hand: confluent-kafka, and psycopg with its pool.

Tuned: ten connections, as the host has by default, and 256 commands under way; commands are taken by batches; offsets
are committed twice a second, up to the first command that is not done.
"""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from uuid import uuid5

from bare_msgspec import ANSWERS, Envelope, decode, encode
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from psycopg_pool import AsyncConnectionPool

UNDER_WAY_MAX = 256
CONNECTIONS = 10
COMMIT_EVERY_S = 0.5
WAIT_S = 0.001


class Progress:
    """Which commands of a partition are not done."""

    def __init__(self) -> None:
        """Start with none."""
        self.open: dict[int, None] = {}
        self.next = 0

    def watermark(self) -> int:
        """Return the offset of the first that is not done."""
        return next(iter(self.open), self.next)


async def main() -> None:
    """Answer commands until a signal says stop."""
    broker, group, commands, answers, dsn = sys.argv[1:]
    running = True

    def stop() -> None:
        nonlocal running
        running = False

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    options = {"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False}
    consumer = Consumer({**options, "auto.offset.reset": "earliest"})
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 0})
    consumer.subscribe([commands])
    progress: dict[int, Progress] = {}
    places = asyncio.Semaphore(UNDER_WAY_MAX)
    tasks: set[asyncio.Task[None]] = set()
    next_commit_s = loop.time() + COMMIT_EVERY_S

    def commit(*, asynchronous: bool) -> None:
        offsets = [TopicPartition(commands, number, it.watermark()) for number, it in progress.items() if it.next]
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=asynchronous)

    async with AsyncConnectionPool(dsn, min_size=0, max_size=CONNECTIONS, open=False) as pool:

        async def serve(message) -> None:
            try:
                command = decode(message.value())
                async with pool.connection() as connection:
                    cursor = await connection.execute("select %(n)s::bigint as n", {"n": command.payload["n"]})
                    [(n,)] = await cursor.fetchall()
                answer = Envelope(
                    envelope_version=1,
                    envelope_id=uuid5(ANSWERS, f"{command.envelope_id}/{command.node_slug}"),
                    correlation_id=command.correlation_id,
                    node_slug=command.node_slug,
                    timestamp=datetime.now(UTC),
                    causation_id=command.envelope_id,
                    handler_type="db",
                    operation=command.operation,
                    payload={"n": n},
                )
                number, offset = message.partition(), message.offset()

                def report(error, _) -> None:
                    if error is not None:
                        raise KafkaException(error)
                    progress[number].open.pop(offset, None)

                producer.produce(answers, encode(answer), message.key(), on_delivery=report)
            finally:
                places.release()

        while running:
            producer.poll(0)
            messages = consumer.consume(UNDER_WAY_MAX, 0)
            if not messages:
                await asyncio.sleep(WAIT_S)
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                mine = progress.setdefault(message.partition(), Progress())
                mine.open[message.offset()], mine.next = None, message.offset() + 1
                await places.acquire()
                task = asyncio.create_task(serve(message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                producer.poll(0)
            if loop.time() >= next_commit_s:
                next_commit_s = loop.time() + COMMIT_EVERY_S
                commit(asynchronous=True)
        await asyncio.gather(*tasks)
    producer.flush()
    commit(asynchronous=False)
    consumer.close()


asyncio.run(main())
