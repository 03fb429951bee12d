"""An observer that remembers."""


class RecordingObserver:
    """Keeps every event in `events` as (level, name, fields)."""

    verbose = True

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Remember the event."""
        self.events.append((level, name, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        """Give the fields of every event of that name."""
        return [fields for _, event, fields in self.events if event == name]
