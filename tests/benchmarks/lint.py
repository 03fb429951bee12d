"""How long `runtime-host check` takes over many contracts: `python -m tests.benchmarks.lint [NODES]`.

Every third node calls an http service, every third runs a pure function, and every third is written in expressions.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROUNDS = 5

_HEAD = """\
contract: node/v1
name: {name}
kind: {kind}
version: 1.{number}.0
description: Node {number} of a large host.
"""

_EFFECT = """\
handler: http
target: orders
operations:
  fetch:
    input:
      type: object
      required: [order_id]
      properties:
        order_id: {{type: string, minLength: 1, maxLength: 100}}
        lines: {{type: array, items: {{type: object, properties: {{sku: {{type: string}}, count: {{type: integer}}}}}}}}
      additionalProperties: false
    request:
      path: [orders, "${{ payload.order_id }}", "{number}"]
      query: {{count: "${{ has(payload.lines) ? string(size(payload.lines)) : '0' }}"}}
      expect: [200, 404]
    errors:
      - when: "${{ result.status == 404 }}"
        code: no_such_order
        message: there is no such order
    answer: {{order: "${{ result.json }}", number: {number}}}
delivery: {{timeout_s: 5, max_in_flight: 32, retry: {{attempts: 4, max_s: 10}}}}
"""

_FUNCTION = """\
operations:
  score:
    input:
      type: object
      required: [company_size, visits]
      properties:
        company_size: {{type: integer, minimum: 1}}
        visits: {{type: integer, minimum: 0, maximum: {number}}}
      additionalProperties: false
    logic: omnibase_infra.demo.scoring:score_lead
    answer: {{score: "${{ result.score }}", grade: "${{ result.grade }}"}}
delivery: {{budget_s: 0.5}}
"""

_EXPRESSIONS = """\
operations:
  price:
    input:
      type: object
      required: [quantity, unit_cents]
      properties:
        quantity: {{type: integer, minimum: 0, maximum: 1000000}}
        unit_cents: {{type: integer, minimum: 0, maximum: 1000000}}
      additionalProperties: false
    errors:
      - when: "${{ payload.quantity == {number} }}"
        code: odd_order
    answer:
      discounted: "${{ payload.quantity >= {number} }}"
      total_cents: "${{ payload.quantity * payload.unit_cents * (payload.quantity >= {number} ? 90 : 100) / 100 }}"
"""

_HOST = """\
contract: host/v1
name: large
version: 1.0.0
description: A host of many nodes.
environment: dev
tenant: acme
pool: large
nodes:
{nodes}
handlers:
  http:
    targets:
      orders: {{base_url: "http://127.0.0.1:8085"}}
logic_packages: [omnibase_infra.demo]
bus: {{bootstrap_servers: "localhost:9092"}}
"""


def write_contracts(folder: Path, nodes: int) -> None:
    """Write so many node contracts, and the host that has them all."""
    (folder / "nodes").mkdir()
    (folder / "hosts").mkdir()
    names = [f"node-{number}" for number in range(nodes)]
    for number, name in enumerate(names):
        kind, rest = (("effect", _EFFECT), ("compute", _FUNCTION), ("compute", _EXPRESSIONS))[number % 3]
        text = (_HEAD + rest).format(name=name, kind=kind, number=number)
        (folder / "nodes" / f"{name}.yaml").write_text(text)
    (folder / "hosts" / "large.yaml").write_text(_HOST.format(nodes="\n".join(f"  - {name}" for name in names)))


def checked_in_s(folder: Path) -> float:
    """Check the folder in a process of its own, and give the seconds from its start to its end."""
    started = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name("runtime-host"), "check", folder], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the best and the worst of some rounds."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        write_contracts(Path(name), nodes)
        rounds = sorted(checked_in_s(Path(name)) for _ in range(_ROUNDS))
    print(f"check of {nodes} nodes and a host: {rounds[0]:.2f} s, at worst {rounds[-1]:.2f} s of {_ROUNDS} rounds")


if __name__ == "__main__":
    main()
