"""What happened in a case, held to what its author expects. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omnibase_core.contract_tests.diff import difference, written
from omnibase_core.contract_tests.runner import LONGEST_S
from omnibase_core.contract_tests.scripted_handler import Record, SentRecord
from omnibase_core.contracts.tests import (
    Case,
    Expectation,
    ExpectedDeadLetter,
    ExpectedError,
    ScriptedCall,
    Sent,
    TimeRange,
)
from omnibase_core.contracts.yaml.document import Path
from omnibase_core.envelope import EnvelopeError

_TICK_S = 0.001
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class FailedExpectation:
    """One thing that is not as expected: where that stands within the case, what it is, and the difference in lines."""

    path: Path
    message: str
    lines: Sequence[str] = ()


def judge(case: Case, record: Record) -> list[FailedExpectation]:
    """Return everything that is not as expected."""
    if record.crash is not None:
        return [FailedExpectation((), f"the runtime itself came to its end: {record.crash}")]
    failures: list[FailedExpectation] = []
    for (path, sent), found in zip(case.sent, record.sent, strict=True):
        failures.extend(_of_sent(path, sent, found))
    return [*failures, *_of_case(case, record)]


def _of_case(case: Case, record: Record) -> Iterator[FailedExpectation]:
    expect = case.expect
    for key, found in (("state", record.state), ("breaker", record.breaker)):
        expected = getattr(expect, key)
        if expected is not None:
            yield from _unlike(("expect", key), f"the {key} afterwards differs", {key: expected}, {key: found})
    if expect.order is not None:
        names = [case.sent[index][1].name for index in record.order]
        if expect.order != names:
            lines = [f"- order: {', '.join(expect.order)}", f"+ order: {', '.join(names)}"]
            yield FailedExpectation(("expect", "order"), "the order of the answers differs", lines)


def _of_sent(path: Path, sent: Sent, found: SentRecord) -> Iterator[FailedExpectation]:
    yield from _of_calls((*path, "handler"), sent.handler, found.requests)
    if len(found.requests) > len(sent.handler):
        return  # What came of a call that is not scripted says nothing of the node.
    if not found.answers:
        yield FailedExpectation(
            path, f"the command got no answer within {LONGEST_S / _DAY_S:g} days of the test's own time"
        )
        return
    if len(found.answers) > 1:
        yield FailedExpectation(path, f"the command got {len(found.answers)} answers, expected one")
    at_s, answer = found.answers[0]
    at = (*path, "expect")
    yield from _of_answer(at, sent.expect, answer.payload, answer.error)
    if ("error" in sent.expect.outcomes) is (answer.error is not None):
        yield from _of_letters((*at, "dead_letter"), sent.expect, found.letters)
    yield from _of_time((*at, "took_s"), sent.expect.took_s, at_s - found.sent_s)


def _of_calls(at: Path, scripts: Sequence[ScriptedCall], requests: Sequence[Any]) -> Iterator[FailedExpectation]:
    for index, (scripted, request) in enumerate(zip(scripts, requests, strict=False)):
        if scripted.request is not None:
            says = f"call {index + 1} of the handler has another request"
            yield from _unlike((*at, index, "request"), says, scripted.request, request, partly=True)
    for index in range(len(requests), len(scripts)):
        yield FailedExpectation((*at, index), f"call {index + 1} of the handler is scripted and was not made")
    for index in range(len(scripts), len(requests)):
        asked = [f"+ {line}" for line in written(_told(requests[index]))]
        yield FailedExpectation(at, f"call {index + 1} of the handler is not scripted; its request is", asked)


def _of_answer(at: Path, expect: Expectation, payload: Any, error: EnvelopeError | None) -> Iterator[FailedExpectation]:
    if "error" in expect.outcomes:
        expected = _parts(expect.error) if isinstance(expect.error, ExpectedError) else {"code": expect.error}
        if error is None:
            yield from _unlike(at, "an answer came in place of an error", {"error": expected}, {"answer": payload})
        else:
            yield from _unlike((*at, "error"), "the error differs", expected, _noted(error, expected))
        return
    key = expect.outcomes[0]
    if error is not None:
        yield from _unlike(
            (*at, key),
            "an error came in place of an answer",
            {"answer": getattr(expect, key)},
            {"error": _whole(error)},
        )
    elif key == "answer":
        yield from _unlike((*at, key), "the answer differs", expect.answer, payload)
    if expect.answer_includes is not None and error is None:
        at_part = (*at, "answer_includes")
        yield from _unlike(at_part, "the answer lacks something", expect.answer_includes, payload, partly=True)


def _of_letters(at: Path, expect: Expectation, letters: Sequence[Mapping[str, Any]]) -> Iterator[FailedExpectation]:
    expected = expect.dead_letter
    if len(letters) > 1:
        yield FailedExpectation(at, f"the command got {len(letters)} dead letters, expected one at most")
    elif isinstance(expected, ExpectedDeadLetter) and letters:
        yield from _unlike(at, "the dead letter differs", _parts(expected), letters[0], partly=True)
    elif bool(expected) != bool(letters):
        says = "a dead letter is missing" if expected else "a dead letter came that is not expected"
        found = dict(letters[0]) if letters else False
        yield from _unlike(at, says, {"dead_letter": _plain(expected)}, {"dead_letter": found})


def _of_time(at: Path, expected: float | TimeRange | None, took_s: float) -> Iterator[FailedExpectation]:
    if expected is None:
        return
    if isinstance(expected, TimeRange):
        is_met = expected.at_least <= took_s and (expected.at_most is None or took_s <= expected.at_most)
    else:
        is_met = abs(took_s - expected) <= _TICK_S
    if not is_met:
        wanted = _plain(expected) if isinstance(expected, TimeRange) else _seconds(expected)
        yield from _unlike(at, "it took another time", {"took_s": wanted}, {"took_s": _seconds(took_s)})


def _seconds(seconds: float) -> float:
    """Return seconds as a person writes them: without what the arithmetic adds, and 3 rather than 3.0."""
    rounded = round(seconds, 6)
    return int(rounded) if rounded.is_integer() else rounded


def _unlike(at: Path, message: str, expected: Any, actual: Any, *, partly: bool = False) -> Iterator[FailedExpectation]:
    if lines := difference(expected, actual, partly=partly):
        yield FailedExpectation(at, message, lines)


def _parts(expected: ExpectedError | ExpectedDeadLetter) -> dict[str, Any]:
    """Return what the author wrote of it."""
    return {key: getattr(expected, key) for key in type(expected).model_fields if key in expected.model_fields_set}


def _plain(expected: Any) -> Any:
    """Return an expectation as its author wrote it."""
    return expected.model_dump(exclude_unset=True) if isinstance(expected, ExpectedDeadLetter | TimeRange) else expected


def _whole(error: EnvelopeError) -> dict[str, Any]:
    """Return an error as it would be expected, without what says nothing."""
    return {key: value for key, value in _said(error).items() if value not in ({}, False)}


def _noted(error: EnvelopeError, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error's part that is expected and, where its code is another, its message: it says why."""
    said = _said(error)
    return {key: said[key] for key in (*expected, *(() if said["code"] == expected["code"] else ("message",)))}


def _said(error: EnvelopeError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "retryable": error.retryable, "details": error.details}


def _told(request: Any) -> Any:
    """Return a request without what is left at nothing."""
    if not isinstance(request, Mapping):
        return request
    return {key: value for key, value in request.items() if value is not None and value != {}}
