"""Every kind of fault that a contract can have."""

from typing import Literal

ProblemCode = Literal[
    # The file
    "unreadable-file",
    "not-a-contract",
    "bad-character",
    "too-large",
    # Its YAML
    "yaml-syntax",
    "yaml-tag",
    "yaml-alias",
    "many-documents",
    "duplicate-key",
    "bad-key",
    "no-value",
    "ambiguous-word",
    "bad-number",
    # Any contract
    "unknown-key",
    "missing-key",
    "unused-key",
    "wrong-type",
    "wrong-value",
    "name-taken",
    # A node
    "kind-not-served",
    "unknown-handler",
    "unknown-operation",
    "unknown-failure",
    "bad-schema",
    "bad-expression",
    "unknown-field",
    "optional-field",
    "expression-type",
    "bad-request",
    "timeout-past-deadline",
    "retry-past-deadline",
    # A host
    "unknown-node",
    "listed-twice",
    "unbound-target",
    "package-not-allowed",
    "unknown-function",
    "unused-binding",
    "pool-differs",
    "guarantee-not-covered",
    "no-store",
    "unknown-store",
    "unknown-bus",
    "impure-function",
    # A handler
    "handler-differs",
    # Tests of a node
    "bad-test",
]
"""Every kind of fault that a contract can have. Each has a page in `docs/errors`: `runtime-host explain` shows it."""
