"""docs/client.md, done by its reader: each program of the page, against the demo's echo on a real broker."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import ApacheKafka, Broker
from tests.support.hosts import Machine, echo_nodes

_PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
_PROGRAM = re.compile(r"^```(python|sh|java)\n(.*?)^```\n\n```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_PROGRAMS = {language: (program, printed) for language, program, printed in _PROGRAM.findall(_PAGE)}


@pytest.fixture
def serving(tmp_path: Path, kafka: Broker) -> Iterator[Machine]:
    """Run the page's host: the node echo in the environment dev and the tenant demo."""
    machine = Machine(tmp_path, tenant="demo", broker=kafka.bootstrap_servers)
    machine.write(echo_nodes(["echo"]), environment="dev")
    machine.start().until_ready()
    yield machine
    machine.close()


def _command(language: str, program: str, folder: Path, kafka: Broker) -> list[str]:
    match language:
        case "python":
            return [sys.executable, "-c", program]
        case "sh":
            if shutil.which("kcat") is None:
                assert "REQUIRE_KAFKA" not in os.environ, "kcat is not installed"
                pytest.skip("kcat is not installed")
            return ["sh", "-c", program]
    if not isinstance(kafka, ApacheKafka):
        pytest.skip("the Java client comes with Apache Kafka")
    modules = subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=True).stdout
    if "jdk.compiler" not in modules:
        pytest.skip("this Java runs no source files: it has no compiler")
    (folder / "CallEcho.java").write_text(program)
    return ["java", "-cp", kafka.class_path, str(folder / "CallEcho.java")]


@pytest.mark.parametrize("language", ["python", "sh", "java"])
def test_the_page_does_what_it_says(language: str, serving: Machine, kafka: Broker, tmp_path: Path) -> None:
    """Each program prints what the page shows."""
    program, printed = _PROGRAMS[language]
    command = _command(language, program, tmp_path, kafka)
    environment = {**os.environ, "BROKER": serving.broker}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout == printed, done.stderr
