"""The ledger against a plain model: what may be committed is never beyond anything unfinished."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omnibase_core.engine.ledger import PartitionLedger


class LedgerAgainstModel(RuleBasedStateMachine):
    """The model keeps every offset ever begun, and looks for the first that is not done."""

    @initialize(first=st.integers(0, 1000))
    def start(self, first: int) -> None:
        """Start somewhere in the partition."""
        self.ledger = PartitionLedger()
        self.next = first
        self.begun: list[int] = []
        self.done: set[int] = set()

    @rule(gap=st.integers(0, 3))
    def begin(self, gap: int) -> None:
        """Offsets come in order; compaction and transactions leave gaps."""
        offset = self.next + gap
        assert self.ledger.begin(offset)
        self.begun.append(offset)
        self.next = offset + 1

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def begin_again(self, data: st.DataObject) -> None:
        """What was begun is not begun again."""
        assert not self.ledger.begin(data.draw(st.sampled_from(self.begun)))

    @precondition(lambda self: set(self.begun) - self.done)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """Any of the unfinished may be done next."""
        offsets = data.draw(st.sets(st.sampled_from(sorted(set(self.begun) - self.done)), min_size=1))
        self.ledger.complete(offsets)
        self.done |= offsets

    @invariant()
    def watermark_is_the_first_unfinished(self) -> None:
        """Commit nothing beyond unfinished work, and everything before it."""
        unfinished = [offset for offset in self.begun if offset not in self.done]
        expected = unfinished[0] if unfinished else self.next if self.begun else None
        assert self.ledger.watermark == expected


TestLedgerAgainstModel = LedgerAgainstModel.TestCase


@given(st.permutations(range(8)))
def test_any_order_of_completion_ends_at_the_end(order: list[int]) -> None:
    """Whatever order work is done in, the watermark only grows, and at the end everything may be committed."""
    ledger = PartitionLedger()
    for offset in range(8):
        ledger.begin(offset)
    seen = []
    for offset in order:
        ledger.complete([offset])
        seen.append(ledger.watermark)
    assert seen == sorted(seen)
    assert seen[-1] == 8
