"""What contracts may write of `db`: targets in a host's, statements with their parameters in a node's. Values only."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, model_validator

SqlText = Annotated[str, Field(min_length=1, max_length=100_000, examples=["select now() as now"])]
"""One statement, fixed by the contract: `check` refuses an expression in its place."""
Parameters = dict[str, JsonValue]
"""Values by the names of the statement's placeholders: each is bound, none is pasted."""
TABLE = r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$"
JsonType = Literal["string", "integer", "number", "boolean", "object", "array", "null"]
RowShape = Annotated[dict[str, JsonType | list[JsonType]], Field(min_length=1)]
"""The columns of a statement's rows, each with its type of JSON or a list of those that it may have."""
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _DbModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class DbSettings(_DbModel):
    """Nothing is set for all targets together."""


class DbTarget(_DbModel):
    """One database that nodes may name as their `target`.

    - `dsn`: a connection string of libpq, `postgresql://host:port/database`. `user` and `password` may stand in it, or
      here; either is best a secret.
    - `sslmode`: `verify-full` demands a certificate of a trusted authority for the very host; `verify-ca` for any;
      `require` encrypts without knowing for whom; `disable` is for a server on this machine.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the system's.
    - `connections_min`: kept open when there is nothing to do; `connections_max`: further calls wait for a free one.
    - `connect_timeout_s`: how long a call waits for a connection, free or new, and no longer than its own time.
    - `lifetime_max_s`: after that, a connection is replaced; `idle_max_s`: one that was idle for so long is closed.
    - `application_name`: by which the server knows these connections.
    - `rows_max`, `result_bytes_max`: the largest result of one call, and bytes are those of its text.
    """

    dsn: Annotated[SecretStr, Field(examples=["postgresql://localhost:5432/postgres"])]
    user: SecretStr | None = None
    password: SecretStr | None = None
    sslmode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    tls_ca_file: Annotated[str, Field(min_length=1)] | None = None
    connections_min: Annotated[int, Field(ge=0, le=1000)] = 0
    connections_max: Annotated[int, Field(ge=1, le=1000)] = 10
    connect_timeout_s: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    lifetime_max_s: Seconds = 3600.0
    idle_max_s: Seconds = 600.0
    application_name: Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$", max_length=63)] = "onex-runtime-host"
    rows_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    result_bytes_max: Annotated[int, Field(ge=1, le=256 * 1024 * 1024)] = 1024 * 1024

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.connections_min > self.connections_max:
            raise ValueError(f"connections_min {self.connections_min} is over connections_max {self.connections_max}")
        if self.tls_ca_file is not None and not self.sslmode.startswith("verify-"):
            raise ValueError("tls_ca_file is read with sslmode verify-ca or verify-full alone")
        return self


class QueryRequest(_DbModel):
    """One statement that reads, in a read-only transaction: a select, also one with `with`.

    `row` says what its rows are, `{id: integer, name: [string, "null"]}`: each row is held to it.
    """

    statement: SqlText
    parameters: Parameters = Field(default_factory=dict)
    row: RowShape | None = None


class ExecuteRequest(_DbModel):
    """One statement that writes, in a transaction of its own; `returning` gives rows, which are held to `row`.

    `idempotent` says that the statement may be done twice, as an `insert ... on conflict do nothing` may. Without it, a
    call whose COMMIT was lost is not repeated: it is the error `commit_unknown`.
    """

    statement: SqlText
    parameters: Parameters = Field(default_factory=dict)
    row: RowShape | None = None
    idempotent: bool = False


class BatchRequest(_DbModel):
    """One statement, done once for each set of parameters, in one transaction: all of them or none."""

    statement: SqlText
    parameter_sets: list[Parameters]
    idempotent: bool = False


class CopyRequest(_DbModel):
    """Rows that are put into a table by COPY, in one transaction: the quickest way for many.

    `table` and `columns` are fixed by the contract. A column that takes JSON or an array says so as a placeholder
    does: `doc::jsonb`, `tags::text[]`.
    """

    table: Annotated[str, Field(pattern=TABLE)]
    columns: Annotated[list[str], Field(min_length=1)]
    rows: list[list[JsonValue]]
    idempotent: bool = False


class TransactionStatement(_DbModel):
    """One statement of a transaction. Where `expect_rows` is not what it touches or gives, all is rolled back."""

    statement: SqlText
    parameters: Parameters = Field(default_factory=dict)
    row: RowShape | None = None
    expect_rows: Annotated[int, Field(ge=0)] | None = None


class TransactionRequest(_DbModel):
    """Several statements by name, in their order, in one transaction: all of them or none.

    Each is fixed, as elsewhere. What a later one needs of an earlier one, it reads from the tables.
    """

    statements: Annotated[dict[str, TransactionStatement], Field(min_length=1)]
    isolation: Literal["read committed", "repeatable read", "serializable"] = "read committed"
    read_only: bool = False
    idempotent: bool = False


class Rows(_DbModel):
    """What a statement gave: its rows, each by the names of its columns, and how many it gave or touched."""

    rows: list[dict[str, JsonValue]]
    row_count: int


class Count(_DbModel):
    """How many rows were touched in all."""

    row_count: int


class TransactionResult(_DbModel):
    """What each statement gave, by its name."""

    results: dict[str, Rows]
