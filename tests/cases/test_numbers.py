"""Numbers of JSON: large ones, fractions, and arithmetic with them."""

from pathlib import Path

import pytest

from tests.support.casework import Failure, as_written, check_tells, computes, serve, told

ANY = "{type: object}"
ID = "{type: object, required: [id], properties: {id: {type: integer}}}"
AMOUNT = "{type: object, required: [amount], properties: {amount: {type: number}}}"


@pytest.mark.parametrize("id_", ["228930314431312345", "9223372036854775807", "-9223372036854775808"])
def test_an_integer_of_64_bits_keeps_every_digit(id_: str) -> None:
    """Read alone, within the whole payload and as text, it is what was sent: it never passes through a double.

    Source: redpanda-data/connect#530, risingwavelabs/risingwave#13047
    """
    node = computes(ID, '{alone: "${ payload.id }", whole: "${ payload }", text: "${ string(payload.id) }"}')
    expected = f'{{"alone": {id_}, "whole": {{"id": {id_}}}, "text": "{id_}"}}'
    assert serve(node, f'{{"id": {id_}}}') == [as_written(expected)]


@pytest.mark.parametrize("id_", ["18446744073709551615", "327267367867168100000"])
@pytest.mark.parametrize("schema", [ANY, ID])
def test_a_larger_integer_is_passed_on_as_it_is(schema: str, id_: str) -> None:
    """It has no 64 bits, so nothing reckons with it; passed on and compared it is whole, and never rounded.

    Source: redpanda-data/connect#530, risingwavelabs/risingwave#13047
    """
    node = computes(schema, '{id: "${ payload.id }", same: "${ payload.id == payload.id }"}')
    assert serve(node, f'{{"id": {id_}}}') == [as_written(f'{{"id": {id_}, "same": true}}')]


def test_the_largest_integer_and_one_is_an_overflow() -> None:
    """The sum is an error answer that says so, not the least integer.

    Source: redpanda-data/connect#530, risingwavelabs/risingwave#13047
    """
    [answer] = serve(computes(ID, '{next: "${ payload.id + 1 }"}'), '{"id": 9223372036854775807}')
    assert answer == Failure("expression_failed", "")
    assert "overflow" in answer.message


@pytest.mark.parametrize("amount", ["10.0", "10", "0.1", "-0.0", "169299987.35345113", "1.2345678901234567"])
def test_a_number_that_is_only_read_stays_as_it_was_written(amount: str) -> None:
    """A whole number with a point keeps it, one without gets none, and all 17 digits of a double come back.

    Source: confluentinc/ksql#4710, confluentinc/kafka-connect-storage-cloud#568, spiceai/spiceai#11192
    """
    node = computes(AMOUNT, '{amount: "${ payload.amount }", whole: "${ payload }"}')
    expected = f'{{"amount": {amount}, "whole": {{"amount": {amount}}}}}'
    assert serve(node, f'{{"amount": {amount}}}') == [as_written(expected)]


PRICE = computes(
    "{type: object, required: [price], properties: {price: {type: number, multipleOf: 0.01}}}", "{ok: true}"
)


@pytest.mark.parametrize(
    "price", ["0.1", "1.11", "2.29", "4.02", "19.99", "92.6", "136.67", "360.57", "1000000000000.01"]
)
def test_a_price_in_cents_is_a_multiple_of_a_hundredth(price: str) -> None:
    """The decimals that are written count, not the doubles next to them.

    Source: python-jsonschema/jsonschema#1234, python-jsonschema/jsonschema#1099, xeipuuv/gojsonschema#149
    """
    assert serve(PRICE, f'{{"price": {price}}}') == [{"ok": True}]


@pytest.mark.parametrize("price", ["1.005", "1e-3", "19.999"])
def test_a_fraction_of_a_cent_is_no_multiple_of_a_hundredth(price: str) -> None:
    """To be patient with doubles is not to let everything pass.

    Source: python-jsonschema/jsonschema#1234, python-jsonschema/jsonschema#1099, xeipuuv/gojsonschema#149
    """
    [answer] = serve(PRICE, f'{{"price": {price}}}')
    assert answer == Failure("payload_invalid", "")
    assert "is not a multiple of 0.01" in answer.message


MIXED = "{type: object, required: [amount, pieces], properties: {amount: {type: number}, pieces: {type: integer}}}"


def test_a_division_by_a_whole_number_keeps_its_fraction_where_the_amount_has_one(tmp_path: Path) -> None:
    """Check tells where a number meets an integer, and what to write; what it says to write works.

    Source: cel-expr/cel-go#706, objectstack-ai/objectstack#1928, cerbos/cerbos#538
    """
    check_tells(
        computes(MIXED, '{a: "${ payload.amount / 100 }", b: "${ payload.amount * payload.pieces }"}'),
        told("expression-type", "/ 100", "number / integer", "write 100.0"),
        told("expression-type", "* payload.pieces", "number * integer", "double(...)"),
        folder=tmp_path,
    )
    node = computes(MIXED, '{a: "${ payload.amount / 100.0 }", b: "${ payload.amount * double(payload.pieces) }"}')
    assert serve(node, '{"amount": 5, "pieces": 3}') == [as_written('{"a": 0.05, "b": 15.0}')]


BEHIND = {
    "allOf": f"{{type: object, allOf: [{AMOUNT}]}}",
    "oneOf": f"{{type: object, oneOf: [{AMOUNT}, {{required: [price]}}]}}",
    "if": f"{{type: object, properties: {{amount: true}}, if: {{required: [x]}}, then: {AMOUNT}, else: {AMOUNT}}}",
    "patternProperties": "{type: object, patternProperties: {'^am': {type: number}}}",
    "enum": "{type: object, required: [amount], properties: {amount: {enum: [5, 2.5]}}}",
}


@pytest.mark.parametrize("schema", BEHIND.values(), ids=list(BEHIND))
@pytest.mark.xfail(strict=True, reason="issue 16: the new engine lets integers and doubles mix")
def test_a_number_behind_a_combined_schema_is_a_number(schema: str) -> None:
    """Where the schema says number by a detour, a 5 is reckoned with as 5.0, as it is without the detour.

    Source: cerbos/cerbos#538, cel-expr/cel-go#203
    """
    node = computes(schema, '{double: "${ payload.amount * 2.0 }"}')
    assert serve(node, '{"amount": 5}') == [as_written('{"double": 10.0}')]


def test_a_number_behind_a_reference_is_a_number() -> None:
    """A 5 that a reference calls a number is reckoned with as 5.0.

    Source: cerbos/cerbos#538, cel-expr/cel-go#203
    """
    node = computes(f"{{$ref: '#/$defs/money', $defs: {{money: {AMOUNT}}}}}", '{double: "${ payload.amount * 2.0 }"}')
    assert serve(node, '{"amount": 5}', '{"amount": 5.5}') == [
        as_written('{"double": 10.0}'),
        as_written('{"double": 11.0}'),
    ]
