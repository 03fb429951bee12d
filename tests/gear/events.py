"""An Observer that remembers."""


class Events:
    """Remembers each event, by its name and fields. An Observer."""

    verbose = True

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.seen: list[tuple[str, str, dict[str, object]]] = []

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Remember one event."""
        self.seen.append((level, name, fields))
