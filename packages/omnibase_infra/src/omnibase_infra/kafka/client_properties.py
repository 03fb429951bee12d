"""Which properties of librdkafka a contract may set under `bus.client`, within which bounds, and why not the others.

Decided property by property for librdkafka 2.16, aliases included:
https://github.com/confluentinc/librdkafka/blob/v2.16.1/CONFIGURATION.md. What a property does to delivery, order,
offsets, rebalances and time-outs is the host's promise to keep. So only what is listed here may be set: a property of a
later release is decided on before anybody relies on it, and neither an alias nor the prefix `topic.` is a way around.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from confluent_kafka import KafkaException, Producer

Property = str | int | float | bool

SESSION_TIMEOUT_MS, HEARTBEAT_INTERVAL_MS = 10_000, 1_000
"""A host that died holds its partitions for a session: by the client's default, for 45 s. Members hear of a rebalance
by their next heartbeat. Heartbeats come from a thread of the client's own, so that a busy host sends them, too."""
POLL_INTERVAL_MS = 60_000
"""A host that lives and does not come back to the client holds up a rebalance of the others for so long."""

_ALLOWED = """
batch.num.messages batch.size broker.address.family broker.address.ttl check.crcs client.dns.lookup client.rack
compression.codec compression.level compression.type connections.max.idle.ms debug enable.metrics.push
enable.random.seed enable.sasl.oauthbearer.unsecure.jwt enable.ssl.certificate.verification fetch.message.max.bytes
https.ca.location https.ca.pem log.connection.close log.thread.name log_level max.partition.fetch.bytes
message.copy.max.bytes metadata.max.age.ms metadata.recovery.strategy queued.max.messages.kbytes queued.min.messages
sasl.kerberos.keytab sasl.kerberos.kinit.cmd sasl.kerberos.min.time.before.relogin sasl.kerberos.principal
sasl.kerberos.service.name sasl.mechanism sasl.mechanisms sasl.oauthbearer.assertion.algorithm
sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.iss
sasl.oauthbearer.assertion.claim.jti.include sasl.oauthbearer.assertion.claim.nbf.seconds
sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.jwt.template.file
sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.passphrase
sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.client.credentials.client.id
sasl.oauthbearer.client.credentials.client.secret sasl.oauthbearer.client.id sasl.oauthbearer.client.secret
sasl.oauthbearer.config sasl.oauthbearer.extensions sasl.oauthbearer.grant.type
sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.method sasl.oauthbearer.scope
sasl.oauthbearer.sub.claim.name sasl.oauthbearer.token.endpoint.url sasl.password sasl.username security.protocol
socket.keepalive.enable socket.max.fails socket.nagle.disable socket.receive.buffer.bytes socket.send.buffer.bytes
ssl.ca.certificate.stores ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem ssl.cipher.suites
ssl.crl.location ssl.curves.list ssl.endpoint.identification.algorithm ssl.engine.id ssl.engine.location
ssl.key.location ssl.key.password ssl.key.pem ssl.keystore.location ssl.keystore.password ssl.providers
ssl.sigalgs.list sticky.partitioning.linger.ms topic.metadata.refresh.sparse
"""
ALLOWED = frozenset(_ALLOWED.split())
"""Where the broker is found and what it is shown there, how much is fetched and packed, and what is logged."""

_DAY_MS = 86_400_000
_LATENCY = "every answer waits so long"
_SILENCE = "for that long the host would be blocked"

BOUNDED: Mapping[str, tuple[int, int, str]] = {
    "coordinator.query.interval.ms": (1_000, 600_000, _SILENCE),
    "fetch.error.backoff.ms": (1, 10_000, _SILENCE),
    "fetch.max.bytes": (1_000_000, 2_147_483_135, "the client wants room for its largest request"),
    "fetch.min.bytes": (1, 100_000_000, "these are the client's own bounds"),
    "fetch.queue.backoff.ms": (0, 10_000, _SILENCE),
    "fetch.wait.max.ms": (0, 10_000, _SILENCE),
    "heartbeat.interval.ms": (100, 600_000, "it is how the broker knows that the host lives"),
    "linger.ms": (0, 500, _LATENCY),
    "max.poll.interval.ms": (10_000, _DAY_MS, "a host that is busy with a rebalance must not be taken for dead"),
    "metadata.recovery.rebootstrap.trigger.ms": (0, 600_000, _SILENCE),
    "queue.buffering.max.ms": (0, 500, _LATENCY),
    "reconnect.backoff.max.ms": (1, 60_000, _SILENCE),
    "reconnect.backoff.ms": (1, 60_000, _SILENCE),
    "request.timeout.ms": (1_000, 60_000, "the broker waits so long for its replicas"),
    "retry.backoff.max.ms": (1, 60_000, _SILENCE),
    "retry.backoff.ms": (1, 60_000, _SILENCE),
    "session.timeout.ms": (
        6_000,
        1_800_000,
        "these are group.min.session.timeout.ms and group.max.session.timeout.ms of Kafka's brokers",
    ),
    "socket.connection.setup.timeout.ms": (1_000, 120_000, _SILENCE),
    "socket.timeout.ms": (1_000, 300_000, "a request that is cut off too soon is sent again for ever"),
    "topic.metadata.propagation.max.ms": (0, 60_000, _SILENCE),
    "topic.metadata.refresh.fast.interval.ms": (1, 10_000, _SILENCE),
    "topic.metadata.refresh.interval.ms": (1_000, 3_600_000, "a topic that was extended is noticed by it"),
    "transaction.timeout.ms": (1_000, 900_000, "brokers allow 15 minutes at most"),
}
"""What may be set from here to there, in the property's own unit, and why no further."""

_COMMITS = "the host commits what is acknowledged, and nothing else"
_NEVER_GIVES_UP = "the host never gives up on an answer"
_RETRIES = "an answer is sent again until the broker has acknowledged it"
_QUEUE = "what waits for the broker is bounded by the host contract's limits"
_ORDER = "answers go out in the order in which they were given"
_OLD = "the host needs what brokers have said of themselves since Kafka 0.10"
_FETCHED_SIZE = "it follows from bus.message_bytes_max"
_CODE = "only a program can set it"
_CALLBACKS = """
background_event_cb closesocket_cb connect_cb consume_cb default.topic.config default_topic_conf dr_cb dr_msg_cb
error_cb log_cb logger oauth_cb oauthbearer_token_refresh_cb offset_commit_cb on_commit on_delivery opaque open_cb
rebalance_cb resolve_cb socket_cb ssl.certificate.verify_cb ssl_ca ssl_certificate ssl_engine_callback_data ssl_key
stats_cb throttle_cb ut_handle_ProduceResponse
"""
_SHARE = "it is for share groups, and a host is a member of a consumer group"
_NO_USE = "the client has no use for it any more"

REFUSED: Mapping[str, str] = {
    # The connection.
    "bootstrap.servers": "write bus.bootstrap_servers",
    "metadata.broker.list": "write bus.bootstrap_servers",
    "client.id": "it is the host's name",
    "client.software.name": "it is the client library's",
    "client.software.version": "it is the client library's",
    "enable.sparse.connections": "connections are always made where they are needed",
    "api.version.request": _OLD,
    "api.version.request.timeout.ms": _OLD,
    "api.version.fallback.ms": _OLD,
    "broker.version.fallback": _OLD,
    "allow.auto.create.topics": "the host creates its topics itself",
    "topic.blacklist": "a topic that the client does not see would never be served",
    "test.mock.num.brokers": "write bus.bootstrap_servers: embedded",
    "test.mock.broker.rtt": "write bus.bootstrap_servers: embedded",
    # Delivery.
    "acks": "it is always all",
    "request.required.acks": "it is always all",
    "enable.idempotence": "it is always on",
    "enable.gapless.guarantee": "one answer that the broker rejects would end the host",
    "max.in.flight": "it is always five: more of them would put answers out of order or repeat them",
    "max.in.flight.requests.per.connection": "it is always five: more of them would put answers out of order",
    "retries": _RETRIES,
    "message.send.max.retries": _RETRIES,
    "message.timeout.ms": _NEVER_GIVES_UP,
    "delivery.timeout.ms": _NEVER_GIVES_UP,
    "delivery.report.only.error": "the host commits by delivery reports: without them nothing would ever be committed",
    "produce.offset.report": _NO_USE,
    "queue.buffering.max.messages": _QUEUE,
    "queue.buffering.max.kbytes": _QUEUE,
    "queue.buffering.backpressure.threshold": "with idempotence it is always 1",
    "queuing.strategy": _ORDER,
    "msg_order_cmp": _ORDER,
    "message.max.bytes": "write bus.message_bytes_max",
    "receive.message.max.bytes": _FETCHED_SIZE,
    "partitioner": "it is always murmur2_random: a key is where every client in Java puts it",
    "partitioner_cb": "the partitioner is always murmur2_random",
    "transactional.id": "each host has one of its own",
    # Offsets and what is read.
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "auto.commit.interval.ms": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "offset.store.method": "offsets are always stored by the broker",
    "offset.store.path": "offsets are always stored by the broker",
    "offset.store.sync.interval.ms": "offsets are always stored by the broker",
    "auto.offset.reset": "a new group starts at the earliest offset, so that nothing is lost",
    "isolation.level": "it is always read_committed: commands of an aborted transaction were never sent",
    "enable.partition.eof": "the host itself decides how it learns where a partition ends",
    "consume.callback.max.messages": _NO_USE,
    "max.poll.records": _SHARE,
    "share.acknowledgement.mode": _SHARE,
    # The group.
    "group.id": "it follows from environment, tenant and pool",
    "group.instance.id": "static membership is not supported yet",
    "group.protocol": "write bus.group_protocol",
    "group.protocol.type": "it is always consumer",
    "group.remote.assignor": "the broker's own is always taken",
    "partition.assignment.strategy": "it is always cooperative-sticky",
    # What runs inside the client, and who hears of it.
    "plugin.library.paths": "a library in between could drop, change or repeat messages",
    "interceptors": "code in between could drop, change or repeat messages",
    "internal.termination.signal": "signals of the process are the host's",
    "enabled_events": "the host takes callbacks, and not events",
    "enable_sasl_queue": "the host takes callbacks, and not events",
    "log.queue": "log lines would be collected and never read",
    "statistics.interval.ms": "nobody reads these figures: see the host's metrics",
    "builtin.features": "it says how the client was built",
    **dict.fromkeys(_CALLBACKS.split(), _CODE),
    # What there was once.
    "metadata.request.timeout.ms": _NO_USE,
    "reconnect.backoff.jitter.ms": "write reconnect.backoff.ms",
    "socket.blocking.max.ms": _NO_USE,
    "topic.metadata.refresh.fast.cnt": _NO_USE,
}
"""What may not be set at all, and why."""

_CHOICE = sorted(ALLOWED | BOUNDED.keys())
_UNKNOWN = "?"
_OF_THE_BROKER = frozenset({"heartbeat.interval.ms", "session.timeout.ms"})
_DEFAULTS: Mapping[str, Property] = {
    "heartbeat.interval.ms": HEARTBEAT_INTERVAL_MS,
    "max.poll.interval.ms": POLL_INTERVAL_MS,
    "reconnect.backoff.max.ms": 2_000,
    "reconnect.backoff.ms": 100,
    "retry.backoff.max.ms": 1_000,
    "retry.backoff.ms": 100,
    "session.timeout.ms": SESSION_TIMEOUT_MS,
}
_RELATIONS = (
    # A heartbeat may be lost before a host is taken for dead. Kafka recommends a third; by default it is a tenth.
    ("heartbeat.interval.ms", 2, "session.timeout.ms"),
    ("session.timeout.ms", 1, "max.poll.interval.ms"),
    ("reconnect.backoff.ms", 1, "reconnect.backoff.max.ms"),
    ("retry.backoff.ms", 1, "retry.backoff.max.ms"),
)
"""So many times the first may be at most what the second is."""


def problems_of(properties: Mapping[str, Property], *, group_protocol: str) -> Iterator[str]:
    """Find what is wrong with the properties of a contract, each by its name and with what is expected."""
    for name, value in properties.items():
        if (problem := _problem_of(name, value)) is not None:
            yield problem
    yield from _contradictions(properties, group_protocol)


def _problem_of(name: str, value: Property) -> str | None:
    if name in REFUSED:
        return f"property {name!r} is not to be set here: {REFUSED[name]}"
    if name not in ALLOWED and name not in BOUNDED:
        near = get_close_matches(name, _CHOICE, n=1) or get_close_matches(name, REFUSED, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see docs/operations.md for those that may be set"
        return f"property {name!r} is not known; {hint}"
    if _is_secret(value):
        return None
    if (reason := _client_refuses(name, value)) is not None:
        return f"property {name!r}: {reason}"
    if name in BOUNDED:
        low, high, why = BOUNDED[name]
        if not low <= float(value) <= high:
            return f"property {name!r}: found {value}, expected {low} to {high}: {why}"
    return None


def _client_refuses(name: str, value: Property) -> str | None:
    """Return what the client itself says against a property, without a broker.

    The client reads properties in order, before it starts anything. The last one here has a name that it does not know:
    so no client is ever made, and a complaint about any other name is about the property that was asked for.
    """
    try:
        Producer({name: value, _UNKNOWN: ""})
    except KafkaException as error:
        reason = error.args[0].str().strip()
        return None if f'"{_UNKNOWN}"' in reason else reason
    return None


def _contradictions(properties: Mapping[str, Property], group_protocol: str) -> Iterator[str]:
    """Compare properties that are bound to each other. Where one is not written, its default is compared."""
    if group_protocol == "consumer":
        for name in sorted(_OF_THE_BROKER & properties.keys()):
            yield f"property {name!r} is not to be set here: with group_protocol: consumer the broker sets it"
    for low, times, high in _RELATIONS:
        if low not in properties and high not in properties:
            continue
        least, most = (_number(properties.get(name, _DEFAULTS[name])) for name in (low, high))
        if least is not None and most is not None and least * times > most:
            bound = f"{times} times {low}" if times > 1 else low
            yield f"property {high!r}: found {most:g}, expected {bound} at least, which is {least * times:g}"


def _number(value: Property) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _is_secret(value: Property) -> bool:
    return isinstance(value, str) and value.startswith("${secret.")
