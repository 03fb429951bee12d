"""Contracts as editors, shells and other languages leave them: line ends, marks, templates, and words of YAML 1.1."""

from pathlib import Path

import pytest

from tests.support.casework import as_written, computes, contract, problems_of, serve

NAME = "{type: object, required: [name], properties: {name: {type: string}}}"
PLAIN = contract("case", computes(NAME, '{text: "${ payload.name }"}'))

READ = {
    "line ends of Windows": ('{text: "${ payload.name }"}\r\n', '{"text": "Ada"}'),
    "signs of other scripts": ('{"🙂": "ok ✓ 東京", text: "${ payload.name }"}', '{"🙂": "ok ✓ 東京", "text": "Ada"}'),
    "a literal block": ("\n      text: |\n        ${ payload.name\n           + '!' }\n", '{"text": "Ada!"}'),
    "a folded block": ("\n      text: >-\n        ${ payload.name\n           + '!' }\n", '{"text": "Ada!"}'),
    "no quotes": ("\n      text: ${ payload.name }", '{"text": "Ada"}'),
    "a comment": ("{url: 'a#b', text: \"${ payload.name }\"} # the 'name'", '{"url": "a#b", "text": "Ada"}'),
}


@pytest.mark.parametrize(("answer", "expected"), READ.values(), ids=list(READ))
def test_a_form_of_yaml_that_says_one_thing_is_read(answer: str, expected: str) -> None:
    """CRLF, emoji, blocks and comments leave no doubt of what is meant.

    Source: redhat-developer/vscode-yaml#924, ansible/ansible#18343
    """
    assert serve(computes(NAME, answer), '{"name": "Ada"}') == [as_written(expected)]


def test_a_document_between_its_marks_is_read(tmp_path: Path) -> None:
    """`---` before a contract and `...` behind it are allowed.

    Source: redhat-developer/vscode-yaml#924
    """
    assert problems_of(f"---\n{PLAIN}...\n", tmp_path) == []


REFUSED = {
    "a byte order mark": (b"\xef\xbb\xbf" + PLAIN.encode(), (1, 1), "byte order mark", "save the file as UTF-8"),
    "UTF-16": (PLAIN.encode("utf-16"), (1, 1), "UTF-16", "save the file as UTF-8"),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-be"), (1, 1), "UTF-16", "save the file as UTF-8"),
    "Latin-1": (PLAIN.replace("A node", "Grüße").encode("latin-1"), (5, 16), "0xfc", "save the file as UTF-8"),
    "carriage returns": (PLAIN.replace("\n", "\r").encode(), (1, 18), "carriage return", "line feed"),
    "a tab": (PLAIN.replace("    answer", "\tanswer").encode(), (9, 1), "found a tab", "indent with spaces"),
    "a wide blank": (
        PLAIN.replace("name: case", "name:\xa0case").encode(),
        (2, 1),
        "colon",
        "write key: value",
    ),
    "a directive": (b"%YAML 1.2\n---\n" + PLAIN.encode(), (1, 1), "directives", "remove them"),
    "a second document": (f"{PLAIN}---\n{PLAIN}".encode(), (10, 1), "a second document", "a file of its own"),
    "an anchor": (PLAIN.replace("input: {", "input: &in {").encode(), (8, 12), "the anchor &in", "write the value out"),
    "a key twice": (PLAIN.replace("{text:", "{text: 1, text:").encode(), (9, 23), "duplicate key 'text'", "remove one"),
}


@pytest.mark.parametrize(("data", "place", "found", "write"), REFUSED.values(), ids=list(REFUSED))
def test_a_form_that_may_be_read_in_two_ways_is_refused(
    data: bytes, place: tuple[int, int], found: str, write: str, tmp_path: Path
) -> None:
    """Each with its place, what was found there, and what to write.

    Source: redhat-developer/vscode-yaml#924, ansible/ansible#18343, redpanda-data/connect#840
    """
    problem = problems_of(data, tmp_path)[0]
    assert (problem.line, problem.column) == place, problem
    assert found in problem.message
    assert write in problem.message


def test_a_merge_key_is_refused_where_it_stands(tmp_path: Path) -> None:
    """Merging hides what a contract says.

    Source: redhat-developer/vscode-yaml#924
    """
    more = "  stop:\n    <<: *base\n    answer: {a: 2}\n"
    text = PLAIN.replace("go:", "go: &base") + more
    messages = [it.message for it in problems_of(text, tmp_path) if it.code == "yaml-alias"]
    assert [it.partition(";")[0] for it in messages] == [
        "found the anchor &base",
        "found the merge key <<",
        "found the alias *base",
    ]


WORDS = {
    "0755": 'as text "0755"',
    "01234": 'as text "01234"',
    "1_000": "write 1000",
    "0xff": "write 255",
    "2026-01-01": 'write "2026-01-01"',
    "12:30:45": 'write "12:30:45"',
    "no": "write false",
    "on": "write true",
}


@pytest.mark.parametrize(("word", "write"), WORDS.items(), ids=list(WORDS))
def test_a_word_that_yaml_1_1_reads_in_another_way_is_refused(word: str, write: str, tmp_path: Path) -> None:
    """Modes, dates, times and booleans without quotes are one thing in YAML 1.2 and another in 1.1.

    Source: ansible/ansible#18343, pinpox/base16-universal-manager#21
    """
    [problem] = problems_of(PLAIN.replace("{text:", f"{{word: {word}, text:"), tmp_path)
    assert (problem.code, problem.line, problem.column) == ("ambiguous-word", 9, 20)
    assert write in problem.message


VERSIONS = {"1.0": "write 1.0.0", "v1.0.0": "write 1.0.0", "1.0.0-rc.1": "three numbers joined by dots"}


@pytest.mark.parametrize(("version", "write"), VERSIONS.items(), ids=list(VERSIONS))
def test_a_version_is_three_numbers(version: str, write: str, tmp_path: Path) -> None:
    """Two numbers are a number to YAML; a `v` and a suffix are others' habits.

    Source: pinpox/base16-universal-manager#21
    """
    [problem] = problems_of(PLAIN.replace("1.0.0", version), tmp_path)
    assert (problem.line, problem.column) == (4, 10)
    assert write in problem.message


TEMPLATES = {
    "text around an expression": ('"Hello ${ payload.name }!"', "write it as one: ${ 'text ' + payload.field }"),
    "a variable of the shell": ('"costs $5 and ${HOME}"', "write it as one: ${ 'text ' + payload.field }"),
    "two braces": ('"{{ payload.name }}"', "an expression is ${ ... }"),
    "the environment": ('"${ENV_NAME}"', "an expression reads payload, metadata, envelope"),
    "Bloblang": ("'${! json(\"name\") }'", "'json' is not known here"),
}


@pytest.mark.parametrize(("value", "write"), TEMPLATES.values(), ids=list(TEMPLATES))
def test_the_template_of_another_language_is_refused(value: str, write: str, tmp_path: Path) -> None:
    """It is never sent as it is written.

    Source: redpanda-data/connect#840
    """
    [problem] = problems_of(PLAIN.replace('"${ payload.name }"', value), tmp_path)
    assert problem.code == "bad-expression"
    assert problem.line == 9
    assert write in problem.message
