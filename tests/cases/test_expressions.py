"""Expressions: the order of keys, keys that may be absent or null, keys that are no words, and where none may stand."""

from pathlib import Path

import pytest

from tests.support.casework import Failure, check_tells, computes, serve, told

LABELS = computes(
    "{type: object, required: [labels], properties: {labels: {type: object, additionalProperties: {type: string}}}}",
    "{line: \"${ payload.labels.map(k, k + '=' + payload.labels[k]).join(';') }\"}",
)


@pytest.mark.xfail(strict=True, reason="issue 16: the new engine goes through keys in the payload's order")
def test_keys_come_in_the_order_of_the_payload() -> None:
    """One command has one answer, however often it is served, and by whichever host.

    Source: redpanda-data/connect (map_each, sort_by), cel-spec (it leaves the order of keys open)
    """
    in_order = '{"labels": {"zeta": "1", "alpha": "2", "mid": "3", "beta": "4", "omega": "5", "eta": "6"}}'
    assert serve(LABELS, *[in_order] * 5) == [{"line": "zeta=1;alpha=2;mid=3;beta=4;omega=5;eta=6"}] * 5


BY_TWO = """
      type: object
      properties:
        order: {type: object, properties: {buyer: {type: object, properties: {name: {type: string}}}}}"""


def test_check_tells_that_the_parents_of_a_key_may_be_absent(tmp_path: Path) -> None:
    """`has` asks about the last key alone; those before it have to be there, and the schema does not say so.

    Source: cel-expr/cel-go#912
    """
    check_tells(
        computes(BY_TWO, '{named: "${ has(payload.order.buyer.name) }"}'),
        told("optional-field", "order", "'order' may be absent", "payload.?order.orValue("),
        folder=tmp_path,
    )


def test_optional_steps_read_through_what_is_absent() -> None:
    """A chain of `.?` gives its stand-in, whichever of its keys is absent.

    Source: cel-expr/cel-go#912
    """
    node = computes(BY_TWO, "{name: \"${ payload.?order.?buyer.?name.orValue('nobody') }\"}")
    answers = serve(node, '{"order": {"buyer": {"name": "Ada"}}}', '{"order": {"buyer": {}}}', '{"order": {}}', "{}")
    assert answers == [{"name": "Ada"}, *[{"name": "nobody"}] * 3]


def test_without_a_schema_an_absent_key_is_named() -> None:
    """The error answer says which key was not there, and what to write.

    Source: cel-expr/cel-go#912
    """
    node = computes("{type: object}", '{named: "${ has(payload.order.buyer.name) }"}')
    first, second = serve(node, "{}", '{"order": {}}')
    assert first == second == Failure("expression_failed", "")
    assert "there is no key 'order'" in first.message
    assert "there is no key 'buyer'" in second.message
    assert ".?buyer.orValue(" in second.message


NULLABLE = "{type: object, properties: {a: {type: [object, 'null'], properties: {b: {type: [string, 'null']}}}}}"


@pytest.mark.xfail(strict=True, reason="issue 16: the new engine takes a null parent for an absent one")
def test_a_null_parent_is_as_an_absent_one() -> None:
    """Optionals skip a null where an object may be.

    Source: cel-expr/cel-go#937, cel-expr/cel-java#713, elastic/mito#89
    """
    node = computes(NULLABLE, "{b: \"${ payload.?a.?b.orValue('none') }\"}")
    assert serve(node, "{}", '{"a": {}}', '{"a": {"b": "x"}}', '{"a": null}') == [
        {"b": "none"},
        {"b": "none"},
        {"b": "x"},
        {"b": "none"},
    ]


ODD = """
      type: object
      required: ["@type", props]
      properties:
        "@type": {type: string}
        props: {type: object, additionalProperties: {type: string}}
        content-type: {type: string}
        a.b: {type: integer}"""


def test_a_key_that_is_no_word_is_read_and_guarded_in_brackets() -> None:
    """`payload['k']` reads it, `'k' in payload` and `payload[?'k']` ask for it.

    Source: cel-expr/cel-java#357, adnanh/webhook#333, adnanh/webhook#526, microsoft/azure-pipelines-yaml#579
    """
    answer = """
      type: "${ payload['@type'] }"
      build: "${ payload.props['sonar.analysis.buildnumber'] }"
      report: "${ payload.props[?'application/vnd.report+json; version=1.0'].orValue('none') }"
      content: "${ payload[?'content-type'].orValue('none') }"
      dotted: "${ 'a.b' in payload ? payload['a.b'] > 2 : false }"
"""
    props = '"sonar.analysis.buildnumber": "1567096760967"'
    report = '"application/vnd.report+json; version=1.0": "Medium"'
    assert serve(
        computes(ODD, answer),
        f'{{"@type": "t", "props": {{{props}, {report}}}, "content-type": "text/csv", "a.b": 3}}',
        f'{{"@type": "t", "props": {{{props}}}}}',
    ) == [
        {"type": "t", "build": "1567096760967", "report": "Medium", "content": "text/csv", "dotted": True},
        {"type": "t", "build": "1567096760967", "report": "none", "content": "none", "dotted": False},
    ]


def test_an_odd_key_without_a_guard_is_told(tmp_path: Path) -> None:
    """That it stands in brackets makes it no less absent.

    Source: cel-expr/cel-java#357, adnanh/webhook#333, adnanh/webhook#526, microsoft/azure-pipelines-yaml#579
    """
    check_tells(
        computes(ODD, "{content: \"${ payload['content-type'] }\", dotted: \"${ payload['a.b'] }\"}"),
        told("optional-field", "'content-type'", "'content-type' may be absent"),
        told("optional-field", "'a.b'", "'a.b' may be absent"),
        folder=tmp_path,
    )


ASKS = """
handler: http
target: web
operations:
  go:
    input: {type: object, required: [name], properties: {name: {type: string, const: "${ payload.name }"}}}
    request: {path: [users], json: {"${ payload.name }": x}, query: {"${ payload.name }": x}}
    answer: {"${ payload.name }": x}
    errors: [{when: "${ result.status == 404 }", code: unknown_user}]
"""


def test_an_expression_where_none_is_evaluated_is_told(tmp_path: Path) -> None:
    """In a key or a constant of a schema it would be sent, or compared, as it is written.

    Source: a habit of users of Benthos, Camel and Spring, where interpolation works in keys and messages
    """
    place = '"${ payload.name }"'
    told_there = told("bad-expression", place, "nothing is evaluated here", "remove the ${ }")
    check_tells(ASKS, told_there, told_there, told_there, told_there, folder=tmp_path)
