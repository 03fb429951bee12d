"""Real brokers, started and stopped by the tests: Apache Kafka, or a stand-in where Java or Maven cannot be had."""

import os
import re
import shutil
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.processes import Child, free_port, until

_HERE = Path(__file__).parent
_CACHE = _HERE.parent.parent / ".cache"
_POM = _HERE / "kafka" / "pom.xml"
_START_S = 90.0

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},RELAYED://127.0.0.1:{relayed},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},RELAYED://127.0.0.1:{relay},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,RELAYED:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
transaction.max.timeout.ms=600000
log.index.size.max.bytes=102400
"""

_MEMBER = """
process.roles={role}
node.id={number}
controller.quorum.voters=0@127.0.0.1:{controller}
listeners={listener}://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
transaction.max.timeout.ms=600000
log.index.size.max.bytes=102400
"""
"""A controller, which has number 0, or one of its brokers."""


class Broker(Protocol):
    """A broker that tests may stop and start again on the same port, with the same data."""

    name: str
    bootstrap_servers: str

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def stop(self) -> None:
        """End it in order."""

    def kill(self) -> None:
        """End it at once."""


class ApacheKafka:
    """Apache Kafka, one node in KRaft mode.

    Who comes to it at `relayed_port`, by way of a relay, is told to come to the relay's port ever after.
    """

    def __init__(self, folder: Path, *, relay_port: int = 9) -> None:
        """Get the jars if need be, and format the storage."""
        self.name = f"Apache Kafka {_kafka_version()} (KRaft, Java {_java_version()})"
        port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.relayed_port = free_port()
        self.relay_port = relay_port
        ports = {"port": port, "relayed": self.relayed_port, "relay": relay_port, "controller": free_port()}
        self._log = folder / "kafka.log"
        self._properties = folder / "server.properties"
        self._properties.write_text(_PROPERTIES.format(**ports, data=folder / "data"))
        self.class_path = f"{_jars()}/*"
        arguments = ["format", "--standalone", "-t", _cluster_id(), "-c", str(self._properties)]
        _run(["java", "-cp", self.class_path, "kafka.tools.StorageTool", *arguments])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["java", "-Xmx512m", "-cp", self.class_path, "kafka.Kafka", str(self._properties)]
        self._child = Child(command, self._log)
        _until_answers(self)

    @property
    def pid(self) -> int:
        """The number of its process, which a test may freeze by SIGSTOP."""
        return self._child.pid

    def stop(self) -> None:
        """End it in order."""
        self._child.stop()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()

    def limit_producer(self, client_id: str, *, bytes_per_s: int) -> None:
        """Set the quota of the producers of a client id."""
        where = ["--bootstrap-server", self.bootstrap_servers, "--entity-type", "clients", "--entity-name", client_id]
        what = ["--alter", "--add-config", f"producer_byte_rate={bytes_per_s}"]
        _run(["java", "-cp", self.class_path, "kafka.admin.ConfigCommand", *where, *what])


class ApacheCluster:
    """Three brokers of Apache Kafka and their controller. Of three replicas of a topic, two must be in sync."""

    def __init__(self, folder: Path) -> None:
        """Format the storage, and start them all."""
        self.name = f"Apache Kafka {_kafka_version()} (KRaft, three brokers, Java {_java_version()})"
        self._folder = folder
        ports = [free_port() for _ in range(4)]
        self.bootstrap_servers = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
        self.brokers = range(1, 4)
        cluster = _cluster_id()
        for number, port in enumerate(ports):
            role, listener = ("broker", "PLAINTEXT") if number else ("controller", "CONTROLLER")
            numbers = {"number": number, "port": port, "controller": ports[0]}
            text = _MEMBER.format(role=role, listener=listener, data=folder / f"data-{number}", **numbers)
            self._properties(number).write_text(text)
            if number:
                # All that the tool which formats would write for a broker, and some seconds quicker.
                (folder / f"data-{number}").mkdir()
                meta = folder / f"data-{number}" / "meta.properties"
                meta.write_text(f"version=1\ncluster.id={cluster}\nnode.id={number}\n")
        arguments = ["format", "-t", cluster, "-c", str(self._properties(0))]
        _run(["java", "-cp", f"{_jars()}/*", "kafka.tools.StorageTool", *arguments])
        self._children: dict[int, Child] = {}
        for number in range(4):
            self.start(number)
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        until(lambda: len(self._brokers_up()) == len(self.brokers), within_s=_START_S, what=self.name)

    def start(self, number: int) -> None:
        """Start a broker, and do not wait for it."""
        command = ["java", "-Xmx400m", "-cp", f"{_jars()}/*", "kafka.Kafka", str(self._properties(number))]
        self._children[number] = Child(command, self._folder / f"kafka-{number}.log")

    def stop(self, number: int) -> None:
        """End a broker in order: it gives its partitions to the others first."""
        self._children[number].stop(within_s=60)

    def kill(self, number: int) -> None:
        """End a broker at once."""
        self._children[number].kill()

    def close(self) -> None:
        """End them all."""
        for child in self._children.values():
            child.kill()

    def create_topics(self, names: Iterable[str], *, partitions: int = 4) -> None:
        """Create topics of three replicas."""
        for future in self._admin.create_topics([NewTopic(name, partitions, 3) for name in names]).values():
            future.result()

    def until_in_sync(self) -> None:
        """Wait until every partition has its three replicas in sync."""

        def in_sync() -> bool:
            topics = self._admin.list_topics(timeout=10).topics.values()
            return all(len(it.isrs) == len(it.replicas) for topic in topics for it in topic.partitions.values())

        until(lambda: len(self._brokers_up()) == len(self.brokers) and in_sync(), within_s=_START_S, what=self.name)

    def _brokers_up(self) -> Mapping[int, object]:
        try:
            brokers: Mapping[int, object] = self._admin.list_topics(timeout=1).brokers
        except KafkaException:
            return {}
        return brokers

    def _properties(self, number: int) -> Path:
        return self._folder / f"server-{number}.properties"


class StandIn:
    """noida-db, which speaks Kafka's protocol. Known of it: a group member that was killed is never evicted."""

    def __init__(self, folder: Path) -> None:
        """Find the binary: its launcher would stand between it and our signals."""
        package = find_spec("noida_db")
        assert package is not None
        assert package.origin is not None
        self._binary = str(Path(package.origin).with_name("noida-db"))
        self.name = f"a stand-in for Kafka: {_run([self._binary, 'version']).strip()}"
        self._port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        self._log = folder / "noida-db.log"
        self._data = folder / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--data-dir", str(self._data), "--only", "kafka", "--kafka-port", str(self._port)]
        self._child = Child([self._binary, "start", *options], self._log)
        _until_answers(self)

    def stop(self) -> None:
        """End it in order: it writes its data down."""
        self._child.stop(signal.SIGINT)

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()


def broker(folder: Path, *, relay_port: int = 9) -> Broker:
    """Return Apache Kafka; without Java or Maven the stand-in, unless REQUIRE_KAFKA=1 makes that a failure.

    The stand-in knows of no relay.
    """
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if not missing:
        return ApacheKafka(folder, relay_port=relay_port)
    if os.environ.get("REQUIRE_KAFKA") == "1":
        raise AssertionError(f"REQUIRE_KAFKA=1, and there is no {' and no '.join(missing)} to run Apache Kafka with")
    return StandIn(folder)


def _jars() -> Path:
    """Return the folder with Kafka's jars; Maven fetches them once, 43 MB."""
    folder = _CACHE / f"kafka-{_kafka_version()}"
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
        _run(["mvn", "-q", "-B", "-f", str(_POM), *goal])
        partial.rename(folder)
    return folder


def _cluster_id() -> str:
    first, *rest = uuid.uuid4().bytes
    # An id that begins with a hyphen would be taken for an option.
    return urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def _kafka_version() -> str:
    match = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)", _POM.read_text())
    assert match is not None
    return match[1]


def _java_version() -> str:
    return re.findall(r'version "([^"]+)"', _run(["java", "-version"]))[0]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + (done.stderr if command[0] == "java" else "")


def _until_answers(broker: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})

    def answers() -> bool:
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except Exception:  # noqa: BLE001 - not there yet, in whatever way
            return False

    until(answers, within_s=_START_S, what=broker.name)
