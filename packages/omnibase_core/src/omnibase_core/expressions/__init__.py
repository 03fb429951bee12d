"""Expressions of contracts, in CEL, and the mappings that hold them. Pure.

- `templates`: what a contract writes, compiled and checked at load, evaluated per command.
- `scope`: what the expressions of one command can read.
- `checking`, `functions`, `types`: what type an expression has, from the JSON Schema of what it reads.
- `limits`: what an expression may cost.
- `engine`, `syntax`, `values`: the one importer of the engine, the tree of an expression, and values on their way.
"""

from omnibase_core.expressions.scope import (
    ANSWER_NAMES,
    FAILURE_NAMES,
    FAILURE_TYPE,
    REQUEST_NAMES,
    Coercions,
    Scope,
    request_types,
)
from omnibase_core.expressions.templates import Compiler, Expression, Path, Template, is_expression, without_braces
from omnibase_core.expressions.types import (
    DYNAMIC,
    NOTHING,
    Type,
    kind_of,
    type_of_annotation,
    type_of_model,
    type_of_object,
    type_of_schema,
)
from omnibase_core.expressions.values import coercion_to

__all__ = [
    "ANSWER_NAMES",
    "DYNAMIC",
    "FAILURE_NAMES",
    "FAILURE_TYPE",
    "NOTHING",
    "REQUEST_NAMES",
    "Coercions",
    "Compiler",
    "Expression",
    "Path",
    "Scope",
    "Template",
    "Type",
    "coercion_to",
    "is_expression",
    "kind_of",
    "request_types",
    "type_of_annotation",
    "type_of_model",
    "type_of_object",
    "type_of_schema",
    "without_braces",
]
