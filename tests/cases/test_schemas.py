"""Schemas as others publish them: CloudEvents, OpenAPI, AsyncAPI; bundles, recursion, formats and patterns."""

from pathlib import Path

import pytest

from tests.support.casework import Failure, check_tells, computes, serve, told

EVENT = computes(
    """
      $schema: http://json-schema.org/draft-07/schema#
      type: object
      required: [id, source]
      properties:
        id: {$ref: "#/definitions/text", description: What tells one event from another.}
        source: {$ref: "#/definitions/place"}
        time: {$ref: "#/definitions/moment"}
        data: {type: [object, string, number, array, boolean, "null"]}
      definitions:
        text: {type: string, minLength: 1}
        place: {type: string, format: uri-reference, minLength: 1}
        moment: {type: [string, "null"], format: date-time}""",
    '{id: "${ payload.id }", time: "${ payload.?time.orValue(\'unknown\') }"}',
)


def test_an_event_schema_of_draft_7_can_be_pasted_and_holds() -> None:
    """Definitions, keywords beside a reference and several types work as they are; what does not fit is refused.

    Source: cloudevents/spec (cloudevents/formats/cloudevents.json), dapr/dapr#574
    """
    answers = serve(
        EVENT,
        '{"id": "A-1", "source": "/shop", "time": "2026-04-05T17:31:00Z", "data": {"a": 1}}',
        '{"id": "A-1", "source": "/shop", "time": null, "unheard-of": "x"}',
        '{"id": "A-1", "source": "/shop"}',
        '{"id": "A-1", "source": "/shop", "time": "yesterday"}',
        '{"id": "", "source": "/shop"}',
    )
    assert answers[:3] == [
        {"id": "A-1", "time": "2026-04-05T17:31:00Z"},
        {"id": "A-1", "time": None},
        {"id": "A-1", "time": "unknown"},
    ]
    assert answers[3:] == [Failure("payload_invalid", "")] * 2
    assert 'is not a "date-time"' in answers[3].message
    assert "$.id" in answers[4].message


BUNDLED = computes(
    """
      $id: https://example.org/push
      type: object
      required: [commits]
      properties:
        commits: {type: array, items: {$ref: schemas/commit.json}}
      $defs:
        commit:
          $id: https://example.org/schemas/commit.json
          type: object
          required: [by]
          properties: {by: {$ref: person.json}}
        person:
          $id: https://example.org/schemas/person.json
          type: object
          required: [name]
          properties: {name: {type: string}}""",
    '{names: "${ payload.commits.map(commit, commit.by.name) }"}',
)


def test_a_bundle_of_schemas_refers_by_their_ids() -> None:
    """Each file stands under `$defs` with its `$id`; references are read beside the id of where they stand.

    Source: octokit/webhooks
    """
    fits, misfits = serve(BUNDLED, '{"commits": [{"by": {"name": "Ada"}}]}', '{"commits": [{"by": {"nam": "Ada"}}]}')
    assert fits == {"names": ["Ada"]}
    assert misfits == Failure("payload_invalid", "")
    assert "$.commits[0]" in misfits.message


def test_the_words_of_openapi_are_told_with_what_they_become(tmp_path: Path) -> None:
    """A width of numbers is no format of theirs and no pattern stands for it; `byte` and `example` have other names.

    Source: Adyen/adyen-openapi, swagger-api/swagger-petstore
    """
    balance = """
      type: object
      properties:
        currency: {type: string, example: EUR}
        available: {type: integer, format: int64}
        pieces: {type: integer, format: int32}
        rate: {type: number, format: double}
        share: {type: number, format: float}
        pin: {type: string, format: password}
        logo: {type: string, format: byte}
        scan: {type: string, format: binary}
        owner: {oneOf: [{type: object}], discriminator: {propertyName: kind}}
      xml: {name: balance}"""
    check_tells(
        computes(balance, "{ok: true}"),
        told("unknown-key", "example", "OpenAPI", "write examples: ['EUR']"),
        told("bad-schema", "int64", "OpenAPI", "remove it"),
        told("bad-schema", "int32", "OpenAPI", "remove it"),
        told("bad-schema", "double", "OpenAPI", "remove it"),
        told("bad-schema", "float", "OpenAPI", "remove it"),
        told("bad-schema", "password", "OpenAPI", "remove it"),
        told("bad-schema", "byte", "OpenAPI", "write contentEncoding: base64"),
        told("bad-schema", "binary", "OpenAPI", "remove it"),
        told("unknown-key", "discriminator", "OpenAPI", "remove it"),
        told("unknown-key", "xml", "OpenAPI", "remove it"),
        folder=tmp_path,
    )


def test_components_are_told_with_where_schemas_stand(tmp_path: Path) -> None:
    """AsyncAPI and OpenAPI keep schemas under `components`, JSON Schema under `$defs`.

    Source: asyncapi/spec (examples/streetlights-kafka-asyncapi.yml)
    """
    lamp = """
      type: object
      properties:
        command: {type: string, enum: ["on", "off"]}
        at: {$ref: "#/components/schemas/moment"}
      components: {schemas: {moment: {type: string, format: date-time}}}"""
    check_tells(
        computes(lamp, "{ok: true}"),
        told("bad-schema", '"#/components/schemas/moment"', "OpenAPI", "write '#/$defs/moment'"),
        told("unknown-key", "components", "OpenAPI", "AsyncAPI", "$defs", "#/$defs/"),
        folder=tmp_path,
    )


DATE = "{type: string, format: date}"
MOMENT = "{type: string, format: date-time}"
RESTOCK = computes(
    f"{{type: object, required: [due], properties: {{due: {{type: string, oneOf: [{DATE}, {MOMENT}]}}}}}}",
    '{due: "${ payload.due }"}',
)


@pytest.mark.parametrize("due", ["2024-02-23", "2024-02-29", "2024-02-23T10:00:00Z", "2024-02-23T10:00:00+01:00"])
def test_a_date_and_a_moment_each_fit_one_of_the_two(due: str) -> None:
    """No date is a date-time, and no date-time is a date: exactly one alternative holds.

    Source: networknt/json-schema-validator#979, json-everything/json-everything#558, python-jsonschema/jsonschema#1194
    """
    assert serve(RESTOCK, f'{{"due": "{due}"}}') == [{"due": due}]


@pytest.mark.parametrize("due", ["2019-07-03T13:13:13", "2024-02-30", "soon"])
def test_what_fits_no_alternative_is_told_with_the_reason_of_each(due: str) -> None:
    """A moment without a zone and the 30th of February are neither; the error says what each alternative misses.

    Source: networknt/json-schema-validator#979, json-everything/json-everything#558, python-jsonschema/jsonschema#1194
    """
    [answer] = serve(RESTOCK, f'{{"due": "{due}"}}')
    assert answer == Failure("payload_invalid", "")
    assert answer.message.startswith("$.due: ")
    assert f'"{due}" is not a "date"' in answer.message
    assert f'"{due}" is not a "date-time"' in answer.message


@pytest.mark.parametrize("format_", ["date-time", "date", "uuid", "email"])
def test_a_format_in_place_of_a_type_is_told(format_: str, tmp_path: Path) -> None:
    """`date-time` is a format of strings, and no type.

    Source: java-json-tools/json-schema-validator#217, java-json-tools/json-schema-validator#232,
        vacekj/express-json-validator-middleware#95
    """
    schema = f"{{type: object, properties: {{at: {{type: {format_}, description: When it was made.}}}}}}"
    check_tells(
        computes(schema, "{ok: true}"),
        told("bad-schema", format_, "is not a type but a format", f"write {{type: string, format: {format_}}}"),
        folder=tmp_path,
    )


LOOKS_AHEAD = computes(
    """
      type: object
      required: [password, query]
      properties:
        password: {type: string, pattern: '^(?=.*\\d)(?=.*[a-z]).{8,}$'}
        query: {type: string, pattern: '^\\w+=[\\w,:*]+(&(?!key)\\w+=[\\w,:*]+)*$'}""",
    "{ok: true}",
)


def test_patterns_look_ahead_as_in_ecma_262() -> None:
    """`(?=...)` and `(?!...)` are JSON Schema's; both hold, also for a text of 5,000 letters that nearly matches.

    Source: everit-org/json-schema#156, estuary/flow#196, Stranger6667/jsonschema#220
    """
    long = "a=" + "1" * 5000
    fits, misfits, largest, nearly = serve(
        LOOKS_AHEAD,
        '{"password": "abcdefg1", "query": "a=1&b=2"}',
        '{"password": "abcdefgh", "query": "a=1&key=2"}',
        f'{{"password": "abcdefg1", "query": "{long}"}}',
        f'{{"password": "abcdefg1", "query": "{long}!"}}',
    )
    assert fits == largest == {"ok": True}
    assert misfits == nearly == Failure("payload_invalid", "")
    assert "$.password" in misfits.message
    assert "$.query" in misfits.message


def test_a_default_is_not_filled_in_and_check_says_so(tmp_path: Path) -> None:
    """A `default` of a schema describes. Whoever reads the field is told that it may be absent, and what to write.

    Source: a habit of users of ajv (useDefaults), FastAPI and Benthos
    """
    schema = "{type: object, properties: {limit: {type: integer, default: 50}, sort: {type: string, default: name}}}"
    check_tells(
        computes(schema, '{limit: "${ payload.limit }", sort: "${ payload.sort }"}'),
        told("optional-field", "limit", "its default is not filled in", "payload.?limit.orValue(50)"),
        told("optional-field", "sort", "its default is not filled in", "payload.?sort.orValue('name')"),
        folder=tmp_path,
    )
    guarded = '{limit: "${ payload.?limit.orValue(50) }", sort: "${ payload.?sort.orValue(\'name\') }"}'
    [answer] = serve(computes(schema, guarded), "{}")
    assert (answer["limit"].written, answer["sort"]) == ("50", "name")


TREE = computes(
    """
      type: object
      required: [root]
      properties: {root: {$ref: "#/$defs/branch"}}
      $defs:
        branch:
          type: object
          required: [name]
          properties: {name: {type: string}, branches: {type: array, items: {$ref: "#/$defs/branch"}}}
          additionalProperties: false""",
    '{names: "${ [payload.root.name] + payload.root.?branches.orValue([]).map(branch, branch.name) }"}',
)


def test_a_recursive_schema_holds_at_every_depth() -> None:
    """A fault in a branch is told with its path.

    Source: the tree of the documentation of JSON Schema
    """
    fits, misfits = serve(
        TREE,
        '{"root": {"name": "a", "branches": [{"name": "b", "branches": [{"name": "c"}]}]}}',
        '{"root": {"name": "a", "branches": [{"name": "b", "branches": [{"nam": "c"}]}]}}',
    )
    assert fits == {"names": ["a", "b"]}
    assert misfits == Failure("payload_invalid", "")
    assert '$.root.branches[0].branches[0]: "name" is a required property' in misfits.message
