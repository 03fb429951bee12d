"""The documentation and the messages of the product use the words of docs/glossary.md, not those that it bans."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
# docs/decisions is left out: it is a record, which keeps the words of its time. docs/handlers is partly generated from
# docstrings.
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/errors/*.md")])

BANNED = [
    (r"(?<!dead )(?<!dead-)(?<!ASCII )\bletters?\b(?!,? (?:and )?digits|-)", "dead letter"),
    (r"\brehears\w*|\bverdicts?\b", "contract test, expectation"),
    (r"\bfaults?\b|\bmisfits?\b", "problem, or validation error"),
    (r"\bgear\b", "test support"),
    (r"\bhindrances?\b", "reason"),
    (r"(?<!there )\b(?:is|are) no (?!longer\b|more\b|less\b|larger\b|smaller\b)", "is not a"),
    (r"\banew\b", "again"),
    (r"\bwhoever\b", "anyone who"),
    (r"\baffairs?\b", "a plain noun"),
    (r"\bby turns\b", "in turn"),
]
"""Regular expressions of what is not written, on text in one line, and what is written instead."""


def banned_in(text: str) -> Iterator[str]:
    """Yield each banned form in a text, with its neighbourhood and what to write instead."""
    text = " ".join(text.split())
    for pattern, instead in BANNED:
        for match in re.finditer(pattern, text, flags=re.IGNORECASE):
            yield f"...{text[max(0, match.start() - 30) : match.end() + 30]}...: write {instead}"


def prose(page: str) -> str:
    """Return the prose of a page: without its code, and without the glossary's list of words that are not used."""
    page = page.split("## Words that are not used")[0]
    page = re.sub(r"^( *)```.*?^\1```", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`", "`code`", page)


def messages(source: str) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that are more than one word, with their lines; docstrings are not among them."""
    tree = ast.parse(source)
    docstrings = {id(it.value) for it in ast.walk(tree) if isinstance(it, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(text := node.value, str) and id(node) not in docstrings:
            yield from [(node.lineno, text)] if " " in text.strip() else []


def help_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module's commands, which `--help` shows."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(it) for it in node.decorator_list):
            yield node.lineno, ast.get_docstring(node) or ""


@pytest.mark.parametrize("page", PAGES, ids=lambda it: str(it.relative_to(ROOT)))
def test_pages_use_no_banned_form(page: Path) -> None:
    """README, CHANGELOG, the guides and the pages of error codes."""
    assert list(banned_in(prose(page.read_text()))) == []


def test_messages_and_help_use_no_banned_form() -> None:
    """What a user of the product reads: problems, errors, log lines, metrics, help."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {banned}"
        for path in SOURCES
        for reader in (messages, help_texts)
        for line, text in reader(path.read_text())
        for banned in banned_in(text)
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "a letter that was cut short",
        "the rehearsal of a case",
        "every fault is told",
        "'a b' is no topic name",
        "it is opened anew",
        "Whoever sends it",
    ],
)
def test_a_banned_form_is_caught(text: str) -> None:
    """In prose and, where it is a message, in code; not in code within prose."""
    assert list(banned_in(prose(f"A page.\n\n{text}\n")))
    assert [it for _, message in messages(f"raise ValueError({text!r})\n") for it in banned_in(message)]
    assert not list(banned_in(prose(f"A page.\n\n```\n{text}\n```\n\n`{text}`\n")))


@pytest.mark.parametrize(
    "text",
    ["a dead\nletter", "dead-letter queue", "letters, digits and '_'", "there is no node", "it is no longer there"],
)
def test_plain_words_pass(text: str) -> None:
    """The standard terms, and the everyday meaning of a word."""
    assert not list(banned_in(text))
