"""What is proved of a statement before any command: properties, and each refusal in its very words and place."""

import json
import subprocess
import sys
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.contracts.registry import FileRegistry
from omnibase_core.errors import InvalidContracts, InvalidExpression
from omnibase_core.ports import ContractDocument
from omnibase_infra.handlers.db.statements import UnboundValue, statement_of, text_of
from omnibase_infra.host.plugins import catalog


def _node(operation: str) -> str:
    return f"""contract: node/v1
name: user-query
kind: effect
version: 1.0.0
description: Look users up.
handler: db
target: users-db
operations:
  get:
    input: {{type: object}}
{operation}"""


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (
            "    request: {statement: \"select * from users where name = '${ payload.name }'\"}",
            [
                "11:26: a statement is fixed by its contract; write it out, with %(name)s where a value belongs, and"
                " the value in parameters: {name: ${ payload.name }}"
            ],
        ),
        (
            '    request: {statement: "${ payload.sql }"}',
            [
                "11:26: a statement is fixed by its contract; write it out, with %(name)s where a value belongs, and"
                " the value in parameters: {name: ${ payload.name }}"
            ],
        ),
        (
            '    request: "${ payload }"',
            ["11:14: the request of a database is written out: a mapping with statement, parameters"],
        ),
        (
            "    request:\n      statement: select id frm users wher id = %(id)s\n      parameters: {id: 1}",
            ['12:32: PostgreSQL: syntax error at or near "users"'],
        ),
        (
            "    request:\n      statement: select 1; delete from users",
            [
                "12:28: found 2 statements, expected exactly one; write one; several are statements of the operation"
                " 'transaction'"
            ],
        ),
        (
            "    request:\n      statement: select id from users where name = '%(name)s'\n      parameters: {name: x}",
            ["12:53: %(name)s stands in quotes or in a comment, where nothing is bound; write it without quotes"],
        ),
        (
            "    request:\n      statement: select id from users where id = $1",
            ["12:50: found $1, expected a placeholder by name: %(name)s"],
        ),
        (
            "    request:\n      statement: select id from users where id = %(id)s",
            ["11:5: nothing is bound to %(id)s; write id: ... in parameters"],
        ),
        (
            "    request:\n      statement: select id from users\n      parameters: {id: 1}",
            ["13:24: parameter 'id' is not used; the placeholders are: none"],
        ),
        (
            '    request:\n      statement: select %(id)s\n      parameters: "${ payload }"',
            ["13:19: what is bound has to be written out by name: {id: ...}"],
        ),
        (
            "    request:\n      statement: delete from users",
            ["12:18: a statement that writes cannot be done in a read-only transaction; write call: execute"],
        ),
        (
            "    request:\n      statement: with gone as (delete from users returning id) select id from gone",
            ["12:18: a statement that writes cannot be done in a read-only transaction; write call: execute"],
        ),
        (
            "    request:\n      statement: select id from users where id in (select id from users for share)",
            [
                "12:18: a statement that locks rows cannot be done in a read-only transaction; write call: execute, or"
                " remove 'for update' or 'for share'"
            ],
        ),
        (
            "    call: execute\n    request:\n      statement: insert into users select 1 returning *, id, u.x as id",
            ["13:18: two columns are named 'id'; give one another name by 'as'"],
        ),
        (
            "    call: execute\n    request:\n      statement: drop table users",
            ["13:18: found a statement of the kind 'drop', expected select, insert, update, delete, ..."],
        ),
        (
            '    call: copy\n    request: {table: "${ payload.t }", columns: [id, "a b"], rows: []}',
            [
                "12:22: a table is fixed by its contract; write its name in place of an expression",
                "12:54: found 'a b', expected the name of a column, with ::jsonb or ::text[] where it takes such",
            ],
        ),
        (
            "    call: transaction\n    request:\n      statements:\n        add: {statement: select %(a)s, parametres: {a: 1}}",  # noqa: E501 - places count
            [
                "14:14: nothing is bound to %(a)s; write a: ... in parameters",
                "14:52: unknown key 'parametres'; expected one of: statement, parameters, row, expect_rows",
            ],
        ),
        (
            "    request:\n      statement: select id, nome from users\n      row: {id: integer, name: text}",
            [
                "13:12: the statement gives a column 'nome'; write its type: nome: string",
                "13:32: found 'text', expected a type of JSON or a list of such: string, integer, number, boolean,"
                " object, array, null",
                "13:32: the statement gives no column 'name'; it gives: id, nome",
            ],
        ),
        (
            "    request:\n      statement: select * from users\n      row: {id: integer}",
            [
                "13:12: the statement does not tell its columns: write them out in place of *, and name each by 'as'",
            ],
        ),
        (
            "    call: execute\n    request:\n      statement: delete from users\n      row: {id: integer}",
            ["14:12: the statement returns no rows; remove 'row', or add 'returning'"],
        ),
        (
            '    request:\n      statement: select id from users\n      row: "${ payload.row }"',
            [
                "13:12: expected the columns of a row with their types, such as {id: integer, name: [string, 'null']}",
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_statement_is_told_at_its_place(operation: str, told: list[str]) -> None:
    """Before anything is started, in words that say what to write."""
    document = ContractDocument(PurePath("n.yaml"), _node(operation))
    with pytest.raises(InvalidContracts) as raised:
        FileRegistry(PurePath(), lambda _: [document], catalog())
    assert [str(problem).removeprefix("n.yaml:") for problem in raised.value.problems] == told


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (
            "    request: {statement: select id from users, row: {id: integer}}\n"
            '    answer: {id: "${ result.rows[0].name }"}',
            "has no 'name'; it has: id",
        ),
        (
            '    request: {statement: select id from users}\n    answer: {id: "${ result.rows[0].name }"}',
            "has no 'name'; it has: id",
        ),
        (
            "    request: {statement: select id from users, row: {id: integer}}\n"
            '    answer: {id: "${ result.rows[0].id }"}\n'
            "    output: {type: object, properties: {id: {type: string}}}",
            "gives integer, expected string",
        ),
        (
            "    call: transaction\n"
            "    request: {statements: {one: {statement: select id from users}}}\n"
            '    answer: {id: "${ result.results.two.rows[0].id }"}',
            "has no 'two'; it has: one",
        ),
    ],
)
def test_expressions_are_checked_against_the_rows_of_their_statement(operation: str, told: str) -> None:
    """By `row` where there is one, else by the names of its columns."""
    document = ContractDocument(PurePath("n.yaml"), _node(operation))
    with pytest.raises(InvalidContracts) as raised:
        FileRegistry(PurePath(), lambda _: [document], catalog())
    [problem] = raised.value.problems
    assert told in problem.message


@pytest.mark.parametrize(
    "statement",
    [
        "select id from users where name like '%foo%' and id % 2 = 1",
        "select '$1', $$ %(a $$, 'it''s'",
        "insert into t (a) values (1) on conflict (a) do update set a = excluded.a returning *",
        "merge into t using s on t.id = s.id when matched then delete",
        "select * from t for update skip locked",
        "select doc @> '{}'::jsonb, doc ->> 'a', doc ? 'b', tags && array['x'] from t",
        "select count(*) filter (where a), grouping(b) from t group by grouping sets ((a), (b))",
        "call tidy(1)",
        "select 1;",
    ],
)
def test_what_postgresql_reads_is_read(statement: str) -> None:
    """Its own parser decides, and no percent sign needs doubling."""
    assert statement_of(statement).names == ()


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        (
            "select u.id, name as n, count(*), u.day::text, lower(name)::text from users u",
            ("id", "n", "count", "day", "lower"),
        ),
        ('select "Name" from a union select b from c', ("Name",)),
        ("with x as (select 1 as y) insert into t (a) select y from x returning id, a + 1 as b", ("id", "b")),
        ("select * from t", None),
        ("select t.* from t", None),
        ("select 1", None),
        ("values (1, 2)", None),
        ("delete from t", None),
    ],
)
def test_a_statement_tells_its_columns(statement: str, columns: tuple[str, ...] | None) -> None:
    """As PostgreSQL would name them, or not at all."""
    assert statement_of(statement).columns == columns


@pytest.mark.parametrize(
    ("statement", "twice"),
    [
        ("select id, name as id from t", "id"),
        ("select lower(a), lower(b)::text, c from t", "lower"),
        ("select *, t.id, u.id from t, u", "id"),
        ("select %(a)s, 1", "?column?"),
        ("select id, \"ID\", 1, 'x'::text, 2 + 2 from t", None),
        ("select *, id from t", None),
    ],
)
def test_a_statement_tells_a_name_that_two_columns_have(statement: str, twice: str | None) -> None:
    """Rows go by the names of their columns."""
    assert statement_of(statement).twice == twice


@pytest.mark.parametrize("before", ["%(a)s", "%(a)s::", "%(a)s::int", "%(a)s::int[3]", "%(a)s ::jsonb"])
def test_the_time_for_a_statement_grows_with_its_length(before: str) -> None:
    """The search for placeholders tries nothing twice: 3,000 spaces took 20 s once."""
    program = (
        "from omnibase_infra.handlers.db.statements import _PLACEHOLDER\n"
        f"text = '{before}' + ' ' * 100_000 + '.' * 100_000\n"
        "assert [it['name'] for it in _PLACEHOLDER.finditer(text * 10)] == ['a'] * 10"
    )
    # In a process of its own: nothing else could end it.
    subprocess.run([sys.executable, "-c", program], timeout=20, check=True)


@pytest.mark.parametrize(
    ("cast", "form"),
    [
        ("::int[]", "array"),
        (" :: timestamp with time zone []", "array"),
        ("::public.tag[3][4]", "array"),
        ("::jsonb[]", "array"),
        ("::text\n[]", "array"),
        ("::jsonb", "json"),
        ("\n::\njson", "json"),
        ("::int", "scalar"),
        ("", "scalar"),
    ],
)
def test_a_cast_says_how_a_value_is_written(cast: str, form: str) -> None:
    """Wherever there are spaces."""
    assert statement_of(f"select %(a)s{cast} as x").forms == {"a": form}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("select %s as a", "found %s, expected a placeholder by name: %(name)s"),
        ("select :name as a", "found :name, expected a placeholder by name: %(name)s"),
        ("select id from t where id in %(ids)s", "for a list write = any(%(ids)s::bigint[])"),
        ("select id from t where id not IN %(ids)s", "for a list write <> all(%(ids)s::bigint[])"),
        ("select id from %(t)s", "a placeholder stands for a value, not for the name of a table or a column"),
        ("select id from t where id = any(%(ids)s)", "%(ids)s::bigint[] or %(ids)s::text[]"),
        ("select id from t where id <> all(%(ids)s)", "%(ids)s::bigint[] or %(ids)s::text[]"),
    ],
)
def test_what_other_drivers_take_is_told_with_what_to_write(statement: str, told: str) -> None:
    """PostgreSQL alone says no more than that it is a syntax error."""
    with pytest.raises(InvalidExpression) as refused:
        statement_of(statement)
    assert told in str(refused.value)


def test_a_list_with_its_cast_is_taken() -> None:
    """Also where a parenthesis or a query stands in its place."""
    assert statement_of("select id from t where id = any(%(ids)s::int[])").forms == {"ids": "array"}
    assert statement_of("select id from t where id in (%(a)s, %(b)s)").names == ("a", "b")
    assert statement_of("select id from t where id = any(select %(a)s)").names == ("a",)


names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


@given(st.lists(names, min_size=1, max_size=6))
def test_every_placeholder_has_its_place(written: list[str]) -> None:
    """Names become numbers in the order of their first use, and values follow them."""
    statement = statement_of("select " + ", ".join(f"%({name})s" for name in written))
    assert statement.names == tuple(dict.fromkeys(written))
    numbers = [f"${statement.names.index(name) + 1}" for name in written]
    assert statement.text == "select " + ", ".join(numbers)
    assert statement.bound({name: name.upper() for name in written}) == [name.upper() for name in statement.names]


@given(st.text())
def test_any_text_is_a_statement_or_one_typed_error(text: str) -> None:
    """No text makes the parser raise anything else, and a fault is at a place of the text."""
    try:
        statement_of(text)
    except InvalidExpression as error:
        fault = error
    else:
        return
    lines = text.split("\n")
    assert 1 <= fault.line <= len(lines)
    assert 1 <= fault.column <= len(lines[fault.line - 1]) + 2


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(names, inner),
    )
)
def test_json_is_written_as_json(value: object) -> None:
    """Whatever a value is, what is cast to jsonb holds it; null alone is the null of SQL."""
    text = text_of(value, "json", name="doc")
    assert (None if text is None else json.loads(text)) == value


@pytest.mark.parametrize("value", ["a\0b", "\ud800", [1], {"a": 1}, float("nan")])
def test_what_cannot_be_bound_is_refused_without_its_value(value: object) -> None:
    """The parameter is named, and what it held is not repeated."""
    with pytest.raises(UnboundValue, match=r"^secret_name: ") as refused:
        text_of(value, "scalar", name="secret_name")
    assert "a\0b" not in str(refused.value)


def test_a_statement_does_not_end_before_its_end() -> None:
    """What is behind U+0000 would be seen neither by the parser nor by the server."""
    with pytest.raises(InvalidExpression, match=r"found the character U\+0000") as refused:
        statement_of("select 1\0; delete from users")
    assert (refused.value.line, refused.value.column) == (1, 9)
