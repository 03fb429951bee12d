"""What is wrong with a contract: its place, what was found there, and what to write instead."""

import pytest

from omnibase_core.errors import InvalidContracts
from tests.support.commands import host, node, registry

GOOD = node("greeter").lstrip()
HOST = host("greeter").lstrip()
SLUG = "lower-case words joined by hyphens, such as price-order"
VERSION = "three numbers joined by dots, such as 1.0.0"
WORD = "lower-case words joined by underscores, such as get_user, of at most 63 characters"
HYPHENS = "lower-case words joined by hyphens; write "
DOTS = "three numbers joined by dots; write "
UNDERSCORES = "lower-case words joined by underscores; write "
KINDS = "'effect' or 'compute'"
KEYS = "contract, name, kind, version, description, handler, target, operations, delivery, idempotency"


def _problems(files: dict[str, str]) -> list[str]:
    with pytest.raises(InvalidContracts) as raised:
        registry(files)
    assert str(raised.value) == "\n".join(str(problem) for problem in raised.value.problems)
    return [str(problem) for problem in raised.value.problems]


def _swapped(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


TOP = {
    "unknown key": ("handler: s", "handlr: s", ["6:1: unknown key 'handlr'; did you mean 'handler'?"]),
    "unknown key in capitals": ("handler: s", "HANDLER: s", ["6:1: unknown key 'HANDLER'; did you mean 'handler'?"]),
    "nothing like it": ("handler: s", "xyz: s", [f"6:1: unknown key 'xyz'; expected one of: {KEYS}"]),
    "missing key": ("version: 1.0.0\n", "", ["1:1: missing key 'version'"]),
    "missing contract": (
        "contract: node/v1\n",
        "",
        ["1:1: missing key 'contract': write contract: node/v1 or host/v1"],
    ),
    "contract of later": ("node/v1", "node/v2", ["1:11: contract 'node/v2' is not known; did you mean 'node/v1'?"]),
    "contract of nobody": ("node/v1", "7", ["1:11: contract 7 is not known; expected 'node/v1' or 'host/v1'"]),
    "a list for text": ("A node of a test.", "[1]", ["5:14: found a list, expected text"]),
    "null for text": ("A node of a test.", "null", ["5:14: found null, expected text"]),
    "empty text": ("A node of a test.", '""', ["5:14: found '', expected a length of at least 1"]),
    "kind misspelled": ("effect", "efect", [f"3:7: found 'efect', expected {KINDS}; did you mean 'effect'?"]),
    "kind unknown": ("effect", "zzz", [f"3:7: found 'zzz', expected {KINDS}"]),
    "reducer": ("effect", "reducer", ["3:7: kind 'reducer' is not served yet; expected 'effect' or 'compute'"]),
    "orchestrator": (
        "effect",
        "orchestrator",
        ["3:7: kind 'orchestrator' is not served yet; expected 'effect' or 'compute'"],
    ),
    "host as a node": (
        "effect",
        "runtime_host",
        ["3:7: kind 'runtime_host' is a host's; a host contract starts with contract: host/v1"],
    ),
    "slug": ("greeter", "The_Greeter", [f"2:7: found 'The_Greeter', expected {HYPHENS}the-greeter"]),
    "slug of another script": ("greeter", "größe", [f"2:7: found 'größe', expected {SLUG}"]),
    "long slug": ("greeter", "a" * 49, [f"2:7: found '{'a' * 49}', expected a length of at most 48"]),
    "version of two": ("1.0.0", "1.0", [f"4:10: found 1.0, expected {DOTS}1.0.0"]),
    "version of words": ("1.0.0", "one", [f"4:10: found 'one', expected {VERSION}"]),
    "version of other digits": ("1.0.0", "1\u0663.0.0", [f"4:10: found '1\u0663.0.0', expected {VERSION}"]),
    "version with a zero": ("1.0.0", "1.02.0", [f"4:10: found '1.02.0', expected {DOTS}1.2.0"]),
    "what YAML misreads": (
        "greeter",
        "on",
        ['2:7: found on: YAML 1.1 reads it as a boolean; write true, or as text "on"'],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), TOP.values(), ids=TOP.keys())
def test_a_wrong_key_or_value_is_told_at_its_place(old: str, new: str, expected: list[str]) -> None:
    """One fault gives one problem: `file:line:column: message`, a key at the key, a value at the value."""
    assert _problems({"n.yaml": _swapped(GOOD, old, new)}) == [f"n.yaml:{it}" for it in expected]


OPERATIONS = {
    "none at all": ("{}", ["13: found {}, expected a length of at least 1"]),
    "a list": ("[do]", ["13: found a list, expected a mapping"]),
    "bad name": ("{Do-It: {input: {}}}", [f"14: found 'Do-It', expected {UNDERSCORES}do_it"]),
    "long name": (f"{{{'a' * 64}: {{input: {{}}}}}}", [f"14: found '{'a' * 56}..., expected {WORD}"]),
    "no input": ("{do: {}}", ["18: missing key 'input'"]),
    "input is text": ("{do: {input: text}}", ["26: found 'text', expected a mapping"]),
    "unknown key": (
        "{do: {input: {}, requst: 1}}",
        ["30: unknown key 'requst'; did you mean 'request'?", "38: found 1, expected a mapping or an expression"],
    ),
    "errors is a mapping": (
        "{do: {input: {}, errors: {a: 1}}}",
        ["38: found a mapping, expected a list; write '- ' before each item"],
    ),
    "rules": (
        "{do: {input: {}, errors: [{when: 1, code: Bad}, {code: a, retry: true}]}}",
        [
            "46: found 1, expected text",
            f"55: found 'Bad', expected {UNDERSCORES}bad",
            "61: missing key 'when', a condition on the result, or 'on', the code of a failure of the handler",
            "71: unknown key 'retry'; did you mean 'retryable'?",
        ],
    ),
    "retryable is a word": (
        "{do: {input: {}, errors: [{when: '${ true }', code: b, retryable: 'yes'}]}}",
        ["79: found 'yes', expected true or false"],
    ),
}


@pytest.mark.parametrize(("operations", "expected"), OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_fault_deep_in_an_operation_is_told_at_its_place(operations: str, expected: list[str]) -> None:
    """The place is exact in keys, values and items of lists, however deep."""
    assert _problems({"n.yaml": node("greeter", operations=operations).lstrip()}) == [
        f"n.yaml:7:{it}" for it in expected
    ]


DELIVERY = {
    "not a mapping": ("7", ["11: found 7, expected a mapping"]),
    "zero time": ("{timeout_s: 0}", ["23: found 0, expected a number above 0"]),
    "too much time": ("{timeout_s: 3601}", ["23: found 3601, expected 3600 or less"]),
    "time is a boolean": ("{timeout_s: true}", ["23: found true, expected a number"]),
    "ordering": ("{ordering: kee}", ["22: found 'kee', expected 'key', 'partition' or 'none'; did you mean 'key'?"]),
    "a fraction": ("{max_in_flight: 1.5}", ["27: found 1.5, expected an integer"]),
    "text for a number": ("{max_in_flight: '3'}", ["27: found '3', expected an integer"]),
    "too few": ("{max_in_flight: 0}", ["27: found 0, expected 1 or more"]),
    "unknown key": ("{timeout: 1}", ["12: unknown key 'timeout'; did you mean 'timeout_s'?"]),
}


@pytest.mark.parametrize(("delivery", "expected"), DELIVERY.values(), ids=DELIVERY.keys())
def test_numbers_and_choices_are_held_to_their_bounds(delivery: str, expected: list[str]) -> None:
    """Nothing is converted on the way: a number is a number, and within its bounds."""
    assert _problems({"n.yaml": node("greeter", delivery=delivery).lstrip()}) == [f"n.yaml:8:{it}" for it in expected]


HOSTS = {
    "no nodes": ("nodes: [greeter]", "nodes: []", ["8:8: found [], expected a length of at least 1"]),
    "node is no slug": (
        "nodes: [greeter]",
        "nodes: [greeter, The_Other]",
        [f"8:18: found 'The_Other', expected {HYPHENS}the-other"],
    ),
    "kind": ("limits: {}", "kind: effect", ["9:7: found 'effect', expected 'runtime_host'"]),
    "limits": ("limits: {}", "limits: {drain_s: -1}", ["9:19: found -1, expected 0 or more"]),
    "port": ("limits: {}", "health: {port: 70000}", ["9:16: found 70000, expected 65535 or less"]),
    "binding": (
        "limits: {}",
        "handlers: {local: {setings: {}}}",
        ["9:20: unknown key 'setings'; did you mean 'settings'?"],
    ),
    "tenant": ("tenant: test\n", "", ["1:1: missing key 'tenant'"]),
}


@pytest.mark.parametrize(("old", "new", "expected"), HOSTS.values(), ids=HOSTS.keys())
def test_a_host_contract_is_held_to_its_model_too(old: str, new: str, expected: list[str]) -> None:
    """The same words for the other kind of contract."""
    assert _problems({"h.yaml": _swapped(HOST, old, new), "n.yaml": GOOD}) == [f"h.yaml:{it}" for it in expected]


def test_all_faults_of_all_documents_are_told_in_one_go() -> None:
    """Every fault once, sorted by file, line and column: nobody has to load again to find the next."""
    bad = _swapped(_swapped(_swapped(GOOD, "greeter", "Greeter"), "1.0.0", "one"), "kind: effect\n", "")
    other = _swapped(node("other").lstrip(), "handler: scripted", "handlr: scripted\nversion: 2.0.0")
    assert _problems({"z.yaml": bad, "a/b.yaml": other, "empty.yaml": ""}) == [
        "a/b.yaml:6:1: unknown key 'handlr'; did you mean 'handler'?",
        "a/b.yaml:7:1: duplicate key 'version', first in line 4; remove one of them",
        "empty.yaml:1:1: the file is empty, expected a mapping that starts with contract: node/v1 or contract: host/v1",
        "z.yaml:1:1: missing key 'kind'",
        f"z.yaml:2:7: found 'Greeter', expected {HYPHENS}greeter",
        f"z.yaml:3:10: found 'one', expected {VERSION}",
    ]


def test_what_is_left_of_a_faulty_contract_is_looked_at_too() -> None:
    """A misspelt kind hides neither a bad expression nor a bad schema nor an unknown handler."""
    operations = "{do: {input: {type: objekt}, request: {a: '${ payload. }'}, answr: {}}}"
    text = node("greeter", handler="scriptd", operations=operations).lstrip().replace("effect", "efect")
    assert [problem.split(" ")[0] for problem in _problems({"n.yaml": text})] == [
        "n.yaml:3:7:",
        "n.yaml:6:10:",
        "n.yaml:7:33:",
        "n.yaml:7:68:",
        "n.yaml:7:73:",
    ]


def test_what_is_left_of_a_list_keeps_its_places() -> None:
    """The items before a faulty one are looked at where they stand; those after it wait for it to be mended."""
    rules = "[{when: bare, code: a}, 7, {when: bare, code: b}]"
    text = node("greeter", operations=f"{{do: {{input: {{}}, errors: {rules}}}}}").lstrip()
    assert _problems({"n.yaml": text}) == [
        "n.yaml:7:46: expression: found 'bare', expected an expression: write ${ bare }",
        "n.yaml:7:62: found 7, expected a mapping",
    ]


def test_a_broken_node_is_not_missed_by_its_host() -> None:
    """A contract of an unknown version is one fault, not two."""
    text = _swapped(GOOD, "node/v1", "node/v2")
    assert _problems({"h.yaml": HOST, "n.yaml": text}) == [
        "n.yaml:1:11: contract 'node/v2' is not known; did you mean 'node/v1'?"
    ]


def test_a_word_that_is_refused_already_is_not_told_twice() -> None:
    """What YAML's reading refuses is no second fault where the model meets it."""
    assert _problems({"n.yaml": _swapped(GOOD, "1.0.0", "on")}) == [
        'n.yaml:4:10: found on: YAML 1.1 reads it as a boolean; write true, or as text "on"'
    ]
