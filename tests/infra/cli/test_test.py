"""`runtime-host test`: what it prints, what it writes for CI, and with which exit status."""

import re
import shutil
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from omnibase_infra.cli import main
from tests.support.commands import node
from tests.support.processes import Child

ROOT = Path(__file__).parents[3]
GREETING = "contracts/nodes/fetch-greeting"


@pytest.fixture(autouse=True)
def _in_a_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a copy of the examples, which may be broken."""
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    """Run the verb in a terminal of 80 columns."""
    return CliRunner().invoke(main, ["test", *arguments], terminal_width=80)


def change(path: str, old: str, new: str) -> None:
    """Change one place of a file."""
    text = Path(path).read_text()
    assert text.count(old) == 1
    Path(path).write_text(text.replace(old, new))


def parsed(path: str) -> ElementTree.Element:
    """Read what was written for CI."""
    return ElementTree.parse(path).getroot()  # noqa: S314 - it is our own


def lines(done: Result) -> list[str]:
    """Return what was printed, but for the time that it took."""
    return [line.partition(", in ")[0] for line in done.stdout.splitlines()]


def test_the_examples_pass_and_are_shown_wholly() -> None:
    """A line a file, a table of the nodes, a line for all."""
    nodes = sorted(it.name.removesuffix(".test.yaml") for it in Path("contracts/nodes").glob("*.test.yaml"))
    done = call("contracts", "--fail-under", "100")
    assert done.exit_code == 0, done.output
    files, table, [in_all] = (part.splitlines() for part in "\n".join(lines(done)).split("\n\n"))
    assert "contracts/nodes/convert-temperature.test.yaml           6 cases  ok" in files
    assert [re.fullmatch(r"contracts/nodes/(.*)\.test\.yaml +\d+ cases  ok", it)[1] for it in files] == nodes  # type: ignore[index]
    assert table[0] == "node                              operations     rules    errors    shown"
    assert "convert-temperature                      2/2       0/0       2/2    100 %" in table
    assert [it.split()[0] for it in table[1:-1]] == nodes
    assert table[-1] == "in all                                                              100 %"
    cases = sum(int(it.split()[1]) for it in files)
    assert in_all == f"{cases} cases in {len(nodes)} files: {cases} passed, 0 failed"


def test_a_contract_that_is_changed_fails_and_the_difference_says_how() -> None:
    """The place of the case, the line of the expectation, what was expected and what came."""
    change(f"{GREETING}.yaml", 'path: [greetings, "${ payload.name }"]', "path: [greetings, Eve]")
    change(f"{GREETING}.yaml", "code: no_such_language", "code: unknown_language")
    done = call(f"{GREETING}.test.yaml")
    assert done.exit_code == 1
    assert lines(done) == [
        "contracts/nodes/fetch-greeting.test.yaml                6 cases  2 failed",
        "",
        "  contracts/nodes/fetch-greeting.test.yaml:4: greets in the language that was asked for",
        "    line 7: call 1 of the handler has another request",
        "          path:",
        "            - greetings",
        "        -   - Ada",
        "        +   - Eve",
        "          query: {...}",
        "",
        "  contracts/nodes/fetch-greeting.test.yaml:20: a language that the service does not speak",
        "    line 25: the error differs",
        "        - code: no_such_language",
        "        + code: unknown_language",
        "          message: the greetings service does not speak this language",
        "          retryable: false",
        "",
        "6 cases in 1 file: 4 passed, 2 failed",
    ]


def test_the_rules_of_the_http_handler_hold_for_what_is_played() -> None:
    """A status that the contract does not expect is an error here as it is in production, and so is a late POST."""
    change(f"{GREETING}.yaml", "      expect: [200, 404]\n", "")
    change(f"{GREETING}.yaml", "    request:\n", "    request:\n      method: POST\n")
    Path(f"{GREETING}.test.yaml").write_text(
        """\
contract: test/v1
node: fetch-greeting
cases:
  - name: a status that is an error
    given: {payload: {name: Ada}}
    handler: [{result: {status: 500, text: no idea}}]
    expect:
      error: {code: http_status, retryable: false, details: {status: 500, body: no idea}}
      dead_letter: true
  - name: a status that says when
    given: {payload: {name: Ada}}
    handler:
      - result: {status: 429, headers: {retry-after: "8"}}
      - result: {status: 200, json: {greeting: hi}}
    expect: {answer: {greeting: hi}, took_s: 8}
  - name: nobody knows whether a POST that hangs was served
    given: {payload: {name: Ada}}
    handler: [{hangs: true}]
    expect: {error: {code: timeout, retryable: false}, dead_letter: true, took_s: 5}
"""
    )
    done = call(f"{GREETING}.test.yaml")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("page", ["docs/testing.md", "README.md"])
def test_the_tests_in_the_documentation_pass(page: str) -> None:
    """What a reader copies works."""
    [text] = re.findall(r"```yaml\n(contract: test/v1\n.*?)```", (ROOT / page).read_text(), re.DOTALL)
    Path(f"{GREETING}.test.yaml").write_text(text)
    done = call(f"{GREETING}.test.yaml")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("path", [f"{GREETING}.yaml", f"{GREETING}.test.yaml"])
def test_a_contract_or_a_test_stands_for_the_tests_of_the_node(path: str) -> None:
    """Other nodes, whole or faulty, are not looked at."""
    change("contracts/nodes/echo.yaml", "kind: effect", "kind: efect")
    done = call(path)
    assert done.exit_code == 0, done.output
    assert lines(done)[-1] == "6 cases in 1 file: 6 passed, 0 failed"


def test_a_faulty_file_is_told_and_nothing_is_run() -> None:
    """Status 2: whoever looks at the status knows that nothing was tested."""
    change(f"{GREETING}.test.yaml", "node: fetch-greeting", "node: fetch-greting")
    done = call("contracts", "--junit", "out.xml")
    assert done.exit_code == 2
    assert done.stdout.splitlines() == [
        f"{GREETING}.test.yaml:2:7: there is no node 'fetch-greting';",
        "    did you mean 'fetch-greeting'? [unknown-node]",
        "    2 | node: fetch-greting",
        "      |       ^^^^^^^^^^^^^",
    ]
    assert done.stderr == "\nNothing was run: 1 problem in 1 file; more: runtime-host explain unknown-node\n"
    root = parsed("out.xml")
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "1", "0")
    error = root.find("testsuite/testcase/error")
    assert error is not None
    assert error.get("message") == "there is no node 'fetch-greting'; did you mean 'fetch-greeting'?"


def test_a_folder_without_tests_is_wrong_usage() -> None:
    """A green run of nothing would tell a lie."""
    done = call("contracts/hosts")
    assert done.exit_code == 2
    assert "no tests in contracts/hosts; expected files named NAME.test.yaml" in done.stderr


def test_check_checks_tests_too() -> None:
    """With the contracts of their folder, or one by one."""
    change(f"{GREETING}.test.yaml", "name: Ada, language: tlh", "name: 7, language: tlh")
    change(f"{GREETING}.test.yaml", "expect: {error: payload_invalid}", "expect: {error: boring}")
    for path in ("contracts", f"{GREETING}.test.yaml"):
        done = CliRunner().invoke(main, ["check", path])
        assert done.exit_code == 1
        assert f"{GREETING}.test.yaml:54:22: " in done.stdout
        assert "if intended, expect error: payload_invalid" in " ".join(done.stdout.split())


def test_a_faulty_host_is_no_hindrance_to_the_tests_of_nodes() -> None:
    """Of hosts, only what they allow is asked."""
    Path("contracts/hosts/demo.yaml").write_text("contract: host/v1\nnodes: 7\nlogic_packages: all\n")
    done = call("contracts")
    assert done.exit_code == 0, done.output


def test_a_file_for_ci_that_cannot_be_written_is_told() -> None:
    """The folder is made; a file in its place is not removed."""
    assert call("contracts", "--junit", "reports/deep/out.xml").exit_code == 0
    assert parsed("reports/deep/out.xml").get("failures") == "0"
    done = call("contracts", "--junit", "reports/deep/out.xml/out.xml")
    assert done.exit_code == 1
    assert "Could not open file 'reports/deep/out.xml/out.xml'" in done.stderr


def test_a_host_starts_whatever_its_tests_are() -> None:
    """Tests are for their reader alone."""
    Path("contracts/nodes/echo.test.yaml").write_text("nonsense")
    assert CliRunner().invoke(main, ["check", "contracts/hosts/demo.yaml"]).exit_code == 0


def test_junit_has_a_suite_a_file_and_a_case_a_case() -> None:
    """The structure that CI servers read, with counts that agree; what XML cannot hold is replaced."""
    change(f"{GREETING}.test.yaml", "name: greets in English", 'name: "\\x01greets <in> English" #')
    change(f"{GREETING}.test.yaml", '{greeting: "Bonjour, Ada"}}\n    expect:', '{greeting: "Bonjour"}}\n    expect:')
    assert call("contracts", "--junit", "out.xml").exit_code == 1
    root = parsed("out.xml")
    suites = root.findall("testsuite")
    assert root.tag == "testsuites"
    assert [suite.get("name") for suite in suites] == sorted(map(str, Path("contracts/nodes").glob("*.test.yaml")))
    assert root.attrib.keys() == {"name", "tests", "failures", "errors", "skipped", "time"}
    for element in (root, *suites):
        cases = list(element.iter("testcase"))
        assert int(element.attrib["tests"]) == len(cases)
        assert int(element.attrib["failures"]) == sum(case.find("failure") is not None for case in cases)
        rounded_s = 0.001 * (1 + len(cases))
        assert float(element.attrib["time"]) == pytest.approx(
            sum(float(it.attrib["time"]) for it in cases), abs=rounded_s
        )
    [suite] = [it for it in suites if it.get("name") == f"{GREETING}.test.yaml"]
    case = suite[0]
    assert case.attrib.keys() == {"classname", "name", "file", "line", "time"}
    assert (case.get("classname"), case.get("line")) == ("fetch-greeting", "4")
    [failure] = case
    assert (failure.tag, failure.get("message"), failure.get("type")) == ("failure", "the answer differs", "failure")
    assert failure.text == 'line 10: the answer differs\n    - greeting: "Bonjour, Ada"\n    + greeting: Bonjour'
    assert suite[1].get("name") == "?greets <in> English"


def test_too_little_coverage_fails_and_says_what_is_not_shown() -> None:
    """A node without any test counts too."""
    Path("contracts/nodes/echo.test.yaml").unlink()
    change(f"{GREETING}.test.yaml", "result: {status: 404}", "result: {status: 200, json: {greeting: hi}}")
    done = call("contracts", "--fail-under", "99.5")
    assert done.exit_code == 1
    shown = lines(done)
    table = shown[shown.index("echo                                     0/1       0/0       0/0      0 %") :]
    assert table[:5] == [
        "echo                                     0/1       0/0       0/0      0 %",
        "  not shown: echo: a result",
        "fetch-greeting                           1/1       1/2       2/3     66 %",
        "  not shown: greet: rule 1, no_such_language, holds",
        "  not shown: greet: no_such_language",
    ]
    assert re.search(r"coverage: [5-9]\d\.\d %, expected 99\.5 % or more", done.stderr)


def test_a_function_runs_where_a_host_or_its_tests_allow_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A contract alone does not decide what is imported."""
    shutil.rmtree("contracts/hosts")
    done = call("contracts/nodes/mask-email.yaml")
    assert done.exit_code == 2
    assert " ".join(done.stdout.split()).startswith(
        "contracts/nodes/mask-email.test.yaml:2:7: node 'mask-email' runs omnibase_infra.demo.scoring:mask_email; "
        "add its package to logic_packages, here or in the contract of a host that lists the node [package-not-allowed]"
    )
    path = "contracts/nodes/mask-email.test.yaml"
    change(path, "node: mask-email\n", "node: mask-email\nlogic_packages: [omnibase_infra.demo]\n")
    assert call("contracts/nodes/mask-email.yaml").exit_code == 0
    change("contracts/nodes/mask-email.yaml", "scoring:mask_email", "scoring:mask_mail")
    done = call("contracts/nodes/mask-email.yaml")
    assert done.exit_code == 2
    told = " ".join(done.stdout.split())
    assert "2:7: module 'omnibase_infra.demo.scoring' has no function 'mask_mail'" in told
    monkeypatch.chdir(tmp_path / "contracts" / "nodes")
    assert call("mask-email.test.yaml").exit_code == 2


def test_a_host_is_found_from_within_the_folder_of_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever the author stands."""
    monkeypatch.chdir(tmp_path / "contracts" / "nodes")
    for path in (".", "mask-email.test.yaml", "mask-email.yaml"):
        done = call(path)
        assert done.exit_code == 0, done.output


def test_a_function_that_never_ends_is_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in production: its budget is over, and the next case goes on."""
    (tmp_path / "spinning_logic.py").write_text("def spin(payload):\n    while payload:\n        pass\n    return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = Path("contracts/nodes/score-lead.yaml").read_text().partition("operations:")[0]
    Path("own").mkdir()
    Path("own/spin.yaml").write_text(f"{node}operations:\n  spin: {{input: {{}}, logic: spinning_logic:spin}}\n")
    Path("own/spin.test.yaml").write_text(
        """\
contract: test/v1
node: score-lead
logic_packages: [spinning_logic]
cases:
  - {name: spins, given: {payload: {on: 1}}, expect: {error: function_interrupted, dead_letter: true, breaker: open}}
  - {name: rests, given: {payload: {}}, expect: {answer: {}}}
""".replace("{on: 1}", '{"on": 1}')
    )
    done = call("own/spin.test.yaml")
    assert done.exit_code == 0, done.output


def test_an_isolated_function_runs_in_the_process_of_the_test() -> None:
    """Where it runs changes nothing of what it gives; a worker lives in real time."""
    with Path("contracts/nodes/mask-email.yaml").open("a") as contract:
        contract.write("delivery: {isolation: process}\n")
    done = call("contracts/nodes/mask-email.yaml")
    assert done.exit_code == 0, done.output


def test_watching_runs_again_after_a_change_of_a_test_a_contract_or_a_function(tmp_path: Path) -> None:
    """Modules are imported anew; Ctrl-C ends it."""
    (tmp_path / "own_logic").mkdir()
    (tmp_path / "own_logic" / "__init__.py").touch()
    logic = tmp_path / "own_logic" / "grading.py"
    logic.write_text("def grade(payload):\n    return {'grade': 'A'}\n")
    own = tmp_path / "own"
    own.mkdir()
    node = Path("contracts/nodes/score-lead.yaml").read_text().partition("operations:")[0]
    contract, tests = own / "grade.yaml", own / "grade.test.yaml"
    contract.write_text(f"{node}operations:\n  grade: {{input: {{}}, logic: own_logic.grading:grade}}\n")
    tests.write_text(
        "contract: test/v1\nnode: score-lead\nlogic_packages: [own_logic]\ncases:\n"
        "  - {name: it, given: {}, expect: {answer: {grade: A}}}\n"
    )
    program = str(Path(sys.executable).parent / "runtime-host")
    log = tmp_path / "log"
    child = Child([program, "test", "--watch", "own"], log, environment={"PYTHONPATH": str(tmp_path)})
    try:
        child.until_says("1 passed, 0 failed", within_s=30)
        child.until_says("waiting for a change", within_s=30)
        logic.write_text("def grade(payload):\n    return {'grade': 'Bad'}\n")
        child.until_says("+ grade: Bad", within_s=30)
        child.until_says("0 passed, 1 failed", within_s=30)
        log.write_text("")
        tests.write_text(tests.read_text().replace("grade: A", "grade: Bad"))
        child.until_says("1 passed, 0 failed", within_s=30)
        contract.write_text(contract.read_text().replace("kind: compute", "kind: comput"))
        child.until_says("found 'comput', expected 'effect' or 'compute'", within_s=30)
    finally:
        status = child.stop(signal.SIGINT)
    assert status == 0, child.tail()


def test_functions_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test fails whose function is not pure, though no host lists its node."""
    (tmp_path / "clocked.py").write_text("import time\n\n\ndef stamp(_):\n    return {'at': time.time()}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "clocked", None)
    monkeypatch.delitem(sys.modules, "clocked")
    operations = "{stamp: {input: {type: object}, logic: 'clocked:stamp'}}"
    contract = node("stamp", operations=operations).replace("handler: scripted\n", "").replace("effect", "compute")
    Path("stamp.yaml").write_text(contract)
    cases = "cases:\n  - {name: now, given: {payload: {}}, expect: {answer_includes: {}}}\n"
    Path("stamp.test.yaml").write_text(f"contract: test/v1\nnode: stamp\nlogic_packages: [clocked]\n{cases}")
    done = call("stamp.test.yaml")
    assert done.exit_code == 1, done.output
    assert "code: impure_function" in done.stdout
    assert "clocked.py:5: time.time; time is an input" in done.stdout
