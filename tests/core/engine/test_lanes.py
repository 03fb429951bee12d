"""Lanes against a plain model: within a lane one after the other, in order; lanes do not know each other."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omnibase_core.engine.lanes import Lanes


class LanesAgainstModel(RuleBasedStateMachine):
    """The model is one list a lane; a lane runs as long as it has not been told that it is at its end."""

    def __init__(self) -> None:
        """Start without a lane."""
        super().__init__()
        self.lanes: Lanes[int] = Lanes()
        self.waiting: dict[str, list[int]] = {}
        self.count = 0

    @rule(lane=st.sampled_from("abc"))
    def put(self, lane: str) -> None:
        """Only the first item of a lane that does not run opens it."""
        opened = self.lanes.put(lane, self.count)
        assert opened == (lane not in self.waiting)
        self.waiting.setdefault(lane, []).append(self.count)
        self.count += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take_next(self, data: st.DataObject) -> None:
        """A running lane gives its items in order, and then ends."""
        lane = data.draw(st.sampled_from(sorted(self.waiting)))
        expected = self.waiting[lane].pop(0) if self.waiting[lane] else None
        assert self.lanes.next(lane) == expected
        if expected is None:
            del self.waiting[lane]

    @invariant()
    def counts_running_lanes(self) -> None:
        """A lane that is at its end leaves nothing behind."""
        assert len(self.lanes) == len(self.waiting)


TestLanesAgainstModel = LanesAgainstModel.TestCase
