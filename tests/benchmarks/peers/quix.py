"""Quix Streams: a StreamingDataFrame from topic to topic, with its default guarantee (at-least-once) and interval.

Tuned: the values are taken and given as bytes and go through the same pydantic model as the others', which is faster
than Quix's own JSON to a dict and from there to the model. It starts at the earliest offset, and logs warnings only.
"""

import sys
import time
from tempfile import gettempdir

from envelope import echo
from quixstreams import Application

broker, group, commands, answers, *wait_s = sys.argv[1:]


def served(command: bytes) -> bytes:
    """Answer a command, after a while where that is asked for: a function of Quix's waits by itself."""
    for seconds in wait_s:
        time.sleep(float(seconds))
    return echo(command)


app = Application(
    broker_address=broker,
    consumer_group=group,
    auto_offset_reset="earliest",
    auto_create_topics=False,
    loglevel="WARNING",
    state_dir=f"{gettempdir()}/{group}",
)
source = app.topic(commands, value_deserializer="bytes")
target = app.topic(answers, value_serializer="bytes")
app.dataframe(source).apply(served).to_topic(target)
app.run()
