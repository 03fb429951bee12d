"""Writes as many contracts with tests as are asked for, and measures `check` and `test` on them.

python -m tests.benchmarks.cases --contracts 1000
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

CONTRACT = """\
contract: node/v1
name: look-up-{number}
kind: effect
version: 1.0.0
description: Looks up a thing of kind {number}.
handler: http
target: things
operations:
  look_up:
    input:
      type: object
      required: [id]
      properties: {{id: {{type: integer, minimum: 1}}}}
      additionalProperties: false
    request:
      path: [things-{number}, "${{ payload.id }}"]
      expect: [200, 404]
    errors:
      - when: "${{ result.status == 404 }}"
        code: no_such_thing
    answer: {{thing: "${{ result.json.thing }}", label: "${{ 'thing ' + string(payload.id) }}"}}
"""

TESTS = """\
contract: test/v1
node: look-up-{number}
cases:
  - name: finds a thing at the second attempt
    given: {{payload: {{id: {number}}}}}
    handler:
      - error: {{code: unreachable, retryable: true}}
      - request: {{path: [things-{number}, "{number}"]}}
        result: {{status: 200, json: {{thing: {{number: {number}}}}}}}
    expect:
      answer: {{thing: {{number: {number}}}, label: thing {number}}}
  - name: a thing that is not there
    given: {{payload: {{id: {number}}}}}
    handler: [{{result: {{status: 404}}}}]
    expect: {{error: no_such_thing}}
"""


def write_contracts(folder: Path, count: int) -> None:
    """Write contracts that each have two cases."""
    for number in range(1, count + 1):
        (folder / f"look-up-{number}.yaml").write_text(CONTRACT.format(number=number))
        (folder / f"look-up-{number}.test.yaml").write_text(TESTS.format(number=number))


def main() -> None:
    """Measure both verbs, each as a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contracts", type=int, default=1000)
    count = parser.parse_args().contracts
    with TemporaryDirectory() as folder:
        write_contracts(Path(folder), count)
        for verb in ("check", "test"):
            began_s = time.perf_counter()
            done = subprocess.run(
                [str(Path(sys.executable).parent / "runtime-host"), verb, folder],
                capture_output=True,
                text=True,
                check=True,
            )
            print(f"{verb:<6} {time.perf_counter() - began_s:6.2f} s  {done.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main()
