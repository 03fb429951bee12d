"""One partition as a broker keeps it: offsets with gaps, a beginning that retention moves, and the id of its topic."""

from collections.abc import Iterator

from omnibase_core.ports import Message


class Log:
    """Records by offset. What a transaction's marker or an aborted message takes up is a gap: nobody ever sees it.

    `identity` is another one where offsets may mean other records than before: for a topic that was deleted and created
    again, and for a log that was cut off. `begin` is the first offset that is kept, `end` that of the next record.
    """

    def __init__(self, identity: int) -> None:
        """Start empty, at offset 0."""
        self.identity = identity
        self.begin = 0
        self._records: list[Message | None] = []

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return len(self._records)

    def __iter__(self) -> Iterator[Message]:
        """Iterate over what was ever written and not cut off, whether or not retention has taken it."""
        return (record for record in self._records if record is not None)

    def append(self, message: Message) -> int:
        """Keep a record, and return its offset."""
        self._records.append(message)
        return self.end - 1

    def leave_gap(self, count: int) -> None:
        """Use up so many offsets, as markers of transactions, aborted messages and compaction do."""
        self._records.extend([None] * count)

    def expire(self, offset: int) -> None:
        """Drop everything below an offset, as retention does."""
        self.begin = max(self.begin, min(offset, self.end))

    def truncate(self, offset: int, *, identity: int) -> None:
        """Cut off everything from an offset on, as an unclean election of a leader does."""
        self.identity = identity
        del self._records[offset:]
        self.begin = min(self.begin, self.end)

    def read(self, position: int, count: int) -> tuple[list[tuple[int, Message]], int]:
        """Return at most so many records from a position on, and the position behind them and the gap that follows."""
        records: list[tuple[int, Message]] = []
        for offset in range(position, self.end):
            record = self._records[offset]
            if record is not None:
                if len(records) == count:
                    return records, offset
                records.append((offset, record))
        return records, self.end
