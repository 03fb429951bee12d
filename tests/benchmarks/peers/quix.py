"""Quix Streams: a StreamingDataFrame from topic to topic, with its default guarantee (at-least-once) and interval.

Tuned: the values are taken and given as bytes and go through the same pydantic model as the others', which is faster
than Quix's own JSON to a dict and from there to the model. It starts at the earliest offset, and logs warnings only.
"""

import sys
from tempfile import gettempdir

from envelope import echo
from quixstreams import Application

broker, group, commands, answers = sys.argv[1:]
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
app.dataframe(source).apply(echo).to_topic(target)
app.run()
