"""How much is taken at once: which topics wait, when they go on, and that none waits for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.engine.in_flight_limits import FlowChange, InFlightLimits

TOPICS = ("a", "b", "c")

Step = tuple[str, int]


def _intake(
    *, a: int | None = None, b: int | None = None, in_all: int = 1000, bytes_max: int = 1_000_000
) -> InFlightLimits:
    return InFlightLimits(per_topic={"a": a, "b": b, "c": None}, in_all=in_all, bytes_max=bytes_max)


def _fill(intake: InFlightLimits, topic: str, count: int, size_bytes: int = 1) -> None:
    for _ in range(count):
        intake.take(topic, size_bytes)


def _empty(intake: InFlightLimits, topic: str, count: int, size_bytes: int = 1) -> None:
    for _ in range(count):
        intake.give_back(topic, size_bytes)


def test_a_full_topic_is_held_alone_and_goes_on_at_half() -> None:
    """At its limit a topic waits, the others do not; at half of the limit it goes on."""
    intake = _intake(a=4, b=4)
    _fill(intake, "a", 3)
    assert intake.change() is None
    _fill(intake, "a", 1)
    assert intake.change() == FlowChange(pause=frozenset("a"), resume=frozenset())
    assert intake.held == {"a"}
    _empty(intake, "a", 1)
    assert intake.change() is None
    _empty(intake, "a", 1)
    assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset("a"))
    assert intake.held == frozenset()


def test_a_limit_of_one_goes_on_when_it_is_empty() -> None:
    """Half of one is none: the topic serves one command after the other."""
    intake = _intake(a=1)
    for _ in range(3):
        _fill(intake, "a", 1)
        assert intake.change() == FlowChange(pause=frozenset("a"), resume=frozenset())
        _empty(intake, "a", 1)
        assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset("a"))


@pytest.mark.parametrize(
    ("limits", "size_bytes"), [({"in_all": 4}, 1), ({"bytes_max": 400}, 100)], ids=["by count", "by bytes"]
)
def test_a_full_host_holds_every_topic_until_half(limits: dict[str, int], size_bytes: int) -> None:
    """The host's limit on commands or on bytes holds back all topics, also those that have taken nothing."""
    intake = _intake(**limits)
    _fill(intake, "c", 3, size_bytes)
    assert intake.change() is None
    _fill(intake, "c", 1, size_bytes)
    assert intake.change() == FlowChange(pause=frozenset(TOPICS), resume=frozenset())
    _empty(intake, "c", 1, size_bytes)
    assert intake.change() is None
    _empty(intake, "c", 1, size_bytes)
    assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset(TOPICS))


def test_a_topic_that_is_full_itself_stays_held_when_the_host_goes_on() -> None:
    """When the host has room again, only the topics with room of their own go on."""
    intake = _intake(a=2, in_all=6)
    _fill(intake, "a", 2)
    _fill(intake, "b", 4)
    assert intake.change() == FlowChange(pause=frozenset(TOPICS), resume=frozenset())
    _empty(intake, "b", 3)
    assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset("bc"))
    assert intake.held == {"a"}


def test_what_came_and_went_between_two_looks_changes_nothing() -> None:
    """A topic that was full for a moment only is not switched at all."""
    intake = _intake(a=2)
    _fill(intake, "a", 2)
    _empty(intake, "a", 2)
    assert intake.change() is None


def _offer(intake: InFlightLimits, topic: str, count: int) -> int:
    """Offer a batch to a topic, as one that stands still: give how many it takes before there is no room."""
    for taken in range(count):
        if not intake.has_room(topic):
            return taken
        intake.take(topic, 1)
    return count


def test_what_came_in_one_batch_may_go_beyond_a_limit_but_not_far() -> None:
    """Up to a quarter of what is free; a topic that had to leave some behind goes on at half of its limit."""
    intake = _intake(a=10, in_all=1000)
    assert _offer(intake, "a", 500) == 200
    assert intake.change() == FlowChange(pause=frozenset("a"), resume=frozenset())
    _empty(intake, "a", 194)
    assert intake.change() is None
    _empty(intake, "a", 1)
    assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset("a"))


def test_a_topic_holds_no_more_than_it_leaves_free() -> None:
    """Whatever its limit: and it goes on when the host could hold twice as much of it."""
    intake = _intake(a=900, b=900, in_all=1000)
    assert _offer(intake, "a", 1000) == 500
    assert _offer(intake, "b", 1000) == 250
    assert intake.change() == FlowChange(pause=frozenset("ab"), resume=frozenset())
    _empty(intake, "a", 100)
    assert intake.change() is None
    _empty(intake, "b", 75)
    assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset("b"))
    _empty(intake, "a", 124)
    assert intake.change() is None
    _empty(intake, "a", 2)
    assert intake.change() == FlowChange(pause=frozenset(), resume=frozenset("a"))


def test_large_commands_leave_room_for_the_bytes_of_others() -> None:
    """A few large ones fill a host as well as many small ones."""
    intake = _intake(a=100, b=100, bytes_max=1000)
    sizes = [it for it in range(10) if intake.has_room("a") and intake.take("a", 100) is None]
    assert len(sizes) == 5
    assert intake.has_room("b")


def test_what_the_host_does_not_count_stays_within_its_topics_limit() -> None:
    """Nothing else would bound it."""
    intake = _intake(a=2)
    for _ in range(2):
        assert intake.has_room("a", apart=True)
        intake.take("a", 1, apart=True)
    assert not intake.has_room("a", apart=True)


@given(st.integers(1, 400), st.lists(st.integers(1, 2000), min_size=1, max_size=8))
def test_topics_that_stand_still_leave_room_for_the_others(limit: int, batches: list[int]) -> None:
    """Eight at most, each with a batch that never ends: there is room for a command of a ninth, and no host is full."""
    topics = [f"stuck-{number}" for number in range(len(batches))]
    intake = InFlightLimits(per_topic={**dict.fromkeys(topics, limit), "well": limit}, in_all=1000, bytes_max=1_000_000)
    for topic, batch in zip(topics, batches, strict=True):
        _offer(intake, topic, batch)
        intake.change()
    assert intake.has_room("well")
    assert not intake.full
    assert "well" not in intake.held
    for topic in topics:
        _empty(intake, topic, intake.waiting(topic))
    intake.change()
    assert intake.held == frozenset()


LIMIT = st.none() | st.integers(1, 5)
STEPS = st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 40)) | st.none(), max_size=60)
"""A command taken, or None: the oldest is given back."""


@given(st.fixed_dictionaries(dict.fromkeys(TOPICS, LIMIT)), st.integers(1, 8), st.integers(1, 100), STEPS)
def test_what_is_held_follows_from_what_was_taken(
    limits: dict[str, int | None], in_all: int, bytes_max: int, steps: list[Step | None]
) -> None:
    """A full topic is held, one at its half is not, the counts are those of the work, and in the end nothing waits."""
    intake = InFlightLimits(per_topic=limits, in_all=in_all, bytes_max=bytes_max)
    flying: list[Step] = []
    told: frozenset[str] = frozenset()
    for step in [*steps, *([None] * len(steps))]:
        if step is not None:
            flying.append(step)
            intake.take(*step)
        elif flying:
            intake.give_back(*flying.pop(0))
        change = intake.change()
        if change is not None:
            assert change.pause | change.resume
            assert not change.pause & told
            assert change.resume <= told
            told = (told | change.pause) - change.resume
        assert told == intake.held
        assert intake.change() is None
        assert intake.count == len(flying)
        assert intake.size_bytes == sum(size for _, size in flying)
        _check_held(intake, limits, in_all, bytes_max, flying)
    assert not flying
    assert (intake.count, intake.size_bytes, intake.held) == (0, 0, frozenset())


def _check_held(
    intake: InFlightLimits, limits: dict[str, int | None], in_all: int, bytes_max: int, flying: list[Step]
) -> None:
    in_bytes = sum(size for _, size in flying)
    host_full = len(flying) >= in_all or in_bytes >= bytes_max
    host_free = 2 * len(flying) <= in_all and 2 * in_bytes <= bytes_max
    for topic, limit in limits.items():
        count = sum(1 for name, _ in flying if name == topic)
        if host_full or (limit is not None and count >= limit):
            assert topic in intake.held
        elif host_free and (limit is None or count <= limit // 2):
            assert topic not in intake.held
