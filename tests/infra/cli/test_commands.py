"""The command line without a broker: what it prints, where, and with which exit status."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from omnibase_infra.cli import main
from tests.support.commands import host, node

ROOT = Path(__file__).parents[3]
VERBS = sorted(main.list_commands(click.Context(main)))


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let every test have a state folder of its own, and work in the repository."""
    monkeypatch.setenv("RUNTIME_HOST_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(ROOT)


def call(*arguments: str, stdin: str | bytes | None = None) -> Result:
    """Run a verb in a terminal of 80 columns."""
    return CliRunner().invoke(main, arguments, input=stdin, terminal_width=80)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_an_example_and_fits_the_terminal(verb: str) -> None:
    """Nobody has to read the source to know how to begin."""
    done = call(verb, "--help")
    assert done.exit_code == 0
    assert f"  Example:\n    runtime-host {verb}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_verb_that_is_misspelt_is_guessed() -> None:
    """The nearest is named, with the status of wrong usage."""
    done = call("chck", "contracts")
    assert done.exit_code == 2
    assert "No such command 'chck'. Did you mean 'check'?" in done.stderr


def test_a_host_does_not_hold_what_other_verbs_need() -> None:
    """It runs for months: what draws, writes and tests is imported by its verb, a handler where a node asks for it."""
    code = """
import sys, omnibase_infra.cli.run, omnibase_infra.host.process as host
found = host.handler_factories()
assert "http" in found and found["local"]
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = done.stdout.split()
    assert "omnibase_infra.host.process" in loaded
    purity = ("omnibase_infra.functions.purity.reader", "omnibase_infra.functions.purity.guard")
    handlers = tuple(f"omnibase_infra.handlers.{it}" for it in ("consul", "db", "http", "llm", "vault"))
    spared = (*handlers, "omnibase_infra.authoring", "omnibase_infra.demo", "omnibase_core.contract_tests", *purity)
    assert [it for it in loaded if it.startswith((*spared, "httpx", "psycopg", "xml", "urllib.request"))] == []


def test_the_verbs_are_those_of_the_documentation() -> None:
    """A verb that nobody tells of is not found."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert all(f"`{verb}`" in changelog for verb in VERBS)


def test_the_examples_have_no_problem() -> None:
    """They are the first contracts that a user reads."""
    done = call("check", "contracts")
    nodes = [it for it in (ROOT / "contracts/nodes").glob("*.yaml") if not it.name.endswith(".test.yaml")]
    hosts = list((ROOT / "contracts/hosts").glob("*.yaml"))
    assert done.exit_code == 0
    assert re.fullmatch(
        rf"nodes: {len(nodes)}, hosts: {len(hosts)}, handlers: 8, tests: \d\d+, problems: 0\n", done.stdout
    )


def test_check_prints_every_problem_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problems on stdout, in a form that editors link; how many there are on stderr."""
    monkeypatch.chdir(tmp_path)
    Path("faulty.yaml").write_text(node("faulty", handler="locale").replace("1.0.0", '"1"').lstrip())
    done = call("check", "faulty.yaml")
    assert done.exit_code == 1
    heads = [line for line in done.stdout.splitlines() if line.startswith("faulty.yaml:")]
    assert [head.split(" ")[0] for head in heads] == ["faulty.yaml:4:10:", "faulty.yaml:6:10:"]
    assert done.stderr == "\n2 problems in 1 file; more: runtime-host explain CODE\n"


def test_what_cannot_be_read_hides_no_other_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads nowhere, and a faulty file beside it; in several arguments too."""
    monkeypatch.chdir(tmp_path)
    for folder in map(Path, ("a", "b")):
        folder.mkdir()
        (folder / "gone.yaml").symlink_to("nowhere.yaml")
        (folder / "empty.yaml").touch()
    told = [line.split(" ")[0] for line in call("check", "a", "b").stdout.splitlines() if ".yaml:" in line]
    assert told == ["a/empty.yaml:1:1:", "a/gone.yaml:1:1:", "b/empty.yaml:1:1:", "b/gone.yaml:1:1:"]


def test_a_host_with_problems_is_not_started(tmp_path: Path) -> None:
    """The problems are told as `check` tells them, on stderr."""
    host = tmp_path / "host.yaml"
    host.write_text((ROOT / "contracts/hosts/local-kafka.yaml").read_text().replace("echo, ", "ecko, "))
    done = call("run", str(host), "--contracts", "contracts")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no node 'ecko'; did you mean 'echo'?" in " ".join(done.stderr.split())
    assert "nodes: [ecko, score-lead," in done.stderr
    assert "\nNothing was started: " in done.stderr


def test_check_of_a_host_reads_its_nodes_too() -> None:
    """The folder of a host's nodes is known from where its file is."""
    assert re.fullmatch(r"nodes: [1-9]\d*, hosts: 1, problems: 0\n", call("check", "contracts/hosts/demo.yaml").stdout)


def test_check_of_a_host_reads_the_functions_of_its_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock is told by its place in the Python file, and `run` starts nothing; a node alone imports nothing."""
    (tmp_path / "lottery.py").write_text("import random\n\n\ndef draw(p):\n    return {'n': random.random()}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    operations = "{draw: {input: {type: object}, logic: 'lottery:draw'}}"
    drawing = node("draw", operations=operations).replace("handler: scripted\n", "").replace("effect", "compute")
    (tmp_path / "draw.yaml").write_text(drawing)
    (tmp_path / "host.yaml").write_text(f"{host('draw')}logic_packages: [lottery]\n")
    done = call("check", str(tmp_path))
    assert done.exit_code == 1
    assert " ".join(done.stdout.split()).startswith(f"{tmp_path / 'lottery.py'}:5:18: random.random is ")
    assert "    5 |     return {'n': random.random()}\n      |                  ^\n" in done.stdout
    assert "random.Random(seed)" in done.stdout
    assert call("run", str(tmp_path / "host.yaml")).exit_code == 1
    alone = call("check", str(tmp_path / "draw.yaml"))
    assert alone.exit_code == 0
    assert "functions that were not checked, since no host here lists their nodes: those of draw\n" in alone.stdout


def test_a_file_named_twice_is_read_once() -> None:
    """A folder and a file in it are no two nodes of one name."""
    assert call("check", "contracts", "contracts/nodes/echo.yaml").exit_code == 0


def test_topics_prints_names_for_other_programs() -> None:
    """Names alone on stdout."""
    done = call("topics", "contracts/hosts/local-kafka.yaml")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 2 * 5 + 2
    assert all(line.startswith("onex.") for line in done.stdout.splitlines())
    assert done.stderr == "consumer group: onex.dev.acme.pure\n"


@pytest.mark.parametrize("verb", ["run", "topics"])
def test_a_node_contract_is_no_host(verb: str) -> None:
    """What was given is named, and what was expected."""
    done = call(verb, "contracts/nodes/echo.yaml")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: not_a_host: contracts/nodes/echo.yaml is a node contract; expected a host")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--payload", "{"], None, "--payload: "),
        (["--payload", "[1]"], None, "--payload: found list, expected an object"),
        (["--payload", '{"a": NaN}'], None, "--payload: found a number that is infinite or none (NaN)"),
        (["--payload", '{"a": [1e999]}'], None, "--payload: found a number that is infinite"),
        (["--payload", '{"a": "\\ud800"}'], None, "half of a character"),
        (["--payload", "@/nowhere.json"], None, "No such file"),
        (["--payload", "-"], b"\xff", "--payload: "),
        (["--timeout", "0"], None, "'--timeout'"),
        (["--host", "nowhere.yaml"], None, "'--host'"),
    ],
)
def test_wrong_usage_of_send_is_told(arguments: list[str], stdin: bytes | None, said: str) -> None:
    """Status 2, before anything is connected."""
    done = call("send", "echo", *arguments, stdin=stdin)
    assert done.exit_code == 2
    assert said in done.stderr


def test_send_without_a_running_host_says_what_to_do() -> None:
    """The next step is in the message."""
    done = call("send", "echo")
    assert done.exit_code == 1
    assert "start one with `runtime-host run HOST.yaml`" in done.stderr


def test_send_to_a_node_that_the_host_has_not_names_the_nearest() -> None:
    """Nothing is sent to a topic that nobody reads."""
    done = call("send", "ecko", "--host", "contracts/hosts/local-kafka.yaml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "host 'local-kafka' has no node 'ecko'; did you mean 'echo'?" in done.stderr


def test_send_without_a_broker_ends_in_time() -> None:
    """The reason names the address."""
    options = ["--host", "contracts/hosts/local-kafka.yaml", "--broker", "127.0.0.1:1", "--timeout", "1"]
    done = call("send", "echo", *options)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: command_not_sent: Kafka at 127.0.0.1:1: ")
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize("verb", [("run", "contracts/hosts/local-kafka.yaml"), ("send", "echo"), ("dlq", "stats")])
def test_what_is_no_address_is_no_broker(verb: tuple[str, ...]) -> None:
    """It is wrong usage, told before anything is asked."""
    there = [] if verb[0] == "run" else ["--host", "contracts/hosts/local-kafka.yaml"]
    done = call(*verb, *there, "--broker", "kafka:9092;other")
    assert done.exit_code == 2
    assert "--broker: found 'kafka:9092;other', expected host:port" in " ".join(done.stderr.split())


def test_a_secret_that_is_missing_is_named(tmp_path: Path) -> None:
    """What to set is in the message; no value is."""
    text = (ROOT / "contracts/hosts/local-kafka.yaml").read_text()
    host = tmp_path / "secret.yaml"
    host.write_text(text.replace("  partitions: 4\n", '  client: {sasl.password: "${secret.KAFKA_PASSWORD}"}\n'))
    done = call("run", str(host), "--contracts", "contracts")
    assert done.exit_code == 1
    assert "ONEX_SECRET_KAFKA_PASSWORD" in done.stderr


def test_a_property_of_the_client_that_breaks_delivery_is_refused_by_check(tmp_path: Path) -> None:
    """With its place and its reason, and the nearest one for a slip: nothing of it waits for a broker."""
    text = (ROOT / "contracts/hosts/local-kafka.yaml").read_text()
    client = "{delivery.report.only.error: true, sesion.timeout.ms: 6000}"
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    host = tmp_path / "contracts" / "hosts" / "local-kafka.yaml"
    host.write_text(text.replace("  partitions: 4\n", f"  client: {client}\n"))
    done = call("check", str(host))
    assert done.exit_code == 1
    said = " ".join((done.stdout + done.stderr).split())
    assert "without them nothing would ever be committed" in said
    assert "did you mean 'session.timeout.ms'?" in said


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ('{"a":' * 1000 + "1" + "}" * 1000, "nested too deeply"),
        ('{"a":' + "[" * 5000 + "]" * 5000 + "}", "nested too deeply"),
        ('{"a":' + "[" * 500 + "]" * 500 + "}", "nested more than 64 deep; a host rejects deeper ones"),
        ('{"a":' + "[" * 64 + "]" * 64 + "}", "nested more than 64 deep; a host rejects deeper ones"),
    ],
    ids=["objects", "lists", "readable", "one more than allowed"],
)
def test_a_payload_that_is_nested_too_deep_is_wrong_usage(payload: str, problem: str) -> None:
    """It is told before anything is sent, and is no traceback."""
    done = call("send", "echo", "--host", "contracts/hosts/local-kafka.yaml", "--payload", payload)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert problem in " ".join(done.stderr.split())


def test_a_payload_as_deep_as_allowed_is_sent() -> None:
    """As far as the broker lets it: nobody is there."""
    payload = '{"a":' + "[" * 63 + "]" * 63 + "}"
    options = ["--host", "contracts/hosts/local-kafka.yaml", "--broker", "127.0.0.1:1", "--timeout", "0.5"]
    done = call("send", "echo", *options, "--payload", payload)
    assert done.stderr.startswith("error: command_not_sent: ")


@pytest.mark.parametrize("option", ["--operation", "--key"])
def test_bytes_on_the_command_line_that_are_not_utf_8_end_in_no_traceback(option: str) -> None:
    """An operation has no form in JSON then; a key is sent as it is."""
    options = ["--host", "contracts/hosts/local-kafka.yaml", "--broker", "127.0.0.1:1", "--timeout", "0.5"]
    done = call("send", "echo", *options, option, "\udcff")
    assert type(done.exception) is SystemExit
    assert done.exit_code == (2 if option == "--operation" else 1)
