"""A watch from end to end: services of Consul become events on a real Kafka, by one host of two at a time.

The agent is the stand-in: it has to change, to lose its leader and to go back on demand.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omnibase_core.codec import decode
from tests.support.consul_standin import Agent
from tests.support.hosts import Machine
from tests.support.processes import until
from tests.support.traffic import Reader

NODE = (Path(__file__).parents[2] / "contracts" / "nodes" / "consul-projector.yaml").read_text()


def write(machine: Machine, agent: Agent) -> None:
    """Write a host that watches the services of the agent."""
    target = {"address": f"http://127.0.0.1:{agent.port}", "token": "${secret.CONSUL_TOKEN}"}
    watch = {"handler": "consul", "target": "consul", "call": "services", "node": "consul-projector"}
    machine.write(
        {"consul-projector": NODE},
        handlers={"consul": {"targets": {"consul": target}}},
        watches={"services": {**watch, "operation": "project", "interval_s": 0.05, "backoff_max_s": 0.5}},
    )


def projected(messages: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Read the events."""
    return [decode(message.value()).payload["services"] for message in messages]


def test_services_become_events_past_every_trouble(
    tmp_path: Path, kafka: Any, unique_slug: str, own_consul: Agent
) -> None:
    """Registered, without a leader, restored, and with the host that watches killed: the last event says what is."""
    stand_in = own_consul.scripted
    machine = Machine(
        tmp_path, tenant=unique_slug, broker=kafka.bootstrap_servers, ONEX_SECRET_CONSUL_TOKEN=own_consul.token
    )
    try:
        write(machine, own_consul)
        hosts = [machine.start() for _ in range(2)]
        for host in hosts:
            host.until_ready()
        with Reader(kafka.bootstrap_servers, [f"onex.app.test.{unique_slug}.evt.node.consul-projector.v1"]) as events:

            def shown(services: Mapping[str, Sequence[str]]) -> Callable[[Sequence[Any]], bool]:
                return lambda messages: bool(messages) and projected(messages)[-1] == services

            events.until(shown({"consul": []}), within_s=30)
            stand_in.do(lambda: stand_in.state.register({"Name": "web", "Tags": ["v1"]}))
            events.until(shown({"consul": [], "web": ["v1"]}), within_s=10)
            watching = [host for host in hosts if host.health()["watches"] == {"services": "watching"}]
            assert len(watching) == 1
            stand_in.leader = False
            stand_in.do(lambda: stand_in.state.register({"Name": "db"}))
            until(lambda: watching[0].health()["status"] == "degraded", within_s=10, what="the watch fails")
            stand_in.leader = True
            events.until(shown({"consul": [], "db": [], "web": ["v1"]}), within_s=10)
            watching[0].child.kill()
            stand_in.do(lambda: stand_in.state.deregister("web"))
            events.until(shown({"consul": [], "db": []}), within_s=40)
    finally:
        machine.close()
    assert own_consul.token not in "".join(path.read_text() for path in tmp_path.glob("*.log"))
