"""`runtime-host eval`, and the page that documents expressions: each of its examples is run."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from omnibase_infra.cli import main

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "expressions.md").read_text()
[PAYLOAD] = re.findall(r"```json\n(.*?)\n```", PAGE)
[BLOCK] = re.findall(r"```\n(# Operators.*?)\n```", PAGE, flags=re.DOTALL)
EXAMPLES = re.findall(r"^(?!#)(.+?) +-> (.+)$", BLOCK, flags=re.MULTILINE)
NODE = str(ROOT / "contracts" / "nodes" / "convert-temperature.yaml")


def evaluate(*arguments: str, stdin: str | None = None) -> Result:
    """Run the verb."""
    return CliRunner().invoke(main, ["eval", *arguments], input=stdin)


@pytest.mark.parametrize(("expression", "value"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_the_examples_of_the_documentation_are_true(expression: str, value: str) -> None:
    """What the page says an expression gives, it gives."""
    done = evaluate(expression, "--payload", PAYLOAD)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(value)


def test_there_are_examples() -> None:
    """A page that is not understood would prove nothing."""
    assert len(EXAMPLES) > 40


def test_payload_comes_from_a_file_stdin_or_the_schemas_example(tmp_path: Path) -> None:
    """As with `send`; braces around the expression are no harm."""
    (tmp_path / "order.json").write_text('{"items": [1, 2]}')
    assert evaluate("size(payload.items)", "--payload", f"@{tmp_path / 'order.json'}").stdout == "2\n"
    assert evaluate("${ payload.a }", "--payload", "-", stdin='{"a": {"b": 1}}').stdout == '{\n  "b": 1\n}\n'
    assert evaluate("payload.degrees", "--node", NODE).stdout == "21.5\n"
    assert evaluate("result.a + 1", "--result", '{"a": 1}').stdout == "2\n"
    assert evaluate("metadata.by", "--metadata", '{"by": "me"}').stdout == '"me"\n'


def test_a_fault_is_shown_with_a_caret() -> None:
    """With a node, the schema's names and types are known."""
    done = evaluate("1.0 + payload.degress", "--node", NODE)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: 'payload' has no 'degress'; did you mean 'degrees'?",
        "  1.0 + payload.degress",
        "                ^^^^^^^",
    ]


def test_a_failure_is_told() -> None:
    """What goes wrong only with this payload."""
    done = evaluate("payload.a + 1", "--payload", '{"a": null}')
    assert (done.exit_code, done.stderr) == (1, "error: it failed: null + integer has no meaning\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--payload", "[1]"], "--payload: found list, expected an object"),
        (["--node", NODE, "--operation", "to_celsiu"], "did you mean 'to_celsius'?"),
        (["--node", NODE, "--payload", "{}"], '--payload: $: "degrees" is a required property'),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    """What was given and what was expected."""
    done = evaluate("1", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
