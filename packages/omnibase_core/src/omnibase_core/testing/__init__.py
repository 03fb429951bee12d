"""Test gear that is public: a bus and a store in memory, a clock that stands still. Real behaviour, no mocks."""

from omnibase_core.memory_store import MemoryStore
from omnibase_core.testing.clock import FixedClock
from omnibase_core.testing.memory_bus import MemoryBroker, MemoryBus
from omnibase_core.testing.observer import RecordingObserver

__all__ = ["FixedClock", "MemoryBroker", "MemoryBus", "MemoryStore", "RecordingObserver"]
