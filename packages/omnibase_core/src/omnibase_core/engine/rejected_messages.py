"""What becomes of messages that the broker refused: shortened, sent again, or ended as a dead letter.

Every retry has a measure that falls. What is too large is replaced by something of half its size, at last by a dead
letter of bytes alone. What is refused for another reason is sent again after a pause, and an answer so often only; then
its command ends as a dead letter. A dead letter has no such end: without it the command would be lost, so that its
partition waits, and health says for what. Only what was refused is published again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from omnibase_core.dead_letters import raw_dead_letter, size_of
from omnibase_core.engine.handler_publisher import Outgoing
from omnibase_core.engine.in_flight import InFlightCommand
from omnibase_core.errors import PublishFailed
from omnibase_core.ports import Message, Refusal

_AGAIN_FIRST_S = 0.5
_AGAIN_LONGEST_S = 30.0
_DOUBLINGS_MAX = 20
_ANSWER_TRIES = 8
"""So often an answer is refused, over about two minutes, before its command ends as a dead letter."""
_LEAST_BYTES = 1500
"""A dead letter of the last resort is no larger, and nothing smaller can be said."""


def refused_of(works: Iterable[InFlightCommand], refusals: Sequence[Refusal]) -> dict[InFlightCommand, list[Refusal]]:
    """Return the refusals of each work, by their places among its own messages; `works` in the order of publishing."""
    if not refusals:
        return {}
    owners = [(work, place) for work in works for place in range(len(work.messages))]
    refused: dict[InFlightCommand, list[Refusal]] = {}
    for refusal in refusals:
        work, place = owners[refusal.index]
        refused.setdefault(work, []).append(replace(refusal, index=place))
    return refused


async def mend(work: InFlightCommand, refusals: Sequence[Refusal], *, transacts: bool) -> None:
    """Put in place of a work's messages what is to be published next, perhaps nothing, after a pause where one is due.

    With `transacts` none of its messages was published; without, all that were not refused.
    """
    refused = [work.messages[refusal.index] for refusal in refusals]
    if not transacts:
        work.has_letter |= any(_is_letter(work, it) for it in work.messages if it not in refused)
        work.messages = refused
    large = [work_message for work_message, it in zip(refused, refusals, strict=True) if _is_too_large(it)]
    own = [it.error for message, it in zip(refused, refusals, strict=True) if isinstance(message, Outgoing)]
    largest = max(map(size_of, large), default=0)
    if own:
        # What its handler publishes is the command's own: its answer would say that it was published.
        work.messages = work.instance.unpublished(work.origin, own[0])
    elif largest > _LEAST_BYTES:
        only_letters = not transacts and all(_is_letter(work, it) for it in refused)
        work.messages = _shorter(work, refusals[0].error, largest // 2, only_letters=only_letters)
    else:
        work.refusals += 1
        is_answer = not all(_is_letter(work, it) for it in refused)
        tries = 1 if _has_no_topic(work, refusals) else _ANSWER_TRIES
        if work.refusals < tries or not is_answer:
            await _pause(work, refusals[0].error)
        if work.refusals >= tries and is_answer:
            work.messages = _ended(work, refusals[0].error)


def _shorter(work: InFlightCommand, error: PublishFailed, bytes_max: int, *, only_letters: bool) -> Sequence[Message]:
    """Return what is published instead, of at most so many bytes, without what the broker has already."""
    if bytes_max < _LEAST_BYTES:
        instead: Sequence[Message] = [_last_resort(work, error, bytes_max)]
    elif work.stray is not None:
        instead = work.stray.refused(work.delivery, error, bytes_max=bytes_max)
    else:
        instead = work.instance.shorter(work.origin, str(error), bytes_max=bytes_max)
    return [it for it in instead if not (work.has_letter if _is_letter(work, it) else only_letters)]


def _has_no_topic(work: InFlightCommand, refusals: Sequence[Refusal]) -> bool:
    """Check whether an answer is refused for a node that nobody has: there is no topic for it, and none will come."""
    passes_on = any(message.topic == work.delivery.partition.topic for message in work.messages)
    return work.stray is not None and not passes_on and refusals[0].error.code == "unknown_topic"


def _ended(work: InFlightCommand, error: PublishFailed) -> Sequence[Message]:
    """Return what ends a command of which a message is refused again and again: its dead letter.

    One that cannot be left to another host has not been answered yet.
    """
    if work.stray is not None and any(it.topic == work.delivery.partition.topic for it in work.messages):
        return work.stray.refused(work.delivery, error, bytes_max=work.instance.replies.bytes_max)
    letters = [it for it in work.messages if _is_letter(work, it)]
    return letters or ([] if work.has_letter else [_last_resort(work, error, work.instance.replies.bytes_max)])


def _last_resort(work: InFlightCommand, error: PublishFailed, bytes_max: int) -> Message:
    """Return a dead letter of the delivery's bytes alone."""
    instance = work.instance
    return raw_dead_letter(
        work.origin,
        PublishFailed(error.code, str(error)[:200]),
        topic=instance.replies.letters,
        node=_node_of(work),
        host=instance.replies.host.name,
        now=instance.clock.now(),
        bytes_max=bytes_max,
    )


def _node_of(work: InFlightCommand) -> str:
    return "unknown" if work.stray is not None else work.instance.node.contract.name


def _is_letter(work: InFlightCommand, message: Message) -> bool:
    return message.topic == work.instance.replies.letters


def _is_too_large(refusal: Refusal) -> bool:
    return refusal.error.code == "message_too_large"


async def _pause(work: InFlightCommand, error: PublishFailed) -> None:
    instance = work.instance
    reason = f"{error.code}: {error}"
    if work.stray is None:
        instance.figures.degraded = reason
    instance.observer.event(
        "error",
        "publish_refused",
        node=_node_of(work),
        reason=reason,
        refusals=work.refusals,
        partition=f"{work.delivery.partition.topic}[{work.delivery.partition.number}]",
        offset=work.delivery.offset,
    )
    await asyncio.sleep(min(_AGAIN_FIRST_S * 2.0 ** min(work.refusals - 1, _DOUBLINGS_MAX), _AGAIN_LONGEST_S))
