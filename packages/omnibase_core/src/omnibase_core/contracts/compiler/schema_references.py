"""References within a schema that lead nowhere, each at its own place. Pure.

A reference is resolved as draft 2020-12 says: against the `$id` of the schema around it. Nothing is ever fetched, so
that it has to lead to a part of the schema itself, to an anchor, or to a schema under `$defs` with an `$id` of its own.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omnibase_core.contracts.compiler.schema_keywords import subschemas
from omnibase_core.contracts.compiler.types import TypeProblem
from omnibase_core.contracts.json_schema import Addresses, InvalidSchema
from omnibase_core.contracts.yaml.document import Path, nearest
from omnibase_core.contracts.yaml.scalars import shown

_REFERENCES = ("$ref", "$dynamicRef")


def faults_of_references(schema: Mapping[str, Any], at: Path) -> Iterator[TypeProblem]:
    """Yield the references of a schema that lead nowhere."""
    try:
        addresses = Addresses.of(_without_references(schema))
    except InvalidSchema:  # An `$id` is no address, which is told already.
        return
    definitions = schema.get("$defs")
    named = definitions if isinstance(definitions, Mapping) else {}
    for part, here, around in _placed(schema, at, addresses):
        for word in _REFERENCES:
            reference = part.get(word)
            if isinstance(reference, str) and around.leads_nowhere(reference):
                yield _misfit(reference, named, (*here, word))


def _misfit(reference: str, named: Mapping[str, Any], at: Path) -> TypeProblem:
    leads = "leads nowhere" if reference.startswith("#") else "leads out of the schema, and may only point into it"
    name = _name(reference)
    near = name if name in named else nearest(name, named)
    meant = f"#/$defs/{near or name}"
    advice = f"write '{meant}'" if near == name else f"did you mean '{meant}'?"
    if near is None:
        advice = f"put that schema under $defs and write '{meant}'"
    told = f"{shown(reference)} {leads}; {advice}"
    return TypeProblem(at=at, message=told, code="bad-schema", nearest=near and meant)


def _name(reference: str) -> str:
    """Return the name that what is referred to has, or could have, under `$defs`."""
    last = re.split(r"[/#]", reference.rstrip("/#"))[-1]
    stem = re.sub(r"\.(?:schema|json|ya?ml)\b.*", "", last)
    return re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII) or "name"


def _without_references(schema: Any) -> Any:
    """Leave out references, and what is no `$id`: where one leads nowhere, the others could not be looked at."""
    if isinstance(schema, Mapping):
        kept = {
            key: it for key, it in schema.items() if key not in _REFERENCES and (key != "$id" or isinstance(it, str))
        }
        return {key: _without_references(it) for key, it in kept.items()}
    return [_without_references(it) for it in schema] if isinstance(schema, list) else schema


def _placed(schema: Any, at: Path, around: Addresses) -> Iterator[tuple[Mapping[str, Any], Path, Addresses]]:
    """Yield each schema with its path, and with where the references in it lead."""
    if not isinstance(schema, Mapping):
        return
    yield schema, at, around
    for part, here in subschemas(schema, at):
        identity = part.get("$id") if isinstance(part, Mapping) else None
        yield from _placed(part, here, around.within(identity) if isinstance(identity, str) else around)
