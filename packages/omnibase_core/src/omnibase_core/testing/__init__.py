"""Test support that is public: a bus and a store in memory, a clock that stands still. Real behaviour, no mocks."""

from omnibase_core.engine.memory_store import MemoryStore
from omnibase_core.testing.memory_bus import MemoryBroker, MemoryBus, RecordingObserver
from omnibase_core.testing.virtual_time import FixedClock

__all__ = ["FixedClock", "MemoryBroker", "MemoryBus", "MemoryStore", "RecordingObserver"]
