"""Problems as text, JSON, GitHub's commands and SARIF: what people read, and what programs parse."""

import json
from pathlib import Path
from typing import Any
from unicodedata import combining, east_asian_width

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as SarifLog

from omnibase_core.errors import Problem
from omnibase_infra.cli import main
from omnibase_infra.cli.problems import report, summary

WRONG = Path(__file__).parents[2] / "contracts" / "wrong"
NEAR = Problem("a b/é.yaml", 3, 7, "found 'efect'; write effect", code="wrong-value", width=5, nearest="effect")


def check(*arguments: str) -> Result:
    """Check what is wrong in many ways, in one of the formats."""
    return CliRunner().invoke(main, ["check", *arguments])


def _text(source: str, *, column: int = 1, width: int = 1, columns: int = 80) -> list[str]:
    problem = Problem("c.yaml", 7, column, "odd", code="wrong-value", width=width, source=source)
    return click.unstyle(report([problem], "text", width=columns)).splitlines()


def test_the_caret_is_under_what_is_meant() -> None:
    """Below the line as it is written."""
    assert _text("kind: efect", column=7, width=5) == [
        "c.yaml:7:7: odd [wrong-value]",
        "    7 | kind: efect",
        "      |       ^^^^^",
    ]


def test_characters_that_are_wide_or_take_no_room_move_the_caret() -> None:
    """A terminal gives two columns to some characters, and none to an accent that stands for itself."""
    assert _text("名前: e\u0301: x", column=8, width=1)[1:] == ["    7 | 名前: e\u0301: x", "      |         ^"]


def test_nothing_that_commands_a_terminal_is_sent_to_it() -> None:
    """A contract may come from anywhere; a tab is shown as what it is."""
    assert _text("\ta: \x1b[31m\u202e", column=1)[1] == "    7 | \u2192a: \ufffd[31m\ufffd"


def test_a_long_line_is_cut_around_the_place() -> None:
    """With some of what stands before it."""
    line = "a: [" + ", ".join(f"item-{n}" for n in range(100)) + "]"
    shown, caret = _text(line, column=line.index("item-50") + 1, width=7)[1:]
    assert (len(shown), shown[8:11], shown[-3:]) == (80, "...", "...")
    assert shown[caret.index("^") : caret.rindex("^") + 1] == "item-50"


@given(
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=200),
    st.integers(1, 210),
    st.integers(1, 210),
    st.integers(40, 120),
)
def test_no_line_is_wider_than_the_terminal(source: str, column: int, width: int, columns: int) -> None:
    """Whatever is in it, and wherever the place is."""
    column = min(column, len(source) + 1)
    lines = _text(source, column=column, width=width, columns=columns)
    for line in lines:
        assert sum(0 if combining(it) else 1 + (east_asian_width(it) in "WF") for it in line) <= columns
    if source:
        assert lines[-1].count("^") >= 1


@pytest.mark.parametrize(
    ("problems", "said"),
    [
        ([NEAR], "1 problem in 1 file; more: runtime-host explain wrong-value"),
        ([NEAR, NEAR], "2 problems in 1 file; more: runtime-host explain wrong-value"),
        (
            [NEAR, Problem("b.yaml", 1, 1, "m", code="no-value")],
            "2 problems in 2 files; more: runtime-host explain CODE",
        ),
    ],
)
def test_the_summary_says_how_to_learn_more(problems: list[Problem], said: str) -> None:
    """It names the code if there is but one."""
    assert summary(problems) == said


def test_no_colour_is_written_into_a_file() -> None:
    """What is no terminal gets plain text."""
    assert "\x1b" not in check(str(WRONG / "69-many-faults.yaml")).stdout


def test_json_has_every_part_of_a_problem() -> None:
    """Columns count from 1, and the end is the first column behind."""
    done = check("--format", "json", str(WRONG / "37-misspelt-kind.yaml"))
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "problems": [
            {
                "path": str(WRONG / "37-misspelt-kind.yaml"),
                "line": 3,
                "column": 7,
                "end_column": 15,
                "code": "wrong-value",
                "message": "found 'computed', expected 'effect' or 'compute'; did you mean 'compute'?",
                "nearest": "compute",
                "source": "kind: computed",
            }
        ]
    }


def test_github_is_told_by_workflow_commands() -> None:
    """One line a problem, with what would end a property or a line escaped."""
    odd = Problem("a,b:c.yaml", 3, 7, "100%\nsure: yes", code="wrong-value", width=5)
    assert report([odd], "github", width=80) == (
        "::error file=a%2Cb%3Ac.yaml,line=3,endLine=3,col=7,endColumn=12,title=wrong-value::100%25%0Asure: yes"
    )


def _sarif(text: str) -> dict[str, Any]:
    SarifLog.model_validate_json(text)
    log = json.loads(text)
    assert log["version"] == "2.1.0"
    run: dict[str, Any] = log["runs"][0]
    return run


def test_sarif_is_valid_and_names_the_rule_of_each_result() -> None:
    """By the models that are made of the published schema; each rule brings its page."""
    run = _sarif(check("--format", "sarif", str(WRONG / "69-many-faults.yaml")).stdout)
    rules = run["tool"]["driver"]["rules"]
    assert [rules[it["ruleIndex"]]["id"] for it in run["results"]] == [it["ruleId"] for it in run["results"]]
    assert len(run["results"]) == 12
    assert all(rule["help"]["markdown"].startswith(f"# {rule['id']}\n") for rule in rules)


def test_sarif_offers_the_nearest_word_as_a_fix() -> None:
    """At the region of the result; the path is a URI."""
    [result] = _sarif(report([NEAR], "sarif", width=80))["results"]
    [place] = result["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/%C3%A9.yaml"
    [replacement] = result["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["deletedRegion"] == place["physicalLocation"]["region"]
    assert replacement["insertedContent"] == {"text": "effect"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [("text", "nodes: 1, hosts: 0, problems: 0\n"), ("github", ""), ("json", '{\n  "problems": []\n}\n')],
)
def test_contracts_without_a_problem_are_told_as_such(form: str, expected: str) -> None:
    """With status 0, and in a form that the programs of the format understand."""
    good = WRONG.parent / "good" / "nodes" / "greet.yaml"
    done = check("--format", form, str(good))
    assert (done.exit_code, done.stdout) == (0, expected)
    assert _sarif(check("--format", "sarif", str(good)).stdout)["results"] == []


def test_an_unknown_format_is_wrong_usage() -> None:
    """With status 2, and the formats that there are."""
    done = check("--format", "xml", str(WRONG))
    assert done.exit_code == 2
    assert "'text', 'json', 'github', 'sarif'" in done.stderr
